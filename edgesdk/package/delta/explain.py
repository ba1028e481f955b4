"""Which tensors changed between two versions of a model, and what each costs in the delta."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgesdk.models.ranges import read_layout
from edgesdk.models.ranges.types import TensorRange
from edgesdk.package.delta import make_delta
from edgesdk.package.delta.modelling import model, symbol_shares
from edgesdk.package.delta.planning import Plan, plan_tensors
from edgesdk.package.delta.steps import (
    Add,
    ByteStep,
    Insert,
    Modelling,
    Patch,
    Step,
    WideStep,
    write_patch,
)
from edgesdk.package.delta.versions import Bytes, Versions, compare
from edgesdk.values.difference import Explanation, How, TensorChange

_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")


def explain(
    base: bytes, new: bytes, *, base_described_by: bytes = b"", described_by: bytes = b""
) -> Explanation:
    """What a delta from `base` to `new` spends its bytes on; arguments as for `make_delta`."""
    old, after = np.frombuffer(base, np.uint8), np.frombuffer(new, np.uint8)
    layouts = read_layout(base, base_described_by), read_layout(new, described_by)
    versions = compare(old, after, *layouts)
    plan = plan_tensors(versions)
    modelling = model((*plan.side, *plan.main))
    patch = write_patch("tensors-delta", (len(new), len(base)), plan.side, plan.main, modelling)
    costs = _costs(plan, modelling, patch)
    changes = [_change(tensor, versions, plan, costs) for tensor in layouts[1].tensors]
    rest = len(patch.data) - sum(change.cost_bytes for change in changes)
    changes.append(TensorChange("", "", "", (), None, None, rest, "bytes"))
    smallest = make_delta(base, new, base_described_by=base_described_by, described_by=described_by)
    ordered = sorted(changes, key=lambda change: (-change.cost_bytes, change.name))
    full = len(zlib.compress(new, 9))
    return Explanation(smallest.codec, len(smallest.patch), full, tuple(ordered))


def _costs(plan: Plan, modelling: Modelling, patch: Patch) -> list[float]:
    """Bytes of the patch that each step takes: its parts of the streams it reads."""
    steps = (*plan.side, *plan.main)
    program, inserted, added, classes, *streams = patch.streams
    costs = np.full(len(steps), program / max(len(steps), 1))
    costs += symbol_shares(steps, modelling, streams)
    costs += _shares(
        [len(step.data) if isinstance(step, Insert) else 0 for step in steps], inserted
    )
    costs += _shares([_differing(step) for step in steps], added)
    said = [modelling.classes.get(place, b"") for place in range(len(steps))]
    costs += _shares([len(each) if len(each) > 1 else 0 for each in said], classes)
    return [float(cost) for cost in costs]


def _differing(step: Step) -> int:
    return len(step.differences) - step.differences.count(0) if isinstance(step, Add) else 0


def _shares(weights: Sequence[int], total: int) -> npt.NDArray[np.float64]:
    parts = np.array(weights, np.float64)
    return parts * (total / parts.sum()) if parts.any() else parts


def _change(
    tensor: TensorRange,
    versions: Versions,
    plan: Plan,
    costs: Sequence[float],
) -> TensorChange:
    places = [place for place, owner in plan.owners.items() if owner.start == tensor.start]
    steps = (*plan.side, *plan.main)
    old, data = versions.pairs.tensors.get(tensor.start), versions.after(tensor)
    fraction, step = 1.0, None
    if old is not None and old.size == tensor.size:
        fraction, step = _moved(versions.before(old), data, tensor.dtype)
    return TensorChange(
        tensor.name,
        tensor.layer,
        tensor.dtype,
        tensor.shape,
        fraction,
        step,
        round(sum(costs[place] for place in places)),
        "unchanged" if fraction == 0 else _how([steps[p] for p in places if p >= len(plan.side)]),
    )


def _moved(before: Bytes, after: Bytes, dtype: str) -> tuple[float, int | None]:
    """The fraction of elements that changed, and the largest step of an integer."""
    if dtype not in _INTEGERS:
        width = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "uint64": 8}.get(dtype, 1)
        kind = np.dtype(f"u{width}")
        return float((before.view(kind) != after.view(kind)).mean()), None
    kind = np.dtype(dtype).newbyteorder("<")
    steps = after.view(kind).astype(np.int64) - before.view(kind).astype(np.int64)
    return float((steps != 0).mean()), int(np.abs(steps).max())


def _how(steps: Sequence[Step]) -> How:
    if not steps:
        return "bytes"
    first = steps[0]
    if isinstance(first, ByteStep | WideStep):
        return "new" if first.base is None else "rescaled" if first.moved else "difference"
    return "bytes"
