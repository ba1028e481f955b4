"""What a model's activations are once it is converted, before it is. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from edgesdk.convert.int8_forms import INT8_FORMS
from edgesdk.convert.operands import activations
from edgesdk.models.graph import Graph, GraphOperator

_FLOAT = "float32"


class IntegerGraph:
    """A graph seen as its converted form.

    Float activations of a float model are `converted` where the conversion has an integer form of
    the operator. In an ONNX model with Q/DQ pairs, an operator between them computes in what they
    store. All else is what the file says.

    Args:
        converted: dtype that the conversion gives float activations.
    """

    def __init__(self, graph: Graph, converted: str) -> None:
        self._graph = graph
        self._converted = converted
        self._quantizes = not graph.is_quantized
        self._stored = dict(_stored_dtypes(graph)) if graph.format == "onnx" else {}

    def dtypes(self, operator: GraphOperator, counterpart: str) -> Iterator[str]:
        """Those of an operator's activations.

        Args:
            counterpart: its TFLite type, where a TFLite toolchain converts it; "" elsewhere.
        """
        integer = self._integer_dtype(operator, counterpart)
        for tensor in activations(operator, self._graph):
            yield integer if tensor.dtype == _FLOAT else tensor.dtype

    def _integer_dtype(self, operator: GraphOperator, counterpart: str) -> str:
        if self._quantizes:
            has_form = not counterpart or counterpart in INT8_FORMS
            return self._converted if has_form else _FLOAT
        found = (self._stored.get(index) for index in (*operator.inputs, *operator.outputs))
        return next((dtype for dtype in found if dtype is not None), _FLOAT)


def _stored_dtypes(graph: Graph) -> Iterator[tuple[int, str]]:
    """Float tensor to the dtype that a Q/DQ pair stores it in."""
    for operator in graph.operators:
        if operator.type == "DequantizeLinear":
            yield operator.outputs[0], graph.tensors[operator.inputs[0]].dtype
        elif operator.type == "QuantizeLinear":
            yield operator.inputs[0], graph.tensors[operator.outputs[0]].dtype
