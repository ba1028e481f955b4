"""What a model's outputs ought to be: arrays by name, one row a sample, beside the inputs or apart.

Names that metrics know: `label` (class indices), `target` (numbers), `boxes` and `classes` (padded
with class -1), `text`. Others are for the user's own functions.
"""

from __future__ import annotations

import zipfile
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesdk.data.samples import LABEL, Samples
from edgesdk.errors import DataError

_KNOWN = (LABEL, "target", "boxes", "classes", "text")


def open_truth(
    source: str | None, samples: Samples, without: Container[str] = ()
) -> Mapping[str, npt.NDArray[Any]]:
    """The truth of some samples.

    Args:
        source: `FILE.npz` or `FILE.npz#SPLIT`; the samples' own file, where it is one, unless
            given.
        without: names of arrays that are inputs, and not read.

    Raises:
        DataError: unreadable, or not one row a sample.
    """
    origin = samples.origin if source is None else source
    found: dict[str, npt.NDArray[Any]] = {}
    if origin.partition("#")[0].endswith(".npz"):
        found = _read(origin, samples.count, without, strict=source is not None)
    elif source is not None:
        raise DataError(f"found truth in {source!r}, expected FILE.npz or FILE.npz#SPLIT")
    if samples.labels is not None:
        found.setdefault(LABEL, samples.labels)
    return found


def _read(
    origin: str, count: int, without: Container[str], *, strict: bool
) -> dict[str, npt.NDArray[Any]]:
    file, _, split = origin.partition("#")
    prefix = f"{split}/" if split else ""
    try:
        with np.load(Path(file), allow_pickle=False) as archive:
            names = [name for name in archive.files if name.startswith(prefix)]
            arrays = {
                name.removeprefix(prefix): archive[name]
                for name in names
                if name.removeprefix(prefix) not in without
            }
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    rows = {name: array for name, array in arrays.items() if array.shape[:1] == (count,)}
    odd = {n: a for n, a in arrays.items() if n not in rows and (strict or n in _KNOWN)}
    if odd:
        wrong = ", ".join(f"{name} {list(array.shape)}" for name, array in odd.items())
        raise DataError(f"found {wrong} in {origin}, expected {count} rows, one a sample")
    if strict and not rows:
        raise DataError(f"{origin} holds no arrays")
    return rows
