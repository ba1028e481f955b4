"""What exporters are given in tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgesdk.package.exporters.content import Content, content_of
from edgesdk.values.export import Wanted
from tests.sealed import seal, seal_delta

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def content(folder: Path, **changes: Any) -> Content:
    """A sealed package; `changes` are fields of its manifest."""
    return content_of(seal(folder / "any name.edgepkg", **changes))


def delta_content(folder: Path) -> Content:
    """A delta against a package of sequence 3."""
    return content_of(
        seal_delta(folder / "delta.edgepkg", seal(folder / "base.edgepkg"), sequence=4)
    )


def wanted(output: Path | str = "out", **changes: Any) -> Wanted:
    """An export to `output`."""
    return Wanted(output=str(output), at=changes.pop("at", NOW), **changes)
