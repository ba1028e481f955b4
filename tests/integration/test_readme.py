"""README's Python example, run as it is written, save for the board it names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from edgesdk.devices import inventory
from edgesdk.devices.virtual import VirtualDevice
from tests.cli import DIGITS, ROOT, this_machine


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, virtual_device: VirtualDevice
) -> None:
    for name in ("digits.onnx", "digits.npz"):
        shutil.copy(DIGITS / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "home"))
    device = virtual_device.as_device("pi-bench-3", this_machine())
    inventory.add(inventory.default_path(), device)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert "raspberry-pi-5" in example
    names: dict[str, object] = {}
    exec(example.replace("raspberry-pi-5", this_machine()), names)
    assert getattr(names["findings"], "outcome") == "pass"  # noqa: B009
