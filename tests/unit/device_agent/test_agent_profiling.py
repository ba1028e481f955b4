"""Placement and times per operator, by the runtimes themselves where they are installed."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent import runtimes
from device_agent.environment_messages import RuntimeVersion
from device_agent.manifest import Port
from device_agent.profile_messages import OperatorPlace, Profiled
from device_agent.runtimes import NotProfiled, RuntimeFailed, litert_library
from device_agent.runtimes.litert_benchmark import TOOL, read_profile
from device_agent.runtimes.litert_library import Timed, operators_of
from device_agent.runtimes.litert_placement import places
from device_agent.runtimes.onnx_profile import read_profile as read_onnx_profile
from device_agent.runtimes.profiling import WARM_UP_RUNS, ProfileOrder, runs_for

DIGITS = Path(__file__).parents[3] / "examples" / "digits"
IMAGE = np.zeros((1, 1, 8, 8), np.float32)


def order(name: str, runs: int = 6, max_seconds: float = 60.0) -> ProfileOrder:
    def inputs(ports: Sequence[Port]) -> Sequence[np.ndarray]:
        return [IMAGE]

    return ProfileOrder(str(DIGITS / name), 1, inputs, runs, max_seconds, lambda *_: None)


def load(runtime: str, name: str, kernel: str = "") -> runtimes.LoadedModel:
    return runtimes.load(runtime, str(DIGITS / name), 1, kernel)


# ---- ONNX Runtime --------------------------------------------------------------------------------


def test_onnx_runtime_says_which_provider_has_each_node() -> None:
    pytest.importorskip("onnxruntime", reason="install onnxruntime")
    found = load("onnxruntime", "digits.onnx").placement()
    assert [place.type for place in found.operators].count("Conv") == 4
    assert {(place.unit, place.delegate) for place in found.operators} == {
        ("cpu", "CPUExecutionProvider")
    }


def test_an_onnx_runtime_that_does_not_say_has_one_provider_for_all() -> None:
    pytest.importorskip("onnxruntime", reason="install onnxruntime")
    model: Any = load("onnxruntime", "digits.onnx")
    told = model.placement().operators
    session = model._session

    class Older:
        get_providers = session.get_providers

    model._session = Older()
    older = model.placement()
    assert older.source == "the session's only provider"
    assert {place.name for place in told} <= {place.name for place in older.operators}


def test_onnx_runtime_times_each_node_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="install onnxruntime")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = runtimes.prepare("onnxruntime").profile(order("digits.onnx"))
    assert (found.runs, len(found.samples_ns), found.resolution_ns) == (6, 6, 1000)
    assert {len(each.samples_ns) for each in found.operators} == {6}
    assert "Gemm" in {each.place.type for each in found.operators}
    assert sum(each.mean_ns for each in found.operators) < max(found.samples_ns)
    assert list(tmp_path.iterdir()) == []


def event(name: str, ts: int, dur: int, index: int, **more: Any) -> dict[str, Any]:
    arguments = {"op_name": name, "provider": "CPUExecutionProvider", "node_index": str(index)}
    return {
        **{"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur},
        **{"args": arguments, **more},
    }


def profile_file(folder: Path, events: object) -> str:
    path = folder / "profile.json"
    path.write_text(json.dumps(events))
    return str(path)


def test_a_node_inside_of_a_loop_is_part_of_the_loop(tmp_path: Path) -> None:
    events = [
        event("Loop", 0, 100, 1),
        event("Add", 10, 20, 0),
        event("Add", 40, 20, 0),
        event("Conv", 100, 7, 2),
        {"cat": "Session", "name": "model_run", "ts": 0, "dur": 110, "args": {}},
    ]
    found = read_onnx_profile(profile_file(tmp_path, events))
    assert [(place.type, times) for place, times in found] == [
        ("Loop", [100_000]),
        ("Conv", [7_000]),
    ]


def test_nodes_of_one_name_are_told_apart_and_waiting_does_not_count(tmp_path: Path) -> None:
    events = [
        event("Conv", 0, 5, 1),
        event("Conv", 5, 9, 2),
        {**event("Conv", 14, 99, 2), "name": "Conv_fence_after"},
    ]
    found = read_onnx_profile(profile_file(tmp_path, events))
    assert [times for _, times in found] == [[5_000], [9_000]]


@pytest.mark.parametrize("content", [[{"cat": "Node"}], {"cat": "Node"}, [3], "text"])
def test_a_profile_that_is_none_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(RuntimeFailed, match="profile cannot be read"):
        read_onnx_profile(profile_file(tmp_path, content))


# ---- OpenVINO ------------------------------------------------------------------------------------


def test_openvino_says_what_it_executes_and_how_long_it_takes() -> None:
    pytest.importorskip("openvino", reason="install openvino")
    found = load("openvino", "digits.onnx").placement()
    assert [place.type for place in found.operators].count("Convolution") == 4
    assert {place.unit for place in found.operators} == {"cpu"}
    assert not {"Const", "Input", "Output"} & {place.type for place in found.operators}
    profile = runtimes.prepare("openvino").profile(order("digits.onnx"))
    assert (profile.runs, profile.resolution_ns) == (6, 1000)
    assert {each.place.type for each in profile.operators} >= {"Convolution", "FullyConnected"}
    assert {len(each.samples_ns) for each in profile.operators} == {6}


# ---- LiteRT --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "delegates"), [("", {"XNNPACK"}), ("builtin", {""})])
def test_litert_says_what_its_delegate_took(kernel: str, delegates: set[str]) -> None:
    pytest.importorskip("ai_edge_litert", reason="install ai-edge-litert")
    found = load("litert", "digits.tflite", kernel).placement().operators
    assert [place.type for place in found] == [
        *("RESHAPE", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "CONV_2D", "CONV_2D", "CONV_2D"),
        *("ADD", "MEAN", "FULLY_CONNECTED"),
    ]
    assert {place.delegate for place in found if place.type == "CONV_2D"} == delegates
    assert {place.unit for place in found} == {"cpu"}


class Interpreter:
    """An interpreter after delegation: a line of operators and the nodes of delegates."""

    def __init__(self, *nodes: tuple[str, list[int], list[int]]) -> None:
        self._nodes = nodes

    def _get_ops_details(self) -> list[dict[str, Any]]:
        return [
            {"op_name": name, "inputs": np.array(inputs), "outputs": np.array(outputs)}
            for name, inputs, outputs in self._nodes
        ]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        return [{"index": index, "name": f"t{index}"} for index in range(9)]


def test_what_lies_between_two_pieces_of_a_delegate_is_not_its_own() -> None:
    found = places(
        Interpreter(
            ("CONV_2D", [0], [1]),
            ("ADD", [1, 1], [2]),
            ("CUSTOM", [2], [3]),
            ("SOFTMAX", [3], [4]),
            ("DELEGATE", [0], [2]),
            ("DELEGATE", [3], [4]),
        )
    )
    assert [(place.name, place.delegate) for place in found] == [
        ("t1", "XNNPACK"),
        ("t2", "XNNPACK"),
        ("t3", ""),
        ("t4", "XNNPACK"),
    ]


# ---- LiteRT's own library ------------------------------------------------------------------------

CONV, SUM = OperatorPlace("CONV_2D", "t1", "cpu", "XNNPACK"), OperatorPlace("ADD", "t2", "cpu", "")
NODE, TAKEN = 2, 8
"""Types of events: litert/c/litert_profiler_event.h."""


@pytest.mark.parametrize("threads", [1, 2])
def test_litert_times_its_operators_in_its_own_library(threads: int) -> None:
    pytest.importorskip("ai_edge_litert", reason="install ai-edge-litert")
    found = runtimes.prepare("litert").profile(order("digits.tflite")._replace(threads=threads))
    assert found.source.startswith("the profiler of libLiteRt.so, ai-edge-litert ")
    assert (found.runs, len(found.samples_ns), found.resolution_ns) == (6, 6, 1000)
    assert {len(each.samples_ns) for each in found.operators} == {6}
    kinds = [each.place.type.partition(" (")[0] for each in found.operators]
    assert kinds.count("Convolution") == 4
    assert {each.place.delegate for each in found.operators} == {"XNNPACK"}
    assert len({each.place for each in found.operators}) == len(found.operators)
    assert 0 < sum(each.mean_ns for each in found.operators) < max(found.samples_ns) * 2


def test_it_runs_the_inputs_that_it_was_given() -> None:
    pytest.importorskip("ai_edge_litert", reason="install ai-edge-litert")
    wrong = order("digits.tflite")._replace(inputs=lambda ports: [IMAGE[:, :, :4]])
    with pytest.raises(NotProfiled, match="found 128 bytes for input 'serving_default_image', exp"):
        runtimes.prepare("litert").profile(wrong)


def test_a_litert_without_either_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_litert", reason="install ai-edge-litert")
    monkeypatch.setattr(litert_library, "LIBRARY", "libNone.so")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        NotProfiled, match=r"libNone.so of LiteRT cannot .* benchmark_model is not on"
    ):
        runtimes.prepare("litert").profile(order("digits.tflite"))


@pytest.mark.parametrize(
    ("package", "version", "has"),
    [
        ("ai-edge-litert", "2.3.0", True),
        ("ai-edge-litert-nightly", "2.3.0.dev20260401", True),
        ("ai-edge-litert-nightly", "2.4.0.dev20260901", False),
        ("ai-edge-litert", "2.1.2", False),
        ("ai-edge-litert", "3.0", False),
        ("ai-edge-litert", "unknown", False),
        ("tflite-runtime", "2.14.0", False),
    ],
)
def test_only_a_library_whose_interface_is_known_is_asked(
    package: str, version: str, has: bool
) -> None:
    assert litert_library.has_profiler(RuntimeVersion("litert", package, version)) is has


def test_operators_of_the_file_have_its_names_and_the_delegates_have_numbers() -> None:
    run = (
        Timed(NODE, "ADD", 1, 0, 3),
        Timed(TAKEN, "Convolution (NHWC, QC8)", 0, 0, 40),
        Timed(NODE, "TfLiteXNNPackDelegate", 2, 0, 41),
    )
    assert operators_of([run, run], [CONV, SUM]) == [
        (SUM, [3_000, 3_000]),
        (OperatorPlace("Convolution (NHWC, QC8)", "#1", "cpu", "XNNPACK"), [40_000, 40_000]),
    ]


def test_a_delegate_that_tells_nothing_is_one_operator() -> None:
    found = operators_of([(Timed(NODE, "TfLiteXNNPackDelegate", 2, 0, 41),)], [CONV, SUM])
    assert found == [(OperatorPlace("TfLiteXNNPackDelegate", "#0", "cpu", "XNNPACK"), [41_000])]


def test_what_a_loop_of_litert_computes_is_part_of_the_loop() -> None:
    loop = OperatorPlace("WHILE", "t3", "cpu", "")
    run = (
        Timed(NODE, "ADD", 0, 1, 5),
        Timed(TAKEN, "Add", 0, 0, 5),
        Timed(NODE, "WHILE", 0, 0, 11),
    )
    assert operators_of([run], [loop]) == [(loop, [11_000])]


def test_runs_of_different_operators_are_no_profile() -> None:
    one, other = Timed(NODE, "ADD", 1, 0, 3), Timed(NODE, "MUL", 1, 0, 3)
    with pytest.raises(NotProfiled, match="other operators in one run than in another"):
        operators_of([(one,), (other,)], [CONV, SUM])


# ---- LiteRT's benchmark tool ---------------------------------------------------------------------


def benchmark_tool(folder: Path, script: str) -> None:
    """A stand-in for LiteRT's tool that writes what its published schema says."""
    path = folder / TOOL
    path.write_text(f"#!{sys.executable}\nimport sys\n{script}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


WRITES = """
from ai_edge_litert import profiling_info_pb2 as pb
flags = dict(each[2:].split("=", 1) for each in sys.argv[1:])
assert flags["op_profiling_output_mode"] == "proto" and flags["use_xnnpack"] == "true", flags
data = pb.BenchmarkProfilingData(model_name=flags["graph"])
part = data.runtime_profile.subgraph_profiles.add(subgraph_name="Primary graph")
for index, (kind, mean) in enumerate([("DELEGATE", 40), ("SOFTMAX", 0)]):
    each = part.per_op_profiles.add(node_type=kind, name=f"[{index}]:0", run_order=index)
    each.inference_microseconds.avg, each.inference_microseconds.count = mean, 6
inner = data.runtime_profile.delegate_profiles.add(delegate_name="XNNPACK")
for kind, mean in INNER:
    each = inner.per_op_profiles.add(node_type=kind, name=kind + ":0")
    each.inference_microseconds.avg, each.inference_microseconds.count = mean, 6
with open(flags["op_profiling_output_file"], "wb") as stream:
    stream.write(data.SerializeToString())
"""


def profile_with(tool: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Profiled:
    pytest.importorskip("ai_edge_litert", reason="install ai-edge-litert")
    benchmark_tool(folder, tool)
    monkeypatch.setattr(litert_library, "LIBRARY", "libNone.so")
    monkeypatch.setenv("PATH", str(folder))
    return runtimes.prepare("litert").profile(order("digits.tflite"))


def test_litert_through_its_benchmark_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = profile_with(f"INNER = []{WRITES}", tmp_path, monkeypatch)
    assert (found.runs, found.samples_ns) == (6, ())
    assert found.source == "benchmark_model, on inputs and kernels of its own"
    assert [(each.place, each.mean_ns, each.samples_ns) for each in found.operators] == [
        (OperatorPlace("DELEGATE", "[0]:0", "cpu", "XNNPACK"), 40_000, ()),
        (OperatorPlace("SOFTMAX", "[1]:0", "cpu", ""), 0, ()),
    ]


def test_operators_that_a_delegate_tells_stand_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = "INNER = [('Convolution (NHWC, QS8)', 30), ('Add (ND, QS8)', 9)]"
    found = profile_with(inner + WRITES, tmp_path, monkeypatch)
    assert [(each.place.type, each.place.delegate, each.mean_ns) for each in found.operators] == [
        ("SOFTMAX", "", 0),
        ("Convolution (NHWC, QS8)", "XNNPACK", 30_000),
        ("Add (ND, QS8)", "XNNPACK", 9_000),
    ]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("sys.exit('unknown flag')", "ended with 1: unknown flag"),
        ("", "wrote no profile: it is older than --op_profiling_output_mode"),
    ],
)
def test_a_benchmark_tool_that_does_not_time_operators(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotProfiled, match=said):
        profile_with(script, tmp_path, monkeypatch)


@pytest.mark.parametrize("content", [b"\x1a", b"\x1a\x7f", b"\xff" * 20, b"\x1b", b"\x1a\x02\x0a"])
def test_what_is_no_profile_is_refused(content: bytes) -> None:
    with pytest.raises(RuntimeFailed, match="wrote a profile that cannot be read"):
        read_profile(content)


# ---- runs ----------------------------------------------------------------------------------------


def test_a_model_of_very_many_operators_is_run_less_often() -> None:
    assert [runs_for(100, operators) for operators in (0, 200, 1_000, 10**6)] == [100, 100, 20, 5]
    assert runs_for(2, 10**6) == 2


def test_a_slow_model_is_run_once_at_least() -> None:
    pytest.importorskip("onnxruntime", reason="install onnxruntime")
    found = runtimes.prepare("onnxruntime").profile(order("digits.onnx", max_seconds=0.0))
    assert found.runs == 1 and WARM_UP_RUNS > 1
    assert {len(each.samples_ns) for each in found.operators} == {1}
