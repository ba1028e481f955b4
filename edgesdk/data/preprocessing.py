"""What a project declares of pictures and answers; carried out by the code that the device runs.

`device_agent.runtimes.preprocess` does it, for calibration, on the workstation and on the device.
Here is only how people write it down; Pillow decodes, in edgesdk.data.images, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from device_agent import preprocessing as contract
from device_agent.manifest import Port
from device_agent.runtimes.base import BadTensor
from device_agent.runtimes.preprocess import Preprocessor, synthetic_input_sha256
from edgesdk.errors import DataError
from edgesdk.models.types import TensorSpec


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to a picture, in this order; sizes are (height, width) in pixels.

    Args:
        color: channels and their order; transparency is left out.
        shorter_side: scale so that the shorter side has this many pixels, keeping the proportions.
        resize: scale to exactly this size; None leaves the size, or what `shorter_side` made of it.
        interpolation: of both, as Pillow defines them (all but "nearest" look at every pixel when
            they scale down).
        crop: cut this size out of the middle.
        scale: each value (0 to 255) is multiplied by it, e.g. 0.00392156862745098 for 1/255.
        mean: then subtracted, one for all channels or one a channel, in `color`'s order.
        std: then divided by, likewise.
        layout: of the result; a batch axis of 1 is put in front.
        source: size of the pictures that the application's camera gives, which the stages are timed
            with; no part of what is done.

    Raises:
        ValueError: no code can do that.
    """

    color: Literal["rgb", "bgr", "gray"] = "rgb"
    shorter_side: int | None = None
    resize: tuple[int, ...] | None = None
    interpolation: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = "bilinear"
    crop: tuple[int, ...] | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["nhwc", "nchw"] = "nhwc"
    source: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, size in (("resize", self.resize), ("crop", self.crop), ("source", self.source)):
            if size is not None:
                contract.check_size(name, size)
        channels = 1 if self.color == "gray" else 3
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise ValueError(f"found {len(values)} values in {name}, expected 1 or {channels}")
        contract.check_stages(self.stages(Postprocessing()))

    def steps(self) -> contract.Preprocessing:
        """As a package carries it: spelt out, so that one meaning has one digest."""
        return contract.Preprocessing(
            version=contract.VERSION,
            color=self.color,
            shorter_side=self.shorter_side,
            resize=tuple(self.resize or ()),
            interpolation=self.interpolation,
            crop=tuple(self.crop or ()),
            scale=float(self.scale),
            mean=_per_channel(self.mean, self.color),
            std=_per_channel(self.std, self.color),
            layout=self.layout,
        )

    def stages(self, after: Postprocessing) -> contract.Stages:
        """All that a package carries."""
        return contract.Stages(self.steps(), after.steps(), tuple(self.source or ()))


@dataclass(frozen=True, slots=True)
class Postprocessing:
    """What is done to the model's outputs, in this order; nothing unless it is set.

    Args:
        dequantize: outputs become real numbers.
        softmax: over the last axis of the first output; dequantizes.
        top_k: of the first output so many largest, their indices and values; 1 is argmax.

    Raises:
        ValueError: a negative `top_k`.
    """

    dequantize: bool = False
    softmax: bool = False
    top_k: int = 0

    def __post_init__(self) -> None:
        if self.top_k < 0:
            raise ValueError(f"found top_k = {self.top_k}, expected 0 or more")

    def steps(self) -> contract.Postprocessing:
        """The same as a package carries it."""
        return contract.Postprocessing(contract.VERSION, self.dequantize, self.softmax, self.top_k)


def steps_of(declared: Preprocessing | None) -> contract.Preprocessing | None:
    """As a plan has it."""
    return None if declared is None else declared.steps()


def input_maker(declared: contract.Preprocessing, spec: TensorSpec) -> Preprocessor:
    """What makes the inputs of a float model.

    Raises:
        DataError: it makes values that the input's dtype does not hold.
    """
    try:
        return Preprocessor(declared, Port(spec.name, spec.shape, spec.dtype))
    except BadTensor as error:
        raise DataError(str(error)) from error


def made_input(maker: Preprocessor, picture: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """The input tensor of a decoded RGB picture, shape (height, width, 3).

    Raises:
        DataError: the result does not have the input's shape.
    """
    try:
        return maker.apply(picture)
    except BadTensor as error:
        raise DataError(
            str(error),
            hint="set resize or crop, color and layout to what the model was trained with",
        ) from error


def expected_input_sha256(stages: contract.Stages, port: Port, seed: int) -> str:
    """SHA-256 of the input that this machine makes of the synthetic picture a device is timed with.

    Raises:
        DataError: it makes no such input.
    """
    try:
        return synthetic_input_sha256(stages, port, seed)
    except BadTensor as error:
        raise DataError(str(error)) from error


def _per_channel(values: tuple[float, ...], color: str) -> tuple[float, ...]:
    channels = 1 if color == "gray" else 3
    return tuple(map(float, values * channels if len(values) == 1 else values))
