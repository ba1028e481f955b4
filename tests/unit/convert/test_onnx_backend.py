"""Facts about conversion with ONNX Runtime, one for each way it can go wrong silently."""

from __future__ import annotations

import errno
import hashlib
import logging
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgesdk.convert.backends import onnx_channels, onnx_rewrites
from edgesdk.convert.backends import onnxruntime as backend
from edgesdk.convert.keeping import KEPT
from edgesdk.errors import ConversionError, DataError, ModelError
from edgesdk.models.opening import open_model
from edgesdk.targets.types import Scheme, TensorScheme
from tests.onnx_networks import (
    ASYMMETRIC,
    PER_CHANNEL,
    Array,
    Converted,
    Network,
    conv_network,
    edited,
    plan_for,
    random_samples,
    run,
    value_info,
)

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "examples" / "digits" / "digits.onnx"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def erf_network(path: Path) -> Path:
    """x -> Conv, Relu h -> Erf e -> Conv, Relu y."""
    net = Network()
    h = net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 4))
    net.conv(net.node("Erf", [h], "e"), "y", (4, 4))
    return net.write(path, y=(1, 4, 8, 8))


# What becomes INT8


def test_every_operator_of_a_convolutional_network_becomes_int8(path: Path) -> None:
    converted = Converted(conv_network(path))
    assert converted.in_float() == set()
    assert {"QLinearConv", "QGemm", "QLinearGlobalAveragePool"} <= set(converted.precisions())


def test_the_result_stays_close_to_the_float_model(path: Path) -> None:
    assert Converted(conv_network(path)).sqnr_db() > 35


def test_an_operator_without_int8_kernel_is_reported_with_a_reason(path: Path) -> None:
    converted = Converted(erf_network(path))
    assert converted.in_float() == {"Erf"}
    (erf,) = [o for o in converted.description.operators if o.type == "Erf"]
    assert erf.name == "e"
    assert erf.reason == "ONNX Runtime has no INT8 kernel that takes Erf as it stands here"


def test_operators_are_counted_as_executed_and_in_order(path: Path) -> None:
    operators = Converted(erf_network(path)).description.operators
    assert [o.index for o in operators] == list(range(len(operators)))
    assert [o.type for o in operators].count("QLinearConv") == 2


def test_every_operator_of_the_digits_example_becomes_int8(path: Path) -> None:
    shutil.copy(DIGITS, path)
    converted = Converted(path)
    assert converted.in_float() == set()
    assert converted.sqnr_db() > 25


