"""Fixtures: a device's store in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from device_store import Device, pretend_runtimes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "device"


@pytest.fixture
def device(root: Path) -> Iterator[Device]:
    """One that believes the owner."""
    opened = Device(root)
    yield opened
    opened.close()


@pytest.fixture
def runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device has ONNX Runtime, whatever this machine has."""
    pretend_runtimes(monkeypatch)
