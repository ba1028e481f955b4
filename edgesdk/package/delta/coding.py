"""Code a stream of a delta with the standard-library coder, and in the digits, that make it smallest.

The counterpart of `device_agent.delta_streams`. Everything is tried that an estimate does not rule
out; of two results of one size the earlier in the list wins, so that the choice depends on nothing
but the bytes.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_agent.delta_streams import DEFLATE, LZMA, PER_BYTE, STORED, StreamHeader

Bytes = npt.NDArray[np.uint8]

_DICTIONARY_MIN_LOG2, _DICTIONARY_MAX_LOG2 = 12, 20
_LZMA_OF_SYMBOLS = ((0, 0, 0),)
_LZMA_OF_BYTES = ((3, 0, 0), (0, 0, 0), (3, 0, 2), (0, 2, 2))
"""lc, lp and pb."""
_DIGIT_TRIES = 2


@dataclass(frozen=True, slots=True)
class Coded:
    """A stream as it goes into the patch."""

    header: StreamHeader
    stored: bytes


def code_bytes(data: bytes) -> Coded:
    """A stream of plain bytes: text, tables, whatever has repetitions."""
    return min(_coders(data, 1, len(data), _LZMA_OF_BYTES, (zlib.Z_DEFAULT_STRATEGY,)), key=_size)


def code_symbols(symbols: Bytes) -> tuple[Coded, ...]:
    """A stream of symbols, most of them small: one stream, or digits and the escapes from them."""
    bases = sorted(PER_BYTE, key=lambda base: _estimate(symbols, base))[:_DIGIT_TRIES]
    return min((_in_digits(symbols, base) for base in sorted(bases)), key=_total)


def _in_digits(symbols: Bytes, base: int) -> tuple[Coded, ...]:
    if base == 1:
        return (_code(symbols.tobytes(), 1, len(symbols)),)
    packed, escapes = pack(symbols, base)
    return (
        _code(packed.tobytes(), base, len(symbols)),
        _code(escapes.tobytes(), 1, len(escapes)),
    )


def _code(data: bytes, base: int, symbols: int) -> Coded:
    strategies = (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY)
    return min(_coders(data, base, symbols, _LZMA_OF_SYMBOLS, strategies), key=_size)


def _size(coded: Coded) -> int:
    return len(coded.stored)


def _total(coded: tuple[Coded, ...]) -> int:
    return sum(len(each.stored) + 6 for each in coded)


def pack(symbols: Bytes, base: int) -> tuple[Bytes, Bytes]:
    """Symbols as digits, several to a byte, and the symbols that are too large for one."""
    per_byte = PER_BYTE[base]
    digits = np.minimum(symbols, base - 1)
    padded = np.zeros(-(-len(symbols) // per_byte) * per_byte, np.uint8)
    padded[: len(symbols)] = digits
    weights = np.array([base**place for place in reversed(range(per_byte))], np.uint8)
    packed = (padded.reshape(-1, per_byte) * weights).sum(axis=1, dtype=np.uint8)
    return packed, symbols[digits == base - 1]


def _estimate(symbols: Bytes, base: int) -> float:
    """Bits that the symbols take in digits of this base, if coded well."""
    if base == 1:
        return _bits(symbols)
    packed, escapes = pack(symbols, base)
    return _bits(packed) + _bits(escapes) + 64


def _bits(data: Bytes) -> float:
    """Huffman's cost, nearly: the entropy, no less than one bit each, and a table."""
    counts = np.bincount(data, minlength=256)
    return max(entropy_bits(counts), float(len(data))) + 4.0 * np.count_nonzero(counts)


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
