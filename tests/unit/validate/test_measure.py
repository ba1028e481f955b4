"""Facts about `bench` and `eval`: each judges what it measures, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgesdk.devices.inventory import Device
from edgesdk.errors import DataError, ExitCode
from edgesdk.flows import measure
from edgesdk.flows.leasing import Claim
from edgesdk.progress import Progress
from edgesdk.targets.types import GateBounds
from edgesdk.values.report import Findings
from edgesdk.values.results import Results
from tests.cli import DIGITS, TEST
from tests.unit.report.example import example_environment, example_results

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
ALL = GateBounds(5.0, "1 s", "1 GiB", 1.0)


class Answering:
    """An agent whose package is the example's."""

    environment = example_environment()

    def current(self) -> object:
        return example_results().installed


@pytest.fixture
def a_device(monkeypatch: pytest.MonkeyPatch) -> Callable[[Results], None]:
    """Lets every device answer with given results."""

    @contextmanager
    def agent_on(device: Device, *, claim: Claim, progress: Progress) -> Iterator[Answering]:
        assert claim.purpose.startswith("a measurement of ")
        yield Answering()

    def answer(results: Results) -> None:
        device = Device("pi", "pi", 22, "pi", "raspberry-pi-5", HOST_KEY)
        monkeypatch.setattr(measure, "find_device", lambda name: device)
        monkeypatch.setattr(measure, "agent_on", agent_on)
        monkeypatch.setattr(measure, "validate", lambda *_, **__: results)

    return answer


def judged(findings: Findings) -> list[str]:
    return [verdict.gate for verdict in findings.verdicts]


def test_bench_judges_latency_memory_and_parity(a_device: Callable[[Results], None]) -> None:
    a_device(example_results(predictions=None))
    findings = measure.bench("pi", gates=(ALL,))
    assert judged(findings) == ["p95", "peak_ram", "parity"]
    assert (findings.outcome, findings.exit_code) == ("pass", ExitCode.PASSED)


def test_eval_judges_accuracy_and_parity(a_device: Callable[[Results], None]) -> None:
    a_device(example_results(runs=()))
    findings = measure.evaluate("pi", TEST, DIGITS / "digits.onnx", gates=(ALL,))
    assert judged(findings) == ["accuracy_drop", "parity"]
    assert (findings.outcome, findings.exit_code) == ("pass", ExitCode.PASSED)


def test_an_asked_gate_that_bench_could_not_measure_is_exit_code_6(
    a_device: Callable[[Results], None],
) -> None:
    a_device(example_results(predictions=None, parity=None))
    asked = GateBounds(max_parity_mismatch_percent=1.0)
    assert measure.bench("pi", gates=(asked,)).exit_code == ExitCode.INVALID_MEASUREMENT
    assert measure.bench("pi", gates=()).exit_code == ExitCode.PASSED


def test_eval_without_labels_is_the_datas_error(tmp_path: Path) -> None:
    with np.load(DIGITS / "digits.npz") as stored:
        arrays = {
            name.removeprefix("test/"): stored[name][:8]
            for name in stored.files
            if name.startswith("test/") and not name.endswith("/label")
        }
    path = tmp_path / "unlabelled.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="found no labels in") as raised:
        measure.evaluate("pi", str(path), DIGITS / "digits.onnx")
    assert "integer array 'label'" in raised.value.hint
    assert raised.value.exit_code == ExitCode.BAD_INPUT
