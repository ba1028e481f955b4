"""Who makes and who reads each tensor of a QDQ graph, and what TensorRT sees around an operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx

from edgesdk.convert.backends.onnx_facts import CONVERSIONS
from edgesdk.models.formats.onnx import subgraphs

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators with weights: what explicit quantization is for."""

FUSED_ACTIVATIONS = ("Relu", "Clip")
"""What TensorRT computes together with the operator before it, on its accumulator."""

POOLS = ("AveragePool", "GlobalAveragePool")
"""Pools with an INT8 form of their own, which needs a pair on either side."""

COMMUTING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "MaxPool")
"""Operators past which TensorRT moves a QuantizeLinear to the operator before them."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """A graph, looked up by tensor.

    Args:
        makers: tensor to the operator that makes it.
        readers: tensor to the operators that read it, in graph order.
        constants: tensor to its values' shape, of initializers and Constant operators.
        outputs: of the graph.
    """

    makers: Mapping[str, onnx.NodeProto]
    readers: Mapping[str, Sequence[onnx.NodeProto]]
    constants: Mapping[str, tuple[int, ...]]
    outputs: frozenset[str]

    def pair(self, tensor: str) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
        """QuantizeLinear and DequantizeLinear, where `tensor` is what they make of another one."""
        dequantize = self.makers.get(tensor)
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            return None
        quantize = self.makers.get(dequantize.input[0])
        if quantize is None or quantize.op_type != "QuantizeLinear":
            return None
        return quantize, dequantize

    def is_dequantized(self, tensor: str) -> bool:
        """`tensor` comes straight out of DequantizeLinear."""
        maker = self.makers.get(tensor)
        return maker is not None and maker.op_type == "DequantizeLinear"

    def weighted_maker(self, tensor: str) -> onnx.NodeProto | None:
        """The weighted operator whose result `tensor` is, if nothing else reads it."""
        maker = self.makers.get(tensor)
        if maker is None or maker.op_type not in WEIGHTED or tensor in self.outputs:
            return None
        return maker if len(self.readers.get(tensor, ())) == 1 else None

    def feeds_only(self, tensor: str, types: Sequence[str]) -> bool:
        """Every reader is of such a type, also past operators that only move or select values."""
        readers = self.readers.get(tensor, ())
        if not readers or tensor in self.outputs:
            return False
        return all(
            reader.op_type in types
            or (reader.op_type in COMMUTING and self.feeds_only(reader.output[0], types))
            for reader in readers
        )

    def activations_of(self, node: onnx.NodeProto) -> list[str]:
        """The inputs of an operator that are no constants, quantized or not."""
        return [name for name in node.input if name and not self.is_constant(name)]

    def is_constant(self, tensor: str) -> bool:
        """`tensor` is a constant, or what a pair makes of one."""
        if tensor in self.constants:
            return True
        maker = self.makers.get(tensor)
        if maker is None or maker.op_type not in CONVERSIONS:
            return False
        return self.is_constant(maker.input[0])


def wiring(model: onnx.ModelProto) -> Wiring:
    """Of the main graph."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            constants[node.output[0]] = tuple(values[0].dims) if values else ()
    return Wiring(
        {name: node for node in model.graph.node for name in node.output},
        readers,
        constants,
        frozenset(value.name for value in model.graph.output),
    )


def drop_unread(model: onnx.ModelProto) -> None:
    """Take out pairs and constants that nothing reads, branches and loop bodies included."""
    reads = Counter(_reads(model.graph))
    kept = []
    for node in reversed(model.graph.node):  # readers come before what they read
        if node.op_type in CONVERSIONS and not reads[node.output[0]]:
            reads.subtract(node.input)
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    constants = [tensor for tensor in model.graph.initializer if reads[tensor.name] > 0]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)


def _reads(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for inner in subgraphs(node):
            yield from _reads(inner)
