"""The table of bridges, what `lower` refuses, and how far two runs are apart."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgesdk.environments import Isolated
from edgesdk.errors import ConversionError, IncompatibleTarget, ModelError, ToolchainMissing
from edgesdk.models import bridges, lowering
from edgesdk.models.agreement import TOLERANCE, compare_outputs
from edgesdk.models.bridges import BRIDGES, Bridge, find_bridge
from edgesdk.models.jobs import JOBS, Answer, Job, Task
from edgesdk.models.lowering import lower
from edgesdk.models.types import Format, Model, TensorSpec
from edgesdk.progress import Silent


def test_every_format_goes_to_every_other_that_a_toolchain_reads() -> None:
    cells = {(source, to) for source in get_args(Format) for to in ("onnx", "tflite")}
    assert set(BRIDGES) == cells - {("onnx", "onnx"), ("tflite", "tflite")}


def test_every_bridge_has_its_job() -> None:
    for bridge in BRIDGES.values():
        assert (JOBS / f"{bridge.job}.py").is_file()


def test_the_pins_of_an_isolated_tool_name_its_distributions() -> None:
    for bridge in BRIDGES.values():
        if bridge.isolated is not None:
            assert set(bridge.versions()) > set(bridge.distributions)
            assert bridge.tool in bridge.isolated.versions()


@pytest.fixture
def isolated(tmp_path: Path) -> Bridge:
    """A bridge in an environment of its own, of which only `tool` is named."""
    requirements = tmp_path / "tool.txt"
    requirements.write_text("tool==1.0\nother==1.0\n")
    home = Isolated("tool", requirements, (f"{sys.version_info.major}.{sys.version_info.minor}",))
    return Bridge("onnx", "tflite", "tool", "from_onnx", ("tool",), "edgesdk[onnx]", home)


def test_a_change_of_any_pin_changes_the_versions_of_an_isolated_tool(isolated: Bridge) -> None:
    before = isolated.versions()
    assert isolated.isolated is not None
    isolated.isolated.requirements.write_text("tool==1.0\nother==1.1\n")
    after = isolated.versions()
    assert after["tool"] == before["tool"]
    assert after["tool-requirements"] != before["tool-requirements"]


def test_the_python_of_an_isolated_tool_is_among_its_versions(
    isolated: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isolated.isolated is not None
    other = tmp_path / "python3.99"
    other.write_text("#!/bin/sh\necho 3.99\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    elsewhere = replace(isolated, isolated=replace(isolated.isolated, pythons=("3.99",)))
    assert isolated.versions()["tool-python"] == isolated.isolated.pythons[0]
    assert elsewhere.versions()["tool-python"] == "3.99"


def test_a_way_that_is_not_there_is_refused() -> None:
    with pytest.raises(IncompatibleTarget, match="found a onnx model, which nothing here brings"):
        find_bridge("onnx", "onnx")


def test_a_toolkit_that_is_missing_names_its_extra() -> None:
    bridge = Bridge("torch", "onnx", "x", "from_torch", ("no-such-thing",), "edgesdk[torch]")
    with pytest.raises(
        ToolchainMissing, match="needs no-such-thing, which is not installed"
    ) as error:
        bridge.versions()
    assert error.value.hint == 'install it with: pip install "edgesdk[torch]"'


def one(*values: float) -> list[list[np.ndarray[Any, Any]]]:
    return [[np.array(values, np.float32)]]


def test_equal_outputs_agree() -> None:
    agreement = compare_outputs(one(1, -2), one(1, -2))
    assert (agreement.max_abs_error, agreement.max_relative_error) == (0.0, 0.0)


def test_a_difference_is_told_in_units_and_over_the_largest_output() -> None:
    agreement = compare_outputs(one(1, -3.5), one(1, -4))
    assert (agreement.max_abs_error, agreement.max_relative_error) == (0.5, 0.125)


def test_the_range_is_that_of_all_probes() -> None:
    agreement = compare_outputs([*one(0.5), *one(10)], [*one(0), *one(10)])
    assert agreement.max_relative_error == 0.05


def test_each_output_has_its_own_range_and_the_worst_is_named() -> None:
    large, small = np.array([1000.0]), np.array([0.001])
    agreement = compare_outputs([[large, small * 2]], [[large, small]])
    assert agreement.output == 1
    assert agreement.max_relative_error == pytest.approx(1.0)


@pytest.mark.parametrize("found", [np.nan, np.inf])
def test_what_is_no_number_in_one_run_only_is_infinitely_far(found: float) -> None:
    assert compare_outputs(one(found, 1), one(1, 1)).max_relative_error == np.inf


def test_what_is_no_number_in_both_runs_is_equal() -> None:
    values = one(np.nan, np.inf, 1)
    assert compare_outputs(values, values).max_relative_error == 0.0


def test_rounding_of_an_output_that_is_zero_passes() -> None:
    assert compare_outputs(one(4e-7), one(0)).max_relative_error < TOLERANCE


def test_a_zero_that_became_something_does_not_pass() -> None:
    assert compare_outputs(one(2e-6), one(0)).max_relative_error > TOLERANCE


def test_of_integers_the_share_that_differs_counts() -> None:
    found, wanted = np.array([1, 2, 3, 4]), np.array([1, 2, 3, 900])
    agreement = compare_outputs([[found]], [[wanted]])
    assert (agreement.max_abs_error, agreement.max_relative_error) == (896, 0.25)


def test_rounding_passes_and_a_wrong_axis_does_not() -> None:
    source = np.random.default_rng(0).standard_normal((1, 4, 4, 3)).astype(np.float32)
    rounded = source * np.float32(1 + 1e-6)
    assert compare_outputs([[rounded]], [[source]]).max_relative_error < TOLERANCE
    turned = source.transpose(0, 2, 1, 3)
    assert compare_outputs([[turned]], [[source]]).max_relative_error > TOLERANCE


class FakeTool:
    """Stands for a toolkit that writes this ONNX file and these outputs of the source."""

    def __init__(self, answer: Answer, outputs: dict[str, Any]) -> None:
        self.proto = identity()
        self.answer = answer
        self.outputs = outputs
        self.task: Task | None = None

    def __call__(self, job: Job, task: Task, workdir: Path) -> Answer:
        self.task = task
        assert task.output is not None and task.source_outputs is not None
        task.output.write_bytes(self.proto.SerializeToString())
        np.savez(task.source_outputs, **self.outputs)
        return self.answer


def identity(kind: str = "Relu") -> onnx.ModelProto:
    """Two inputs and outputs in another order and by other names than the source has."""
    edge = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in {"in_b": ["N", 2], "in_a": ["N", 3]}.items()
    ]
    made = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in {"out_b": ["N", 2], "out_a": ["N", 3]}.items()
    ]
    nodes = [
        helper.make_node("Relu", ["in_a"], ["a"]),
        helper.make_node(kind, ["a"], ["out_a"]),
        helper.make_node("Relu", ["in_b"], ["out_b"]),
    ]
    graph = helper.make_graph(nodes, "net", edge, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def spec(name: str, size: int) -> TensorSpec:
    return TensorSpec(name, (1, size), "float32")


MODEL = Model(
    path=Path("net.keras"),
    format="keras",
    sha256="0" * 64,
    size_bytes=1,
    inputs=(spec("a", 3), spec("b", 2)),
    outputs=(spec("first", 3), spec("second", 2)),
)
ANSWER = Answer(
    (spec("in_a", 3), spec("in_b", 2)), (spec("out_a", 3), spec("out_b", 2)), "", {"tool": "1.0"}
)
PROBE = {"a": np.ones((1, 3), np.float32), "b": np.ones((1, 2), np.float32)}
OUTPUTS = {"0.0": np.ones((1, 3), np.float32), "0.1": np.ones((1, 2), np.float32)}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> FakeTool:
    tool = FakeTool(ANSWER, OUTPUTS)
    monkeypatch.setattr(lowering, "run_job", tool)
    monkeypatch.setattr(bridges, "version", lambda _: "1.0")
    return tool


def test_the_source_names_and_order_are_written_in(tool: FakeTool, tmp_path: Path) -> None:
    lowered = lower(MODEL, "onnx", [PROBE], tmp_path, Silent())
    graph = onnx.load(str(lowered.path)).graph
    assert [value.name for value in graph.input] == ["a", "b"]
    assert [value.name for value in graph.output] == ["first", "second"]


def test_an_inner_value_of_the_same_name_makes_room(tool: FakeTool, tmp_path: Path) -> None:
    graph = onnx.load(str(lower(MODEL, "onnx", [PROBE], tmp_path, Silent()).path)).graph
    assert [list(node.input) for node in graph.node][0:2] == [["a"], ["a/inner"]]


def test_the_sources_outputs_and_versions_come_back(tool: FakeTool, tmp_path: Path) -> None:
    lowered = lower(MODEL, "onnx", [PROBE], tmp_path, Silent())
    assert [value.shape for value in lowered.outputs[0]] == [(1, 3), (1, 2)]
    assert (lowered.tool, dict(lowered.versions)) == ("tf2onnx", {"tool": "1.0"})


def test_nothing_is_left_but_the_file(tool: FakeTool, tmp_path: Path) -> None:
    lowered = lower(MODEL, "onnx", [PROBE], tmp_path, Silent())
    assert list(tmp_path.iterdir()) == [lowered.path]


def test_the_job_runs_in_this_python_with_the_shapes_fixed(tool: FakeTool, tmp_path: Path) -> None:
    lower(MODEL, "onnx", [PROBE], tmp_path, Silent())
    assert tool.task is not None
    assert tool.task.input_shapes == {"a": (1, 3), "b": (1, 2)}
    assert lowering._job(find_bridge("keras", "onnx"), Silent()).python == sys.executable


def test_an_output_that_the_tool_lost_is_refused(tool: FakeTool, tmp_path: Path) -> None:
    tool.answer = Answer(ANSWER.inputs, (spec("gone", 3), spec("out_b", 2)), "", {})
    with pytest.raises(ConversionError, match="has lost 'first'"):
        lower(MODEL, "onnx", [PROBE], tmp_path, Silent())


def test_an_edge_that_the_tool_changed_is_refused(tool: FakeTool, tmp_path: Path) -> None:
    tool.answer = Answer(ANSWER.inputs, tuple(reversed(ANSWER.outputs)), "", {})
    with pytest.raises(
        ConversionError, match=r"tf2onnx changed the output first: float32\[1, 3\] to first"
    ):
        lower(MODEL, "onnx", [PROBE], tmp_path, Silent())


def test_an_operator_that_onnx_does_not_have_is_refused(tool: FakeTool, tmp_path: Path) -> None:
    tool.proto = identity("MatrixInverse")
    with pytest.raises(ConversionError, match="holds MatrixInverse, which is no operator of ONNX"):
        lower(MODEL, "onnx", [PROBE], tmp_path, Silent())


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "the source model gave no outputs for net"),
        ({**OUTPUTS, "0.0": np.ones((1, 4))}, r"gave float64\[1, 4\], expected first"),
    ],
)
def test_outputs_of_the_source_that_are_not_its_own_are_refused(
    tool: FakeTool, tmp_path: Path, outputs: dict[str, Any], message: str
) -> None:
    tool.outputs = outputs
    with pytest.raises(ConversionError, match=message):
        lower(MODEL, "onnx", [PROBE], tmp_path, Silent())


def test_a_factory_that_gives_other_weights_is_refused(tool: FakeTool, tmp_path: Path) -> None:
    source = tmp_path / "ours.py"
    source.write_text("")
    model = Model(source, "torch", "0" * 64, 1, MODEL.inputs, MODEL.outputs, f"{source}:make")
    with pytest.raises(ModelError, match="make gave other weights than when the model was opened"):
        lower(model, "onnx", [PROBE], tmp_path, Silent())
