"""Operator types, read from the bytes of ONNX files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_bytes import onnx_bytes

from device_agent.runtimes import RuntimeFailed
from device_agent.runtimes.onnx_operators import operator_types

DIGITS = Path(__file__).parents[3] / "examples" / "digits" / "digits.onnx"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def test_each_type_counts_once(file: Path) -> None:
    file.write_bytes(onnx_bytes("Conv", "QuantizeLinear", "Conv"))
    assert operator_types(str(file)) == {"Conv", "QuantizeLinear"}


def test_what_a_weight_holds_is_no_operator(file: Path) -> None:
    file.write_bytes(onnx_bytes("Conv", weights=onnx_bytes("EPContext") * 100))
    assert operator_types(str(file)) == {"Conv"}


def test_the_same_as_the_onnx_package_finds() -> None:
    onnx = pytest.importorskip("onnx")
    expected = {node.op_type for node in onnx.load(DIGITS).graph.node}
    assert operator_types(str(DIGITS)) == expected != set()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no model at all",
        b"\x08\x08",
        onnx_bytes("Conv", weights=bytes(500))[:-20],
        b"\xff" * 40,
        b"\x3b\x00",
    ],
    ids=["empty", "text", "no graph", "cut short", "endless number", "group"],
)
def test_what_is_no_model(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(RuntimeFailed, match="cannot read the operators of the model"):
        operator_types(str(file))


def test_an_absent_file(file: Path) -> None:
    with pytest.raises(RuntimeFailed, match="No such file"):
        operator_types(str(file))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("any") / "model.onnx"
    file.write_bytes(content)
    try:
        operator_types(str(file))
    except RuntimeFailed:
        return
