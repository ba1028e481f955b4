"""Biases that take back what quantization adds to the mean of each output channel.

TensorRT's biases are float, so that this costs nothing on the device. Source: Nagel et al., "Data-
Free Quantization Through Weight Equalization and Bias Correction" (2019), section 4.2, with means
from calibration samples: each weighted operator is run twice on the float model's own activations,
as it is and quantized, and the mean difference a channel goes into its bias.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from edgesdk.convert.backends.onnx_toolkit import failures
from edgesdk.convert.backends.tensorrt.comparing import literal_session
from edgesdk.convert.backends.tensorrt.wiring import Wiring, wiring
from edgesdk.convert.toolchains import Sample

SAMPLES = 16
"""Means over space and so many samples are steady; more cost time and change nothing."""

_BIASED = ("Conv", "ConvTranspose", "Gemm")
Means = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Twin:
    """A quantized operator that is fed with the float model's activations.

    Args:
        output: of the operator, in both models.
        nodes: pairs, operator and the difference of the two.
        difference: what they make, as (batch, channels) and ones.
    """

    output: str
    nodes: tuple[onnx.NodeProto, ...]
    difference: str


def correct_biases(
    quantized: onnx.ModelProto, model: onnx.ModelProto, samples: Iterable[Sample]
) -> None:
    """Change the biases of `quantized` in place.

    Args:
        quantized: with float biases; pairs on the inputs and weights of what is to be corrected.
        model: the float model it was made from.
        samples: at least one.
    """
    twins = tuple(_twins(quantized, model))
    if not twins:
        return
    means = _means(_paired(model, quantized, twins), twins, samples)
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    for node in quantized.graph.node:
        if node.output[0] in means:
            _add_to_bias(node, means[node.output[0]], constants, quantized)


def fold_beta(model: onnx.ModelProto) -> None:
    """Multiply the constant bias of a Gemm by its beta, exactly: the toolkit sets that to 1."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        betas = [each for each in node.attribute if each.name == "beta" and each.f != 1]
        if node.op_type == "Gemm" and betas and len(node.input) > 2 and node.input[2] in constants:
            bias = numpy_helper.to_array(constants[node.input[2]])
            scaled = (bias * betas[0].f).astype(bias.dtype)
            node.input[2] = f"{node.name}_scaled_bias"
            model.graph.initializer.append(numpy_helper.from_array(scaled, node.input[2]))
            betas[0].f = 1.0


def _twins(quantized: onnx.ModelProto, model: onnx.ModelProto) -> Iterator[Twin]:
    view, plain = wiring(quantized), wiring(model)
    there = {*plain.makers, *(value.name for value in model.graph.input)}
    for node in quantized.graph.node:
        if node.op_type not in _BIASED or not _takes_a_bias(node, view):
            continue
        pairs = [view.pair(name) for name in node.input[:2]]
        if None in pairs or node.output[0] not in plain.makers:
            continue
        conversions = [conversion for pair in pairs if pair for conversion in pair]
        if conversions[0].input[0] in there:
            yield _twin(node, conversions)


def _takes_a_bias(node: onnx.NodeProto, view: Wiring) -> bool:
    is_scaled = any(each.name == "beta" and each.f != 1 for each in node.attribute)
    has_bias = len(node.input) > 2 and node.input[2] != ""
    return not is_scaled and (not has_bias or node.input[2] in view.constants)


def _twin(node: onnx.NodeProto, conversions: list[onnx.NodeProto]) -> Twin:
    output = node.output[0]
    suffix = f"__in_the_twin_of_{output}"
    copies = [_renamed(each, suffix) for each in conversions]
    copies[1].input[0], copies[3].input[0] = copies[0].output[0], copies[2].output[0]
    twin = _renamed(node, suffix)
    twin.input[0], twin.input[1] = copies[1].output[0], copies[3].output[0]
    difference = f"difference{suffix}"
    nodes = [*copies, twin, helper.make_node("Sub", [output, twin.output[0]], [difference])]
    if node.op_type != "Gemm":
        nodes.append(helper.make_node("GlobalAveragePool", [difference], [f"{difference}_mean"]))
        difference = f"{difference}_mean"
    return Twin(output, tuple(nodes), difference)


def _renamed(node: onnx.NodeProto, suffix: str) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = f"{node.name}{suffix}"
    copy.output[0] = f"{node.output[0]}{suffix}"
    return copy


def _paired(
    model: onnx.ModelProto, quantized: onnx.ModelProto, twins: tuple[Twin, ...]
) -> onnx.ModelProto:
    """The float model with the twins beside it, which gives their differences only."""
    both = onnx.ModelProto()
    both.CopyFrom(model)
    there = {tensor.name for tensor in model.graph.initializer}
    both.graph.initializer.extend(
        tensor for tensor in quantized.graph.initializer if tensor.name not in there
    )
    both.graph.node.extend(node for twin in twins for node in twin.nodes)
    del both.graph.output[:]
    both.graph.output.extend(onnx.ValueInfoProto(name=twin.difference) for twin in twins)
    return both


def _means(both: onnx.ModelProto, twins: tuple[Twin, ...], samples: Iterable[Sample]) -> Means:
    """Float minus quantized, channel by channel."""
    with failures():
        session = literal_session(both)
    names = [port.name for port in session.get_inputs()]
    sums: dict[str, npt.NDArray[np.float64]] = {}
    count = 0
    for sample in samples:
        fed = {name: sample[name] for name in names}
        with failures():
            found = session.run(None, fed)
        for twin, difference in zip(twins, found, strict=True):
            rows = difference.reshape(len(difference), -1).astype(np.float64)
            sums[twin.output] = sums.get(twin.output, 0.0) + rows.mean(axis=0)
        count += 1
    return {output: total / count for output, total in sums.items()}


def _add_to_bias(
    node: onnx.NodeProto,
    mean: npt.NDArray[np.float64],
    constants: Mapping[str, onnx.TensorProto],
    model: onnx.ModelProto,
) -> None:
    """In a constant of the operator's own: two may have shared one."""
    before = np.zeros(len(mean), np.float32)
    if len(node.input) > 2 and node.input[2]:
        before = numpy_helper.to_array(constants[node.input[2]])
    name = f"{node.name}_corrected_bias"
    after = (before + mean).astype(before.dtype)
    model.graph.initializer.append(numpy_helper.from_array(after, name))
    node.input[:] = [*node.input[:2], name]
