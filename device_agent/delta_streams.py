"""The entropy-coded inputs of a delta: many short streams, each decoded only as far as it is read.

A stream is a run of bytes behind one of the standard library's decoders. A stream of symbols may
besides be written in digits: several symbols to a byte, which a coder that gives every byte at
least one bit needs where nearly all symbols are 0. A symbol too large for a digit is an escape, and
stands in the stream that follows.

Nothing here trusts a length: no more is decoded than was declared, a piece at a time, and what the
decoders may allocate is bounded before the first is made.
"""

from __future__ import annotations

import zlib
from itertools import chain, islice, product
from typing import BinaryIO, Iterator, List, NamedTuple, Optional

try:
    import lzma
except ImportError:  # A Python built without liblzma, as small distributions have it.
    lzma = None  # type: ignore[assignment]

STORED, DEFLATE, LZMA = range(3)
PER_BYTE = {1: 1, 2: 8, 3: 5, 4: 4, 6: 3, 16: 2}
"""Digits that a byte holds, by their base; base 1 stands for whole bytes."""
MAX_STREAMS = 240
DICTIONARIES_MAX_BYTES = 8 * 1024 * 1024
"""Of all LZMA streams of a patch together."""

_READ_BYTES = 4096
_PIECE_SYMBOLS = 16 * 1024
_ONE = [bytes((value,)) for value in range(256)]


class BadDelta(Exception):
    """The patch cannot be applied here; the message says why. The full file is the way out."""


class StreamHeader(NamedTuple):
    """How a stream is written.

    Args:
        codec: STORED, DEFLATE (raw) or LZMA (raw LZMA1).
        base: of its digits, a key of `PER_BYTE`.
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
        per_byte = PER_BYTE[self._header.base]
        left = self._header.symbols
        for packed in self._packed(-(-left // per_byte)):
            piece = packed if per_byte == 1 else self._unpacked(packed, left)
            left -= len(piece)
            yield piece

    def _packed(self, left: int) -> Iterator[bytes]:
        decode = _DECODERS[self._header.codec](self._source, self._header).decode
        limit = _PIECE_SYMBOLS // PER_BYTE[self._header.base]
        while left:
            piece = decode(min(left, limit))
            if not piece:
                raise BadDelta("a stream ends %d bytes too early" % left)
            left -= len(piece)
            yield piece

    def _unpacked(self, packed: bytes, left: int) -> bytes:
        base = self._header.base
        table = _digit_table(base)
        try:
            digits = b"".join([table[value] for value in packed])[:left]
        except IndexError:
            raise BadDelta("a stream holds a byte that stands for no digits") from None
        parts = digits.split(_ONE[base - 1])
        if len(parts) == 1 or self._escapes is None:
            return digits
        large = map(_ONE.__getitem__, self._escapes.take(len(parts) - 1))
        return parts[0] + b"".join(chain.from_iterable(zip(large, parts[1:])))


_TABLES: "dict[int, List[bytes]]" = {}


def _digit_table(base: int) -> List[bytes]:
    """The digits of every byte, the first one the most significant."""
    if base not in _TABLES:
        _TABLES[base] = [bytes(each) for each in product(range(base), repeat=PER_BYTE[base])]
    return _TABLES[base]


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


_DECODERS = {STORED: _Stored, DEFLATE: _Deflate, LZMA: _Lzma}


def open_streams(patch: BinaryIO, offset: int, headers: List[StreamHeader]) -> "List[Stream]":
    """The streams that lie one behind the other from `offset` on; nothing is decoded yet.

    Raises:
        BadDelta: a header that no reader may act on, or dictionaries larger than allowed.
    """
    dictionaries = 0
    offsets = []
    for header in headers:
        if header.codec not in _DECODERS or header.base not in PER_BYTE:
            raise BadDelta("found a stream of codec %d, base %d" % (header.codec, header.base))
        if header.codec == LZMA:
            if header.properties >= 9 * 5 * 5 or not 12 <= header.dictionary_log2 <= 23:
                raise BadDelta("found an LZMA stream with options out of range")
            dictionaries += 1 << header.dictionary_log2
        offsets.append(offset)
        offset += header.stored
    if dictionaries > DICTIONARIES_MAX_BYTES:
        raise BadDelta("the streams need %d bytes of dictionaries" % dictionaries)
    if headers and headers[-1].base > 1:
        raise BadDelta("found digits without a stream of escapes")
    streams: "List[Stream]" = []
    for index in reversed(range(len(headers))):
        follower = streams[-1] if headers[index].base > 1 else None
        streams.append(Stream(patch, offsets[index], headers[index], follower))
    return streams[::-1]
