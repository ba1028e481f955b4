"""Which run a measurement is held against: the one that was meant when it began.

No device is visited here; what stands for the visit lets another run end meanwhile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgesdk.cli.main import run
from edgesdk.devices import inventory
from edgesdk.devices.inventory import Device
from edgesdk.errors import ModelError
from edgesdk.flows import deploy_many, measure
from edgesdk.flows.deploy import Order
from edgesdk.flows.runs import history
from edgesdk.values.report import Findings
from tests.unit.history.measurements import a_measurement, findings_of

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZWQgb25seSBpbiB0ZXN0cyBvZiBlZGdlc2RrISEh"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name, target in (("one", "raspberry-pi-5"), ("other", "rock-5b")):
        device = Device(name, "127.0.0.1", 1, "user", target, KEY)
        inventory.add(inventory.default_path(), device)
    history().add(a_measurement())
    return tmp_path


def another_run_ends() -> None:
    history().add(a_measurement("2026-05-01T00:00:00+00:00", device="elsewhere"))


def test_the_last_run_is_the_last_when_the_measurement_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def visited(*_: object) -> Findings:
        another_run_ends()
        return findings_of()

    monkeypatch.setattr(measure, "_measure", visited)
    found = measure.bench("one", baseline="last")
    assert found.since is not None and found.since.baseline.startswith("run 1-")


def test_many_devices_are_held_against_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    named = []

    def measured(device: str, *, baseline: str, **_: object) -> Findings:
        named.append(baseline)
        another_run_ends()
        return findings_of()

    monkeypatch.setattr(measure, "bench", measured)
    assert run(["bench", "--device", "all", "--jobs", "1", "--baseline", "last"]) == 0
    assert named == [history().find("1").id] * 2


def test_devices_of_several_targets_likewise(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    named = []

    def made(order: Order, *_: Any, **__: Any) -> None:
        named.append(order.baseline)
        another_run_ends()
        raise ModelError("this is as far as it goes")

    monkeypatch.setattr(deploy_many, "make", made)
    deploy_many.deploy_many("all", Order("model.onnx", "data.npz", baseline="last"), folder / "out")
    assert named == [history().find("1").id] * 2
