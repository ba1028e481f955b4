"""Placement and times per operator on virtual devices, by the real runtimes."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from device_agent import runtimes
from device_agent.profile_messages import Profiled
from device_agent.worker_messages import Load, TimeOperators
from device_agent.workers import Worker, worker_command
from edgesdk import api
from edgesdk.devices import inventory
from edgesdk.devices.bootstrap import build_agent
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.serial import to_dict
from edgesdk.values.report import Report

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
WITHOUT_XNNPACK = """
import sys
if sys.argv[-1:] == ["worker"]:
    import ai_edge_litert.interpreter as litert
    class Interpreter(litert.Interpreter):
        def __init__(self, **arguments):
            kind = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            super().__init__(**{**arguments, "experimental_op_resolver_type": kind})
    litert.Interpreter = Interpreter
"""


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "home"))


@pytest.fixture
def board() -> Iterator[VirtualDevice]:
    with VirtualDevice() as virtual:
        yield virtual


def enrol(virtual: VirtualDevice) -> None:
    device = virtual.as_device("board", "generic-x86-64")
    inventory.add(inventory.default_path(), device)


def deploy(model: str, folder: Path, **more: object) -> Report:
    return api.deploy(
        EXAMPLE / model,
        "board",
        f"{EXAMPLE}/digits.npz#calibration",
        folder,
        timing=api.Timing(blocks=5, min_runs=100, min_seconds=0.1, operators=True),
        signing=api.Signing(unsigned=True),
        permissions=api.Permissions(unsigned=True),
        **more,  # type: ignore[arg-type]
    )


def test_onnx_runtime_operator_by_operator(board: VirtualDevice, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="install onnxruntime")
    enrol(board)
    report = deploy("digits.onnx", tmp_path / "out")
    assert report.placement is not None
    assert report.placement.delegates.keys() == {"CPUExecutionProvider"}
    assert [each.role for each in report.profiles] == ["float", "int8"]
    profile = report.profiles[1]
    assert profile.runs == 100 and "QLinearConv" in {each.type for each in profile.operators}
    assert sum(each.share for each in profile.operators) == pytest.approx(1)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "INT8 model, operator by operator" in page and 'class="share"' in page


def test_profiling_comes_after_the_clean_runs_and_adds_none(
    board: VirtualDevice, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="install onnxruntime")
    enrol(board)
    report = deploy("digits.onnx", tmp_path / "out")
    for run in report.results.runs:
        profiled = report.results.profile(run.role)
        assert profiled is not None
        assert not set(profiled.samples_ns) & {run.latency.samples_ns}
        assert sum(run.latency.block_sizes) == len(run.latency.samples_ns)
    assert "profiles" in json.dumps(to_dict(report))


def test_litert_says_what_xnnpack_took_and_times_it_with_its_own_kernels(
    board: VirtualDevice, tmp_path: Path
) -> None:
    pytest.importorskip("ai_edge_litert", reason="install ai-edge-litert")
    enrol(board)
    report = deploy("digits.tflite", tmp_path / "out")
    assert report.placement is not None and report.placement.delegates["XNNPACK"] >= 4
    assert report.results.placement is not None
    assert report.results.placement.expected_kernel_path == "xnnpack"
    assert "kernels" not in {verdict.gate for verdict in report.verdicts}
    for profiled in report.results.profiles:
        assert profiled.source.startswith("the profiler of libLiteRt.so, ai-edge-litert ")
        kinds = [each.place.type.partition(" (")[0] for each in profiled.operators]
        assert kinds.count("Convolution") == 4


def test_a_delegate_that_is_silently_off_fails_the_run(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="install ai-edge-litert")
    programs, patches = tmp_path / "bin", tmp_path / "patches"
    programs.mkdir()
    patches.mkdir()
    (patches / "sitecustomize.py").write_text(WITHOUT_XNNPACK)
    python = programs / "python3"
    python.write_text(
        f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(patches))} "
        f'exec {shlex.quote(sys.executable)} "$@"\n'
    )
    python.chmod(0o755)
    with VirtualDevice(path=f"{programs}:/usr/bin:/bin") as board:
        enrol(board)
        report = deploy("digits.tflite", tmp_path / "out")
    (failed,) = (verdict for verdict in report.verdicts if verdict.status == "fail")
    assert (failed.gate, report.exit_code) == ("kernels", 1)
    assert "XNNPACK took operators of this model on the workstation" in failed.reason
    assert "CONV_2D" in failed.reason


def test_a_share_that_was_asked_for_is_judged_by_what_ran(
    board: VirtualDevice, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="install onnxruntime")
    enrol(board)
    report = deploy(
        "digits.onnx", tmp_path / "out", gates=(api.GateBounds(min_accelerated_fraction=0.5),)
    )
    (verdict,) = (each for each in report.verdicts if each.gate == "placement")
    assert (verdict.status, verdict.asked, verdict.bound) == ("fail", True, 50.0)
    assert verdict.measured is not None and verdict.measured.value == 100


def test_a_runtime_of_the_agents_own_is_profiled_too(tmp_path: Path) -> None:
    """The Python has none, as on a board that `edgesdk agent install` brought it to."""
    pytest.importorskip("onnxruntime", reason="install onnxruntime")
    model = EXAMPLE / "digits.onnx"
    (port,) = runtimes.load("onnxruntime", str(model), 1).inputs
    golden = tmp_path / "golden.npz"
    np.savez(golden, **{f"input/{port.name}": np.zeros((1, *port.shape), np.float32)})
    program = tmp_path / "agent.pyz"
    program.write_bytes(build_agent().zipapp)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    _, *rest = worker_command(str(program))
    command = [str(tmp_path / "bare" / "bin" / "python3"), *rest]
    own = (str(Path(np.__file__).parents[1]),)
    load = Load(str(model), "onnxruntime", "", 1, str(golden), (port,), folders=own)
    with contextlib.closing(Worker("model", command)) as worker:
        found, _ = worker.ask(TimeOperators(load, 5, 60.0), Profiled)
    assert "Gemm" in {each.place.type for each in found.operators}
