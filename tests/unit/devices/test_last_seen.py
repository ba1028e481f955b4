"""Facts about what is remembered of devices: a memory, which nothing depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesdk.devices import last_seen
from edgesdk.devices.inventory import Device
from edgesdk.devices.last_seen import Seen

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
DEVICE = Device("board", "127.0.0.1", 22, "me", "raspberry-pi-5", KEY)
SEEN = Seen("2026-11-26T12:00:00Z", KEY, "Raspberry Pi 5", "Debian")


def test_a_visit_is_remembered(tmp_path: Path) -> None:
    last_seen.keep(tmp_path, DEVICE, SEEN)
    assert last_seen.of(DEVICE, last_seen.load(tmp_path)) == SEEN


def test_a_damaged_file_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "last-seen.json").write_text("{")
    assert last_seen.load(tmp_path) == {}
    assert "is forgotten" in caplog.text
    last_seen.keep(tmp_path, DEVICE, SEEN)
    assert last_seen.of(DEVICE, last_seen.load(tmp_path)) == SEEN


def test_what_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    last_seen.keep(tmp_path / "file", DEVICE, SEEN)
    assert "is not remembered" in caplog.text
