"""From a picture to a model's input: declared once, done the same everywhere. Numpy and Pillow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgesdk.errors import DataError
from edgesdk.models.types import TensorSpec

_MODES = {"rgb": "RGB", "bgr": "RGB", "gray": "L"}
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to a picture, in this order; sizes are (height, width) in pixels.

    Args:
        color: channels and their order; transparency is left out.
        shorter_side: scale so that the shorter side has this many pixels, keeping the proportions.
        resize: scale to exactly this size; None leaves the size, or what `shorter_side` made of it.
        interpolation: of both, as Pillow does it (it looks at every pixel when it scales down).
        crop: cut this size out of the middle.
        scale: each value (0 to 255) is multiplied by it, e.g. 0.00392156862745098 for 1/255.
        mean: then subtracted, one for all channels or one a channel, in `color`'s order.
        std: then divided by, likewise.
        layout: of the result; a batch axis of 1 is put in front.
    """

    color: Literal["rgb", "bgr", "gray"] = "rgb"
    shorter_side: int | None = None
    resize: tuple[int, ...] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    crop: tuple[int, ...] | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["nhwc", "nchw"] = "nhwc"

    def __post_init__(self) -> None:
        channels = 1 if self.color == "gray" else 3
        for name, size in (("resize", self.resize), ("crop", self.crop)):
            if size is not None and (len(size) != 2 or min(size) < 1):
                raise ValueError(f"found {name} = {list(size)}, expected [height, width]")
        if self.shorter_side is not None and self.shorter_side < 1:
            raise ValueError(f"found shorter_side = {self.shorter_side}, expected 1 or more")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise ValueError(f"found {len(values)} values in {name}, expected 1 or {channels}")
        if 0.0 in self.std:
            raise ValueError("found 0 in std, expected what values can be divided by")

    def apply(self, picture: Image.Image, spec: TensorSpec) -> npt.NDArray[np.generic]:
        """The input tensor of `spec`'s dtype; float results are rounded for integer inputs.

        Raises:
            DataError: the result does not have the input's shape.
        """
        values: npt.NDArray[Any] = np.asarray(
            self._sized(picture.convert(_MODES[self.color])), np.float32
        )
        values = values.reshape(*values.shape[:2], -1)
        values = values[..., ::-1] if self.color == "bgr" else values
        values = values * np.float32(self.scale) - np.asarray(self.mean, np.float32)
        values = values / np.asarray(self.std, np.float32)
        values = values.transpose(2, 0, 1) if self.layout == "nchw" else values
        if values[None].shape != spec.shape and values.shape != spec.shape:
            raise DataError(
                f"the preprocessing makes {list(values[None].shape)} of a picture, the model's "
                f"input is {spec}",
                hint="set resize or crop, color and layout to what the model was trained with",
            )
        return _stored(np.ascontiguousarray(values.reshape(spec.shape)), np.dtype(spec.dtype))

    def _sized(self, picture: Image.Image) -> Image.Image:
        resample = _FILTERS[self.interpolation]
        if self.shorter_side is not None:
            factor = self.shorter_side / min(picture.size)
            width, height = (max(1, round(side * factor)) for side in picture.size)
            picture = picture.resize((width, height), resample)
        if self.resize is not None:
            picture = picture.resize((self.resize[1], self.resize[0]), resample)
        return picture if self.crop is None else _middle(picture, self.crop)


def _middle(picture: Image.Image, size: tuple[int, ...]) -> Image.Image:
    height, width = size
    if height > picture.height or width > picture.width:
        raise DataError(
            f"found a picture of {picture.height} x {picture.width} (height x width) to cut "
            f"{height} x {width} out of",
            hint="set shorter_side or resize, or a smaller crop",
        )
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    return picture.crop((left, top, left + width, top + height))


def _stored(
    values: npt.NDArray[np.float32], dtype: np.dtype[np.generic]
) -> npt.NDArray[np.generic]:
    if dtype.kind == "f":
        return values.astype(dtype)
    bounds = np.iinfo(dtype.name)
    return np.clip(np.rint(values), bounds.min, bounds.max).astype(dtype)
