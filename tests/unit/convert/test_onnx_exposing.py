"""Facts about the activations that an optimized model gives: the model's own, in any order."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgesdk.convert.backends.onnx_calibration import activations
from edgesdk.convert.backends.onnx_exposing import Exposed, expose
from edgesdk.convert.backends.onnx_shapes import activation_shapes, with_shapes
from edgesdk.models.opening import open_model
from tests.onnx_networks import Array, Network, random_samples

blocks_exist = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"),
    reason="ONNX Runtime computes in blocks of channels on x86 only",
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Convolutions of 32, 24 and 16 channels, the last of them the result and all above zero."""
    net = Network()
    h = net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 32))
    g = net.conv(h, "g", (32, 24))
    bias = net.constant("y_b", np.full(16, 99))
    net.node("Conv", [g, net.weights("y_w", 16, 24, 1, 1), bias], "y")
    return net.write(tmp_path / "net.onnx", y=(1, 16, 8, 8))


def exposed(source: Path) -> Exposed:
    model = onnx.load(str(source))
    return expose(model, activations(model), threads=1)


def literal(source: Path, sample: dict[str, Array]) -> dict[str, Array]:
    """What the model has when it is run as it is written."""
    model = onnx.load(str(source))
    names = [name for name in activations(model) if name not in sample]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return sample | dict(zip(names, session.run(None, sample), strict=True))


def test_every_activation_has_its_own_values_and_no_others(source: Path) -> None:
    (sample,) = random_samples(open_model(source, None), 1)
    found, wanted = exposed(source).run(sample), literal(source, sample)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert found[name].size == values.size, name
        in_order = np.sort(found[name], axis=None), np.sort(values, axis=None)
        np.testing.assert_allclose(*in_order, rtol=1e-4, atol=1e-5, err_msg=name)


@blocks_exist
def test_full_blocks_of_channels_are_not_put_back_in_order(source: Path) -> None:
    outputs = exposed(source).outputs
    in_blocks = {name for name, output in outputs.items() if name != output}
    assert in_blocks == {"h_linear", "h", "y"}


def test_a_run_leaves_out_what_a_sample_has_besides_inputs(source: Path) -> None:
    (sample,) = random_samples(open_model(source, None), 1)
    assert "label" not in exposed(source).run({**sample, "label": np.array(3)})


def test_the_model_is_not_changed(source: Path) -> None:
    model = onnx.load(str(source))
    before = model.SerializeToString()
    expose(model, activations(model), threads=1)
    assert model.SerializeToString() == before


def test_shapes_are_found_without_the_weights(source: Path) -> None:
    model = onnx.load(str(source))
    light, full = activation_shapes(model), onnx.shape_inference.infer_shapes(model)
    assert list(light.graph.value_info) == list(full.graph.value_info)
    assert light.ByteSize() < full.ByteSize() / 4


def test_a_copy_with_shapes_has_the_weights(source: Path) -> None:
    model = onnx.load(str(source))
    full = onnx.shape_inference.infer_shapes(model)
    assert with_shapes(model).SerializeToString() == full.SerializeToString()


def test_of_a_network_without_float_results_only_the_inputs_are_given(tmp_path: Path) -> None:
    net = Network()
    net.node("ArgMax", [net.input("x", (1, 8))], "y", axis=1)
    path = net.write(tmp_path / "net.onnx", y=(1, 1))
    model = onnx.load(str(path))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    found = expose(model, activations(model), threads=1).run({"x": np.zeros((1, 8), np.float32)})
    assert set(found) == {"x"}
