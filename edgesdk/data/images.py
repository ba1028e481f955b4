"""Samples from a folder of pictures, one in memory at a time; its subfolders are the classes."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from device_agent.runtimes.preprocess import Preprocessor
from edgesdk.data.preprocessing import Preprocessing, input_maker, made_input
from edgesdk.errors import DataError
from edgesdk.models.types import TensorSpec

_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_MODES_OF_8_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Pillow's other modes have more bits, which its conversion cuts off at 255."""
_UNREADABLE = (
    *(UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError),
    *(OverflowError, TypeError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)
"""What Pillow's decoders raise for damaged files."""
Sample = Mapping[str, npt.NDArray[Any]]
Picture = npt.NDArray[np.uint8]
"""Decoded, upright RGB, shape (height, width, 3)."""


@dataclass(frozen=True, slots=True)
class ImageSamples:
    """The pictures of a folder.

    Args:
        stream: starts a pass over the samples made of them.
        pictures: starts a pass over them as they are.
    """

    stream: Callable[[], Iterator[Sample]]
    pictures: Callable[[], Iterator[Picture]]


def image_samples(
    folder: Path, preprocessing: Preprocessing | None, inputs: Sequence[TensorSpec], label: str
) -> ImageSamples:
    """The pictures of a folder, sorted by path.

    Pictures in subfolders get the subfolder's class as label: its name where all names are numbers,
    else its place in the alphabet. Pictures beside one another in `folder` itself have no label.

    Args:
        label: the name under which a sample holds its label.

    Raises:
        DataError: no pictures, no preprocessing, or a model with several inputs.
    """
    if preprocessing is None:
        raise DataError(
            f"{folder} is a folder of pictures, and what makes inputs of them is not declared",
            hint="give --preprocessing FILE.toml, or set [preprocessing] in edgesdk.toml; "
            "docs/data.md shows one",
        )
    if len(inputs) != 1:
        raise DataError(
            f"{folder} is a folder of pictures, the model has {len(inputs)} inputs",
            hint="save the samples as .npz, or give them as module:function",
        )
    found = _pictures(folder)
    spec = inputs[0]
    maker = input_maker(preprocessing.steps(), spec)

    def stream() -> Iterator[Sample]:
        for path, index in found:
            sample: dict[str, npt.NDArray[Any]] = {spec.name: _made(path, maker)}
            if index is not None:
                sample[label] = np.asarray(index, np.int64)
            yield sample

    return ImageSamples(stream, lambda: (_decoded(path) for path, _ in found))


def _pictures(folder: Path) -> list[tuple[Path, int | None]]:
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and _inside(path))
    found = _inside(folder)
    if classes and found:
        raise DataError(
            f"{folder} holds {len(found)} pictures beside the classes {classes[0].name}, ..., "
            "expected pictures in class folders only, or in no class folder",
            hint=f"move them, {found[0].name} first",
        )
    if classes:
        indices = _indices([path.name for path in classes])
        return [
            (picture, index)
            for path, index in zip(classes, indices, strict=True)
            for picture in _inside(path)
        ]
    if not found:
        raise DataError(
            f"{folder} holds no pictures, expected {', '.join(sorted(_SUFFIXES))} files there or "
            "in one subfolder a class"
        )
    return [(path, None) for path in found]


def _inside(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _indices(names: list[str]) -> list[int]:
    if not all(name.isdecimal() for name in names):
        return list(range(len(names)))
    indices = [int(name) for name in names]
    for index in indices:
        if indices.count(index) > 1:
            same = [name for name in names if int(name) == index]
            raise DataError(f"the folders {' and '.join(same)} are both class {index}")
    return indices


def _made(path: Path, maker: Preprocessor) -> npt.NDArray[Any]:
    picture = _decoded(path)
    try:
        return made_input(maker, picture)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint) from error


def _decoded(path: Path) -> Picture:
    picture = _picture(path)
    if picture.mode not in _MODES_OF_8_BITS:
        raise DataError(
            f"{path} has pixels of the kind {picture.mode}, expected 8 bits a channel",
            hint="convert it first: how more bits become 8 is not for us to choose",
        )
    return np.asarray(picture.convert("RGB"), np.uint8)


def _picture(path: Path) -> Image.Image:
    """The picture as it is to be seen, decoded in full."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return ImageOps.exif_transpose(picture)
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as a picture: {error}") from error
