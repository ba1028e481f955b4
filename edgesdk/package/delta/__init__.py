"""Deltas between two versions of a file, tensor by tensor where it is a model.

`make_delta` tries a delta of bytes and one of tensors and keeps the smaller; every patch has been
applied, by the very code that the device runs, before it is returned. Whether a delta is worth
shipping is for the caller: compare its size with the full file's.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from device_agent import delta as agent
from edgesdk.models.ranges import read_layout
from edgesdk.package.delta.byte_steps import rough_size
from edgesdk.package.delta.modelling import model
from edgesdk.package.delta.planning import Plan, plan_bytes, plan_tensors
from edgesdk.package.delta.steps import write_patch
from edgesdk.package.delta.versions import compare

__all__ = ["BYTES", "TENSORS", "Delta", "apply_delta", "make_delta"]

BYTES, TENSORS = "bytes-delta", "tensors-delta"

_WORTH_CODING = 1.5
"""A delta of bytes this much larger than the one of tensors, roughly, cannot be the smaller."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A patch and how it is coded.

    Args:
        codec: "bytes-delta" or "tensors-delta".
    """

    codec: str
    patch: bytes


def make_delta(
    base: bytes, new: bytes, *, base_described_by: bytes = b"", described_by: bytes = b""
) -> Delta:
    """The smallest patch that makes `new` from `base`; the same for the same two files.

    Args:
        base_described_by, described_by: the model files, where `base` and `new` are the weights
            beside them (an OpenVINO `.bin`, ONNX's external data).

    Raises:
        AssertionError: the patch does not make `new`; a bug in here.
    """
    old, after = np.frombuffer(base, np.uint8), np.frombuffer(new, np.uint8)
    layouts = read_layout(base, base_described_by), read_layout(new, described_by)
    smallest = _delta(TENSORS, plan_tensors(compare(old, after, *layouts)), base, new)
    plain = plan_bytes(old, after)
    if rough_size(plain.main) < _WORTH_CODING * len(smallest.patch):
        bytewise = _delta(BYTES, plain, base, new)
        smallest = min(bytewise, smallest, key=lambda delta: len(delta.patch))
    if apply_delta(smallest.patch, base) != new:
        raise AssertionError("the delta just made does not make the new file")
    return smallest


def apply_delta(patch: bytes, base: bytes) -> bytes:
    """The new file.

    Raises:
        BadDelta: the patch is malformed.
    """
    out = io.BytesIO()
    agent.apply(io.BytesIO(patch), io.BytesIO(base), out.write)
    return out.getvalue()


def _delta(codec: str, plan: Plan, base: bytes, new: bytes) -> Delta:
    modelling = model((*plan.side, *plan.main))
    patch = write_patch(codec, (len(new), len(base)), plan.side, plan.main, modelling)
    return Delta(codec, patch.data)
