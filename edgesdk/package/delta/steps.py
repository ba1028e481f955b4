"""The steps of a delta before they are coded, and the patch they make.

The counterpart of `device_agent.delta`: what is written here is what that reads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from device_agent import delta as agent
from device_agent.delta_streams import LZMA, STORED, WHOLE
from device_agent.delta_tensors import NO_STREAM, Shape
from edgesdk.package.delta import residuals
from edgesdk.package.delta.coding import Coded, code_bytes, code_symbols

Bytes = npt.NDArray[np.uint8]

MAGIC = {codec: magic for magic, codec in agent.MAGIC.items()}


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes of the base as they are."""

    base: int
    size: int


@dataclass(frozen=True, slots=True)
class Insert:
    """New bytes."""

    data: bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Add:
    """Bytes of the base, each plus a difference."""

    base: int
    differences: bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.differences)


@dataclass(frozen=True, slots=True)
class FromSide:
    """Bytes that the side holds."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Moved:
    """How a tensor's scales and zero-points moved; see `device_agent.delta_tensors.Scaling`.

    Args:
        count: of scales.
        old_scales: where they lie in the base.
        new_scales: where they lie in the side.
    """

    count: int
    old_scales: int
    new_scales: int
    correction: float
    old_zero: int
    new_zero: int
    old_range: tuple[int, int]
    new_range: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ByteStep:
    """A tensor of one byte or half a byte an element; symbols are in the order they are read in.

    Args:
        base: where the old tensor lies; None where there is none.
        symbols: folded residuals.
        buckets: of each symbol; None where all are in the first.
    """

    shape: Shape
    nibbles: bool
    signed: bool
    base: int | None
    moved: Moved | None
    symbols: Bytes
    buckets: Bytes | None

    @property
    def size(self) -> int:
        """In bytes."""
        return -(-self.shape.elements // 2) if self.nibbles else self.shape.elements


@dataclass(frozen=True, slots=True)
class WideStep:
    """A tensor of 2, 4 or 8 bytes an element.

    Args:
        kind: tensors of one kind share their tables.
        planes: folded residuals, the most significant byte first: (width, count).
        contexts: what each plane's stream is chosen by: (width, count).
        side: where the floats lie that the prediction is made from, and what they are multiplied
            by; None where it is made from the base.
    """

    kind: str
    base: int | None
    moved: Moved | None
    planes: Bytes
    contexts: Bytes
    side: tuple[int, float] | None = None

    @property
    def width(self) -> int:
        """Bytes of an element."""
        return len(self.planes)

    @property
    def size(self) -> int:
        """In bytes."""
        return int(self.planes.size)


def wide_step(kind: str, base: int | None, old: Bytes, new: Bytes, width: int) -> WideStep:
    """The step for a wide tensor whose prediction is `old`."""
    planes, contexts = residuals.planes(old, new, width)
    return WideStep(kind, base, None, planes, contexts)


Step = Copy | Insert | Add | FromSide | ByteStep | WideStep


@dataclass(frozen=True, slots=True)
class Modelling:
    """Which stream each symbol of the tensors goes to.

    Args:
        streams: the symbols of each stream, in the order they are read in.
        profiles: of each class, the streams of its buckets.
        tables: the streams of each context.
        classes: of a byte step, by its place in the program.
        planes: the tables of a wide step, by its place in the program.
    """

    streams: Sequence[Bytes]
    profiles: Sequence[tuple[int, ...]]
    tables: Sequence[tuple[int, ...]]
    classes: Mapping[int, bytes]
    planes: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch, and what its streams take.

    Args:
        streams: bytes of the program, of inserted bytes, differences and classes, and then of each
            of the modelling's streams, escapes included.
    """

    data: bytes
    streams: tuple[int, ...]


def write_patch(
    codec: str,
    sizes: tuple[int, int],
    side: Sequence[Step],
    main: Sequence[Step],
    modelling: Modelling,
) -> Patch:
    """The patch.

    Args:
        sizes: of the new file and of the base.
        side, main: the two halves of the program; `modelling` counts their steps in one row.
    """
    coded = [code_symbols(symbols) for symbols in modelling.streams]
    places = _places(coded)
    writer = _Writer(modelling, places)
    writer.declare()
    for half in (side, main):
        for step in half:
            writer.step(step)
        writer.program += _number(agent.END)
    first = (writer.program, writer.inserted, writer.differences, writer.classes)
    streams = [*(code_bytes(bytes(each)) for each in first), *(e for pair in coded for e in pair)]
    side_bytes = sum(step.size for step in side)
    header = _numbers((*sizes, side_bytes, len(streams)))
    header += b"".join(_stream_header(each) for each in streams)
    sums = [len(each.stored) for each in streams[: len(first)]]
    sums += [sum(len(each.stored) for each in pair) for pair in coded]
    data = MAGIC[codec] + header + b"".join(each.stored for each in streams)
    return Patch(data, tuple(sums))


