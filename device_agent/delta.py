"""Make a new file from an old one and a patch: the standard library alone, in bounded memory.

A patch is a header, a program and the streams that feed it (`delta_streams`). The program's steps
copy from the base, insert, add bytes to the base's, and redo whole tensors (`delta_tensors`). It
runs twice: first for the side, which is new scales that the predictions need before the file
reaches them, then for the file. Codec "bytes-delta" has the steps on bytes only, "tensors-delta"
all of them.

Nothing is verified here but that the patch makes sense: the caller has authenticated it, and checks
the hash of the result.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Callable, Iterator, List

from device_agent import delta_tensors as arithmetic
from device_agent.delta_streams import (
    MAX_STREAMS,
    STORED,
    WHOLE,
    BadDelta,
    StreamHeader,
    open_streams,
)

__all__ = ["BadDelta", "apply"]

MAGIC = {b"EDB\x01": "bytes-delta", b"EDT\x01": "tensors-delta"}
CODECS = tuple(MAGIC.values())

END, COPY, INSERT, ADD, SIDE, BYTES, WIDE, PROFILE, TABLE = range(9)
"""The steps. "bytes-delta" knows those before SIDE."""

NIBBLES, SIGNED, BASED, SCALED, CLASSED, CORRECTED, FROM_SIDE = (1 << bit for bit in range(7))
"""Flags of the steps on tensors."""

PROGRAM_STREAM, INSERT_STREAM, ADD_STREAM, CLASS_STREAM = range(4)
"""What the first streams are for; symbols are in those behind."""

SIDE_MAX_BYTES = 4 * 1024 * 1024
PROGRAM_MAX_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_HEADER_MAX_BYTES = 16 * 1024


def apply(patch: BinaryIO, base: BinaryIO, write: Callable[[bytes], object]) -> None:
    """Write the new file, piece by piece.

    Args:
        patch: seekable, already authenticated.
        base: seekable; the file that the patch was made from.
        write: takes the new file's bytes in order. The caller checks their size and hash.

    Raises:
        BadDelta: the patch is malformed, or the base is too short to be the one it was made from.
    """
    machine = _Machine(patch, base)
    machine.make_side()
    for piece in machine.run(machine.new_bytes):
        write(piece)


def new_size(patch: BinaryIO) -> int:
    """The size in bytes of the file that a patch makes.

    Raises:
        BadDelta: it is no patch.
    """
    return _read_header(patch).new_bytes


class _Header:
    """What stands before the streams."""

    def __init__(self, data: bytes) -> None:
        self._numbers = _Numbers(iter(data[4:]))
        self.codec = MAGIC.get(data[:4], "")
        if not self.codec:
            raise BadDelta("this is not a patch: it begins with %r" % data[:4])
        self.new_bytes = self._numbers.next()
        self.base_bytes = self._numbers.next()
        self.side_bytes = self._numbers.next()
        count = self._numbers.next()
        if count < 4 or count > MAX_STREAMS or self.side_bytes > SIDE_MAX_BYTES:
            raise BadDelta(
                "found %d streams and a side of %d bytes, expected 4 to %d and up to %d"
                % (count, self.side_bytes, MAX_STREAMS, SIDE_MAX_BYTES)
            )
        self.streams = [self._stream() for _ in range(count)]
        self.size = 4 + self._numbers.taken

    def _stream(self) -> StreamHeader:
        codec, base = divmod(self._numbers.next(), 32)
        properties, log2 = (0, 0)
        if codec == 2:
            log2, properties = divmod(self._numbers.next(), 256)
        stored = self._numbers.next()
        symbols = stored if codec == STORED and base == WHOLE else self._numbers.next()
        return StreamHeader(codec, base, properties, log2, stored, symbols)


def _read_header(patch: BinaryIO) -> _Header:
    patch.seek(0)
    return _Header(patch.read(_HEADER_MAX_BYTES))


class _Numbers:
    """Numbers in seven bits a byte, least significant first, the last byte below 128."""

    def __init__(self, source: Iterator[int]) -> None:
        self._source = source
        self.taken = 0

    def next(self) -> int:
        """The next number, 0 or more, below 2**63."""
        value = 0
        for shift in range(0, 63, 7):
            byte = next(self._source, -1)
            if byte < 0:
                raise BadDelta("the patch ends in the middle of a number")
            self.taken += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise BadDelta("found a number of more than 63 bits")

    def signed(self) -> int:
        """The next number, of either sign."""
        value = self.next()
        return (value >> 1) ^ -(value & 1)


class _Machine:
    """Runs the program."""

    def __init__(self, patch: BinaryIO, base: BinaryIO) -> None:
        header = _read_header(patch)
        if header.streams[PROGRAM_STREAM].symbols > PROGRAM_MAX_BYTES:
            raise BadDelta("found a program of more than %d bytes" % PROGRAM_MAX_BYTES)
        self.new_bytes = header.new_bytes
        self._side_bytes = header.side_bytes
        self._side = bytearray()
        self._knows_tensors = header.codec == "tensors-delta"
        self._base = base
        self._base_bytes = header.base_bytes
        self._streams = open_streams(patch, header.size, header.streams)
        self._program = self._streams[PROGRAM_STREAM]
        self._numbers = _Numbers(self._program.symbols)
        self._profiles = arithmetic.Profiles(self._streams)
        self._tables: List[bytes] = []
        self._position = 0

    def make_side(self) -> None:
        """Run the first half of the program; its later steps read what earlier ones made."""
        for piece in self.run(self._side_bytes):
            self._side += piece

    def run(self, size: int) -> Iterator[bytes]:
        """What the program makes up to its next end, which must be `size` bytes."""
        left = size
        while True:
            step = self._numbers.next()
            if step == END:
                break
            if step >= SIDE and not self._knows_tensors:
                raise BadDelta("found step %d in a patch of bytes" % step)
            for piece in self._pieces(step, left):
                left -= len(piece)
                yield piece
        if left:
            raise BadDelta("the patch made %d of %d bytes" % (size - left, size))

    def _pieces(self, step: int, left: int) -> Iterator[bytes]:
        if step in (COPY, INSERT, ADD, SIDE):
            size = _within(self._numbers.next(), left)
            return (self._copy, self._insert, self._add, self._from_side)[step - COPY](size)
        if step == BYTES:
            small = self._byte_tensor(left)
            return arithmetic.byte_tensor(small, self._read_base, self._profiles)
        if step == WIDE:
            wide = self._wide_tensor(left)
            return arithmetic.wide_tensor(wide, self._read_base, self._profiles)
        if step == PROFILE:
            self._profiles.add(self._program.take(arithmetic.BUCKETS + 1))
        elif step == TABLE:
            self._add_table()
        else:
            raise BadDelta("found step %d, which there is not" % step)
        return iter(())

    def _copy(self, size: int) -> Iterator[bytes]:
        start = self._base_range(size)
        for offset, count in _cut(size):
            yield self._read_base(start + offset, count)

    def _insert(self, size: int) -> Iterator[bytes]:
        for _, count in _cut(size):
            yield self._streams[INSERT_STREAM].take(count)

    def _add(self, size: int) -> Iterator[bytes]:
        start = self._base_range(size)
        for offset, count in _cut(size):
            old = self._read_base(start + offset, count)
            yield arithmetic.add(old, self._streams[ADD_STREAM].take(count), 1)

    def _from_side(self, size: int) -> Iterator[bytes]:
        yield self._read_side(self._numbers.next(), size)

    def _base_range(self, size: int) -> int:
        """The start of a range of the base; starts are told from the end of the range before."""
        start = self._position + self._numbers.signed()
        if start < 0 or start + size > self._base_bytes:
            raise BadDelta("found a range outside the base: %d bytes from %d" % (size, start))
        self._position = start + size
        return start

    def _read_base(self, offset: int, size: int) -> bytes:
        self._base.seek(offset)
        data = self._base.read(size)
        if len(data) != size:
            raise BadDelta("the base ends before byte %d" % (offset + size))
        return data

    def _read_side(self, offset: int, size: int) -> bytes:
        data = bytes(self._side[offset : offset + size])
        if len(data) != size:
            raise BadDelta("found a range outside the side: %d bytes from %d" % (size, offset))
        return data

    def _byte_tensor(self, left: int) -> arithmetic.ByteTensor:
        flags = self._numbers.next()
        shape = arithmetic.Shape(*(self._numbers.next() for _ in range(3)))
        if not all(shape):
            raise BadDelta("found a tensor of %d x %d x %d elements" % shape)
        nibbles = bool(flags & NIBBLES)
        size = _within(-(-shape.elements // 2) if nibbles else shape.elements, left)
        base = self._base_range(size) if flags & BASED else None
        scaling = self._scaling(flags, shape.channels) if flags & SCALED else None
        if flags & CLASSED:
            if shape.channels > arithmetic.BLOCK_MAX:
                raise BadDelta("found %d channels with a class each" % shape.channels)
            classes = self._streams[CLASS_STREAM].take(shape.channels)
        else:
            classes = self._program.take(1)
        signed = bool(flags & SIGNED)
        return arithmetic.ByteTensor(shape, nibbles, signed, base, classes, scaling)

    def _wide_tensor(self, left: int) -> arithmetic.WideTensor:
        flags, width, count = (self._numbers.next() for _ in range(3))
        if width not in (2, 4, 8):
            raise BadDelta("found elements of %d bytes, expected 2, 4 or 8" % width)
        size = _within(width * count, left)
        planes = tuple(self._table() for _ in range(width))
        if flags & FROM_SIDE:
            if width != 4:
                raise BadDelta("found float32 of %d bytes" % width)
            floats = arithmetic.floats(self._read_side(self._numbers.next(), size))
            return arithmetic.WideTensor(
                width, count, None, planes, floats=floats, factor=self._double()
            )
        base = self._base_range(size) if flags & BASED else None
        scaling = self._scaling(flags, count) if flags & SCALED else None
        return arithmetic.WideTensor(width, count, base, planes, scaling)

    def _scaling(self, flags: int, channels: int) -> arithmetic.Scaling:
        count = self._numbers.next()
        if count not in (1, channels) or 4 * count > SIDE_MAX_BYTES:
            raise BadDelta("found %d scales for %d channels" % (count, channels))
        old = self._read_base(self._numbers.next(), 4 * count)
        new = self._read_side(self._numbers.next(), 4 * count)
        zeros = self._numbers.signed(), self._numbers.signed()
        ranges = [self._numbers.signed() for _ in range(4)]
        return arithmetic.Scaling(
            arithmetic.floats(old),
            arithmetic.floats(new),
            self._double() if flags & CORRECTED else 1.0,
            zeros[0],
            zeros[1],
            (ranges[0], ranges[1]),
            (ranges[2], ranges[3]),
        )

    def _double(self) -> float:
        return float(struct.unpack("<d", self._program.take(8))[0])

    def _table(self) -> bytes:
        place = self._numbers.next()
        if place >= len(self._tables):
            raise BadDelta("found table %d of %d" % (place, len(self._tables)))
        return self._tables[place]

    def _add_table(self) -> None:
        """A table in runs: how many of its 256 places are alike, and which stream that is."""
        table = b""
        while len(table) < 256:
            count, place = self._numbers.next(), self._numbers.next()
            if not 1 <= count <= 256 - len(table) or place > 255:
                raise BadDelta("found a table that does not have 256 places")
            table += bytes((place,)) * count
        self._profiles.require(table)
        if len(self._tables) > 255:
            raise BadDelta("found more than 256 tables")
        self._tables.append(table)


def _within(size: int, left: int) -> int:
    if size > left:
        raise BadDelta("a step makes %d bytes where %d are left" % (size, left))
    return size


def _cut(size: int) -> Iterator["tuple[int, int]"]:
    for offset in range(0, size, _PIECE_BYTES):
        yield offset, min(_PIECE_BYTES, size - offset)
