"""Every option that takes a time refuses none, less than none, and what nobody waits for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesdk.cli.main import run

DEVICE = ("--device", "board")
GATES = (
    *("--max-p95", "--max-preprocess-p95", "--max-inference-p95", "--max-postprocess-p95"),
    "--max-end-to-end-p95",
)
COMMANDS = {
    "--for": ("device", "lease", "board"),
    "--sustained": ("bench", *DEVICE),
    "--seconds": ("sweep", "m.onnx", "-t", "raspberry-pi-5", "--calibration", "d.npz", "-o", "o"),
    "--health-latency": ("package", "artifact", "-o", "x.edgepkg"),
    **dict.fromkeys(GATES, ("bench", *DEVICE)),
}
WAITING = {
    "lease": ("device", "lease", "board", "--for", "1h"),
    "push": ("push", "x.edgepkg", *DEVICE),
    "bench": ("bench", *DEVICE),
    "eval": ("eval", *DEVICE, "--dataset", "d.npz", "--model", "m.onnx"),
    "rollback": ("rollback", *DEVICE),
    "deploy": ("deploy", "m.onnx", *DEVICE, "--calibration", "d.npz", "-o", "out"),
    "agent install": ("agent", "install", "board"),
    "agent uninstall": ("agent", "uninstall", "board"),
    "sweep": ("sweep", "m.onnx", "-t", "raspberry-pi-5", "--calibration", "d.npz", "-o", "out"),
}
BAD = ["0s", "-5s", "8d", "99999999999999999999d", "soon", "nan", ""]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield
    for each, handler in before.items():  # The command line takes them.
        signal.signal(each, handler)


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize(("option", "command"), COMMANDS.items(), ids=COMMANDS)
def test_a_time_that_is_none(
    option: str, command: tuple[str, ...], text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, f"{option}={text}"]) == 2
    (sentence,) = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert (text in sentence and "expected" in sentence) or "Invalid value" in sentence


@pytest.mark.parametrize("text", ["nan", "inf", "0", "601"])
@pytest.mark.parametrize("command", ["bench", "deploy"])
def test_seconds_in_each_model_that_are_none(
    command: str, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*WAITING[command], f"--seconds={text}"]) == 2
    assert "Invalid value for '--seconds'" in capfd.readouterr().err


@pytest.mark.parametrize("text", BAD[1:])
@pytest.mark.parametrize("command", WAITING.values(), ids=WAITING)
def test_a_wait_that_is_none(
    command: tuple[str, ...], text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, f"--wait={text}"]) == 2
    assert f"--wait: found '{text}', expected" in capfd.readouterr().err


def test_not_to_wait_is_a_wait(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["rollback", *DEVICE, "--wait", "0s"]) == 3
    assert "no device" in capfd.readouterr().err
