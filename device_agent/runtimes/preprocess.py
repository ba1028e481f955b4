"""From a decoded picture to a model's input, as `device_agent.preprocessing` declares it.

The very code that calibration, the workstation and the device run. Scaling is Pillow's, to the bit:
two passes of 22 bit integer weights, along the rows first, each rounded to 8 bits
(libImaging/Resample.c before Pillow 13). Everything behind it (scale, mean, std, quantize) is a
table of 256 entries a channel, so that no result depends on the order of float operations, on the
processor, or on numpy's version. Decoding JPEG or PNG is not done here. Needs numpy.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from typing import Callable, Dict, List, NamedTuple, Tuple

import numpy as np

from device_agent.manifest import Port
from device_agent.preprocessing import Preprocessing, Stages
from device_agent.runtimes.base import BadTensor
from device_agent.runtimes.tensors import pack_arrays, quantize

_BITS = 32 - 8 - 2
_HALF = 1 << (_BITS - 1)
_RED, _GREEN, _BLUE = 19595, 38470, 7471
"""ITU-R BT.601 luma in 16 bit integers, which sum to 65536; Pillow's "L"."""
_CACHED_TAPS = 64
_PIECE = 256 * 1024
"""Pixel values that are widened at a time: a photograph of 12 megapixels would take 144 MiB."""


class Preprocessor:
    """What a declaration means for one input of a model.

    Args:
        declared: sound, as `check_stages` leaves it.
        port: the input; with its scale and zero point where it stores real numbers quantized.

    Raises:
        BadTensor: the values it makes are no numbers.
    """

    def __init__(self, declared: Preprocessing, port: Port) -> None:
        self._declared = declared
        self._port = port
        self._table = _table(declared, port)
        self._same_for_all = bool((self._table == self._table[:1]).all())

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """The input as the model stores it.

        Args:
            picture: uint8 of shape (height, width, 3), RGB; (height, width) will do for a model of
                gray pictures.

        Raises:
            BadTensor: it is no such picture, or makes an input of another shape.
        """
        declared, port = self._declared, self._port
        colored = _colored(picture, declared.color)
        try:
            shape = declared.shape(*colored.shape[:2])
        except ValueError as error:
            raise BadTensor(str(error)) from error
        if port.shape not in (shape, (1, *shape)):
            raise BadTensor(
                f"the preprocessing makes {[1, *shape]} of a picture, the model's input "
                f"{port.name} is {list(port.shape)}"
            )
        return self._stored(_sized(colored, declared)).reshape(port.shape)

    def _stored(self, picture: np.ndarray) -> np.ndarray:
        table, channels = self._table, self._declared.channels
        stored: np.ndarray
        if self._declared.layout == "nchw":
            planes = picture.transpose(2, 0, 1)
            stored = np.stack([table[at].take(planes[at]) for at in range(channels)])
            return stored
        if self._same_for_all:
            stored = table[0].take(picture)
            return stored
        stored = np.empty(picture.shape, table.dtype)
        for at in range(channels):
            stored[..., at] = table[at].take(picture[..., at])
        return stored


def synthetic_picture(source: Tuple[int, ...], seed: int) -> np.ndarray:
    """A picture of that size whose bytes are SHAKE-256 of the seed: the same on every machine.

    How long preprocessing takes does not depend on what is in a picture.
    """
    height, width = source
    content = hashlib.shake_256(b"edgesdk picture %d" % seed).digest(height * width * 3)
    return np.frombuffer(content, np.uint8).reshape(height, width, 3)


def synthetic_input_sha256(stages: Stages, port: Port, seed: int) -> str:
    """SHA-256 (hex) of the input that is made of the synthetic picture, little endian.

    Raises:
        BadTensor: it makes no such input.
    """
    made = Preprocessor(stages.preprocessing, port).apply(synthetic_picture(stages.source, seed))
    return hashlib.sha256(pack_arrays([made])).hexdigest()


