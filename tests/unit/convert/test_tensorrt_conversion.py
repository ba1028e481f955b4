"""Facts about models for TensorRT: where pairs stand, what is corrected, what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from tensorrt_networks import ForTensorRt, convolution, mobilenet, sqnr_db

from edgesdk.convert.backends import tensorrt as backend
from edgesdk.convert.backends.onnx_qdq import TENSORRT, quantize
from edgesdk.convert.backends.onnx_rewrites import opset, rewritten
from edgesdk.convert.backends.tensorrt import biases, describing
from edgesdk.convert.backends.tensorrt.half import in_half
from edgesdk.convert.backends.tensorrt.weights import store_in_int8
from edgesdk.convert.backends.tensorrt.wiring import drop_unread, wiring
from edgesdk.convert.keeping import KEPT
from edgesdk.errors import ConversionError, ModelError
from edgesdk.models.opening import open_model
from edgesdk.targets.types import Scheme
from edgesdk.values.recipe import Override
from tests.onnx_networks import (
    ASYMMETRIC,
    PER_CHANNEL,
    Array,
    Network,
    random_samples,
    run,
)

DIGITS = Path(__file__).parents[3] / "examples" / "digits"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mobilenet(tmp_path_factory.mktemp("tensorrt") / "net.onnx")


@pytest.fixture(scope="module")
def converted(source: Path) -> ForTensorRt:
    return ForTensorRt(source)


@pytest.fixture(scope="module")
def unseen(source: Path) -> list[dict[str, Array]]:
    return random_samples(open_model(source), 16, seed=11)


# Where pairs stand


def test_all_that_computes_is_int8(converted: ForTensorRt) -> None:
    assert set(converted.precisions().values()) == {"int8"}


def test_only_inputs_of_weighted_operators_residuals_and_averages_are_quantized(
    converted: ForTensorRt,
) -> None:
    view = wiring(converted.proto)
    readers = [
        (reader.op_type, list(reader.input).index(name))
        for name in view.makers
        if view.pair(name)
        for reader in view.readers[name]
    ]
    kinds = {kind for kind, _ in readers}
    assert kinds == {"Conv", "Add", "GlobalAveragePool", "Gemm"}
    assert all(position == 0 for kind, position in readers if kind in ("Conv", "Gemm"))


@pytest.mark.parametrize(("add", "fused"), [("sum1", "b2_project"), ("sum2", "b3_project")])
def test_a_residual_is_int8_and_the_convolution_beside_it_is_added_directly(
    converted: ForTensorRt, add: str, fused: str
) -> None:
    view, node = wiring(converted.proto), converted.node(add)
    assert fused in node.input
    (other,) = (name for name in node.input if name != fused)
    assert view.pair(other) is not None


def test_of_two_convolutions_the_last_one_is_added_directly(tmp_path: Path) -> None:
    net = Network()
    x = net.input("x", (1, 3, 8, 8))
    for name in ("first", "last"):
        convolution(net, x, name, (3, 4), relu6=False)
    net.node("Add", ["last", "first"], "y")
    made = ForTensorRt(net.write(tmp_path / "net.onnx", y=(1, 4, 8, 8)))
    assert made.node("y").input[0] == "last"
    assert made.node("y").input[1] != "first"


def test_a_result_that_breaks_a_rule_is_not_written(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "free_fused_branches", lambda model: None)
    copy = tmp_path / "net.onnx"
    copy.write_bytes(source.read_bytes())
    with pytest.raises(ConversionError, match="separates sum2 from the operator"):
        ForTensorRt(copy)
    assert not (tmp_path / "converted.onnx").exists()


def test_an_add_beside_no_convolution_is_left_in_float(tmp_path: Path) -> None:
    net = Network()
    a = convolution(net, net.input("x", (1, 3, 8, 8)), "a", (3, 4))
    b = net.node("Add", [a, net.constant("one", np.ones((1, 4, 1, 1)))], "shifted")
    convolution(net, b, "y", (4, 4), relu6=False)
    made = ForTensorRt(net.write(tmp_path / "net.onnx", y=(1, 4, 8, 8)))
    (shifted,) = (o for o in made.description.operators if o.name == "shifted")
    assert (shifted.precision, shifted.reason) == ("float32", describing.NOT_BETWEEN_PAIRS)
    assert made.node("shifted").input[0] == "a"


def test_an_average_that_no_convolution_reads_is_left_in_float(tmp_path: Path) -> None:
    net = Network()
    a = convolution(net, net.input("x", (1, 3, 8, 8)), "a", (3, 4))
    net.node("GlobalAveragePool", [a], "y")
    made = ForTensorRt(net.write(tmp_path / "net.onnx", y=(1, 4, 1, 1)))
    assert made.precisions() == {"a_linear": "int8", "a": "int8", "y": "float32"}


def test_softmax_and_sigmoid_get_no_pairs(tmp_path: Path) -> None:
    net = Network()
    a = convolution(net, net.input("x", (1, 3, 8, 8)), "a", (3, 4), relu6=False)
    b = convolution(net, net.node("Sigmoid", [a], "gate"), "b", (4, 4), relu6=False)
    net.node("Softmax", [b], "y", axis=1)
    made = ForTensorRt(net.write(tmp_path / "net.onnx", y=(1, 4, 8, 8)))
    assert made.precisions() == {"a": "int8", "gate": "float32", "b": "int8", "y": "float32"}
    assert made.node("gate").input[0] == "a"
    assert made.node("y").input[0] == "b"


def test_tensorrt_10_gets_weights_of_a_quarter_of_the_size(
    source: Path, converted: ForTensorRt
) -> None:
    older = ForTensorRt(source, "8.5.2")
    weights = {
        tensor.name: tensor.data_type
        for tensor in converted.proto.graph.initializer
        if tensor.name.startswith("head_w") and len(tensor.dims) == 4
    }
    assert list(weights.values()) == [onnx.TensorProto.INT8]
    assert older.count("QuantizeLinear") == older.count("DequantizeLinear")
    assert converted.count("QuantizeLinear") == older.count("QuantizeLinear") - 12


def test_weights_in_int8_compute_bit_by_bit_what_their_pairs_do(
    tmp_path: Path, source: Path, unseen: list[dict[str, Array]]
) -> None:
    older = ForTensorRt(source, "8.5.2")
    stored = onnx.load(str(older.path))
    store_in_int8(stored)
    drop_unread(stored)
    onnx.save(stored, str(tmp_path / "stored.onnx"))
    inputs = [[sample["x"]] for sample in unseen[:4]]
    wanted, found = (
        [outputs[0] for outputs in backend.run(path, "gpu", inputs)]
        for path in (older.path, tmp_path / "stored.onnx")
    )
    np.testing.assert_array_equal(wanted, found)


def test_what_is_not_quantized_reads_the_float_tensor(tmp_path: Path) -> None:
    net = Network()
    a = convolution(net, net.input("x", (1, 3, 8, 8)), "a", (3, 4))
    convolution(net, a, "y", (4, 4), relu6=False)
    net.node("Sigmoid", [a], "z")
    shape = (1, 4, 8, 8)
    made = ForTensorRt(net.write(tmp_path / "net.onnx", y=shape, z=shape))
    assert made.node("z").input[0] == "a"
    assert made.node("y").input[0] != "a"


def test_a_residual_between_float_convolutions_is_added_in_float(source: Path) -> None:
    made = ForTensorRt(source, keep_float=("b2_project",))
    assert set(made.node("sum1").input) == {"b1_project", "b2_project"}
    assert made.precisions()["sum1"] == "float32"
    assert made.precisions()["sum2"] == "int8"


def test_a_convolution_whose_weights_are_computed_is_left_in_float(tmp_path: Path) -> None:
    net = Network()
    x, w = net.input("x", (1, 3, 8, 8)), net.input("w", (4, 3, 1, 1))
    a = net.node("Conv", [x, w], "a")
    convolution(net, a, "y", (4, 4), relu6=False)
    made = ForTensorRt(net.write(tmp_path / "net.onnx", y=(1, 4, 8, 8)))
    assert made.precisions() == {"a": "float32", "y": "int8"}


# How close it stays


def test_it_stays_close_to_the_float_model_on_samples_it_has_not_seen(
    converted: ForTensorRt, unseen: list[dict[str, Array]]
) -> None:
    assert converted.sqnr_db(unseen) > 33


def test_corrected_biases_bring_it_closer(
    tmp_path: Path, source: Path, converted: ForTensorRt, unseen: list[dict[str, Array]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(biases, "correct_biases", lambda *_: None)
    plain_source = tmp_path / "net.onnx"
    plain_source.write_bytes(source.read_bytes())
    # 57.3 dB and 53.9 dB: docs/adr/0011.
    assert converted.sqnr_db(unseen) > ForTensorRt(plain_source).sqnr_db(unseen) + 3


def test_corrected_biases_bring_the_digits_closer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for name, correct in (("with", biases.correct_biases), ("without", lambda *_: None)):
        monkeypatch.setattr(biases, "correct_biases", correct)
        made = digits(tmp_path / name)
        output = made.plan.outputs[0].name
        pairs = [
            (run(made.float_path, s)[output], run(made.path, s)[output]) for s in unseen_digits()
        ]
        wanted, given = (np.stack(each).astype(np.float64) for each in zip(*pairs, strict=True))
        found[name] = 10 * np.log10((wanted**2).sum() / ((wanted - given) ** 2).sum())
    # 39.9 dB and 39.7 dB: docs/adr/0011.
    assert found["with"] > found["without"] + 0.1


def digits(folder: Path, version: str = "10.3") -> ForTensorRt:
    folder.mkdir()
    source = folder / "digits.onnx"
    source.write_bytes((DIGITS / "digits.onnx").read_bytes())
    return ForTensorRt(source, version, samples=_digits("calibration"))


def unseen_digits() -> list[dict[str, Array]]:
    return _digits("test")[:64]


def _digits(split: str) -> list[dict[str, Array]]:
    with np.load(DIGITS / "digits.npz") as arrays:
        return [{"image": image[None]} for image in arrays[f"{split}/image"].astype(np.float32)]


def test_with_int8_weights_the_file_of_the_digits_is_27_percent(tmp_path: Path) -> None:
    older, newer = digits(tmp_path / "older", "8.5.2"), digits(tmp_path / "newer")
    share = newer.path.stat().st_size / older.path.stat().st_size
    assert share == pytest.approx(0.27, abs=0.01)  # docs/adr/0011


def test_a_correction_takes_the_mean_error_of_a_channel_away(tmp_path: Path) -> None:
    net = Network()
    convolution(net, net.input("x", (1, 3, 8, 8)), "y", (3, 4), relu6=False)
    made = ForTensorRt(net.write(tmp_path / "net.onnx", y=(1, 4, 8, 8)))
    error = np.mean(
        [run(made.float_path, s)["y"] - run(made.path, s)["y"] for s in made.samples],
        axis=(0, 1, 3, 4),
    )
    assert np.abs(error).max() < 1e-6


def test_one_thread_computes_the_correction(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    class Counted(onnxruntime.InferenceSession):  # type: ignore[misc]
        def run(self, *arguments: object) -> object:
            threads.append(self.get_session_options().intra_op_num_threads)
            return super().run(*arguments)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Counted)
    plain_source = tmp_path / "net.onnx"
    plain_source.write_bytes(source.read_bytes())
    made = ForTensorRt(plain_source, "8.5.2")
    plain = rewritten(onnx.load(str(made.float_path)))
    threads.clear()
    biases.correct_biases(made.proto, plain, made.samples)
    assert threads == [1] * len(made.samples)


def test_a_bug_of_ours_keeps_its_traceback(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(biases, "fold_beta", broken)
    with pytest.raises(KeyError, match="ours"):
        ForTensorRt(source)


@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_an_operator_without_a_bias_gets_one(tmp_path: Path, kind: str) -> None:
    net = Network()
    x = net.input("x", (1, 6, 4, 4) if kind == "Conv" else (2, 6))
    if kind == "Conv":
        net.node("Conv", [x, net.weights("w", 5, 6, 1, 1)], "y")
    else:
        net.node("Gemm", [x, net.weights("w", 6, 5)], "y")
    made = ForTensorRt(net.write(tmp_path / "net.onnx", y=None))
    assert made.node("y").input[2] == "y_corrected_bias"


def test_a_bias_that_two_share_is_corrected_for_each(tmp_path: Path) -> None:
    net = Network()
    x, bias = net.input("x", (1, 3, 4, 4)), net.constant("b", np.zeros(4))
    for name in ("y", "z"):
        net.node("Conv", [x, net.weights(f"{name}_w", 4, 3, 1, 1), bias], name)
    made = ForTensorRt(net.write(tmp_path / "net.onnx", y=(1, 4, 4, 4), z=(1, 4, 4, 4)))
    values = [
        numpy_helper.to_array(tensor)
        for tensor in made.proto.graph.initializer
        if tensor.name.endswith("_corrected_bias")
    ]
    assert len(values) == 2
    assert not np.array_equal(*values)


def test_a_scaled_bias_stays_what_it_is_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Network()
    x, c = net.input("x", (1, 6)), net.constant("c", np.full(5, 100.0))
    net.node("Gemm", [x, net.weights("w", 6, 5), c], "y", beta=0.5)
    monkeypatch.setattr(biases, "correct_biases", lambda *_: None)  # it would make up for it
    made = ForTensorRt(net.write(tmp_path / "net.onnx", y=(1, 5)))
    (bias,) = (t for t in made.proto.graph.initializer if t.name == made.node("y").input[2])
    np.testing.assert_array_equal(numpy_helper.to_array(bias), 50)


def test_no_more_samples_are_read_for_the_correction_than_it_needs(source: Path) -> None:
    read = []

    def stream() -> Iterator[dict[str, Array]]:
        for sample in random_samples(open_model(source), 40):
            read.append(1)
            yield sample

    made = ForTensorRt(source, "8.5.2")
    plain = rewritten(onnx.load(str(made.float_path)))
    biases.correct_biases(made.proto, plain, itertools.islice(stream(), biases.SAMPLES))
    assert len(read) == biases.SAMPLES


def test_every_activation_and_the_output_are_compared(
    converted: ForTensorRt, unseen: list[dict[str, Array]]
) -> None:
    errors = backend.compare(converted.float_path, converted.path, unseen[:4])
    found = {error.name: error.sqnr_db for error in errors}
    assert {"stem", "sum1", "b3_project", "pooled", "flat", "y"} <= set(found)
    assert min(db for db in found.values() if db is not None) > 20


def test_golden_outputs_are_what_the_pairs_say(
    converted: ForTensorRt, unseen: list[dict[str, Array]]
) -> None:
    assert backend.kernels() == ("gpu",)
    (outputs,) = backend.run(converted.path, "gpu", [[unseen[0]["x"]]])
    wanted = run(converted.float_path, unseen[0])["y"]
    assert outputs[0].shape == (1, 5)
    assert np.abs(outputs[0] - wanted).max() < 0.1 * np.abs(wanted).max()


def test_the_account_has_the_ports_and_the_stored_types(converted: ForTensorRt) -> None:
    description = converted.description
    assert [(port.name, port.dtype) for port in description.inputs] == [("x", "float32")]
    dtypes = {size.name: size.dtype for size in description.tensor_sizes}
    assert dtypes["b1_project"] == "int8"
    assert "uint8" not in dtypes.values()


# Precisions


def test_a_kept_operator_computes_in_float_and_the_rest_in_int8(source: Path) -> None:
    made = ForTensorRt(source, keep_float=("head_linear",))
    (head,) = (o for o in made.description.operators if o.name == "head_linear")
    assert (head.precision, head.reason) == ("float32", KEPT)
    assert made.node("head_linear").input[0] == "sum2"
    assert {"head_linear", "head"} == {
        name for name, precision in made.precisions().items() if precision != "int8"
    }


def test_a_kept_operator_keeps_its_own_bias(source: Path) -> None:
    made = ForTensorRt(source, keep_float=("head_linear",))
    assert made.node("head_linear").input[2] == "head_b"


def test_half_precision_is_written_into_the_file(
    source: Path, unseen: list[dict[str, Array]]
) -> None:
    made = ForTensorRt(source, precision="fp16")
    assert set(made.precisions().values()) == {"float16"}
    assert made.count("QuantizeLinear") == 0
    assert [value.type.tensor_type.elem_type for value in made.proto.graph.output] == [
        onnx.TensorProto.FLOAT
    ]
    assert made.sqnr_db(unseen) > 55
    onnx.checker.check_model(made.proto, full_check=True)


def test_half_of_the_model_in_half_precision_needs_half_of_the_bytes(source: Path) -> None:
    made = ForTensorRt(source, precision="fp16")
    assert made.path.stat().st_size < 0.75 * made.float_path.stat().st_size


def test_some_operators_of_an_int8_model_can_be_in_half_precision(
    source: Path, unseen: list[dict[str, Array]]
) -> None:
    made = ForTensorRt(source, overrides=(Override("fp16", name="head.*"),))
    found = made.precisions()
    assert {name for name, precision in found.items() if precision == "float16"} == {
        "head_linear",
        "head",
    }
    assert found["y"] == "int8"
    assert made.sqnr_db(unseen) > 33


def test_some_operators_of_a_half_precision_model_can_stay_in_float(source: Path) -> None:
    made = ForTensorRt(source, precision="fp16", overrides=(Override("float32", type="Gemm"),))
    assert {name for name, kind in made.precisions().items() if kind == "float32"} == {"y"}


def test_some_operators_of_a_half_precision_model_can_be_in_int8(source: Path) -> None:
    made = ForTensorRt(source, precision="fp16", overrides=(Override("w8a8", type="Gemm"),))
    assert {name for name, kind in made.precisions().items() if kind == "int8"} == {"y"}


def test_the_later_override_wins(source: Path) -> None:
    overrides = (Override("float32", type="Conv"), Override("w8a8", name="stem_linear"))
    found = ForTensorRt(source, overrides=overrides).precisions()
    assert (found["stem_linear"], found["head_linear"]) == ("int8", "float32")


def test_sixteen_bit_activations_are_refused(source: Path) -> None:
    with pytest.raises(ConversionError, match="TensorRT has no 16-bit integers"):
        ForTensorRt(source, overrides=(Override("w8a16", name="stem_linear"),))


def test_half_precision_is_refused_where_the_file_cannot_say_so(source: Path) -> None:
    with pytest.raises(ConversionError, match=r"TensorRT 8\.5\.2 does not take types from the"):
        ForTensorRt(source, "8.5.2", precision="fp16")


def test_an_asymmetric_scheme_is_refused(source: Path) -> None:
    with pytest.raises(ConversionError, match="TensorRT has no zero points"):
        ForTensorRt(source, scheme=Scheme(PER_CHANNEL, ASYMMETRIC))


# Half precision, operator by operator


def test_a_tensor_that_two_read_is_cast_once() -> None:
    net = Network()
    x = net.input("x", (1, 4))
    a = net.node("Relu", [x], "a")
    net.node("Add", [net.node("Neg", [x], "b"), net.node("Abs", [x], "c")], "y")
    net.node("Add", [a, "y"], "z")
    model = net.model({"y": (1, 4), "z": (1, 4)})
    halved = in_half(model, ["b", "c", "z"])
    onnx.checker.check_model(halved, full_check=True)
    assert [node.name for node in halved.graph.node if node.op_type == "Cast"] == [
        "x__half_cast",
        "b_cast",
        "c_cast",
        "a__half_cast",
        "y__half_cast",
        "z_cast",
    ]


def test_constants_beyond_half_precision_become_its_largest() -> None:
    net = Network()
    net.node("Add", [net.input("x", (1, 2)), net.constant("c", [3e38, -3e38])], "y")
    halved = in_half(net.model({"y": (1, 2)}), ["y"])
    (half,) = (tensor for tensor in halved.graph.initializer if tensor.name == "c__half")
    assert numpy_helper.to_array(half).tolist() == [65504.0, -65504.0]


def test_operators_that_are_not_safe_in_half_precision_stay() -> None:
    net = Network()
    net.node("TopK", [net.input("x", (1, 4)), net.constant("k", [2], "int64")], "y")
    model = net.model({"y": (1, 2)})
    model.graph.node[0].output.append("places")
    assert in_half(model, ["y"]).graph.node[0].output[0] == "y"


# Operator sets


def test_the_float_model_comes_down_to_what_the_parser_reads(tmp_path: Path) -> None:
    for version, newest in (("8.5.2", 17), ("10.3", 20)):
        made = ForTensorRt(mobilenet(tmp_path / "net.onnx", opset=21), version)
        assert opset(onnx.load(str(made.float_path))) == newest
        assert opset(made.proto) == newest


def test_an_older_operator_set_stays(tmp_path: Path) -> None:
    made = ForTensorRt(mobilenet(tmp_path / "net.onnx", opset=14), "8.5.2")
    assert opset(onnx.load(str(made.float_path))) == 14


def test_what_does_not_come_down_is_refused_with_the_target_named(tmp_path: Path) -> None:
    net = Network(opset=20)
    net.node("Gelu", [net.input("x", (1, 4))], "y")
    source = net.write(tmp_path / "net.onnx", y=(1, 4))
    with pytest.raises(ConversionError, match=r"opset 17, the newest that TensorRT 8\.5\.2 reads"):
        ForTensorRt(source, "8.5.2")


def test_it_is_not_worse_than_the_toolkits_own_settings(
    tmp_path: Path, source: Path, converted: ForTensorRt, unseen: list[dict[str, Array]]
) -> None:
    plain = rewritten(onnx.load(str(converted.float_path)))
    ranges = backend.calibrated_ranges(
        plain, converted.plan, lambda: iter(converted.samples), lambda _: None, TENSORRT, ()
    )
    onnx.save(quantize(plain, ranges, TENSORRT, ()), str(tmp_path / "plain.onnx"))
    theirs = sqnr_db(converted.float_path, tmp_path / "plain.onnx", unseen)
    assert converted.sqnr_db(unseen) > theirs + 1


def test_an_override_that_matches_nothing_is_refused(source: Path) -> None:
    with pytest.raises(ModelError, match="matches no operator of the model"):
        ForTensorRt(source, overrides=(Override("float32", name="nothing"),))
