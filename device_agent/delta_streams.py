"""The entropy-coded inputs of a delta: many short streams, each decoded only as far as it is read.

A stream is a run of bytes behind one of the standard library's decoders. A stream of symbols may
besides be written in digits: several symbols to a byte, which a coder that gives every byte at
least one bit needs where nearly all symbols are 0. Digits are of a base, a fixed number to a byte,
or runs: so many zeros and then something else. A symbol too large for a digit is an escape, and
what it is more stands in the stream that follows.

Nothing here trusts a length: no more is decoded than was declared, a piece at a time, and what the
decoders may allocate is bounded before the first is made.
"""

from __future__ import annotations

import zlib
from itertools import chain, islice, product
from typing import BinaryIO, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

try:
    import lzma
except ImportError:  # A Python built without liblzma, as small distributions have it.
    lzma = None  # type: ignore[assignment]

STORED, DEFLATE, LZMA = range(3)
WHOLE, RUNS = 1, 0
"""In the place of a base: whole bytes; a byte for so many zeros and what ends them."""
PER_BYTE = {WHOLE: 1, 2: 8, 3: 5, 4: 4, 6: 3, 16: 2}
"""Digits that a byte holds, by their base."""
RUN_MAX = 255
"""The byte of a run that goes on: so many zeros, and nothing that ends them."""
MAX_STREAMS = 240
DICTIONARIES_MAX_BYTES = 8 * 1024 * 1024
"""Of all LZMA streams of a patch together."""

_READ_BYTES = 4096
_PIECE_SYMBOLS = 16 * 1024
_RUN_USUAL = 64


class BadDelta(Exception):
    """The patch cannot be applied here; the message says why. The full file is the way out."""


class StreamHeader(NamedTuple):
    """How a stream is written.

    Args:
        codec: STORED, DEFLATE (raw) or LZMA (raw LZMA1).
        base: of its digits, a key of `PER_BYTE`; or RUNS.
        properties: of LZMA: (pb * 5 + lp) * 9 + lc; else 0.
        dictionary_log2: of LZMA: its dictionary holds 2**this bytes; else 0.
        stored: size inside the patch, in bytes.
        symbols: what it holds, once decoded.
    """

    codec: int
    base: int
    properties: int
    dictionary_log2: int
    stored: int
    symbols: int


