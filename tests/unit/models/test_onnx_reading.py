"""Facts about opening ONNX models: what is read, and what is refused with which words."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.external_data_helper import set_external_data

from edgesdk.errors import ExitCode, ModelError, ToolchainMissing
from edgesdk.models.formats.onnx_graph import read_graph
from edgesdk.models.opening import open_model
from edgesdk.models.types import TensorSpec
from tests.onnx_networks import Network, conv_network, edited, value_info


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def refused(path: Path, input_shapes: dict[str, tuple[int, ...]] | None = None) -> ModelError:
    with pytest.raises(ModelError) as caught:
        open_model(path, input_shapes)
    return caught.value


def dynamic_network(path: Path, shape: tuple[int | str, ...] = ("N", 3, "H", 8)) -> Path:
    net = Network()
    net.conv(net.input("image", shape), "y", (3, 4))
    return net.write(path, y=("N", 4, "H", 8))


# What is read


def test_the_edge_is_read(path: Path) -> None:
    model = open_model(conv_network(path))
    assert model.inputs == (TensorSpec("x", (1, 3, 8, 8), "float32"),)
    assert model.outputs == (TensorSpec("y", (1, 5), "float32"),)
    assert (model.name, model.format, model.size_bytes) == ("net", "onnx", path.stat().st_size)


def test_inputs_keep_the_models_order(path: Path) -> None:
    net = Network()
    inputs = [net.input(name, (2,)) for name in ("z", "a", "m")]
    net.node("Sum", inputs, "y")
    assert [spec.name for spec in open_model(net.write(path, y=(2,))).inputs] == ["z", "a", "m"]


def test_the_hash_does_not_depend_on_where_the_file_lies(path: Path, tmp_path: Path) -> None:
    conv_network(path)
    (tmp_path / "sub").mkdir()
    copy = shutil.copy(path, tmp_path / "sub" / "other.onnx")
    assert open_model(copy).sha256 == open_model(path).sha256


def test_the_hash_follows_the_weights(path: Path) -> None:
    before = open_model(conv_network(path)).sha256

    def change(proto: onnx.ModelProto) -> None:
        proto.graph.initializer[0].raw_data = bytes(len(proto.graph.initializer[0].raw_data))

    assert open_model(edited(path, change)).sha256 != before


def test_initializers_that_are_inputs_too_are_not_fed(path: Path) -> None:
    conv_network(path, opset=11)

    def list_them(proto: onnx.ModelProto) -> None:
        for tensor in proto.graph.initializer:
            proto.graph.input.append(value_info(tensor.name, tuple(tensor.dims)))

    assert [spec.name for spec in open_model(edited(path, list_them)).inputs] == ["x"]


@pytest.mark.parametrize("dtype", ["float16", "uint8", "int8", "int32", "int64", "bool"])
def test_inputs_of_other_dtypes_are_read(path: Path, dtype: str) -> None:
    net = Network()
    net.node("Cast", [net.input("x", (2,), dtype)], "y", to=onnx.TensorProto.FLOAT)
    assert open_model(net.write(path, y=(2,))).inputs[0].dtype == dtype


def test_a_scalar_input_is_read(path: Path) -> None:
    net = Network()
    net.node("Mul", [net.input("x", (2,)), net.input("k", ())], "y")
    assert open_model(net.write(path, y=(2,))).inputs[1].shape == ()


def test_outputs_without_a_shape_get_it_inferred(path: Path) -> None:
    net = Network()
    net.conv(net.input("x", (1, 3, 8, 8)), "y", (3, 4))
    assert open_model(net.write(path, y=None)).outputs[0].shape == (1, 4, 8, 8)


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 21, 23])
def test_every_opset_is_read(path: Path, opset: int) -> None:
    assert open_model(conv_network(path, opset)).outputs[0].shape == (1, 5)


def test_an_operator_that_onnx_cannot_infer_does_not_hinder(path: Path) -> None:
    net = Network(21)
    source = net.input("x", (1, 4, 8, 8))
    scale, bias = net.constant("s", np.ones(4)), net.constant("b", np.zeros(4))
    hidden = net.node("GroupNormalization", [source, scale, bias], "h", num_groups=2)
    net.node("Relu", [hidden], "y")
    assert open_model(net.write(path, y=(1, 4, 8, 8))).outputs[0].shape == (1, 4, 8, 8)


# Dynamic shapes


def test_a_dynamic_input_is_answered_with_the_flag_that_fixes_it(path: Path) -> None:
    error = refused(dynamic_network(path))
    assert error.message == (
        "input 'image' of net.onnx is [N, 3, H, 8]: dimension 0 ('N'), 2 ('H') is dynamic, "
        "expected every dimension fixed"
    )
    assert error.hint == "fix it with --input-shape image=1,3,<size>,8"


def test_a_dimension_without_a_name_is_dynamic(path: Path) -> None:
    def forget(proto: onnx.ModelProto) -> None:
        proto.graph.input[0].type.tensor_type.shape.dim[0].Clear()

    assert "[?, 3, 8, 8]: dimension 0 ('?')" in refused(edited(conv_network(path), forget)).message


@pytest.mark.parametrize("size", [0, -1])
def test_a_dimension_that_is_not_positive_is_dynamic(path: Path, size: int) -> None:
    assert f"dimension 0 ({size})" in refused(dynamic_network(path, (size, 3, 8, 8))).message


def test_an_input_without_any_shape_is_refused(path: Path) -> None:
    net = Network()
    net.node("Relu", [net.input("x", None)], "y")
    error = refused(net.write(path, y=None))
    assert error.message == "input 'x' of net.onnx has no shape, expected a static one"


def test_a_given_shape_fixes_the_input_and_what_follows(path: Path) -> None:
    model = open_model(dynamic_network(path), {"image": (2, 3, 16, 8)})
    assert model.inputs[0].shape == (2, 3, 16, 8)
    assert model.outputs[0].shape == (2, 4, 16, 8)


def test_a_given_shape_replaces_shapes_that_were_stored_for_another(path: Path) -> None:
    dynamic_network(path)

    def remember(proto: onnx.ModelProto) -> None:
        proto.graph.value_info.append(value_info("y_linear", (1, 4, 8, 8)))

    model = open_model(edited(path, remember), {"image": (2, 3, 16, 8)})
    assert model.outputs[0].shape == (2, 4, 16, 8)


def test_a_shape_that_is_the_models_own_is_fine(path: Path) -> None:
    assert open_model(conv_network(path), {"x": (1, 3, 8, 8)}).inputs[0].shape == (1, 3, 8, 8)


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 3, 8), (1, 3, 8, 8, 1), (0, 3, 8, 8), ()])
def test_a_shape_that_contradicts_the_model_is_refused(path: Path, shape: tuple[int, ...]) -> None:
    assert refused(dynamic_network(path), {"image": shape}).message == (
        f"input 'image' of net.onnx is [N, 3, H, 8], which {list(shape)} does not fit"
    )


def test_a_shape_for_an_unknown_input_is_refused(path: Path) -> None:
    assert refused(conv_network(path), {"image": (1, 3, 8, 8)}).message == (
        "net.onnx has no input 'image', its inputs are x"
    )


def test_a_shape_that_the_network_cannot_take_is_refused(path: Path) -> None:
    net = Network()
    flat = net.node("Flatten", [net.input("x", (1, "C"))], "f")
    net.dense(flat, "y", (8, 5))
    error = refused(net.write(path, y=(1, 5)), {"x": (1, 9)})
    assert error.message.startswith("the shapes of net.onnx do not fit together: ")


def test_an_output_whose_shape_depends_on_the_data_is_refused(path: Path) -> None:
    net = Network()
    net.node("NonZero", [net.input("x", (1, 8))], "y")
    proto = net.model({"y": (2, "count")}, "int64")
    onnx.save(proto, str(path))
    error = refused(path)
    assert error.message == (
        "output 'y' of net.onnx is [2, count]: its shape depends on the data, expected a static one"
    )
    assert "non-maximum suppression" in error.hint


# What is refused


def quantized(kind: str, domain: str = "") -> Callable[[onnx.ModelProto], None]:
    def edit(proto: onnx.ModelProto) -> None:
        proto.graph.node.append(
            helper.make_node("DequantizeLinear", ["q", "scale"], ["unused"], domain="")
            if kind == "DequantizeLinear"
            else helper.make_node("QuantizeLinear", ["x", "scale"], ["unused"])
        )
        proto.graph.initializer.append(
            onnx.numpy_helper.from_array(np.array(0.5, np.float32), "scale")
        )
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int8), "q"))

    return edit


@pytest.mark.parametrize("kind", ["QuantizeLinear", "DequantizeLinear"])
def test_a_quantized_model_is_refused(path: Path, kind: str) -> None:
    error = refused(edited(conv_network(path), quantized(kind)))
    assert error.message == (
        f"net.onnx is already quantized (it holds {kind}), expected the float model"
    )


def test_a_dynamically_quantized_model_is_refused(path: Path) -> None:
    net = Network()
    a = net.node("Cast", [net.input("x", (1, 4))], "a", to=onnx.TensorProto.UINT8)
    net.node("MatMulInteger", [a, net.constant("w", np.ones((4, 2)), "int8")], "m")
    net.node("Cast", ["m"], "y", to=onnx.TensorProto.FLOAT)
    assert "(it holds MatMulInteger)" in refused(net.write(path, y=(1, 2))).message


def test_quantization_inside_a_branch_is_seen(path: Path) -> None:
    net = Network()
    net.input("x", (2,))
    net.constant("scale", np.float32(1))

    def branch(name: str) -> onnx.GraphProto:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale"], [f"{name}_q"]),
            helper.make_node("DequantizeLinear", [f"{name}_q", "scale"], [f"{name}_y"]),
        ]
        return helper.make_graph(nodes, name, [], [value_info(f"{name}_y", (2,))])

    condition = net.input("c", (), "bool")
    net.node("If", [condition], "y", then_branch=branch("t"), else_branch=branch("e"))
    assert "DequantizeLinear, QuantizeLinear" in refused(net.write(path, y=(2,))).message


def operator_of(domain: str, kind: str = "MyOp") -> Callable[[onnx.ModelProto], None]:
    def edit(proto: onnx.ModelProto) -> None:
        proto.opset_import.append(helper.make_opsetid(domain, 1))
        proto.graph.node.append(helper.make_node(kind, ["x"], ["mine"], domain=domain))

    return edit


def test_an_operator_of_an_unknown_domain_is_refused(path: Path) -> None:
    assert refused(edited(conv_network(path), operator_of("my.dom"))).message == (
        "net.onnx uses MyOp of the domain my.dom, which no runtime of ours knows, "
        "expected operators of ONNX"
    )


def test_an_operator_of_an_unknown_domain_can_still_be_looked_at(path: Path) -> None:
    graph = read_graph(edited(conv_network(path), operator_of("my.dom")), {})
    assert "MyOp" in {operator.type for operator in graph.operators}


@pytest.mark.parametrize("domain, kind", [("ai.onnx.ml", "Binarizer"), ("com.microsoft", "Gelu")])
def test_an_operator_of_a_runtimes_domain_is_read(path: Path, domain: str, kind: str) -> None:
    source = edited(conv_network(path), operator_of(domain, kind))
    assert open_model(source).outputs[0].shape == (1, 5)


def test_an_operator_that_the_model_defines_is_read(path: Path) -> None:
    def define(proto: onnx.ModelProto) -> None:
        operator_of("my.dom")(proto)
        body, opsets = [helper.make_node("Relu", ["X"], ["Y"])], [helper.make_opsetid("", 17)]
        proto.functions.append(helper.make_function("my.dom", "MyOp", ["X"], ["Y"], body, opsets))

    assert open_model(edited(conv_network(path), define)).outputs[0].shape == (1, 5)


def test_an_input_that_is_an_output_too_is_refused(path: Path) -> None:
    net = Network()
    net.conv(net.input("x", (1, 3, 8, 8)), "y", (3, 4))
    assert refused(net.write(path, y=(1, 4, 8, 8), x=(1, 3, 8, 8))).message == (
        "output 'x' of net.onnx is an input of it, too, expected outputs that an operator computes"
    )


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(path: Path, part: float) -> None:
    content = conv_network(path).read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    error = refused(path)
    assert error.message == f"{path} is broken: its bytes are not an ONNX model"
    assert error.hint == "export it again, or check that the download is complete"


@pytest.mark.parametrize("content", [b"garbage", b"\x00" * 64, b"<html></html>", b"\x08\x0a"])
def test_garbage_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    message = refused(path).message
    assert "is broken" in message or "is not a valid ONNX model" in message


def test_an_invalid_graph_is_refused(path: Path) -> None:
    def cut(proto: onnx.ModelProto) -> None:
        del proto.graph.node[0]

    assert (
        "net.onnx is not a valid ONNX model: " in refused(edited(conv_network(path), cut)).message
    )


def test_a_model_without_operators_is_refused(path: Path) -> None:
    net = Network()
    net.input("x", (1,))
    assert refused(net.write(path, x=(1,))).message == (
        f"{path} holds no operators, expected an ONNX model"
    )


def test_an_empty_file_is_refused(path: Path) -> None:
    path.touch()
    assert refused(path).message == f"{path} is empty, expected a .onnx model"


def test_a_folder_and_nothing_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path).message == (
        f"found a directory at {tmp_path}, expected a model file or a SavedModel"
    )
    missing = tmp_path / "no.onnx"
    assert refused(missing).message == f"found nothing at {missing}, expected a model file"


@pytest.mark.parametrize("name", ["net", "net.ONNX", "net.onnx.zip"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    error = refused(tmp_path / name)
    assert "expected one of .onnx, .tflite, .keras" in error.message
    assert error.hint.startswith("export the model to one of these")


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.pkl"])
def test_a_pickle_is_refused_and_not_loaded(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    error = refused(tmp_path / name)
    assert "loading one can run any code" in error.message
    assert "torch.export.save" in error.hint


def test_an_input_that_is_no_tensor_is_refused(path: Path) -> None:
    net = Network()
    net.graph.input.append(helper.make_tensor_sequence_value_info("s", 1, (2,)))
    net.node("ConcatFromSequence", ["s"], "y", axis=0)
    error = refused(net.write(path, y=None))
    assert error.message == "input 's' of net.onnx is a sequence, expected a tensor"


def test_a_dtype_without_a_name_on_devices_is_refused(path: Path) -> None:
    net = Network()
    net.node("Cast", [net.input("x", (2,), "float64")], "y", to=onnx.TensorProto.FLOAT)
    assert (
        "'x' of net.onnx holds DOUBLE, expected one of " in refused(net.write(path, y=(2,))).message
    )


def test_a_missing_toolkit_is_named_with_the_line_that_installs_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv_network(path)
    monkeypatch.delitem(sys.modules, "edgesdk.models.formats.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ToolchainMissing) as caught:
        open_model(path)
    assert caught.value.message == "opening this model needs onnx, which is not installed"
    assert caught.value.hint == 'install it with: pip install "edgesdk[onnx]"'
    assert caught.value.exit_code == ExitCode.TOOLCHAIN


# Weights in files of their own


@pytest.fixture
def external(path: Path) -> Path:
    proto = onnx.load(str(conv_network(path)))
    onnx.save(
        proto, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return path


def test_external_weights_count_and_are_hashed(external: Path) -> None:
    model = open_model(external)
    weights = external.with_name("weights.bin")
    assert model.size_bytes == external.stat().st_size + weights.stat().st_size
    content = bytearray(weights.read_bytes())
    content[0] ^= 1
    weights.write_bytes(content)
    assert open_model(external).sha256 != model.sha256


def test_external_weights_of_a_constant_operator_are_hashed(path: Path) -> None:
    net = Network()
    value = onnx.numpy_helper.from_array(np.ones((3,), np.float32), "k")
    net.node("Constant", [], "k", value=value)
    net.node("Add", [net.input("x", (3,)), "k"], "y")
    proto = net.model({"y": (3,)})
    onnx.save(
        proto,
        str(path),
        save_as_external_data=True,
        location="k.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    before = open_model(path).sha256
    path.with_name("k.bin").write_bytes(np.full(3, 2, np.float32).tobytes())
    assert open_model(path).sha256 != before


def test_external_weights_of_a_branch_are_hashed(path: Path) -> None:
    net = Network()
    net.input("x", (3,))

    def branch(name: str) -> onnx.GraphProto:
        factor = onnx.numpy_helper.from_array(np.ones(3, np.float32), f"{name}_factor")
        node = helper.make_node("Mul", ["x", factor.name], [f"{name}_y"])
        return helper.make_graph([node], name, [], [value_info(f"{name}_y", (3,))], [factor])

    condition = net.input("c", (), "bool")
    net.node("If", [condition], "y", then_branch=branch("t"), else_branch=branch("e"))
    proto = net.model({"y": (3,)})
    (then_branch, _) = (a.g for a in proto.graph.node[0].attribute)
    set_external_data(then_branch.initializer[0], "branch.bin", offset=0, length=12)
    content = then_branch.initializer[0].raw_data
    then_branch.initializer[0].ClearField("raw_data")
    path.with_name("branch.bin").write_bytes(content)
    onnx.save(proto, str(path))
    before = open_model(path).sha256
    path.with_name("branch.bin").write_bytes(bytes(12))
    assert open_model(path).sha256 != before


def test_missing_external_weights_are_named(external: Path) -> None:
    external.with_name("weights.bin").unlink()
    message = refused(external).message
    assert "net.onnx is not a valid ONNX model" in message
    assert "weights.bin" in message


def test_external_weights_outside_the_folder_are_refused(external: Path) -> None:
    def climb(proto: onnx.ModelProto) -> None:
        for entry in proto.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = "../weights.bin"

    proto = onnx.load(str(external), load_external_data=False)
    climb(proto)
    onnx.save(proto, str(external))
    shutil.copy(external.with_name("weights.bin"), external.parent.parent / "weights.bin")
    assert "is not a valid ONNX model" in refused(external).message
