"""What docs/fallback.md says of odd inputs is what the code finds in the example's images."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from device_agent.manifest import InputStatistics, Port
from device_agent.runtimes.statistics import oddity
from edgesdk.convert.input_statistics import WatchedSamples
from edgesdk.package.fallback import widened

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "fallback.md").read_text()

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
CHANGES: dict[str, Change] = {
    "as it is": lambda image, random: image,
    "grey levels 0 to 255 instead of 0 to 1": lambda image, random: 255 * image,
    "inverted": lambda image, random: 1 - image,
    "all black": lambda image, random: 0 * image,
    "twice as bright": lambda image, random: 2 * image,
    "half as bright": lambda image, random: image / 2,
    "a quarter brighter": lambda image, random: 1.25 * image,
    "a quarter darker": lambda image, random: 0.75 * image,
    "0.25 added to each value": lambda image, random: image + 0.25,
    "0.1 added to each value": lambda image, random: image + 0.1,
    "uniform noise in its place": lambda image, random: random.random(image.shape, np.float32),
    "normal noise of 0.2 on it": lambda image, random: np.clip(
        image + random.normal(0, 0.2, image.shape), 0, 1
    ),
    "pixels shuffled": lambda image, random: random.permutation(image.ravel()).reshape(image.shape),
    "right half covered": lambda image, random: image * (np.arange(8) < 4),
    "turned by 90 degrees": lambda image, random: np.rot90(image, axes=(-2, -1)),
    "shifted by 3 pixels": lambda image, random: np.pad(image, ((0, 0), (0, 0), (3, 0)))[..., :8],
    "shifted round by 2 pixels": lambda image, random: np.roll(image, 2, -1),
    "mirrored": lambda image, random: image[..., ::-1],
}


def images(split: str) -> np.ndarray:
    with np.load(ROOT / "examples" / "digits" / "digits.npz") as arrays:
        return arrays[f"{split}/image"]


@pytest.fixture(scope="module")
def allowed() -> InputStatistics:
    """As a package made of the example has it."""
    samples = images("calibration")
    watched = WatchedSamples(lambda: ({"image": image} for image in samples))
    (seen,) = watched.statistics(["image"], [Port("image", (1, 1, 8, 8), "float32")])
    return widened(seen)


ROWS = [
    (name, float(percent))
    for name, percent in re.findall(r"^\| ([^|]+) \| ([\d.]+) % \|$", PAGE, re.MULTILINE)
]


def test_the_page_has_a_row_for_every_change() -> None:
    assert [name for name, _ in ROWS] == list(CHANGES)


@pytest.mark.parametrize(("name", "percent"), ROWS)
def test_the_share_taken_for_odd_is_as_the_page_says(
    allowed: InputStatistics, name: str, percent: float
) -> None:
    change, random = CHANGES[name], np.random.default_rng(0)
    found = [oddity(change(image, random), allowed) is not None for image in images("test")]
    assert 100 * np.mean(found) == pytest.approx(percent, abs=0.3)
