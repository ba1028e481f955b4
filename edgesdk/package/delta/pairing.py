"""Which old tensor a new one came from: by name, and by content where names or places changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgesdk.models.ranges.types import Floats, Layout, TensorRange

Bytes = npt.NDArray[np.uint8]
T = TypeVar("T")

_SAMPLE = 4096
_TELLING = 256
"""Elements from which on a correlation says something."""
_RELATED = 0.2


@dataclass(frozen=True, slots=True)
class Pairs:
    """The old tensor of each new one, by where they start; and likewise of vectors."""

    tensors: dict[int, TensorRange]
    vectors: dict[int, Floats]


def pair(old: Bytes, new: Bytes, old_layout: Layout, new_layout: Layout) -> Pairs:
    """Pair the tensors and the vectors of two files."""
    tensors = _Pairing(old, new, old_layout.tensors, new_layout.tensors).pairs()
    vectors: dict[int, Floats] = {}
    for tensor in new_layout.tensors:
        before = tensors.get(tensor.start)
        if before is not None:
            for scale, old_scale in zip(tensor.scales, before.scales, strict=False):
                if scale.count == old_scale.count:
                    vectors.setdefault(scale.start, old_scale)
    taken = {vector.start for vector in vectors.values()}
    rest_new = [each for each in new_layout.vectors if each.start not in vectors]
    rest_old = [each for each in old_layout.vectors if each.start not in taken]
    for a, b in _in_order(rest_new, rest_old, lambda each: each.count):
        vectors[a.start] = b
    return Pairs(tensors, vectors)


class _Pairing:
    """What is left to pair on either side."""

    def __init__(
        self, old: Bytes, new: Bytes, olds: Sequence[TensorRange], news: Sequence[TensorRange]
    ) -> None:
        self._old, self._new = old, new
        self._olds = {tensor.start: tensor for tensor in olds}
        self._news = {tensor.start: tensor for tensor in news}
        self._found: dict[int, TensorRange] = {}

    def pairs(self) -> dict[int, TensorRange]:
        """By name, by content, by order, and by name where rows were added or taken away."""
        self._by_name(_form)
        self._by_content()
        for new, old in _in_order(list(self._news.values()), list(self._olds.values()), _form):
            if not _is_telling(new):
                self._take(new, old)
        self._by_name(lambda each: (each.dtype, each.shape[1:]))
        return self._found

    def _take(self, new: TensorRange, old: TensorRange) -> None:
        self._found[new.start] = old
        del self._news[new.start], self._olds[old.start]

    def _by_name(self, form: Callable[[TensorRange], Hashable]) -> None:
        named = {(old.name, form(old)): old for old in self._olds.values()}
        for new in list(self._news.values()):
            old = named.pop((new.name, form(new)), None)
            if old is not None and (not _is_telling(new) or self._related(new, old) > _RELATED):
                self._take(new, old)

    def _by_content(self) -> None:
        for new in list(self._news.values()):
            if not _is_telling(new):
                continue
            candidates = [old for old in self._olds.values() if _form(old) == _form(new)]
            scores = [self._related(new, old) for old in candidates]
            if scores and max(scores) > _RELATED:
                self._take(new, candidates[scores.index(max(scores))])

    def _related(self, new: TensorRange, old: TensorRange) -> float:
        """Correlation of the first elements."""
        count = min(new.size, old.size)
        a = _values(self._new[new.start : new.start + count], new.dtype)
        b = _values(self._old[old.start : old.start + count], old.dtype)
        if np.array_equal(a, b):
            return 1.0
        a, b = a - a.mean(), b - b.mean()
        scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
        return float((a * b).sum()) / scale if scale > 0 else 0.0


def _form(tensor: TensorRange) -> Hashable:
    return tensor.dtype, tensor.shape


def _is_telling(tensor: TensorRange) -> bool:
    return tensor.size >= _TELLING


def _values(data: Bytes, dtype: str) -> npt.NDArray[np.float64]:
    """Some of the elements as numbers that may be correlated."""
    if dtype in ("int4", "uint4"):
        data = data[:_SAMPLE]
        values = np.concatenate([data & 0x0F, data >> 4]).astype(np.float64)
        return np.where(values > 7, values - 16, values) if dtype == "int4" else values
    kind = dtype if dtype not in ("bfloat16", "float8", "bool") else "int8"
    item = np.dtype(kind).newbyteorder("<")
    data = data[: min(len(data), _SAMPLE * item.itemsize) // item.itemsize * item.itemsize]
    with np.errstate(invalid="ignore"):
        values = data.view(item).astype(np.float64)
    return np.clip(np.nan_to_num(values), -1e30, 1e30)


def _in_order(
    news: Sequence[T], olds: Sequence[T], form: Callable[[T], Hashable]
) -> Iterator[tuple[T, T]]:
    """Those of one form that follow one another alike in both."""
    matcher = SequenceMatcher(None, list(map(form, news)), list(map(form, olds)), autojunk=False)
    for block in matcher.get_matching_blocks():
        for place in range(block.size):
            yield news[block.a + place], olds[block.b + place]
