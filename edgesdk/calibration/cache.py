"""Calibrations kept between runs: finished ones, and those cut short, to be taken up again.

All of it is a convenience. Where the folder cannot be read or written, calibration runs from the
start and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgesdk.calibration.state import Seen, from_bytes, to_bytes
from edgesdk.files import write_durable

KEPT = 16
"""Files in the folder, the newest."""
_FORMAT = 2
"""To be raised whenever a file, or what is counted in it, gets another meaning."""


def folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """`$XDG_CACHE_HOME/edgesdk/calibration`, else below `~/.cache`; None without a home."""
    given = environ.get("XDG_CACHE_HOME", "")
    if Path(given).is_absolute():
        return Path(given) / "edgesdk" / "calibration"
    try:
        return Path.home() / ".cache" / "edgesdk" / "calibration"
    except RuntimeError:
        return None


def key(
    model_sha256: str, samples_sha256: str, names: Sequence[str], versions: Mapping[str, str]
) -> str:
    """What a calibration depends on, as SHA-256 (hex).

    Args:
        model_sha256: of the float model that is run.
        samples_sha256: over all samples, in order.
        names: of the tensors, in order.
        versions: of what runs the model and counts.
    """
    parts = [_FORMAT, model_sha256, samples_sha256, list(names), sorted(versions.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def load(directory: Path | None, key: str, histograms: bool) -> Seen | None:
    """The calibration that is furthest on; with histograms, if they are needed, maybe without."""
    found = [seen for path in _places(directory, key, histograms) if (seen := _read(path))]
    return max(found, key=lambda seen: (seen.complete, seen.samples), default=None)


def save(directory: Path | None, key: str, seen: Seen) -> None:
    """Keep a calibration in place of an earlier state of it, and drop the oldest others."""
    if directory is None:
        return
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        write_durable(_path(directory, key, seen.has_histograms), to_bytes(seen))
        _drop_oldest(directory)


def _places(directory: Path | None, key: str, histograms: bool) -> list[Path]:
    if directory is None:
        return []
    return [_path(directory, key, True)] + ([] if histograms else [_path(directory, key, False)])


def _path(directory: Path, key: str, histograms: bool) -> Path:
    return directory / f"{key}{'' if histograms else '-bounds'}.npz"


def _read(path: Path) -> Seen | None:
    try:
        content = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    return from_bytes(content)


def _drop_oldest(directory: Path) -> None:
    """Also what a run that was killed while it wrote has left: those files begin with a dot."""
    paths = [path for path in directory.iterdir() if path.suffix == ".npz" or path.name[0] == "."]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)[KEPT:]:
        path.unlink()
