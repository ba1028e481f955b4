"""uint8 inputs and outputs, which the Edge TPU takes as well as int8 ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgesdk.convert.backends import edgetpu, litert
from edgesdk.convert.placement import place
from edgesdk.models.reading import read_graph
from edgesdk.targets.loading import load_target
from tests.unit.convert.litert_networks import Converted, Network, conv_network


@pytest.fixture
def unsigned(tmp_path: Path) -> Converted:
    return Converted(conv_network(tmp_path / "m.tflite"), io="uint8")


@pytest.fixture
def signed(unsigned: Converted, tmp_path: Path) -> Converted:
    """The same network."""
    folder = tmp_path / "signed"
    folder.mkdir()
    return Converted(Path(shutil.copy(tmp_path / "m.tflite", folder)))


def test_ports_are_uint8_under_the_float_models_names(unsigned: Converted) -> None:
    ports = (*unsigned.description.inputs, *unsigned.description.outputs)
    assert [(port.name, port.dtype) for port in ports] == [("x", "uint8"), ("y", "uint8")]


def test_steps_are_those_of_int8_counted_from_another_end(
    unsigned: Converted, signed: Converted
) -> None:
    for ours, theirs in (
        (unsigned.description.inputs[0], signed.description.inputs[0]),
        (unsigned.description.outputs[0], signed.description.outputs[0]),
    ):
        assert ours.zero_point is not None and theirs.zero_point is not None
        assert (ours.scale, ours.zero_point) == (theirs.scale, theirs.zero_point + 128)


def test_the_operators_behind_the_ports_compute_in_int8(unsigned: Converted) -> None:
    found = [(each.type, each.precision) for each in unsigned.description.operators]
    assert found == [("QUANTIZE", "-"), ("CONV_2D", "int8"), ("QUANTIZE", "-")]


def test_versions_are_those_of_int8(unsigned: Converted) -> None:
    assert (unsigned.version("CONV_2D"), unsigned.version("QUANTIZE")) == (3, 1)
    assert unsigned.metadata("min_runtime_version").rstrip(b"\0") == b"1.14.0"


def test_nothing_is_lost_against_int8(unsigned: Converted, signed: Converted) -> None:
    values = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3))
    (ours,) = next(iter(litert.run(unsigned.path, "builtin", [[values.astype(np.uint8)]])))
    shifted = (values - 128).astype(np.int8)
    (theirs,) = next(iter(litert.run(signed.path, "builtin", [[shifted]])))
    assert np.array_equal(ours.astype(int), theirs.astype(int) + 128)


def test_the_signature_names_the_uint8_ports(unsigned: Converted) -> None:
    (signature,) = unsigned.model.signatureDefs
    graph = unsigned.model.subgraphs[0]
    assert [item.tensorIndex for item in signature.inputs] == list(graph.inputs)
    assert [item.tensorIndex for item in signature.outputs] == list(graph.outputs)


def test_integer_inputs_stay_as_they_are(tmp_path: Path) -> None:
    net = Network()
    x, index = net.input("x", (4, 3)), net.input("i", (2,), "int32")
    y = net.operator("GATHER", [x, index], "y", (2, 3))
    found = Converted(net.write(tmp_path / "m.tflite", y), io="uint8").description
    assert [(port.name, port.dtype) for port in found.inputs] == [("x", "uint8"), ("i", "int32")]


def test_activations_are_compared_under_their_names(unsigned: Converted) -> None:
    ratio = unsigned.sqnr_db("y")
    assert ratio is not None and ratio > 30


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_a_full_integer_model_is_forecast_on_the_edge_tpu_as_a_whole(
    tmp_path: Path, io: str
) -> None:
    path = Converted(conv_network(tmp_path / "m.tflite"), io=io).path
    placed = place(read_graph(path), load_target("coral-usb"))
    assert {each.unit for each in placed} == {"edgetpu"}


def test_float_ports_are_converted_on_the_cpu(tmp_path: Path) -> None:
    path = Converted(conv_network(tmp_path / "m.tflite"), io="float32").path
    placed = place(read_graph(path), load_target("coral-usb"))
    assert [(each.type, each.unit) for each in placed] == [
        ("QUANTIZE", "cpu"),
        ("CONV_2D", "edgetpu"),
        ("DEQUANTIZE", "cpu"),
    ]


def test_there_are_golden_outputs_for_the_edge_tpu_and_for_a_model_not_compiled() -> None:
    assert edgetpu.kernels() == ("edgetpu", *litert.kernels())


def test_the_edge_tpus_golden_outputs_are_the_builtin_kernels(unsigned: Converted) -> None:
    values = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    (ours,) = next(iter(edgetpu.run(unsigned.path, "edgetpu", [[values]])))
    (theirs,) = next(iter(litert.run(unsigned.path, "builtin", [[values]])))
    assert np.array_equal(ours, theirs)
