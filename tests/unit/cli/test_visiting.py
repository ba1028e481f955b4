"""A device may be silent for 20 s: who asks a single one is told that it is being asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesdk.cli.main import run
from edgesdk.devices import inventory
from edgesdk.devices.inventory import Device

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZWQgb25seSBpbiB0ZXN0cyBvZiBlZGdlc2RrISEh"


@pytest.mark.parametrize(
    "command",
    [
        ("device", "show", "nobody"),
        ("device", "doctor", "nobody"),
        ("device", "installed", "nobody"),
        ("agent", "ls", "nobody"),
        ("agent", "uninstall", "nobody"),
    ],
    ids=" ".join,
)
def test_a_visit_is_announced(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path))
    nobody = Device("nobody", "127.0.0.1", 1, "user", "raspberry-pi-5", KEY)
    inventory.add(inventory.default_path(), nobody)
    assert run([*command]) == 4
    told = capfd.readouterr().err
    assert told.startswith("visiting nobody\n") and "nothing listens on port 1" in told
