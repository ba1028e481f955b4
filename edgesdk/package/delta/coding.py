"""Code a stream of a delta with whatever standard coder, in whatever digits, makes it smallest.

The counterpart of `device_agent.delta_streams`. Everything is tried that an estimate does not rule
out; of two results of one size the earlier in the list wins, so that the choice depends on nothing
but the bytes.
"""

from __future__ import annotations

import heapq
import lzma
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_agent.delta_streams import (
    DEFLATE,
    LZMA,
    PER_BYTE,
    RUN_MAX,
    RUNS,
    STORED,
    WHOLE,
    StreamHeader,
    largest_digit,
)

Bytes = npt.NDArray[np.uint8]

_DICTIONARY_MIN_LOG2, _DICTIONARY_MAX_LOG2 = 12, 20
_LZMA_OF_SYMBOLS = ((0, 0, 0),)
_LZMA_OF_BYTES = ((3, 0, 0), (0, 0, 0), (3, 0, 2), (0, 2, 2))
"""lc, lp and pb."""
_DIGIT_TRIES = 2
_DIGITS_MAX, _DIGITS_MIN = 3, 64
_ESCAPES_COST = 1.02


@dataclass(frozen=True, slots=True)
class Coded:
    """A stream as it goes into the patch."""

    header: StreamHeader
    stored: bytes


def code_bytes(data: bytes) -> Coded:
    """A stream of plain bytes: text, tables, whatever has repetitions."""
    return min(
        _coders(data, WHOLE, len(data), _LZMA_OF_BYTES, (zlib.Z_DEFAULT_STRATEGY,)), key=_size
    )


def code_symbols(symbols: Bytes, digits: int = _DIGITS_MAX) -> tuple[Coded, ...]:
    """A stream of symbols, most of them small, and where it is in digits the escapes from them.

    Args:
        digits: how often escapes may have escapes.
    """
    if not digits or len(symbols) < _DIGITS_MIN:
        return _in_digits(symbols, WHOLE, 0)
    bases = (*PER_BYTE, RUNS)
    tried = {WHOLE, *sorted(bases, key=lambda base: _estimate(symbols, base))[:_DIGIT_TRIES]}
    return min((_in_digits(symbols, base, digits - 1) for base in sorted(tried)), key=_total)


def _in_digits(symbols: Bytes, base: int, digits: int) -> tuple[Coded, ...]:
    if base == WHOLE:
        return (_code(symbols.tobytes(), WHOLE, len(symbols)),)
    packed, escapes = pack(symbols, base)
    return _code(packed.tobytes(), base, len(symbols)), *code_symbols(escapes, digits)


def _code(data: bytes, base: int, symbols: int) -> Coded:
    strategies = (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY)
    return min(_coders(data, base, symbols, _LZMA_OF_SYMBOLS, strategies), key=_size)


def _size(coded: Coded) -> int:
    return len(coded.stored)


def _total(coded: tuple[Coded, ...]) -> int:
    return sum(len(each.stored) + 6 for each in coded)


def pack(symbols: Bytes, base: int) -> tuple[Bytes, Bytes]:
    """Symbols as digits, several to a byte, and by how much those escape that are too large."""
    largest = largest_digit(base)
    escapes = symbols[symbols >= largest] - np.uint8(largest)
    if base == RUNS:
        return _as_runs(symbols), escapes
    per_byte = PER_BYTE[base]
    padded = np.zeros(-(-len(symbols) // per_byte) * per_byte, np.uint8)
    padded[: len(symbols)] = np.minimum(symbols, largest)
    weights = np.array([base**place for place in reversed(range(per_byte))], np.uint8)
    return (padded.reshape(-1, per_byte) * weights).sum(axis=1, dtype=np.uint8), escapes


def _as_runs(symbols: Bytes) -> Bytes:
    """The zeros before each symbol that is none; runs too long for a byte in several."""
    places = np.flatnonzero(symbols)
    ends = places if len(places) and places[-1] == len(symbols) - 1 else [*places, len(symbols)]
    runs = np.diff(np.asarray(ends, np.int64), prepend=-1) - 1
    longs, rest = np.divmod(runs, RUN_MAX)
    packed = np.full(int((longs + 1).sum()), RUN_MAX, np.uint8)
    packed[np.cumsum(longs + 1) - 1] = rest
    return packed


def _estimate(symbols: Bytes, base: int) -> float:
    """Bits that the symbols take in digits of this base, if coded well."""
    if base == WHOLE:
        return _bits(symbols)
    packed, escapes = pack(symbols, base)
    rest = entropy_bits(np.bincount(escapes, minlength=256)) * _ESCAPES_COST
    return _bits(packed) + rest + 64


def _bits(data: Bytes) -> float:
    """What Huffman's code of the bytes takes, and roughly its table; or they as they are."""
    counts = np.bincount(data, minlength=256)
    heap = counts[counts > 0].tolist()
    heapq.heapify(heap)
    bits = len(data) if len(heap) == 1 else 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heap[0]
        heapq.heapreplace(heap, merged)
        bits += merged
    return min(bits + 4.0 * np.count_nonzero(counts), 8.0 * len(data))


def entropy_bits(counts: npt.NDArray[np.int64]) -> float:
    """Bits that symbols with these counts take in all."""
    present = counts[counts > 0].astype(np.float64)
    return float((present * np.log2(present.sum() / present)).sum()) if len(present) else 0.0


def _coders(
    data: bytes,
    base: int,
    symbols: int,
    options: Sequence[tuple[int, int, int]],
    strategies: Sequence[int],
) -> Iterator[Coded]:
    yield Coded(StreamHeader(STORED, base, 0, 0, len(data), symbols), data)
    for strategy in strategies:
        deflated = _deflated(data, strategy)
        yield Coded(StreamHeader(DEFLATE, base, 0, 0, len(deflated), symbols), deflated)
    log2 = max(_DICTIONARY_MIN_LOG2, min(_DICTIONARY_MAX_LOG2, (len(data) - 1).bit_length()))
    if options is _LZMA_OF_SYMBOLS:
        log2 = _DICTIONARY_MIN_LOG2
    for lc, lp, pb in options:
        packed = _lzma(data, lc, lp, pb, log2)
        header = StreamHeader(LZMA, base, (pb * 5 + lp) * 9 + lc, log2, len(packed), symbols)
        yield Coded(header, packed)


def _deflated(data: bytes, strategy: int) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
    return coder.compress(data) + coder.flush()


def _lzma(data: bytes, lc: int, lp: int, pb: int, log2: int) -> bytes:
    options = {
        "id": lzma.FILTER_LZMA1,
        "preset": 9,
        "dict_size": 1 << log2,
        "lc": lc,
        "lp": lp,
        "pb": pb,
    }
    return lzma.compress(data, lzma.FORMAT_RAW, filters=[options])
