"""What would bring a model or a package under a budget it breaks, in bytes. Pure arithmetic.

Every saving follows from sizes that were read: what goes is counted whole, what shrinks in
proportion to its values. What a change costs in accuracy is not told here. The cheap ones come
first: those that need no other conversion, then no other training, then the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction

from edgesdk.package.changes import Change, Part, saved
from edgesdk.package.fewer_bits import eight_bits, lower_precision
from edgesdk.package.smaller_network import narrow_layer, prune_rows, smaller_input
from edgesdk.values.overrun import Overrun
from edgesdk.values.remedies import Remedy

_WORTH = 100
"""What saves less than one part in so many of what must go is not told."""


def remedies(overrun: Overrun) -> tuple[Remedy, ...]:
    """Everything known that makes it smaller and applies, each with what it saves.

    Left out is what saves less than a hundredth of what must go, and, once those before it are
    enough together, what is not enough by itself.
    """
    parts = _parts(overrun)
    told: list[Change] = []
    found: list[Remedy] = []
    for change in _changes(overrun, parts):
        saves_bytes = saved(parts, [change])
        enough = saves_bytes >= overrun.over_bytes
        needed = enough or not (found and found[-1].enough_together)
        if not needed or saves_bytes * _WORTH < overrun.over_bytes:
            continue
        told.append(change)
        found.append(
            Remedy(
                what=change.what,
                subject=change.subject,
                saves_bytes=saves_bytes,
                estimated=change.estimated,
                enough=enough,
                enough_together=saved(parts, told) >= overrun.over_bytes,
                how=change.how,
            )
        )
    return tuple(found)


def _parts(overrun: Overrun) -> dict[str, Part]:
    files = {
        "float": Part(overrun.float_bytes),
        "twin": Part(overrun.twin_bytes),
        "golden": Part(overrun.golden_bytes),
    }
    return files | {
        f"tensor {index}": Part(math.floor(tensor.size_bytes * overrun.counted), tensor)
        for index, tensor in enumerate(overrun.tensors)
    }


def _changes(overrun: Overrun, parts: Mapping[str, Part]) -> Iterator[Change]:
    tensors = {key: part.tensor for key, part in parts.items() if part.tensor is not None}
    constants = {key: each for key, each in tensors.items() if each.kind == "constant"}
    yield from _leave_out(overrun)
    yield from _fewer_golden_vectors(overrun)
    yield from eight_bits(overrun.network, constants)
    yield from lower_precision(overrun.network, parts, tensors)
    yield from smaller_input(overrun, parts, tensors)
    yield from prune_rows(overrun, parts, constants)
    yield from narrow_layer(overrun, parts, constants)


def _leave_out(overrun: Overrun) -> Iterator[Change]:
    """What travels beside the model; where a device falls back to it, that is said."""
    without = "; devices then have nothing to fall back to"
    if overrun.twin_bytes:
        how = "leave the twin out (no --twin)" + without * (overrun.fallback == "twin")
        gone = {"twin": Fraction(0)}
        yield Change("leave-out-twin", "twin", how, keeps=gone, estimated=False)
    if overrun.float_bytes:
        how = "leave the float model out (no --include-float, no include_float under [package])"
        how += without * (overrun.fallback == "float")
        gone = {"float": Fraction(0)}
        yield Change("leave-out-float", "float", how, keeps=gone, estimated=False)


def _fewer_golden_vectors(overrun: Overrun) -> Iterator[Change]:
    count = overrun.golden_count
    how = f"keep one golden vector of {count} (golden_vectors = 1 under [recipe])"
    if overrun.golden_bytes and count > 1:
        one = {"golden": Fraction(1, count)}
        yield Change("fewer-golden-vectors", "golden", how, keeps=one)
