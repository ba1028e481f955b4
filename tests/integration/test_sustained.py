"""A long run, for a few seconds, on a virtual device over real SSH."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from device_agent import runtimes
from device_agent.manifest import Compatibility
from edgesdk import api
from edgesdk.cli.main import run
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import UsageError
from edgesdk.flows.sustain import KEPT_MOST, SAMPLES_MOST, WINDOWS_MOST, plan
from edgesdk.serial import to_dict
from tests.cli import this_machine
from tests.integration.test_agent_session import golden_for
from tests.integration.test_push import Workbench

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.tflite"


@pytest.fixture
def bench(
    tmp_path: Path, virtual_device: VirtualDevice, monkeypatch: pytest.MonkeyPatch
) -> Workbench:
    """A virtual device with the digits on it."""
    pytest.importorskip("ai_edge_litert")
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "workstation"))
    found = Workbench(tmp_path, virtual_device.as_device("bench", this_machine()))
    golden = golden_for("litert", DIGITS, {"xnnpack": ""}, tmp_path / "golden.npz")
    contents = {"model": DIGITS.read_bytes(), "golden": golden.read_bytes()}
    here = Compatibility("here", (), "litert", "1.0")
    inputs = runtimes.load("litert", str(DIGITS), 1).inputs
    found.push(found.seal(1, contents, compatibility=here, inputs=inputs))
    return found


def test_a_few_seconds_give_a_curve_a_page_and_json(bench: Workbench, tmp_path: Path) -> None:
    found = api.sustain("bench", 3.0, html=tmp_path / "curve.html")
    windows = found.endured.windows
    assert len(windows) >= 2 and found.seconds >= 3.0
    for window in windows:
        assert window.fastest_ns <= window.p50_ns <= window.p90_ns <= window.slowest_ns
        assert len(window.samples_ns) <= KEPT_MOST
        assert window.total_ns <= window.ended_ns - window.began_ns
    whole_ns = windows[-1].ended_ns - windows[0].began_ns
    assert sum(window.total_ns for window in windows) > 0.8 * whole_ns, "hardly a pause"
    assert any(window.conditions for window in windows)
    assert "<svg" in (tmp_path / "curve.html").read_text()
    assert json.loads(json.dumps(to_dict(found)))["runs"] == found.runs
    assert found.settled is None and found.unsettled is not None
    assert found.unsettled.seconds_needed is not None and found.unsettled.seconds_needed >= 10
    (head,) = api.list_runs()
    assert (head.command, head.device, head.p50_ns) == ("sustained", "bench", None)
    assert api.show_run("last") == found


def test_the_projects_gates_are_judged_or_named(
    bench: Workbench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "edgesdk.toml").write_text(
        '[gates]\nmax_p95 = "10 s"\nmax_peak_ram = "1 B"\nmax_end_to_end_p95 = "1 ns"\n'
        "max_latency_regression_percent = 5\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    assert run(["bench", "--device", "bench", "--sustained", "11s", "--json"]) == 1
    told = json.loads(capfd.readouterr().out)
    verdicts = {verdict["gate"]: verdict["status"] for verdict in told["verdicts"]}
    assert verdicts["peak_ram"] == "fail"  # Else than p95, which a busy machine may not settle to.
    assert set(verdicts) == {"p95", "peak_ram"}
    assert told["not_judged"] == ["time from picture to answer", "latency since the baseline"]
    assert run(["runs", "ls"]) == 0
    assert "sustained" in capfd.readouterr().out


def test_no_time_is_no_run() -> None:
    with pytest.raises(UsageError, match="more than 0"):
        api.sustain("bench", 0.0)


@pytest.mark.parametrize("seconds", [1.0, 60.0, 1800.0, 86_400.0])
def test_windows_and_samples_of_any_time_are_bounded(seconds: float) -> None:
    request = plan(seconds)
    windows = seconds / request.window_seconds
    assert windows <= WINDOWS_MOST
    assert windows * request.kept_samples <= SAMPLES_MOST + windows
