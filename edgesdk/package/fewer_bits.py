"""Changes after which values take fewer bits: what the recipe or a toolchain keeps wide. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Final

from edgesdk.choices import Precision
from edgesdk.package.changes import Change, Part, bits, is_table, saved
from edgesdk.values.artifact import OperatorPrecision, Reader, TensorSize
from edgesdk.values.overrun import Network
from edgesdk.values.recipe import Override
from edgesdk.values.remedies import RemedyName

_LISTED = 3
"""Most constants that are told."""
_BITS: Final[Mapping[Precision, tuple[int, int]]] = {
    "fp16": (16, 16),
    "w8a16": (8, 16),
    "w8a8": (8, 8),
    "w4a16": (4, 16),
    "w4a8": (4, 8),
}
"""Bits of weights and activations."""
_UNQUANTIZED_LOOKUP = "EMBEDDING_LOOKUP"
"""TFLite's lookup operator that LiteRT's quantizer leaves in float; it takes GATHER."""


def eight_bits(network: Network, constants: Mapping[str, TensorSize]) -> Iterator[Change]:
    """Constants that are wider than the rest, and what keeps them so."""
    if _BITS[network.precision][0] > 8:
        return
    found = []
    for key, tensor in constants.items():
        way = next(filter(None, (_to_eight_bits(network, each) for each in tensor.readers)), "")
        if way and len(tensor.shape) > 1 and bits(tensor) in (16, 32, 64):
            found.append((key, tensor, way))
    found.sort(key=lambda each: not is_table(each[1]))
    for key, tensor, way in found[:_LISTED]:
        what: RemedyName = "eight-bit-table" if is_table(tensor) else "eight-bit-weights"
        how = f"store {tensor.name!r} in 8 bits instead of {bits(tensor)}: {way}"
        yield Change(what, tensor.name, how, stores={key: Fraction(8, bits(tensor))})


def _to_eight_bits(network: Network, reader: Reader) -> str:
    """What to do that the constant gets 8 bits; empty where nothing is known."""
    named = f"{reader.type} {reader.name}"
    keeper = _keeper(network, reader)
    if keeper:
        return f"drop {keeper}, which holds {named} back"
    if reader.type == _UNQUANTIZED_LOOKUP and network.precision == "w8a8":
        return f"export {named} as GATHER, which the toolchain stores so"
    if reader.use == "table" and network.precision == "w8a16":
        return f"give {named} the precision w8a8 by an override of the recipe"
    reason = next((each.reason for each in network.operators if _is_float(each, reader)), "")
    return f"use an operator with an INT8 form in place of {named} ({reason})" if reason else ""


def _is_float(operator: OperatorPrecision, reader: Reader) -> bool:
    return operator.name == reader.name and operator.precision.startswith("float")


def lower_precision(
    network: Network, parts: Mapping[str, Part], tensors: Mapping[str, TensorSize]
) -> Iterator[Change]:
    """The precision of the target's that saves most."""
    before = _BITS[network.precision]
    best = Change("precision", "", "")
    for precision in network.offered:
        after = _BITS[precision]
        if after == before or after[0] > before[0] or after[1] > before[1]:
            continue
        how = f"convert with --precision {precision} instead of {network.precision}"
        stores = dict(_stored(network, tensors, precision))
        change = Change("precision", network.precision, how, stores=stores)
        best = max(best, change, key=lambda each: saved(parts, [each]))
    if best.stores:
        yield best


def _stored(
    network: Network, tensors: Mapping[str, TensorSize], precision: Precision
) -> Iterator[tuple[str, Fraction]]:
    """The tensors that have other bits at another precision, and which share of the present."""
    edge = {name for name, _ in (*network.inputs, *network.outputs)}
    for key, tensor in tensors.items():
        now = bits(tensor)
        if tensor.kind == "constant":
            then = _constant_bits(network, tensor, precision)
        else:
            then = now if tensor.name in edge else _activation_bits(network, tensor, precision)
        if then != now:
            yield key, Fraction(then, now)


def _constant_bits(network: Network, tensor: TensorSize, precision: Precision) -> int:
    now, (weights, activations) = bits(tensor), _BITS[precision]
    if any(_keeper(network, reader) for reader in tensor.readers):
        return now
    if any(reader.type == _UNQUANTIZED_LOOKUP for reader in tensor.readers):
        return 32 if network.precision == "fp16" else now
    if len(tensor.shape) == 1:  # a bias: 64 bits where activations have 16 and weights 8
        return 32 if now == 64 and activations == 8 else now
    if is_table(tensor):
        return min(now, activations)
    halved = network.precision == "fp16" and tensor.dtype.startswith("float")
    present = now if halved and _is_weight(tensor) else _BITS[network.precision][0]
    return min(now, weights) if now == present else now


def _is_weight(tensor: TensorSize) -> bool:
    """Of a type of layer that every toolchain of ours quantizes."""
    return any(reader.use == "dense" or "CONV" in reader.type.upper() for reader in tensor.readers)


def _activation_bits(network: Network, tensor: TensorSize, precision: Precision) -> int:
    now, before = bits(tensor), _BITS[network.precision][1]
    in_half = network.precision == "fp16" and tensor.dtype.startswith("float")
    return min(now, _BITS[precision][1]) if in_half or now == before else now


def _keeper(network: Network, reader: Reader) -> str:
    """The choice of the recipe that decides on an operator; empty where none does."""
    for pattern in network.keep_float:
        if re.fullmatch(pattern, reader.name):
            return f"keep_float {pattern!r}"
    matched = [each for each in network.overrides if _matches(each, reader)]
    if not matched or matched[-1].precision == "w8a8":
        return ""
    last = matched[-1]
    asked = [f"name {last.name!r}"] if last.name else []
    asked += [f"type {last.type!r}"] if last.type else []
    return f"the override to {last.precision} of {' and '.join(asked)}"


def _matches(override: Override, reader: Reader) -> bool:
    by_name = override.name is None or re.fullmatch(override.name, reader.name)
    return bool(by_name) and override.type in (None, reader.type)