class Stream:
    """What one stream holds, front to back.

    Args:
        escapes: of a stream in digits: gives the symbols too large for one.
    """

    def __init__(
        self,
        patch: BinaryIO,
        offset: int,
        header: StreamHeader,
        escapes: "Optional[Stream]" = None,
    ) -> None:
        self._source = _Source(patch, offset, header.stored)
        self._header = header
        self._escapes = escapes
        self.symbols: Iterator[int] = chain.from_iterable(self._pieces())
        """Its symbols one by one; raises `BadDelta` where they cannot be decoded."""

    def take(self, count: int) -> bytes:
        """The next `count` symbols.

        Raises:
            BadDelta: there are fewer, or they cannot be decoded.
        """
        taken = bytes(islice(self.symbols, count))
        if len(taken) != count:
            raise BadDelta("a stream ended after %d of %d symbols" % (len(taken), count))
        return taken

    def _pieces(self) -> Iterator[bytes]:
        base, left = self._header.base, self._header.symbols
        fewest = PER_BYTE.get(base, 1)
        limit = _PIECE_SYMBOLS // PER_BYTE.get(base, _RUN_USUAL)
        decode = _DECODERS[self._header.codec](self._source, self._header).decode
        while left:
            packed = decode(min(-(-left // fewest), limit))
            if not packed:
                raise BadDelta("a stream ends %d symbols too early" % left)
            piece = packed if base == WHOLE else self._unpacked(packed, left)
            left -= len(piece)
            yield piece

    def _unpacked(self, packed: bytes, left: int) -> bytes:
        digits, large = _digit_tables(self._header.base)
        try:
            piece = b"".join([digits[value] for value in packed])[:left]
        except IndexError:
            raise BadDelta("a stream holds a byte that stands for no digits") from None
        parts = piece.split(large[0])
        if len(parts) == 1 or self._escapes is None:
            return piece
        escaped = map(large.__getitem__, self._escapes.take(len(parts) - 1))
        return parts[0] + b"".join(chain.from_iterable(zip(escaped, parts[1:])))


_TABLES: "Dict[int, Tuple[List[bytes], List[bytes]]]" = {}


def _digit_tables(base: int) -> "Tuple[List[bytes], List[bytes]]":
    """The digits of every byte, the first one the most significant; and the escapes' symbols."""
    if base not in _TABLES:
        if base == RUNS:
            digits = [bytes(count) + b"\1" for count in range(RUN_MAX)] + [bytes(RUN_MAX)]
        else:
            digits = [bytes(each) for each in product(range(base), repeat=PER_BYTE[base])]
        first = largest_digit(base)
        _TABLES[base] = digits, [bytes(((first + more) & 0xFF,)) for more in range(256)]
    return _TABLES[base]


def largest_digit(base: int) -> int:
    """The digit that stands for an escape."""
    return 1 if base == RUNS else base - 1


class _Source:
    """A part of the patch, read in pieces; several may be read in turn from one file."""

    def __init__(self, patch: BinaryIO, offset: int, size: int) -> None:
        self._patch = patch
        self._offset = offset
        self._left = size

    def read(self, limit: int = _READ_BYTES) -> bytes:
        """Up to `limit` bytes, b"" at its end."""
        if not self._left:
            return b""
        self._patch.seek(self._offset)
        data = self._patch.read(min(limit, self._left))
        if not data:
            raise BadDelta("the patch ends inside a stream")
        self._offset += len(data)
        self._left -= len(data)
        return data


class _Stored:
    def __init__(self, source: _Source, _: StreamHeader) -> None:
        self._source = source

    def decode(self, limit: int) -> bytes:
        """Up to `limit` bytes; b"" where there are no more."""
        return self._source.read(limit)


class _Deflate:
    def __init__(self, source: _Source, _: StreamHeader) -> None:
        self._source = source
        self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)

    def decode(self, limit: int) -> bytes:
        """Up to `limit` bytes; b"" where there are no more."""
        while not self._decoder.eof:
            data = self._decoder.unconsumed_tail or self._source.read()
            try:
                piece = self._decoder.decompress(data, limit)
            except zlib.error as error:
                raise BadDelta("a stream is damaged: %s" % error) from error
            if piece or not data:
                return piece
        return b""


class _Lzma:
    def __init__(self, source: _Source, header: StreamHeader) -> None:
        if lzma is None:
            raise BadDelta("this Python has no lzma module, which the patch needs")
        rest, lc = divmod(header.properties, 9)
        pb, lp = divmod(rest, 5)
        self._source = source
        filters = [
            {
                "id": lzma.FILTER_LZMA1,
                "dict_size": 1 << header.dictionary_log2,
                "lc": lc,
                "lp": lp,
                "pb": pb,
            }
        ]
        try:
            self._decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
        except (lzma.LZMAError, ValueError) as error:
            raise BadDelta("a stream has options that lzma does not take: %s" % error) from error

    def decode(self, limit: int) -> bytes:
        """Up to `limit` bytes; b"" where there are no more."""
        while not self._decoder.eof:
            data = self._source.read() if self._decoder.needs_input else b""
            starved = self._decoder.needs_input and not data
            try:
                piece = self._decoder.decompress(data, limit)
            except lzma.LZMAError as error:
                raise BadDelta("a stream is damaged: %s" % error) from error
            if piece or starved:
                return piece
        return b""


_Decoder = Union[_Stored, _Deflate, _Lzma]
_DECODERS: "Dict[int, Callable[[_Source, StreamHeader], _Decoder]]" = {
    STORED: _Stored,
    DEFLATE: _Deflate,
    LZMA: _Lzma,
}


def open_streams(patch: BinaryIO, offset: int, headers: List[StreamHeader]) -> "List[Stream]":
    """The streams that lie one behind the other from `offset` on; nothing is decoded yet.

    Raises:
        BadDelta: a header that no reader may act on, or dictionaries larger than allowed.
    """
    dictionaries = 0
    offsets = []
    for header in headers:
        if header.codec not in _DECODERS or header.base not in (RUNS, *PER_BYTE):
            raise BadDelta("found a stream of codec %d, base %d" % (header.codec, header.base))
        if header.codec == LZMA:
            if header.properties >= 9 * 5 * 5 or not 12 <= header.dictionary_log2 <= 23:
                raise BadDelta("found an LZMA stream with options out of range")
            dictionaries += 1 << header.dictionary_log2
        offsets.append(offset)
        offset += header.stored
    if dictionaries > DICTIONARIES_MAX_BYTES:
        raise BadDelta("the streams need %d bytes of dictionaries" % dictionaries)
    if headers and headers[-1].base != WHOLE:
        raise BadDelta("found digits without a stream of escapes")
    streams: "List[Stream]" = []
    for index in reversed(range(len(headers))):
        follower = streams[-1] if headers[index].base != WHOLE else None
        streams.append(Stream(patch, offsets[index], headers[index], follower))
    return streams[::-1]
