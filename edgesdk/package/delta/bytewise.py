"""What bytes of a new file are those of an old one, shifted: for all that is not a known tensor.

Windows of eight bytes that occur in both are anchors; a run of anchors at one distance grows to
both sides as long as more bytes agree than do not. A graph holds the same few bytes in many places,
of which the first need not be the one that moved along: of small files, the distances that most
anchors have are tried besides, each byte at the one where it stands in the longest run, and what
leaves less to say is taken. What is left over, where so many bytes changed
that no window survived, is laid against the old file at the distances around it and at the one that
correlates best.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edgesdk.package.delta.coding import entropy_bits

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

_WINDOW = 8
_HASH_BITS = 22
_BLOCK = 1 << 20
_RUN_MIN = 16
_GROWTH_MAX = 1 << 16
_COMMON_DISTANCES = 64
_COMMON_MAX = 1 << 19
"""Bytes of the larger file up to which every byte is tried at each of them."""
_MATCH_BYTES = 4
"""What a match takes in the program, roughly."""
_NOWHERE = np.iinfo(np.int64).min
_LEFT_OVER_MIN = 512
_GAIN_MIN = 0.9
_CORRELATED_MIN, _CORRELATED_MAX = 4096, 1 << 25
"""Bytes of a piece from which on, and of the larger file up to which, correlations are sought."""


@dataclass(frozen=True, slots=True)
class Match:
    """Bytes of the new file laid against the old one.

    Args:
        new: where they begin.
        old: where what they are laid against begins; -1 where nothing fits.
    """

    new: int
    size: int
    old: int


def match_bytes(old: Bytes, new: Bytes, *, correlate: bool = True) -> list[Match]:
    """All of the new file, in order: against the old one or against nothing.

    Args:
        correlate: look for pieces without anchors everywhere in the old file, which takes long.
    """
    search = _Search(old) if correlate else None
    anchors = _anchors(old, new)
    found = [_around(anchors, old, new, search)]
    if max(len(old), len(new)) <= _COMMON_MAX:
        found.append(_around(_common_anchors(anchors, old, new), old, new, search))
    return min(found, key=lambda matches: _rough_bytes(matches, old, new))


def _around(anchors: list[Match], old: Bytes, new: Bytes, search: _Search | None) -> list[Match]:
    """The anchors grown, and what is left over between them."""
    matches: list[Match] = []
    for anchor in [*_grown(anchors, old, new), Match(len(new), 0, len(old))]:
        position = matches[-1].new + matches[-1].size if matches else 0
        if anchor.new > position:
            piece = Match(position, anchor.new - position, -1)
            around = (*matches[-1:], anchor) if anchor.size else matches[-1:]
            matches.extend(_left_over(piece, around, old, new, search))
        if anchor.size:
            matches.append(anchor)
    return _joined(matches)


def _rough_bytes(matches: list[Match], old: Bytes, new: Bytes) -> int:
    """What the matches leave to say, one quick coder later."""
    said = [
        new[match.new : match.new + match.size]
        - (old[match.old : match.old + match.size] if match.old >= 0 else np.uint8(0))
        for match in matches
    ]
    return len(zlib.compress(b"".join(each.tobytes() for each in said))) + _MATCH_BYTES * len(said)


def _joined(matches: list[Match]) -> list[Match]:
    """Neighbours at one distance as one, and what is too short to look at between two such."""
    joined: list[Match] = []
    for match in matches:
        short = joined[-1] if joined and joined[-1].old < 0 else None
        before = joined[-2] if short is not None and len(joined) > 1 else None
        between = short is not None and short.size < _LEFT_OVER_MIN
        if before is not None and between and _continues(before, match):
            del joined[-2:]
            match = Match(before.new, match.new + match.size - before.new, before.old)
        if joined and match.old >= 0 and _continues(joined[-1], match):
            before = joined.pop()
            match = Match(before.new, match.new + match.size - before.new, before.old)
        joined.append(match)
    return joined


def _continues(before: Match, match: Match) -> bool:
    """Both lie against the old file, at one distance."""
    laid = before.old >= 0 and match.old >= 0
    return laid and match.old - match.new == before.old - before.new


def _windows(data: Bytes, start: int, end: int) -> npt.NDArray[np.uint64]:
    """The eight bytes from each place on, as an integer."""
    count = max(0, min(end, len(data) - _WINDOW + 1) - start)
    if not count:
        return np.zeros(0, np.uint64)
    view = np.lib.stride_tricks.sliding_window_view(data[start : start + count + 7], _WINDOW)
    return np.ascontiguousarray(view).view(np.uint64).ravel()


def _hashes(windows: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    product = windows * np.uint64(0x9E3779B97F4A7C15)
    return (product >> np.uint64(64 - _HASH_BITS)).astype(np.int64)


def _anchors(old: Bytes, new: Bytes) -> list[Match]:
    """Runs of windows that lie at one distance in both files, longest first where they overlap."""
    table = np.full(1 << _HASH_BITS, -1, np.int64)
    for start in range(0, len(old), _BLOCK):
        # Written from the last on, so that of equal windows the first stays.
        start = (len(old) - 1) // _BLOCK * _BLOCK - start
        found = _windows(old, start, start + _BLOCK)
        table[_hashes(found)[::-1]] = np.arange(start, start + len(found), dtype=np.int64)[::-1]
    runs: list[Match] = []
    same = _same_distance(old, new)
    for start in range(0, len(new), _BLOCK):
        windows = _windows(new, start, start + _BLOCK)
        places = table[_hashes(windows)]
        here = np.arange(start, start + len(windows), dtype=np.int64)
        known = places >= 0
        known[known] = _windows_at(old, places[known]) == windows[known]
        distances = np.where(known, places - here, np.iinfo(np.int64).min)
        # Of several places in the old file the one that has not moved is the likeliest.
        distances = np.where(same[start : start + len(windows)], 0, distances)
        runs.extend(_runs(distances, start))
    return _apart(runs)


def _common_anchors(anchors: list[Match], old: Bytes, new: Bytes) -> list[Match]:
    """Runs of equal bytes at the distances that most bytes of the anchors have."""
    sizes: dict[int, int] = {0: 0}
    for anchor in anchors:
        distance = anchor.old - anchor.new
        sizes[distance] = sizes.get(distance, 0) + anchor.size
    longest = np.zeros(len(new), np.int64)
    distances = np.full(len(new), _NOWHERE)
    for distance in sorted(sizes, key=lambda each: (-sizes[each], each))[:_COMMON_DISTANCES]:
        start, end = max(0, -distance), min(len(new), len(old) - distance)
        equal = np.zeros(len(new) + 2, np.int8)
        equal[start + 1 : end + 1] = old[start + distance : end + distance] == new[start:end]
        edges = np.flatnonzero(np.diff(equal)).reshape(-1, 2)
        lengths = edges[:, 1] - edges[:, 0]
        places, runs = np.flatnonzero(equal[1:-1]), np.repeat(lengths, lengths)
        longer = runs > longest[places]
        longest[places[longer]] = runs[longer]
        distances[places[longer]] = distance
    breaks = np.flatnonzero(np.diff(distances)) + 1
    cuts = [0, *breaks.tolist(), len(distances)]
    return [
        Match(begin, end - begin, begin + int(distances[begin]))
        for begin, end in pairwise(cuts)
        if end - begin >= _RUN_MIN and distances[begin] != _NOWHERE
    ]


def _same_distance(old: Bytes, new: Bytes) -> npt.NDArray[np.bool_]:
    """Where the window of the new file stands at the same place of the old one."""
    count = min(len(old), len(new))
    equal = np.zeros(len(new) + 1, np.int64)
    equal[1 : count + 1] = old[:count] == new[:count]
    totals = np.cumsum(equal)
    full = np.zeros(len(new), bool)
    if len(new) >= _WINDOW:
        full[: len(new) - _WINDOW + 1] = totals[_WINDOW:] - totals[:-_WINDOW] == _WINDOW
    return full


def _windows_at(data: Bytes, places: Places) -> npt.NDArray[np.uint64]:
    picked = data[places[:, None] + np.arange(_WINDOW)]
    return np.ascontiguousarray(picked).view(np.uint64).ravel()


def _runs(distances: Places, start: int) -> Iterator[Match]:
    none = np.iinfo(np.int64).min
    breaks = np.flatnonzero(np.diff(distances)) + 1
    begins = np.concatenate([[0], breaks])
    ends = np.concatenate([breaks, [len(distances)]])
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        size = end - begin + _WINDOW - 1
        if end > begin and distances[begin] != none and size >= _RUN_MIN:
            place = start + begin
            yield Match(place, size, place + int(distances[begin]))


def _apart(runs: list[Match]) -> list[Match]:
    """The runs without what overlaps the one before; those of one distance that touch are one."""
    kept: list[Match] = []
    for run in runs:
        if kept and run.new <= kept[-1].new + kept[-1].size:
            before = kept[-1]
            if run.old - run.new == before.old - before.new:
                kept[-1] = Match(before.new, run.new + run.size - before.new, before.old)
                continue
            overlap = before.new + before.size - run.new
            run = Match(run.new + overlap, run.size - overlap, run.old + overlap)
            if run.size < _RUN_MIN:
                continue
        kept.append(run)
    return kept


def _grown(anchors: list[Match], old: Bytes, new: Bytes) -> list[Match]:
    """Each anchor grown to both sides, and those of one distance joined over what lies between."""
    grown: list[Match] = []
    for index, anchor in enumerate(anchors):
        floor = grown[-1].new + grown[-1].size if grown else 0
        ceiling = anchors[index + 1].new if index + 1 < len(anchors) else len(new)
        back = _growth(old[: anchor.old][::-1], new[floor : anchor.new][::-1])
        start, end = anchor.new - back, anchor.new + anchor.size
        distance = anchor.old - anchor.new
        end += _growth(old[end + distance :], new[end:ceiling])
        if grown and start == floor and distance == grown[-1].old - grown[-1].new:
            start = grown[-1].new
            grown.pop()
        grown.append(Match(start, end - start, start + distance))
    return grown


def _growth(old: Bytes, new: Bytes) -> int:
    """How far to go so that what agrees outweighs most what does not."""
    count = min(len(old), len(new), _GROWTH_MAX)
    if not count:
        return 0
    scores = np.cumsum(np.where(old[:count] == new[:count], 1, -1))
    best = int(scores.argmax())
    return best + 1 if scores[best] > 0 else 0


def _left_over(
    piece: Match,
    around: Sequence[Match],
    old: Bytes,
    new: Bytes,
    search: _Search | None,
) -> Iterator[Match]:
    """A piece without anchors, laid where the difference to the old file says least."""
    if piece.size < _LEFT_OVER_MIN or not len(old):
        yield piece
        return
    data = new[piece.new : piece.new + piece.size]
    near = {match.old - match.new for match in around} | {0, len(old) - len(new)}
    best = _laid(piece, data, old, near)
    if best.old < 0 and search is not None:
        best = _laid(piece, data, old, search.distance(data, piece.new))
    if best.old < 0:
        yield piece
        return
    if best.new > piece.new:
        yield Match(piece.new, best.new - piece.new, -1)
    yield best
    if best.new + best.size < piece.new + piece.size:
        rest = best.new + best.size
        after = Match(rest, piece.new + piece.size - rest, -1)
        yield from _left_over(after, [best], old, new, search)


def _laid(piece: Match, data: Bytes, old: Bytes, distances: set[int]) -> Match:
    """The piece, or most of it, at the distance that leaves the least to say; else at none."""
    best, fewest = piece, entropy_bits(np.bincount(data, minlength=256)) * _GAIN_MIN
    for distance in sorted(distances, key=lambda each: (abs(each), each)):
        start = piece.new + distance
        begin, end = max(0, -start), min(piece.size, len(old) - start)
        if end - begin < piece.size // 2:
            continue
        difference = data[begin:end] - old[start + begin : start + end]
        outside = piece.size - (end - begin)
        bits = entropy_bits(np.bincount(difference, minlength=256)) + 8.0 * outside
        if bits < fewest:
            best, fewest = Match(piece.new + begin, end - begin, start + begin), bits
    return best


class _Search:
    """Finds where in the old file a piece correlates best, by its bytes as signed values."""

    def __init__(self, old: Bytes) -> None:
        self._old = old
        self._transforms: dict[int, npt.NDArray[np.complex128]] = {}

    def distance(self, data: Bytes, place: int) -> set[int]:
        """The one distance found; none where the files are too large to look."""
        if max(len(self._old), len(data)) > _CORRELATED_MAX or len(data) < _CORRELATED_MIN:
            return set()
        size = 1 << (len(self._old) + len(data) - 1).bit_length()
        if size not in self._transforms:
            self._transforms[size] = np.fft.rfft(_centred(self._old), size)
        scores = np.fft.irfft(self._transforms[size] * np.conj(np.fft.rfft(_centred(data), size)))
        best = int(scores.argmax())
        return {(best if best < len(self._old) else best - size) - place}


def _centred(data: Bytes) -> npt.NDArray[np.float32]:
    values = data.view(np.int8).astype(np.float32)
    centred: npt.NDArray[np.float32] = values - values.mean()
    return centred
