"""The arithmetic of a delta on tensors, with the standard library alone and a tile at a time.

An element of the new tensor is its prediction plus a residual. Of quantized weights the prediction
is the old value carried over to the new scale: old * old scale / new scale, rounded. How far that
was from a whole number tells on which side the residual will be, and how likely, so it decides
which stream the residual is read from; where the fraction was negative the residual is mirrored.

Many elements are added at once as the lanes of one long integer.
"""

from __future__ import annotations

import struct
import sys
from array import array
from functools import lru_cache
from itertools import repeat
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from device_agent.delta_streams import BadDelta, Stream

TILE = 64 * 1024
"""Elements that are worked on at once."""
BLOCK_MAX = 1024 * 1024
"""Elements at most between two of one channel's runs; they have to be held at once."""
BUCKETS = 8
"""Classes of the fraction's size; one more is for values at an end of their range."""
NO_STREAM = 255
"""In the place of a stream: every symbol is 0."""

_FRACTION_BITS = 16
_STEPS = 2048
"""Ratios are taken to 1/2048, so that channels share their tables."""
_RATIO_MAX = 128.0
_WIDE_FRACTION_BITS = 32

UNFOLDED = bytes((value + 1 >> 1 if value & 1 else -(value >> 1)) & 0xFF for value in range(256))
"""Symbol to residual, modulo 256: 0, 1, -1, 2, -2 and so on."""

_LOW_NIBBLES = bytes(value & 0x0F for value in range(256))
_HIGH_NIBBLES = bytes(value >> 4 for value in range(256))

ReadBase = Callable[[int, int], bytes]
"""Offset and size to exactly so many bytes of the base."""


class Shape(NamedTuple):
    """A tensor's channels: element (o, c, i) lies at (o * channels + c) * inner + i."""

    outer: int
    channels: int
    inner: int

    @property
    def elements(self) -> int:
        """How many there are."""
        return self.outer * self.channels * self.inner


class Tile(NamedTuple):
    """Elements worked on at once: `outer` blocks of `channels` rows of `row` elements.

    Args:
        start: its first element.
        first_channel: which channel the first row is of.
    """

    start: int
    outer: int
    first_channel: int
    channels: int
    row: int

    @property
    def elements(self) -> int:
        """How many there are."""
        return self.outer * self.channels * self.row


class Scaling(NamedTuple):
    """How a quantized tensor's scales and zero-points moved.

    Args:
        old_scales, new_scales: float32, one a channel or one in all.
        correction: the ratio of scales is multiplied by it.
        old_zero, new_zero: zero-points.
        old_range, new_range: smallest and largest value, where values may have been clipped.
    """

    old_scales: "array[float]"
    new_scales: "array[float]"
    correction: float
    old_zero: int
    new_zero: int
    old_range: Tuple[int, int]
    new_range: Tuple[int, int]

    def ratio(self, channel: int) -> float:
        """What an old value of this channel is multiplied by; 1 where the scales give no sense."""
        place = channel if len(self.old_scales) > 1 else 0
        new = self.new_scales[place]
        ratio = self.old_scales[place] / new * self.correction if new else 1.0
        return ratio if 0.0 < ratio < _RATIO_MAX else 1.0


class Tables(NamedTuple):
    """What to do with each of the 256 bytes an old value can be.

    Args:
        predicted: the prediction; one more where the residual is mirrored.
        mirrored: 0xFF where it is, else 0.
        buckets: which of the profile's streams the residual is read from.
    """

    predicted: bytes
    mirrored: bytes
    buckets: bytes


def tiles(shape: Shape) -> Iterator[Tile]:
    """A tensor's tiles, in the file's order.

    Raises:
        BadDelta: its channels lie too far apart.
    """
    if shape.outer == 1:
        return _tiles_of_rows(shape)
    block = shape.channels * shape.inner
    if block > BLOCK_MAX:
        raise BadDelta("a tensor has blocks of %d elements, too many to hold" % block)
    return _tiles_of_blocks(shape, block)


def _tiles_of_rows(shape: Shape) -> Iterator[Tile]:
    if shape.inner <= TILE // 2:
        # An even number: two nibbles make a byte.
        step = TILE // max(shape.inner, 1) // 2 * 2
        for first in range(0, shape.channels, step):
            count = min(step, shape.channels - first)
            yield Tile(first * shape.inner, 1, first, count, shape.inner)
        return
    for channel in range(shape.channels):
        for start in range(0, shape.inner, TILE):
            row = min(TILE, shape.inner - start)
            yield Tile(channel * shape.inner + start, 1, channel, 1, row)