def _places(coded: Sequence[tuple[Coded, ...]]) -> list[int]:
    """The number that each stream of symbols has in the patch; escapes have numbers, too."""
    places, place = [], agent.CLASS_STREAM + 1
    for each in coded:
        places.append(place)
        place += len(each)
    return places


def _stream_header(coded: Coded) -> bytes:
    header = coded.header
    numbers = [header.codec * 32 + header.base]
    if header.codec == LZMA:
        numbers.append(header.dictionary_log2 * 256 + header.properties)
    numbers.append(header.stored)
    if header.codec != STORED or header.base != WHOLE:
        numbers.append(header.symbols)
    return _numbers(numbers)


def _number(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _numbers(values: Iterable[int]) -> bytes:
    return b"".join(map(_number, values))


def _signed(value: int) -> bytes:
    return _number(2 * value if value >= 0 else -2 * value - 1)


class _Writer:
    """Turns steps into the program and the streams of bytes it reads."""

    def __init__(self, modelling: Modelling, places: Sequence[int]) -> None:
        self._modelling = modelling
        self._stream_places = places
        self._count = 0
        self._position = 0
        self.program = bytearray()
        self.inserted = bytearray()
        self.differences = bytearray()
        self.classes = bytearray()

    def declare(self) -> None:
        """Write the profiles and tables."""
        for profile in self._modelling.profiles:
            self.program += _number(agent.PROFILE) + bytes(map(self._place, profile))
        for table in self._modelling.tables:
            self.program += _number(agent.TABLE)
            for count, stream in _runs(table):
                self.program += _numbers((count, self._place(stream)))

    def _place(self, stream: int) -> int:
        return NO_STREAM if stream == NO_STREAM else self._stream_places[stream]

    def step(self, step: Step) -> None:
        """Write a step."""
        match step:
            case Copy():
                self.program += _numbers((agent.COPY, step.size)) + self._base(step)
            case Insert():
                self.program += _numbers((agent.INSERT, step.size))
                self.inserted += step.data
            case Add():
                self.program += _numbers((agent.ADD, step.size)) + self._base(step)
                self.differences += step.differences
            case FromSide():
                self.program += _numbers((agent.SIDE, step.size, step.offset))
            case ByteStep():
                self._byte_step(step)
            case WideStep():
                self._wide_step(step)
        self._count += 1

    def _base(self, step: Copy | Add | ByteStep | WideStep) -> bytes:
        if step.base is None:
            return b""
        moved = step.base - self._position
        self._position = step.base + step.size
        return _signed(moved)

    def _byte_step(self, step: ByteStep) -> None:
        classes = self._modelling.classes[self._count]
        flags = agent.NIBBLES * step.nibbles | agent.SIGNED * step.signed
        flags |= agent.BASED * (step.base is not None) | agent.CLASSED * (len(classes) > 1)
        flags |= _flags(step.moved)
        self.program += _numbers((agent.BYTES, flags, *step.shape)) + self._base(step)
        self.program += _moved(step.moved)
        if len(classes) > 1:
            self.classes += classes
        else:
            self.program += classes

    def _wide_step(self, step: WideStep) -> None:
        flags = agent.BASED * (step.base is not None) | agent.FROM_SIDE * (step.side is not None)
        flags |= _flags(step.moved)
        count = step.size // step.width
        tables = self._modelling.planes[self._count]
        self.program += _numbers((agent.WIDE, flags, step.width, count, *tables))
        if step.side is not None:
            self.program += _number(step.side[0]) + struct.pack("<d", step.side[1])
        else:
            self.program += self._base(step) + _moved(step.moved)


def _flags(moved: Moved | None) -> int:
    if moved is None:
        return 0
    return agent.SCALED | agent.CORRECTED * (moved.correction != 1.0)


def _moved(moved: Moved | None) -> bytes:
    if moved is None:
        return b""
    signed = (moved.old_zero, moved.new_zero, *moved.old_range, *moved.new_range)
    written = _numbers((moved.count, moved.old_scales, moved.new_scales))
    written += b"".join(map(_signed, signed))
    return written + (struct.pack("<d", moved.correction) if moved.correction != 1.0 else b"")


def _runs(table: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for place in range(1, len(table) + 1):
        if place == len(table) or table[place] != table[start]:
            yield place - start, table[start]
            start = place
