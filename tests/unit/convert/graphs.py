"""Graphs put together as values, for decisions that need no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from edgesdk.models.graph import Attribute, Graph, GraphOperator, GraphTensor
from edgesdk.models.types import TensorSpec

Shape = tuple[int, ...] | None


class Builder:
    """Tensors and operators, each known by the index that it is given."""

    def __init__(self, form: Literal["onnx", "tflite"] = "tflite") -> None:
        self.form: Literal["onnx", "tflite"] = form
        self.tensors: list[GraphTensor] = []
        self.operators: list[GraphOperator] = []
        self.inputs: list[int] = []

    def tensor(
        self,
        shape: Shape,
        dtype: str = "int8",
        values: Sequence[float] = (),
        constant: bool = False,
        name: str = "",
    ) -> int:
        constant = constant or bool(values)
        self.tensors.append(
            GraphTensor(
                name=name or f"t{len(self.tensors)}",
                shape=shape,
                dtype=dtype,
                constant=constant,
                quantized=dtype in ("int8", "uint8", "int16"),
                values=tuple(values),
            )
        )
        return len(self.tensors) - 1

    def input(self, shape: Shape = (1, 8, 8, 4), dtype: str = "int8") -> int:
        self.inputs.append(self.tensor(shape, dtype))
        return self.inputs[-1]

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Shape = (1, 8, 8, 4),
        dtype: str = "int8",
        attributes: Mapping[str, Attribute] | None = None,
        version: int = 1,
        domain: str = "",
    ) -> int:
        output = self.tensor(shape, dtype, name=f"{len(self.operators)}_{kind}")
        self.operators.append(
            GraphOperator(
                index=len(self.operators),
                type=kind,
                name=self.tensors[output].name,
                version=version,
                inputs=tuple(inputs),
                outputs=(output,),
                attributes=attributes or {},
                domain=domain,
            )
        )
        return output

    def graph(self) -> Graph:
        def spec(index: int) -> TensorSpec:
            tensor = self.tensors[index]
            return TensorSpec(tensor.name, tensor.shape or (), tensor.dtype)

        last = self.operators[-1].outputs if self.operators else ()
        return Graph(
            format=self.form,
            operators=tuple(self.operators),
            tensors=tuple(self.tensors),
            inputs=tuple(map(spec, self.inputs)),
            outputs=tuple(map(spec, last)),
        )
