"""What is declared of the way from a picture to an answer: before the model, and after it.

A package carries it in its manifest, so that it is signed, and whoever has the same digest does the
same arithmetic to the last bit (docs/preprocessing.md). Declared here and checked;
`device_agent.runtimes.preprocess` and `postprocess` do it. Standard library only.
"""

from __future__ import annotations

import hashlib
import math
from typing import Optional, Tuple

from device_agent.codec import canonical
from device_agent.records import record

VERSION = 1
"""Of the arithmetic: whatever changes one bit of a result is another version."""

COLORS = ("rgb", "bgr", "gray")
INTERPOLATIONS = ("nearest", "box", "bilinear", "bicubic", "lanczos")
LAYOUTS = ("nhwc", "nchw")
SIDE_MAX = 16_384
"""Longest side of a picture in pixels, before and after."""
PIXELS_MAX = 64 * 1024 * 1024
"""Most pixels of a picture; as bytes that is 192 MiB."""


@record(frozen=True)
class Preprocessing:
    """What is done to a decoded picture of 8 bits a channel, in this order.

    Sizes are (height, width) in pixels; an empty one is none.

    Args:
        version: of the arithmetic; this code knows `VERSION` only.
        color: of the result, one of `COLORS`. The picture is RGB.
        shorter_side: scale so that the shorter side has this many pixels.
        resize: then scale to this size.
        interpolation: of both, one of `INTERPOLATIONS`, as Pillow defines them.
        crop: then cut this size out of the middle.
        scale: then each value (0 to 255) times this,
        mean: minus this, one a channel in the order of `color`,
        std: divided by this, likewise, in float32; then stored as the model's input stores it.
        layout: of the result, one of `LAYOUTS`.
    """

    version: int
    color: str
    shorter_side: Optional[int]
    resize: Tuple[int, ...]
    interpolation: str
    crop: Tuple[int, ...]
    scale: float
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    layout: str

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical bytes."""
        return hashlib.sha256(canonical(self)).hexdigest()

    @property
    def channels(self) -> int:
        """Of the result."""
        return 1 if self.color == "gray" else 3

    def sizes(self, height: int, width: int) -> Tuple[Tuple[int, int], ...]:
        """The sizes that a picture of that size is scaled to, one after the other."""
        found = []
        if self.shorter_side is not None:
            factor = self.shorter_side / min(height, width)
            height, width = (max(1, round(side * factor)) for side in (height, width))
            found.append((height, width))
        if self.resize:
            found.append((self.resize[0], self.resize[1]))
        return tuple(found)

    def shape(self, height: int, width: int) -> Tuple[int, int, int]:
        """Shape of what is made of a picture of that size, without a batch axis.

        Raises:
            ValueError: it is too small to cut the crop out of, or would become too large.
        """
        high, wide = height, width
        for high, wide in self.sizes(height, width):
            check_size("a scaled picture", (high, wide))
        if self.crop:
            if self.crop[0] > high or self.crop[1] > wide:
                raise ValueError(
                    f"found a picture of {high} x {wide} (height x width) to cut "
                    f"{self.crop[0]} x {self.crop[1]} out of"
                )
            high, wide = self.crop
        return (self.channels, high, wide) if self.layout == "nchw" else (high, wide, self.channels)


@record(frozen=True)
class Postprocessing:
    """What is done to a model's outputs, in this order; nothing where nothing is set.

    Args:
        version: of the arithmetic; this code knows `VERSION` only.
        dequantize: outputs become real numbers, float32.
        softmax: over the last axis of the first output, in float32.
        top_k: of the first output the indices of so many largest elements of the last axis, and
            those; 1 is its argmax, 0 keeps the outputs. Of equals the first is larger.
    """

    version: int = VERSION
    dequantize: bool = False
    softmax: bool = False
    top_k: int = 0


@record(frozen=True)
class Stages:
    """Everything from a decoded picture to the answer, around the model.

    Args:
        source: height and width of the pictures that the application will have, which its stages
            are timed with; empty where nobody said.
    """

    preprocessing: Preprocessing
    postprocessing: Postprocessing = Postprocessing()
    source: Tuple[int, ...] = ()


def check_stages(stages: Stages) -> None:
    """Refuse what no code can do, or this code does not know.

    Raises:
        ValueError: says what was found and expected.
    """
    _check_preprocessing(stages.preprocessing)
    after = stages.postprocessing
    if after.version != VERSION:
        raise ValueError(f"found postprocessing version {after.version}, expected {VERSION}")
    if not 0 <= after.top_k <= SIDE_MAX:
        raise ValueError(f"found top_k = {after.top_k}, expected 0 to {SIDE_MAX}")
    if stages.source:
        check_size("source", stages.source)
        stages.preprocessing.shape(*stages.source)


def _check_preprocessing(before: Preprocessing) -> None:
    if before.version != VERSION:
        raise ValueError(f"found preprocessing version {before.version}, expected {VERSION}")
    for name, found, known in (
        ("color", before.color, COLORS),
        ("interpolation", before.interpolation, INTERPOLATIONS),
        ("layout", before.layout, LAYOUTS),
    ):
        if found not in known:
            raise ValueError(f"found {name} = {found!r}, expected one of {', '.join(known)}")
    if before.shorter_side is not None and not 1 <= before.shorter_side <= SIDE_MAX:
        raise ValueError(f"found shorter_side = {before.shorter_side}, expected 1 to {SIDE_MAX}")
    for name, size in (("resize", before.resize), ("crop", before.crop)):
        if size:
            check_size(name, size)
    for name, values in (("mean", before.mean), ("std", before.std)):
        if len(values) != before.channels:
            raise ValueError(f"found {len(values)} values in {name}, expected {before.channels}")
    if not all(map(math.isfinite, (before.scale, *before.mean, *before.std))):
        raise ValueError("found scale, mean or std without end, expected finite numbers")
    if 0.0 in before.std:
        raise ValueError("found 0 in std, expected what values can be divided by")


def check_size(name: str, size: Tuple[int, ...]) -> None:
    """Refuse what is no size of a picture.

    Raises:
        ValueError: says what was found and expected.
    """
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"found {name} = {list(size)}, expected [height, width]")
    if max(size) > SIDE_MAX or size[0] * size[1] > PIXELS_MAX:
        raise ValueError(
            f"found {name} = {list(size)}, expected at most {SIDE_MAX} a side and {PIXELS_MAX} "
            "pixels"
        )