def test_signed_activations_would_leave_convolutions_in_float(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason for unsigned ones: where a tensor has two readers, only some become INT8."""
    shutil.copy(DIGITS, path)
    monkeypatch.setattr(backend, "CPU", replace(backend.CPU, activation_type="int8"))
    assert Converted(path).precisions()["Conv"] == {"float32"}


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("opset", [11, 13, 17, 18, 21])
@pytest.mark.parametrize("axes", [(2, 3), (-1, -2)])
def test_a_spatial_mean_becomes_int8_pooling_of_the_same_value(
    path: Path, opset: int, keepdims: int, axes: Sequence[int]
) -> None:
    net = Network(opset)
    h = net.conv(net.input("x", (1, 3, 6, 10)), "h", (3, 4))
    if opset < 18:
        net.node("ReduceMean", [h], "y", axes=axes, keepdims=keepdims)
    else:
        net.node("ReduceMean", [h, net.constant("axes", axes, "int64")], "y", keepdims=keepdims)
    converted = Converted(net.write(path, y=(1, 4, 1, 1) if keepdims else (1, 4)))
    assert converted.in_float() == set()
    assert "QLinearGlobalAveragePool" in converted.precisions()
    clean = path.with_name("rewritten.onnx")
    onnx.save(onnx_rewrites.rewritten(onnx.load(str(converted.float_path))), str(clean))
    for sample in converted.samples:
        pooled, mean = run(clean, sample)["y"], run(path, sample)["y"]
        assert pooled.shape == mean.shape
        np.testing.assert_allclose(pooled, mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axes", [(1,), (1, 2), (2,), (1, 2, 3)])
def test_a_mean_over_other_axes_is_left_alone(path: Path, axes: tuple[int, ...]) -> None:
    net = Network()
    net.conv(net.input("x", (1, 3, 6, 10)), "h", (3, 4))
    net.node("ReduceMean", ["h"], "y", axes=axes)
    shape = tuple(1 if axis in axes else size for axis, size in enumerate((1, 4, 6, 10)))
    converted = Converted(net.write(path, y=shape))
    assert "ReduceMean" in converted.in_float()
    assert converted.sqnr_db() > 25


# How it is quantized


def initializer(converted: Converted, name: str) -> Array:
    found = {tensor.name: tensor for tensor in converted.proto.graph.initializer}
    return np.asarray(numpy_helper.to_array(found[name]))


def test_weights_are_int8_with_a_scale_for_each_channel(path: Path) -> None:
    converted = Converted(conv_network(path))
    weights = initializer(converted, "h_w_quantized")
    assert weights.dtype == np.int8
    assert initializer(converted, "h_w_scale").shape == (8,)
    # Each channel uses its whole range, which one scale for all would not allow.
    assert (np.abs(weights.astype(int)).reshape(8, -1).max(axis=1) >= 127).all()


def test_weights_are_symmetric(path: Path) -> None:
    assert not initializer(Converted(conv_network(path)), "h_w_zero_point").any()


def test_a_scheme_of_one_scale_for_each_tensor_is_honoured(path: Path) -> None:
    scheme = Scheme(TensorScheme(8, True, "per-tensor"), ASYMMETRIC)
    converted = Converted(conv_network(path), scheme=scheme)
    assert initializer(converted, "h_w_scale").shape == ()


def test_symmetric_activations_are_honoured(path: Path) -> None:
    scheme = Scheme(PER_CHANNEL, TensorScheme(8, True, "per-tensor"))
    converted = Converted(conv_network(path), scheme=scheme)
    zero_points = [
        int(numpy_helper.to_array(tensor))
        for tensor in converted.proto.graph.initializer
        if tensor.name.endswith("_zero_point") and tensor.data_type == onnx.TensorProto.UINT8
    ]
    assert set(zero_points) == {128}


@pytest.mark.parametrize("place", [0, 20, 39])
def test_the_range_covers_an_outlier_wherever_it_comes(path: Path, place: int) -> None:
    samples = random_samples(open_model(conv_network(path)), count=40)
    samples[place]["x"][0, 0, 0, 0] = 100.0
    converted = Converted(path, samples)
    scale = float(initializer(converted, "x_scale"))
    zero_point = int(initializer(converted, "x_zero_point"))
    assert scale * (255 - zero_point) == pytest.approx(100.0, rel=0.01)


def test_calibration_takes_every_sample_of_a_stream_once(path: Path) -> None:
    converted = Converted(conv_network(path))
    assert converted.advanced == len(converted.samples)


# Operators kept in float


@pytest.mark.parametrize(
    ("name", "int8_kind"),
    [("h_linear", "QLinearConv"), ("pooled", "QLinearGlobalAveragePool"), ("y", "QGemm")],
)
def test_a_matched_operator_stays_in_float_and_says_why(
    path: Path, name: str, int8_kind: str
) -> None:
    converted = Converted(conv_network(path), keep_float=(name,))
    before = Converted(path).precisions()
    (kept, *_) = [o for o in converted.description.operators if o.name == name]
    assert (kept.precision, kept.reason) == ("float32", KEPT)
    left = [o for o in converted.description.operators if o.type == int8_kind]
    assert len(left) == {"QLinearConv": 1}.get(int8_kind, 0)
    assert before[int8_kind] == {"int8"}


def test_a_kept_operator_loses_nothing_to_rounding(path: Path) -> None:
    net = Network()
    net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 4))
    net.conv("h", "y", (4, 4))
    net.write(path, y=(1, 4, 8, 8))
    all_int8 = Converted(path).sqnr_db()
    assert Converted(path, keep_float=(".*_linear",)).sqnr_db() > all_int8 + 3


def test_activations_of_kept_operators_are_compared_too(path: Path) -> None:
    converted = Converted(conv_network(path), keep_float=("g_linear",))
    errors = backend.compare(converted.float_path, converted.path, converted.samples)
    assert {"h", "g", "pooled", "flat", "y"} == {error.name for error in errors}


def test_everything_can_be_kept_in_float(path: Path) -> None:
    converted = Converted(conv_network(path), keep_float=(".*",))
    assert {o.precision for o in converted.description.operators} == {"float32", "-"}
    assert converted.sqnr_db() > 100


def test_a_pattern_matches_whole_names(path: Path) -> None:
    converted = Converted(conv_network(path), keep_float=(".*_linear",))
    assert "QLinearConv" not in converted.precisions()


def test_a_pattern_that_matches_nothing_is_refused_with_the_names(path: Path) -> None:
    with pytest.raises(ModelError, match="keep_float 'linear' matches no operator") as caught:
        Converted(conv_network(path), keep_float=("linear",))
    assert "g_linear" in caught.value.hint


# The float copy and what old runtimes read


def test_the_float_copy_has_fixed_shapes(path: Path) -> None:
    def free(proto: onnx.ModelProto) -> None:
        for value in (*proto.graph.input, *proto.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "N"

    converted = Converted(edited(conv_network(path), free), input_shapes={"x": (2, 3, 8, 8)})
    graph = onnx.load(str(converted.float_path)).graph
    shapes = [
        [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)
    ]
    assert shapes == [[2, 3, 8, 8], [2, 5]]


def test_the_float_copy_computes_the_same(path: Path) -> None:
    converted = Converted(conv_network(path, 23))
    for sample in converted.samples:
        assert run(converted.float_path, sample)["y"].tobytes() == run(path, sample)["y"].tobytes()


def test_the_float_copy_holds_its_external_weights(path: Path) -> None:
    proto = onnx.load(str(conv_network(path)))
    onnx.save(proto, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    converted = Converted(path)
    path.with_name("w.bin").unlink()
    assert run(converted.float_path, converted.samples[0])["y"].shape == (1, 5)


@pytest.mark.parametrize(("opset", "result"), [(9, 17), (11, 17), (12, 17), (13, 13), (21, 21)])
def test_opsets_below_13_are_raised(path: Path, opset: int, result: int) -> None:
    converted = Converted(conv_network(path, opset))
    assert [entry.version for entry in converted.proto.opset_import] == [result]
    assert converted.in_float() == set()


@pytest.mark.parametrize("opset", [22, 23, 25])
def test_opsets_above_21_are_lowered_in_both_files(path: Path, opset: int) -> None:
    converted = Converted(conv_network(path, opset))
    for file in (converted.float_path, converted.path):
        assert [entry.version for entry in onnx.load(str(file)).opset_import] == [21]


def test_an_operator_newer_than_opset_21_is_refused(path: Path) -> None:
    net = Network(24)
    net.conv(net.node("Swish", [net.input("x", (1, 3, 8, 8))], "s"), "y", (3, 4))
    with pytest.raises(ConversionError, match="opset 24 and does not go into opset 21") as caught:
        Converted(net.write(path, y=(1, 4, 8, 8)))
    assert "No Previous Version of Swish" in caught.value.message
    assert caught.value.hint == "export it with opset 21 or lower"


@pytest.mark.parametrize(("given", "result"), [(3, 4), (8, 8), (10, 10), (11, 10), (13, 10)])
def test_the_file_version_is_one_that_old_runtimes_read(
    path: Path, given: int, result: int
) -> None:
    def change(proto: onnx.ModelProto) -> None:
        proto.ir_version = given
        for tensor in proto.graph.initializer:
            proto.graph.input.append(value_info(tensor.name, tuple(tensor.dims)))

    converted = Converted(edited(conv_network(path), change))
    for file in (converted.float_path, converted.path):
        assert onnx.load(str(file)).ir_version == result


def test_constants_are_no_inputs_of_the_float_copy(path: Path) -> None:
    def list_them(proto: onnx.ModelProto) -> None:
        for tensor in proto.graph.initializer:
            proto.graph.input.append(value_info(tensor.name, tuple(tensor.dims)))

    graph = onnx.load(str(Converted(edited(conv_network(path), list_them)).float_path)).graph
    assert [value.name for value in graph.input] == ["x"]


def test_domains_that_nothing_uses_are_not_declared(path: Path) -> None:
    def declare(proto: onnx.ModelProto) -> None:
        proto.opset_import.append(onnx.helper.make_opsetid("com.acme", 3))

    converted = Converted(edited(conv_network(path), declare))
    for file in (converted.float_path, converted.path):
        assert {entry.domain for entry in onnx.load(str(file)).opset_import} == {""}


# Determinism


def test_two_processes_write_the_same_bytes(path: Path) -> None:
    converted = Converted(conv_network(path))
    program = (
        "import sys, hashlib, pathlib\n"
        "from tests.onnx_networks import Converted\n"
        "c = Converted(pathlib.Path(sys.argv[1]))\n"
        "for p in (c.float_path, c.path): print(hashlib.sha256(p.read_bytes()).hexdigest())\n"
    )
    here = [
        hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (converted.float_path, converted.path)
    ]
    there = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert there.stdout.split() == here


def test_conversion_is_silent_and_leaves_logging_alone(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def add_what_is_warned_of(proto: onnx.ModelProto) -> None:
        unread = numpy_helper.from_array(np.ones(3, np.float32), "unread")
        proto.graph.initializer.append(unread)

    Converted(edited(conv_network(path), add_what_is_warned_of))
    assert capfd.readouterr() == ("", "")
    assert logging.root.level == logging.WARNING
    assert logging.root.manager.disable == logging.NOTSET


# Failures


def test_data_that_fail_while_calibrating_are_not_the_toolchains_fault(
    path: Path, tmp_path: Path
) -> None:
    model = open_model(conv_network(path))
    prepared = tmp_path / "float.onnx"
    backend.prepare(path, plan_for(model), prepared)

    def samples() -> None:
        raise DataError("gone")

    with pytest.raises(DataError, match="gone"):
        backend.convert(prepared, plan_for(model), samples, tmp_path / "o.onnx", lambda _: None)  # type: ignore[arg-type]


def test_no_samples_are_an_error(path: Path) -> None:
    with pytest.raises(ConversionError, match="no calibration samples, expected at least one"):
        Converted(conv_network(path), samples=[])


def test_a_result_whose_edge_is_not_as_planned_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renamed(proto: onnx.ModelProto) -> onnx.ModelProto:
        proto.graph.node[-1].output[0] = proto.graph.output[0].name = "z"
        return proto

    monkeypatch.setattr(backend, "rewritten", renamed)
    with pytest.raises(ConversionError, match=r"takes and gives .*'z'.*, expected .*'y'"):
        Converted(conv_network(path))


# Comparison with the float model


def test_every_shared_activation_is_compared_worst_first(path: Path) -> None:
    converted = Converted(conv_network(path))
    errors = backend.compare(converted.float_path, converted.path, converted.samples)
    assert {"h", "g", "pooled", "flat", "y"} == {error.name for error in errors}
    ratios = [error.sqnr_db for error in errors]
    assert ratios == sorted(ratios, key=lambda ratio: ratio or 0)
    assert min(ratio for ratio in ratios if ratio is not None) > 25


def test_a_damaged_weight_is_found_where_it_is(path: Path) -> None:
    converted = Converted(conv_network(path))
    before = {
        error.name: error.sqnr_db or 0
        for error in backend.compare(converted.float_path, converted.path, converted.samples)
    }

    def damage(proto: onnx.ModelProto) -> None:
        for tensor in proto.graph.initializer:
            if tensor.name == "g_w_quantized":
                values = numpy_helper.to_array(tensor).copy()
                values[2] = -values[2]
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    edited(converted.path, damage)
    after = {
        error.name: error.sqnr_db or 0
        for error in backend.compare(converted.float_path, converted.path, converted.samples)
    }
    assert after["h"] == before["h"]
    assert all(after[name] < before[name] - 10 for name in ("g", "pooled", "y"))


def test_models_that_share_no_activation_have_nothing_to_compare(path: Path) -> None:
    conv_network(path)
    assert backend.compare(path, path, random_samples(open_model(path))) == ()


# Sizes


def test_sizes_are_those_of_the_tensors(path: Path) -> None:
    net = Network()
    net.conv(net.input("x", (1, 3, 8, 8)), "y", (3, 4))
    description = Converted(net.write(path, y=(1, 4, 8, 8))).description
    sizes = {
        size.name: (size.kind, size.dtype, size.size_bytes) for size in description.tensor_sizes
    }
    assert sizes["x"] == ("activation", "float32", 768)
    assert sizes["y"] == ("activation", "float32", 1024)
    assert sizes["y_w_quantized"] == ("constant", "int8", 108)
    assert sizes["y_b_quantized"] == ("constant", "int32", 16)
    constants = sum(size for kind, _, size in sizes.values() if kind == "constant")
    activations = [size for kind, _, size in sizes.values() if kind == "activation"]
    assert constants + max(activations) < description.working_set_bytes
    assert description.working_set_bytes <= constants + sum(activations)


def test_integer_activations_count_with_their_own_width(path: Path) -> None:
    net = Network()
    embedded = net.node(
        "Gather", [net.weights("table", 8, 4), net.input("ids", (1, 6), "int64")], "e"
    )
    net.node("MatMul", [embedded, net.weights("w", 4, 2)], "y")
    description = Converted(net.write(path, y=(1, 6, 2))).description
    (ids,) = [size for size in description.tensor_sizes if size.name == "ids"]
    assert (ids.dtype, ids.size_bytes) == ("int64", 48)


def test_the_largest_tensor_comes_first(path: Path) -> None:
    sizes = [size.size_bytes for size in Converted(conv_network(path)).description.tensor_sizes]
    assert sizes == sorted(sizes, reverse=True)


def test_golden_outputs_equal_those_of_a_fresh_session(path: Path) -> None:
    converted = Converted(conv_network(path))
    (kernel,) = backend.kernels()
    inputs = [[sample["x"]] for sample in converted.samples]
    for sample, (found,) in zip(
        converted.samples, backend.run(converted.path, kernel, inputs), strict=True
    ):
        assert np.array_equal(found, run(converted.path, sample)["y"])


def test_integer_arithmetic_is_not_called_float(path: Path) -> None:
    net = Network()
    scores = net.dense(net.input("x", (1, 8)), "y", (8, 4))
    best = net.node("ArgMax", [scores], "best", axis=1, keepdims=0)
    net.node("Add", [best, best], "twice")
    onnx.save(net.model({"twice": (1,)}, "int64"), str(path))
    operators = {each.type: each for each in Converted(path).description.operators}
    assert operators["Add"].precision == "int64"
    assert operators["Add"].reason == "it computes on int64, which is not quantized"


# What goes wrong here stays what it is


def test_a_bug_of_ours_keeps_its_traceback(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(backend, "keep_in_float", broken)
    with pytest.raises(KeyError, match="ours"):
        Converted(conv_network(path))


def test_a_bug_in_what_the_toolkit_calls_keeps_its_traceback(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(onnx_channels.ChannelsQuantizer, "_is_usual", broken)
    with pytest.raises(KeyError, match="ours"):
        Converted(conv_network(path))


def test_a_full_disk_stays_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = conv_network(path)
    monkeypatch.setattr(
        backend, "keep_in_float", lambda *_: monkeypatch.setattr(onnx, "save", full)
    )
    with pytest.raises(OSError, match="No space left"):
        Converted(source)
