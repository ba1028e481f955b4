"""Ranges of activations over the calibration samples, one sample in memory at a time.

By the plan's method: the quantizer's own calibration knows but bounds and averages them over time,
which cuts off what only the first samples show, and reads its samples twice, which an iterator does
not survive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from edgesdk.calibration.accumulator import Accumulator
from edgesdk.calibration.estimators import estimate, needs_histogram
from edgesdk.calibration.state import Seen
from edgesdk.calibration.types import Range
from edgesdk.convert.backends.litert import flatbuffer as tflite
from edgesdk.convert.backends.litert.fixups import open_interpreter
from edgesdk.convert.keeping import overridden
from edgesdk.convert.toolchains import Sample
from edgesdk.errors import ConversionError
from edgesdk.values.plan import ConversionPlan


def activation_ranges(
    content: bytes,
    plan: ConversionPlan,
    samples: Iterable[Sample],
    advance: Callable[[int], None],
) -> dict[str, Range]:
    """The range of every float32 activation of a prepared model, by tensor name.

    An activation that never had a value has none.

    Args:
        plan: gives the method, and the widths that the ranges are for.

    Raises:
        ConversionError: there are no samples, or an activation is not a number.
        ModelError: a pattern or an override of the plan matches no operator.
    """
    model = tflite.read_model(content)
    precisions = _precisions(model, plan)
    seen = _seen(content, _float_activations(model), plan, samples, advance)
    return {
        name: _range(tensor, plan, precisions.get(name, plan.precision) == "w8a16")
        for name, tensor in seen.tensors.items()
        if tensor.low <= tensor.high
    }


def _range(seen: Accumulator, plan: ConversionPlan, wide: bool) -> Range:
    """LiteRT's 16-bit kernels have no zero points."""
    symmetric = plan.scheme.activations.symmetric or wide
    return estimate(seen, plan.range_method, 16 if wide else 8, symmetric)


def _seen(
    content: bytes,
    activations: dict[int, str],
    plan: ConversionPlan,
    samples: Iterable[Sample],
    advance: Callable[[int], None],
) -> Seen:
    interpreter = open_interpreter(content, preserve_all=True)
    interpreter.allocate_tensors()
    seen = Seen.nothing(list(activations.values()), needs_histogram(plan.range_method))
    for sample in samples:
        run_sample(interpreter, sample)
        values = {name: interpreter.get_tensor(index) for index, name in activations.items()}
        seen.add(seen.summaries(values))
        advance(1)
    if seen.samples == 0:
        raise ConversionError("found no calibration samples, expected at least one")
    return seen


def _precisions(model: Any, plan: ConversionPlan) -> dict[str, str]:
    """Tensor to its precision, where it is not the plan's: an operator's is that of its results."""
    graph = model.subgraphs[0]
    chosen = overridden(tflite.operators(model), plan.keep_float, plan.overrides)
    named = ((operator, tflite.operator_name(graph, operator)) for operator in graph.operators)
    return {
        tflite.tensor_name(graph.tensors[index]): chosen[name]
        for operator, name in named
        if name in chosen
        for index in operator.outputs
    }


def run_sample(interpreter: Any, sample: Sample) -> None:
    """Run a float model on one sample."""
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], sample[details["name"]])
    interpreter.invoke()


def _float_activations(model: Any) -> dict[int, str]:
    return {
        index: tflite.tensor_name(tensor)
        for index, tensor in enumerate(model.subgraphs[0].tensors)
        if tflite.dtype(tensor) == "float32" and not tflite.is_constant(model, tensor)
    }
