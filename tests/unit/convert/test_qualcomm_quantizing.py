"""Facts about the QDQ form for Qualcomm's HTP, and the account of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgesdk.convert.backends.qualcomm.unsigned import unsigned_weights
from edgesdk.convert.keeping import KEPT
from edgesdk.errors import IncompatibleTarget
from edgesdk.targets.types import Accelerator, Figure, Htp, Scheme
from edgesdk.values.recipe import Override
from tests.onnx_networks import ASYMMETRIC, PER_CHANNEL, run
from tests.unit.convert.qualcomm_networks import (
    Network,
    Quantized,
    backend,
    conv_network,
    layer_norm_network,
    plan,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def constant(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)


def of_16_bits(path: Path) -> Quantized:
    scheme = Scheme(PER_CHANNEL, replace(ASYMMETRIC, bits=16))
    return Quantized(conv_network(path), precision="w8a16", scheme=scheme)


# Precisions


def test_every_operator_of_a_convolutional_network_becomes_int8(path: Path) -> None:
    assert Quantized(conv_network(path)).precisions() == {
        "Conv": {"int8"},
        "GlobalAveragePool": {"int8"},
        "Gemm": {"int8"},
    }


def test_w8a16_has_activations_of_16_bits_and_weights_of_8(path: Path) -> None:
    quantized = of_16_bits(path)
    assert quantized.precisions()["Conv"] == {"int16"}
    assert constant(quantized.proto, "x_zero_point").dtype == np.uint16
    assert constant(quantized.proto, "h_w_quantized").dtype == np.int8


def test_16_bit_pairs_are_onnx_own(path: Path) -> None:
    quantized = of_16_bits(path)
    assert {node.domain for node in quantized.proto.graph.node} == {""}


def test_an_override_gives_one_operator_16_bits(path: Path) -> None:
    quantized = Quantized(conv_network(path), overrides=(Override("w8a16", type="Gemm"),))
    precisions = quantized.precisions()
    assert (precisions["Gemm"], precisions["Conv"]) == ({"int16"}, {"int8"})


def test_what_the_recipe_keeps_in_float_is_in_half_precision_on_the_htp(path: Path) -> None:
    quantized = Quantized(conv_network(path), keep_float=("g_linear",))
    quantized.compile()
    (kept,) = [o for o in backend.describe(quantized.path).operators if o.name == "g_linear"]
    assert (kept.precision, kept.reason) == ("float16", KEPT)


def test_an_operator_that_the_provider_takes_apart_is_not_called_int8(path: Path) -> None:
    net = Network()
    h = net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 4))
    net.conv(net.node("Selu", [h], "s"), "y", (4, 4))
    quantized = Quantized(net.write(path, y=(1, 4, 8, 8)))
    assert quantized.precisions()["Selu"] == {"int8"}
    quantized.compile()
    assert quantized.precisions()["Selu"] == {"float16"}


# QNN's rules


def test_layer_normalization_gets_an_unsigned_scale(path: Path) -> None:
    quantized = Quantized(layer_norm_network(path))
    assert constant(quantized.proto, "s_quantized").dtype == np.uint8
    assert quantized.compile().account.status == "compiled"


def test_an_unsigned_weight_has_the_same_values(path: Path) -> None:
    proto = Quantized(layer_norm_network(path)).proto
    for tensor in proto.graph.initializer:
        if tensor.name in ("s_quantized", "s_zero_point"):
            signed = numpy_helper.to_array(tensor).astype(np.int16) - 128
            tensor.CopyFrom(numpy_helper.from_array(signed.astype(np.int8), tensor.name))
    signed_path, again = path.with_name("signed.onnx"), path.with_name("again.onnx")
    onnx.save(proto, str(signed_path))
    onnx.save(unsigned_weights(proto), str(again))
    sample = {"x": np.random.default_rng(1).normal(size=(1, 4, 16)).astype(np.float32)}
    np.testing.assert_array_equal(run(signed_path, sample)["y"], run(again, sample)["y"])


def test_gelu_is_one_operator(path: Path) -> None:
    net = Network()
    h = net.node("MatMul", [net.input("x", (1, 4, 8)), net.weights("w", 8, 8)], "h")
    erf = net.node("Erf", [net.node("Div", [h, net.constant("root", 2**0.5)], "d")], "e")
    sum_ = net.node("Add", [erf, net.constant("one", 1.0)], "p")
    net.node("Mul", [net.node("Mul", [h, sum_], "m"), net.constant("half", 0.5)], "y")
    quantized = Quantized(net.write(path, y=(1, 4, 8)))
    assert "Gelu" in quantized.precisions()
    assert quantized.compile().account.status == "compiled"


@pytest.mark.parametrize(("soc_model", "arch"), [(99, 73), (43, 79)])
def test_a_soc_that_is_not_in_the_table_is_refused_before_anything_is_done(
    path: Path, soc_model: int, arch: int
) -> None:
    htp = Htp(Figure(soc_model, "x"), Figure(arch, "x"))
    wrong = plan(conv_network(path), accelerator=Accelerator(htp=htp))
    with pytest.raises(IncompatibleTarget, match=f"found .* {soc_model if arch == 73 else arch}"):
        backend.prepare(path, wrong, path.with_name("float"))
    assert not path.with_name("float").exists()


# Comparing


def test_an_activation_that_relu_cuts_off_is_not_compared(path: Path) -> None:
    quantized = Quantized(conv_network(path), overrides=(Override("w8a16", name="g_linear"),))
    errors = backend.compare(quantized.float_path, quantized.path, quantized.samples[:2])
    assert "g" in {error.name for error in errors}
    assert "g_linear" not in {error.name for error in errors}


# Encodings


def test_encodings_are_written_on_request_only(path: Path) -> None:
    assert not (Quantized(conv_network(path)).folder / "encodings.json").exists()


def test_encodings_hold_scales_and_zero_points_by_the_float_models_names(path: Path) -> None:
    quantized = Quantized(conv_network(path), encodings=True)
    tree = json.loads((quantized.folder / "encodings.json").read_text())
    entries = {entry["name"]: entry for entry in tree["encodings"]}
    assert (tree["version"], tree["producer"]["package"]) == ("2.0.0", "onnxruntime")
    assert set(entries) == {
        *("x", "h", "g", "pooled", "flat", "y"),
        *(f"{name}_{part}" for name in "hgy" for part in "wb"),
    }
    image, weights = entries["x"], entries["h_w"]
    assert image["y_scale"] == pytest.approx(float(constant(quantized.proto, "x_scale")))
    assert image["y_zero_point"] == int(constant(quantized.proto, "x_zero_point"))
    assert image["output_dtype"] == "uint8"
    assert (weights["output_dtype"], weights["axis"], len(weights["y_scale"])) == ("int8", 0, 8)
    assert entries["h_b"]["output_dtype"] == "int32"
