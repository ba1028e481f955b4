"""Compiled Edge TPU files made by hand, and a compiler that writes them."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from flatbuffers import flexbuffers

from tests.unit.convert.litert_networks import Network

STAND_ALONE, PARAMETER_CACHING, EXECUTION_ONLY = range(3)


def executable(kind: int, parameter_bytes: int) -> bytes:
    builder = flatbuffers.Builder(256)
    parameters = builder.CreateByteVector(bytes(parameter_bytes))
    chip = builder.CreateString("beagle")
    builder.StartObject(17)
    builder.PrependUOffsetTRelativeSlot(6, parameters, 0)
    builder.PrependUOffsetTRelativeSlot(10, chip, 0)
    builder.PrependInt16Slot(13, kind, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def package(*executables: bytes, min_runtime_version: int = 14) -> bytes:
    builder = flatbuffers.Builder(256)
    offsets = [builder.CreateString(each) for each in executables]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    listed = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, listed, 0)
    builder.Finish(builder.EndObject())
    multi = bytes(builder.Output())

    builder = flatbuffers.Builder(256)
    content = builder.CreateByteVector(multi)
    builder.StartObject(8)
    builder.PrependInt32Slot(0, min_runtime_version, 0)
    builder.PrependUOffsetTRelativeSlot(1, content, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"DWN1")
    return bytes(builder.Output())


def options(content: bytes) -> bytes:
    return bytes(flexbuffers.Dumps({"1": 1, "4": content, "5": 0}))


CACHED = options(package(executable(EXECUTION_ONLY, 64), executable(PARAMETER_CACHING, 4096)))


def int8(net: Network, *indices: int) -> None:
    """Give tensors a scale, so that the graph counts as quantized."""
    for index in indices:
        net.graph.tensors[index].quantization = schema.QuantizationParametersT(
            scale=[0.1], zeroPoint=[0]
        )


def chain(path: Path, kinds: Iterable[str]) -> Path:
    """x -> one INT8 operator after the other, each output named after its place and type."""
    net = Network()
    shape = (1, 8, 8, 4)
    tensor = net.input("x", shape, "int8")
    int8(net, tensor)
    for place, kind in enumerate(kinds):
        tensor = net.operator(kind, [tensor], f"{place}_{kind.lower()}", shape, dtype="int8")
        int8(net, tensor)
    return net.write(path, tensor)


def compiled(source: Path, path: Path, mapped: Sequence[int], custom: bytes = CACHED) -> Path:
    """`source` with these operators, which must come one after the other, in one custom one."""
    model = flatbuffer_utils.read_model(source)
    graph = model.subgraphs[0]
    inside = [graph.operators[index] for index in mapped]
    if inside:
        model.operatorCodes.append(
            schema.OperatorCodeT(
                builtinCode=schema.BuiltinOperator.CUSTOM,
                deprecatedBuiltinCode=schema.BuiltinOperator.CUSTOM,
                customCode=b"edgetpu-custom-op",
                version=1,
            )
        )
        piece = schema.OperatorT(
            opcodeIndex=len(model.operatorCodes) - 1,
            inputs=list(inside[0].inputs),
            outputs=list(inside[-1].outputs),
            customOptions=list(custom),
        )
        graph.operators = [
            piece if index == mapped[0] else operator
            for index, operator in enumerate(graph.operators)
            if index == mapped[0] or index not in mapped
        ]
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    return path


LOG = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 17 ms.

Input model: model.tflite
Input size: 1.00KiB
Output model: ./model_edgetpu.tflite
Number of Edge TPU subgraphs: 1
Total number of operations: 3
Operation log: ./model_edgetpu.log

Number of operations that will run on Edge TPU: 1
Number of operations that will run on CPU: 2

Operator                       Count      Status

RELU                           1          Mapped to Edge TPU
RELU                           1          More than one subgraph is not supported
ABS                            1          Operation not supported
Compilation child process completed within timeout period.
Compilation succeeded!
"""


def fake_compiler(folder: Path, body: str) -> Path:
    """An `edgetpu_compiler` in `folder`; `body` sees `sys`, `os`, `time` and `pathlib.Path`."""
    folder.mkdir(exist_ok=True)
    program = folder / "edgetpu_compiler"
    program.write_text(
        f"#!{sys.executable}\nimport os, signal, sys, time\nfrom pathlib import Path\n{body}\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    return program