def _table(declared: Preprocessing, port: Port) -> np.ndarray:
    """What a port stores for each value of 8 bits, shape (channels, 256)."""
    values = np.arange(256, dtype=np.float32)[None] * np.float32(declared.scale)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        values = values - np.array(declared.mean, np.float32)[:, None]
        values = values / np.array(declared.std, np.float32)[:, None]
    if not np.isfinite(values).all():
        raise BadTensor("scale, mean and std make values that float32 does not hold")
    dtype = np.dtype(port.dtype)
    if port.scale is None and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        rounded: np.ndarray = np.clip(np.rint(values), limits.min, limits.max)
        return rounded.astype(dtype)
    return quantize(values, dataclasses.replace(port, shape=values.shape))


def _colored(picture: np.ndarray, color: str) -> np.ndarray:
    """The picture in the model's channels, shape (height, width, channels)."""
    gray = color == "gray"
    if gray and picture.ndim == 2 and picture.dtype == np.uint8:
        return picture[..., None]
    if (
        picture.dtype != np.uint8
        or picture.ndim != 3
        or picture.shape[2] != 3
        or 0 in picture.shape
    ):
        raise BadTensor(
            f"found a picture of {picture.dtype.name} {list(picture.shape)}, expected uint8 "
            f"[height, width, 3]{' or [height, width]' if gray else ''}"
        )
    if gray:
        wide = picture.astype(np.int32)
        luma = wide[..., 0] * _RED + wide[..., 1] * _GREEN + wide[..., 2] * _BLUE + 0x8000
        return (luma >> 16).astype(np.uint8)[..., None]
    return picture[..., ::-1] if color == "bgr" else picture


def _sized(picture: np.ndarray, declared: Preprocessing) -> np.ndarray:
    """Scaled, and the middle cut out; of the last scaling only that is computed."""
    sizes = declared.sizes(*picture.shape[:2])
    for height, width in sizes[:-1]:
        picture = _scaled(picture, declared.interpolation, _whole(height), _whole(width))
    height, width = sizes[-1] if sizes else picture.shape[:2]
    rows, columns = _whole(height), _whole(width)
    if declared.crop:
        rows, columns = _middle(height, declared.crop[0]), _middle(width, declared.crop[1])
    return _scaled(picture, declared.interpolation, rows, columns)


class _Span(NamedTuple):
    """Part of an axis of `pixels` pixels: `length` of them, from `first` on."""

    pixels: int
    first: int
    length: int


def _whole(pixels: int) -> _Span:
    return _Span(pixels, 0, pixels)


def _middle(pixels: int, count: int) -> _Span:
    return _Span(pixels, round((pixels - count) / 2), count)


def _scaled(picture: np.ndarray, method: str, rows: _Span, columns: _Span) -> np.ndarray:
    """A part of the picture scaled to `rows.pixels` by `columns.pixels`."""
    if method == "nearest":
        down = _nearest(picture.shape[0], rows.pixels)[rows.first : rows.first + rows.length]
        across = _nearest(picture.shape[1], columns.pixels)
        across = across[columns.first : columns.first + columns.length]
        nearest: np.ndarray = picture[down][:, across]
        return nearest
    down_taps = _taps(method, picture.shape[0], rows)
    picture = picture[down_taps.low : down_taps.high]
    across_taps = _taps(method, picture.shape[1], columns)
    turned = np.ascontiguousarray(picture[:, across_taps.low : across_taps.high].transpose(1, 0, 2))
    picture = np.ascontiguousarray(_weighted(turned, across_taps).transpose(1, 0, 2))
    return _weighted(picture, down_taps)


class _Taps(NamedTuple):
    """Which lines of a picture make each line of the result, and with which weights.

    Args:
        low: the first line that is needed.
        high: the one behind the last.
        at: counted from `low`, shape (taps, lines of the result); empty where each is itself.
        weights: int32 of that shape, 22 bits behind the point.
    """

    low: int
    high: int
    at: np.ndarray
    weights: np.ndarray


