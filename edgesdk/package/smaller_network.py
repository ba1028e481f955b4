"""Changes of the network itself, and how far each must go. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction

from edgesdk.package.changes import Change, Part, is_table
from edgesdk.values.artifact import Reader, TensorSize
from edgesdk.values.overrun import Overrun

_LISTED = 3
"""Most activations that are named."""
_LEAST_KEPT = 10
"""At least one in so many rows, units or values is kept: with fewer it is another network."""
_LEAST_SIDE = 4
"""A picture is made smaller to this part of its width and height at most."""
_MOST_COLOURS = 4
"""Channels of a picture."""


def smaller_input(
    overrun: Overrun, parts: Mapping[str, Part], tensors: Mapping[str, TensorSize]
) -> Iterator[Change]:
    """Activations of pictures have as many values as the input has pixels, in proportion."""
    layout = overrun.network.layout
    pictures = {
        key: tensor
        for key, tensor in tensors.items()
        if tensor.kind == "activation" and _plane(tensor.shape, layout)
    }
    planes = [(name, _plane(shape, layout)) for name, shape in overrun.network.inputs]
    seen = [(name, plane) for name, plane in planes if plane is not None]
    live_bytes = sum(parts[key].size_bytes for key in pictures)
    if not seen or not live_bytes:
        return
    name, (height, width) = max(seen, key=lambda each: math.prod(each[1]))
    left = max(0, live_bytes - overrun.over_bytes)
    side = math.isqrt(height * height * left // live_bytes)
    smaller = max(side, -(-height // _LEAST_SIDE))
    narrower = max(width * smaller // height, 1)
    share = Fraction(smaller * narrower, height * width)
    largest = sorted(pictures.values(), key=lambda each: -each.size_bytes)[:_LISTED]
    how = (
        f"feed smaller pictures to {name!r}, {smaller} x {narrower} instead of {height} x {width} "
        f"(most memory is taken by {', '.join(repr(each.name) for each in largest)})"
    )
    yield Change("smaller-input", name, how, keeps=dict.fromkeys(pictures, share))


def _plane(shape: tuple[int, ...], layout: str) -> tuple[int, int] | None:
    """Height and width of a batch of pictures; None of other shapes.

    A model in one layout may take its input in the other: up to four channels give themselves away.
    """
    if len(shape) != 4:
        return None
    first, second = shape[1:3], shape[2:]
    if layout == "NCHW":
        height, width = first if shape[3] <= _MOST_COLOURS < min(first) else second
    else:
        height, width = second if shape[1] <= _MOST_COLOURS < min(second) else first
    return (height, width) if height > 1 and width > 1 else None


def prune_rows(
    overrun: Overrun, parts: Mapping[str, Part], constants: Mapping[str, TensorSize]
) -> Iterator[Change]:
    """Fewer rows of the largest table that is looked up in."""
    tables = {key: tensor for key, tensor in constants.items() if is_table(tensor)}
    for key, tensor, reader, axis in _largest(tables, parts, "table"):
        rows = tensor.shape[axis]
        kept = _most(rows, parts[key].size_bytes, overrun.over_bytes)
        how = (
            f"prune the vocabulary: keep at most {kept} of the {rows} rows of {tensor.name!r}, "
            f"which {reader.type} {reader.name} looks up"
        )
        if kept < rows:
            yield Change("prune-rows", tensor.name, how, keeps={key: Fraction(kept, rows)})


def narrow_layer(
    overrun: Overrun, parts: Mapping[str, Part], constants: Mapping[str, TensorSize]
) -> Iterator[Change]:
    """Less of the largest fully connected layer; one that makes an output keeps its units."""
    weights = {
        key: tensor
        for key, tensor in constants.items()
        if tensor.readers and all(each.use == "dense" for each in tensor.readers)
    }
    made = {shape[-1] for _, shape in overrun.network.outputs if shape}
    for key, tensor, reader, axis in _largest(weights, parts, "dense"):
        size_bytes, units = parts[key].size_bytes, tensor.shape[axis]
        rank = _rank(tensor.shape, size_bytes, overrun.over_bytes)
        factored = Fraction(rank * sum(tensor.shape), math.prod(tensor.shape))
        kept = _most(units, size_bytes, overrun.over_bytes)
        named = f"{reader.type} {reader.name} ({tensor.name!r}, {units} output units)"
        in_two = f"two layers with at most {rank} units between them"
        if units not in made and kept < units:
            how = f"narrow {named} to at most {kept} of them"
            how += f", or make it {in_two}" if factored < 1 else ""
            yield Change("narrow-layer", tensor.name, how, keeps={key: Fraction(kept, units)})
        elif units in made and factored < 1:
            how = f"make {named} {in_two}"
            yield Change("factor-layer", tensor.name, how, keeps={key: factored})


def _most(count: int, size_bytes: int, over_bytes: int) -> int:
    """How many of `count` equal shares may stay so that enough goes; never less than a tenth."""
    left = max(0, size_bytes - over_bytes)
    return max(count * left // max(1, size_bytes), -(-count // _LEAST_KEPT))


def _rank(shape: tuple[int, ...], size_bytes: int, over_bytes: int) -> int:
    """Of two factors that take what may stay; never less than a tenth of the full rank."""
    left = max(0, size_bytes - over_bytes)
    fitting = math.prod(shape) * left // max(1, size_bytes * sum(shape))
    return max(fitting, -(-min(shape) // _LEAST_KEPT))


def _largest(
    tensors: Mapping[str, TensorSize], parts: Mapping[str, Part], use: str
) -> Iterator[tuple[str, TensorSize, Reader, int]]:
    """The one that takes most bytes: its part, who uses it so, and along which axis; or none."""
    for key in sorted(tensors, key=lambda each: -parts[each].size_bytes)[:1]:
        for reader in tensors[key].readers:
            if reader.use == use and reader.axis is not None:
                yield key, tensors[key], reader, reader.axis
                return