def _tiles_of_blocks(shape: Shape, block: int) -> Iterator[Tile]:
    step = max(TILE // max(block, 1) // 2 * 2, 2)
    for first in range(0, shape.outer, step):
        count = min(step, shape.outer - first)
        yield Tile(first * block, count, 0, shape.channels, shape.inner)


@lru_cache(maxsize=512)
def tables(
    multiplier: int,
    signed: bool,
    old_zero: int,
    new_zero: int,
    old_range: Tuple[int, int],
    new_range: Tuple[int, int],
) -> Tables:
    """The tables of a channel; `multiplier` is its ratio in 1/65536."""
    half = 1 << (_FRACTION_BITS - 1)
    predicted, mirrored, buckets = bytearray(256), bytearray(256), bytearray(256)
    for byte in range(256):
        old = byte - 256 if signed and byte > 127 else byte
        exact = (old - old_zero) * multiplier
        near = (exact + half) >> _FRACTION_BITS
        fraction = exact - (near << _FRACTION_BITS)
        value = near + new_zero
        if old_range[0] < old < old_range[1] and new_range[0] < value < new_range[1]:
            flip = fraction < 0
            buckets[byte] = min(BUCKETS - 1, abs(fraction) * 2 * BUCKETS >> _FRACTION_BITS)
        else:
            value = min(max(value, new_range[0]), new_range[1])
            flip = old > old_zero
            buckets[byte] = BUCKETS
        predicted[byte] = (value + flip) & 0xFF
        mirrored[byte] = 0xFF if flip else 0
    return Tables(bytes(predicted), bytes(mirrored), bytes(buckets))


def multiplier(ratio: float) -> int:
    """A ratio as `tables` takes it."""
    return max(int(ratio * _STEPS + 0.5), 1) << (_FRACTION_BITS - 11)


class ByteTensor(NamedTuple):
    """A tensor of one byte or half a byte an element.

    Args:
        nibbles: two elements a byte, the first in the lower half.
        signed: whether its values are.
        base: where the old tensor lies in the base; None where there is none.
        classes: of each channel, or one of all: places in the profiles.
    """

    shape: Shape
    nibbles: bool
    signed: bool
    base: Optional[int]
    classes: bytes
    scaling: Optional[Scaling]

    @property
    def size(self) -> int:
        """In bytes."""
        return -(-self.shape.elements // 2) if self.nibbles else self.shape.elements


class Profiles:
    """Which streams residuals are read from, by the class of their channel and their bucket."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = streams
        zeros: Iterator[int] = repeat(0)
        self._symbols = [stream.symbols for stream in streams]
        self._symbols += [zeros] * (256 - len(streams))
        self._profiles: List[bytes] = []

    def add(self, places: bytes) -> None:
        """Add a profile: the streams of each bucket.

        Raises:
            BadDelta: there is no such stream, or there are too many profiles.
        """
        self.require(places)
        if len(self._profiles) > 255:
            raise BadDelta("found more than 256 profiles")
        self._profiles.append(places.ljust(256, bytes((NO_STREAM,))))

    def require(self, places: bytes) -> None:
        """Refuse streams that are not there."""
        if any(place >= len(self._streams) and place != NO_STREAM for place in places):
            raise BadDelta("found a place that no stream has")

    def require_classes(self, classes: bytes) -> None:
        """Refuse classes that have no profile."""
        if classes and max(classes) >= len(self._profiles):
            raise BadDelta("found a class that has no profile")

    def read(self, profile: int, buckets: bytes, count: int) -> bytes:
        """The symbols of a row whose elements fall into these buckets; b"" means all into 0."""
        places = self._profiles[profile]
        if not buckets or len(set(places[: BUCKETS + 1])) == 1:
            return self._alike(places[0], count)
        return self.pick(buckets.translate(places))

    def pick(self, places: bytes) -> bytes:
        """One symbol for each place, from the stream that stands there."""
        picked = bytes(map(next, map(self._symbols.__getitem__, places)))
        if len(picked) != len(places):
            raise BadDelta("a stream ended in the middle of a tensor")
        return picked

    def _alike(self, place: int, count: int) -> bytes:
        return bytes(count) if place == NO_STREAM else self._streams[place].take(count)


def byte_tensor(tensor: ByteTensor, read_base: ReadBase, profiles: Profiles) -> Iterator[bytes]:
    """The new tensor's bytes, in pieces.

    Raises:
        BadDelta: its streams or the base hold too little, or it is too spread out.
    """
    profiles.require_classes(tensor.classes)
    for tile in tiles(tensor.shape):
        if tensor.nibbles and tile.start % 2:
            raise BadDelta("a tensor of half bytes is cut in the middle of a byte")
        old = _gathered(_elements(tensor, tile, read_base), tile)
        if tensor.scaling is None:
            residuals = _residuals(tensor, tile, profiles).translate(UNFOLDED)
            new = add(old, residuals, 1)
        else:
            new = _rescaled(tensor, tensor.scaling, tile, old, profiles)
        new = _scattered(new, tile)
        yield _packed(new) if tensor.nibbles else new


def _elements(tensor: ByteTensor, tile: Tile, read_base: ReadBase) -> bytes:
    """A tile's old elements, a byte each."""
    if tensor.base is None:
        return bytes(tile.elements)
    if not tensor.nibbles:
        return read_base(tensor.base + tile.start, tile.elements)
    packed = read_base(tensor.base + tile.start // 2, -(-tile.elements // 2))
    elements = bytearray(2 * len(packed))
    elements[0::2] = packed.translate(_LOW_NIBBLES)
    elements[1::2] = packed.translate(_HIGH_NIBBLES)
    del elements[tile.elements :]
    if tensor.signed:
        return bytes(elements.translate(_SIGNED_NIBBLES))
    return bytes(elements)


_SIGNED_NIBBLES = bytes(value - 16 & 0xFF if 8 <= value < 16 else value for value in range(256))


def _packed(elements: bytes) -> bytes:
    low = elements[0::2].translate(_LOW_NIBBLES)
    high = elements[1::2].translate(_LOW_NIBBLES).ljust(len(low), b"\0")
    both = int.from_bytes(low, "little") | int.from_bytes(high, "little") << 4
    return both.to_bytes(len(low), "little")


def _gathered(elements: bytes, tile: Tile) -> bytes:
    """The tile with each channel's elements side by side."""
    if tile.outer == 1:
        return elements
    if tile.row == 1:
        return b"".join([elements[each :: tile.channels] for each in range(tile.channels)])
    runs = _runs(elements, tile.row)
    return b"".join([run for each in range(tile.channels) for run in runs[each :: tile.channels]])


def _scattered(elements: bytes, tile: Tile) -> bytes:
    """The inverse of `_gathered`."""
    if tile.outer == 1:
        return elements
    if tile.row > 1:
        runs = _runs(elements, tile.row)
        return b"".join([run for each in range(tile.outer) for run in runs[each :: tile.outer]])
    back = bytearray(len(elements))
    for each in range(tile.channels):
        back[each :: tile.channels] = elements[each * tile.outer : (each + 1) * tile.outer]
    return bytes(back)


def _runs(elements: bytes, size: int) -> List[bytes]:
    return [elements[start : start + size] for start in range(0, len(elements), size)]


def _residuals(tensor: ByteTensor, tile: Tile, profiles: Profiles) -> bytes:
    """The symbols of a tile whose predictions are the old values."""
    if len(tensor.classes) == 1:
        return profiles.read(tensor.classes[0], b"", tile.elements)
    count = tile.outer * tile.row
    channels = tensor.classes[tile.first_channel : tile.first_channel + tile.channels]
    return b"".join([profiles.read(each, b"", count) for each in channels])


def _rescaled(
    tensor: ByteTensor, scaling: Scaling, tile: Tile, old: bytes, profiles: Profiles
) -> bytes:
    size = tile.outer * tile.row
    predicted, mirrored, symbols = [], [], []
    for place in range(tile.channels):
        channel = tile.first_channel + place
        row = old[place * size : (place + 1) * size]
        known = tables(multiplier(scaling.ratio(channel)), tensor.signed, *scaling[3:])
        profile = tensor.classes[channel if len(tensor.classes) > 1 else 0]
        predicted.append(row.translate(known.predicted))
        mirrored.append(row.translate(known.mirrored))
        symbols.append(profiles.read(profile, row.translate(known.buckets), size))
    residuals = b"".join(symbols).translate(UNFOLDED)
    flipped = int.from_bytes(residuals, "little") ^ int.from_bytes(b"".join(mirrored), "little")
    return add(b"".join(predicted), flipped.to_bytes(len(old), "little"), 1)


class WideTensor(NamedTuple):
    """A tensor of two, four or eight bytes an element, little-endian.

    Its residuals are read byte plane by byte plane, the most significant first. The stream of a
    plane's symbol is found in the plane's table, by the symbol of the plane before it; of the first
    plane by the most significant byte of the old value.

    Args:
        width: bytes of an element.
        base: where the old tensor lies in the base; None where there is none.
        planes: a table of 256 places for each plane.
        scaling: of integers, one scale an element or one in all.
        floats: of float32: the prediction is these times `factor`, instead of the old tensor.
    """

    width: int
    elements: int
    base: Optional[int]
    planes: Tuple[bytes, ...]
    scaling: Optional[Scaling] = None
    floats: Optional["array[float]"] = None
    factor: float = 1.0

    @property
    def size(self) -> int:
        """In bytes."""
        return self.width * self.elements


def wide_tensor(tensor: WideTensor, read_base: ReadBase, profiles: Profiles) -> Iterator[bytes]:
    """The new tensor's bytes, in pieces.

    Raises:
        BadDelta: its streams or the base hold too little.
    """
    step = TILE // tensor.width
    for start in range(0, tensor.elements, step):
        count = min(step, tensor.elements - start)
        predicted = _predicted(tensor, start, count, read_base)
        symbols = bytearray(len(predicted))
        context = predicted[tensor.width - 1 :: tensor.width]
        for plane, table in zip(reversed(range(tensor.width)), tensor.planes):
            context = profiles.pick(context.translate(table))
            symbols[plane :: tensor.width] = context
        yield add(predicted, _unfolded(bytes(symbols), tensor.width), tensor.width)


def _predicted(tensor: WideTensor, start: int, count: int, read_base: ReadBase) -> bytes:
    if tensor.floats is not None:
        return _products(tensor.floats[start : start + count], tensor.factor)
    if tensor.base is None:
        return bytes(count * tensor.width)
    old = read_base(tensor.base + start * tensor.width, count * tensor.width)
    return _carried(old, tensor, start, tensor.scaling) if tensor.scaling else old


def _products(floats: "array[float]", factor: float) -> bytes:
    try:
        return struct.pack("<%df" % len(floats), *[value * factor for value in floats])
    except OverflowError:
        raise BadDelta("a product does not fit a float32") from None


def _carried(old: bytes, tensor: WideTensor, start: int, scaling: Scaling) -> bytes:
    """Integers at their new scale."""
    one = 1 << _WIDE_FRACTION_BITS
    mask = (1 << 8 * tensor.width) - 1
    code = "<%d%s" % (len(old) // tensor.width, {2: "h", 4: "i", 8: "q"}[tensor.width])
    carried = [
        (value * int(scaling.ratio(start + place) * one + 0.5) + one // 2 >> _WIDE_FRACTION_BITS)
        & mask
        for place, value in enumerate(struct.unpack(code, old))
    ]
    return struct.pack(code.upper(), *carried)


def floats(data: bytes) -> "array[float]":
    """Little-endian float32 as an array."""
    values = array("f")
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


_LANES: Dict[Tuple[bytes, int], int] = {}


def _lanes(pattern: bytes, count: int) -> int:
    """An integer of so many equal lanes; a few of them are remembered."""
    key = (pattern, count)
    if key not in _LANES:
        if len(_LANES) >= 8:
            _LANES.clear()
        _LANES[key] = int.from_bytes(pattern * count, "little")
    return _LANES[key]


def add(first: bytes, second: bytes, width: int) -> bytes:
    """The sums of two runs of little-endian integers of `width` bytes, modulo their range."""
    count = len(first) // width
    low = _lanes(b"\xff" * (width - 1) + b"\x7f", count)
    a, b = int.from_bytes(first, "little"), int.from_bytes(second, "little")
    total = ((a & low) + (b & low)) ^ ((a ^ b) & ~low)
    return total.to_bytes(len(first), "little")


def _unfolded(symbols: bytes, width: int) -> bytes:
    """Folded integers (0, -1, 1, -2, 2 ...) back to two's complement."""
    count = len(symbols) // width
    folded = int.from_bytes(symbols, "little")
    halves = folded >> 1 & _lanes(b"\xff" * (width - 1) + b"\x7f", count)
    signs = (folded & _lanes(b"\1" + bytes(width - 1), count)) * ((1 << 8 * width) - 1)
    return (halves ^ signs).to_bytes(len(symbols), "little")