def _weighted(lines: np.ndarray, taps: _Taps) -> np.ndarray:
    """Weighted sums of lines along the first axis, rounded and clipped to 8 bits."""
    if not len(taps.at):
        return lines
    flat = lines.reshape(len(lines), -1)
    made = np.empty((taps.at.shape[1], flat.shape[1]), np.uint8)
    piece = max(1, _PIECE // len(flat))
    for left in range(0, flat.shape[1], piece):
        wide = flat[:, left : left + piece].astype(np.int32)
        total = np.full((len(made), wide.shape[1]), _HALF, np.int32)
        term = np.empty_like(total)
        for at, weights in zip(taps.at, taps.weights):
            np.take(wide, at, axis=0, out=term, mode="clip")
            term *= weights[:, None]
            total += term
        total >>= _BITS
        made[:, left : left + piece] = np.clip(total, 0, 255)
    return made.reshape(-1, *lines.shape[1:])


@functools.lru_cache(maxsize=_CACHED_TAPS)
def _taps(method: str, pixels: int, span: _Span) -> _Taps:
    if pixels == span.pixels:
        nothing = np.empty((0, 0), np.int32)
        return _Taps(span.first, span.first + span.length, nothing, nothing)
    lines = [_line(method, pixels, span.pixels, span.first + at) for at in range(span.length)]
    low = min(first for first, _ in lines)
    high = max(first + len(weights) for first, weights in lines)
    most = max(len(weights) for _, weights in lines)
    at = np.zeros((most, len(lines)), np.intp)
    weights = np.zeros((most, len(lines)), np.int32)
    for index, (first, found) in enumerate(lines):
        at[: len(found), index] = np.arange(first - low, first - low + len(found))
        weights[: len(found), index] = found
    return _Taps(low, high, at, weights)


def _line(method: str, pixels: int, wanted: int, index: int) -> Tuple[int, List[int]]:
    """The first pixel that one pixel of the result is made of, and the weights from it on.

    In Python's floats, which are IEEE doubles: each operation is rounded by itself everywhere.
    """
    support, filtered = _FILTERS[method]
    scale = pixels / wanted
    stretch = max(1.0, scale)
    center = (index + 0.5) * scale
    first = max(0, int(center - support * stretch + 0.5))
    last = min(pixels, int(center + support * stretch + 0.5))
    raw = [filtered((at - center + 0.5) * (1.0 / stretch)) for at in range(first, last)]
    total = 0.0
    for weight in raw:
        total += weight
    shares = [weight / total if total != 0.0 else weight for weight in raw]
    return first, [int(math.copysign(0.5, share) + share * (1 << _BITS)) for share in shares]


@functools.lru_cache(maxsize=_CACHED_TAPS)
def _nearest(pixels: int, wanted: int) -> np.ndarray:
    """The pixel that each pixel of the result is; positions are added up as Pillow does."""
    step = pixels / wanted
    position, found = step * 0.5, []
    for _ in range(wanted):
        found.append(min(int(position), pixels - 1))
        position += step
    return np.array(found, np.intp)


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _bilinear(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _bicubic(x: float) -> float:
    """Keys' cubic with a = -0.5."""
    x = abs(x)
    if x < 1.0:
        return ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1
    if x < 2.0:
        return (((x - 5) * x + 8) * x - 4) * -0.5
    return 0.0


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3.0 <= x < 3.0 else 0.0


def _sinc(x: float) -> float:
    """sin(pi x) / (pi x) by its Taylor series: a C library's sine may be another on each device."""
    squared, term, total = (x * math.pi) ** 2, 1.0, 1.0
    for at in range(1, 30):
        term *= -squared / (2 * at * (2 * at + 1))
        total += term
    return total


_FILTERS: Dict[str, Tuple[float, Callable[[float], float]]] = {
    "box": (0.5, _box),
    "bilinear": (1.0, _bilinear),
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, _lanczos),
}
"""Half the filter's width in pixels of the result, and the filter."""
