"""From a picture to an input: the bytes of it, whoever computes them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from device_agent.manifest import Port
from device_agent.preprocessing import Postprocessing, Preprocessing, Stages, check_stages
from device_agent.runtimes.base import BadTensor
from device_agent.runtimes.postprocess import Postprocessor
from device_agent.runtimes.preprocess import (
    Preprocessor,
    synthetic_input_sha256,
    synthetic_picture,
)
from tests.faults.aarch64 import emulated
from tests.pythons import NEW, version_name

ROOT = Path(__file__).parents[3]
PLAIN = Preprocessing(1, "rgb", None, (), "bilinear", (), 1.0, (0.0,) * 3, (1.0,) * 3, "nhwc")
IMAGENET = dataclasses.replace(
    PLAIN,
    shorter_side=48,
    crop=(40, 32),
    scale=1 / 255,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    layout="nchw",
)
METHODS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def port(*shape: int, dtype: str = "float32", **stored: float) -> Port:
    return Port("image", (1, *shape), dtype, **stored)  # type: ignore[arg-type]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def sized(picture: np.ndarray, declared: Preprocessing) -> np.ndarray:
    """The picture after all that moves pixels, as bytes."""
    shape = declared.shape(*picture.shape[:2])
    return Preprocessor(declared, port(*shape, dtype="uint8")).apply(picture)[0]


# ---- scaling is Pillow's -------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=60, deadline=None)
@given(sizes=st.tuples(*[st.integers(1, 70)] * 4), seed=st.integers(0, 9))
def test_every_scaling_gives_the_bytes_of_pillows(
    method: str, sizes: tuple[int, int, int, int], seed: int
) -> None:
    """Rows first: Pillow 13 takes columns first where the height shrinks much more."""
    height, width, high, wide = sizes
    picture = noise(height, width, seed)
    resample = METHODS[method]
    across = Image.fromarray(picture).resize((wide, height), resample)
    expected = np.asarray(across.resize((wide, high), resample))
    declared = dataclasses.replace(PLAIN, resize=(high, wide), interpolation=method)
    assert np.array_equal(sized(picture, declared), expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_camera_picture_is_scaled_as_pillow_does_it_in_one_call(method: str) -> None:
    picture = noise(480, 640)
    expected = np.asarray(Image.fromarray(picture).resize((224, 224), METHODS[method]))
    declared = dataclasses.replace(PLAIN, resize=(224, 224), interpolation=method)
    assert np.array_equal(sized(picture, declared), expected)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    side=st.none() | st.integers(12, 50),
    resize=st.just(()) | st.tuples(st.integers(8, 50), st.integers(8, 50)),
    method=st.sampled_from(sorted(METHODS)),
    seed=st.integers(0, 9),
)
def test_a_crop_is_the_middle_of_the_whole(
    height: int, width: int, side: int | None, resize: tuple[int, ...], method: str, seed: int
) -> None:
    """Though of the last scaling no more is computed than the crop needs."""
    declared = dataclasses.replace(PLAIN, shorter_side=side, resize=resize, interpolation=method)
    picture = noise(height, width, seed)
    whole = sized(picture, declared)
    crop = (min(7, whole.shape[0]), min(5, whole.shape[1]))
    top, left = (round((whole.shape[axis] - crop[axis]) / 2) for axis in (0, 1))
    expected = whole[top : top + crop[0], left : left + crop[1]]
    assert np.array_equal(sized(picture, dataclasses.replace(declared, crop=crop)), expected)


def test_gray_is_pillows_luma() -> None:
    gray = dataclasses.replace(PLAIN, color="gray", mean=(0.0,), std=(1.0,))
    picture = noise(40, 50)
    expected = np.asarray(Image.fromarray(picture).convert("L"))
    assert np.array_equal(sized(picture, gray)[..., 0], expected)
    assert np.array_equal(sized(expected, gray)[..., 0], expected)


# ---- what comes after it -------------------------------------------------------------------------


def test_scale_mean_and_std_are_done_in_float32() -> None:
    picture = noise(60, 48)
    small = np.asarray(Image.fromarray(picture).resize((48, 60), METHODS["bilinear"]), np.float32)[
        10:50, 8:40
    ]
    mean, std = np.array(IMAGENET.mean, np.float32), np.array(IMAGENET.std, np.float32)
    expected = (small * np.float32(1 / 255) - mean) / std
    found = Preprocessor(IMAGENET, port(3, 40, 32)).apply(picture)
    assert np.array_equal(found[0], expected.transpose(2, 0, 1))


def test_a_quantized_input_gets_the_steps_that_its_floats_are_quantized_to() -> None:
    picture = noise(60, 48)
    real = Preprocessor(IMAGENET, port(3, 40, 32)).apply(picture)
    stored = port(3, 40, 32, dtype="int8", scale=0.0187, zero_point=-14)
    steps = np.rint(real / np.float32(0.0187)) - 14
    found = Preprocessor(IMAGENET, stored).apply(picture)
    assert found.dtype == np.int8
    assert np.array_equal(found, np.clip(steps, -128, 127))


def test_bgr_turns_the_channels_round() -> None:
    picture = noise(6, 5)
    found = sized(picture, dataclasses.replace(PLAIN, color="bgr"))
    assert np.array_equal(found, picture[..., ::-1])


# ---- the same bytes everywhere -------------------------------------------------------------------

KNOWN = {
    "nearest": (dataclasses.replace(IMAGENET, interpolation="nearest"), "float32"),
    "box": (dataclasses.replace(IMAGENET, interpolation="box", color="bgr"), "float32"),
    "bilinear": (IMAGENET, "float32"),
    "bicubic": (dataclasses.replace(IMAGENET, interpolation="bicubic"), "float32"),
    "lanczos": (dataclasses.replace(IMAGENET, interpolation="lanczos"), "float32"),
    "int8": (IMAGENET, "int8"),
}
SHA256 = {
    "nearest": "d34d9fed7a808ccf003654418236a2508ac0516a43163f421afc06d2c3914c18",
    "box": "9f9828eee71ccb87db821424245bf78b1440f361c381ab71dd87d2a2744ba929",
    "bilinear": "54603d49094a3d0ae6c12df1458f34a06513199adc393afeba860cb1e3405a36",
    "bicubic": "f08f3307344b4f398fafe0f3214b279bc27e5f6e1cdb069c806d1733943b6ffb",
    "lanczos": "247334ad358ae931b1a3d63c3ccd6b3585f81ffc537178d483674bf046eed8ff",
    "int8": "33cabeb34b6adbfdfe9e2a2db1b10aabb1f44417e2ab0dba4eeb81e723fcd58c",
}


def case(name: str) -> tuple[Stages, Port]:
    declared, dtype = KNOWN[name]
    stored = {"scale": 0.0187, "zero_point": -14} if dtype == "int8" else {}
    return Stages(declared, source=(120, 90)), port(3, 40, 32, dtype=dtype, **stored)


@pytest.mark.parametrize("name", KNOWN)
def test_version_1_gives_these_bytes_for_good(name: str) -> None:
    """Whoever changes one of them makes a version 2: packages in the field declare version 1."""
    assert synthetic_input_sha256(*case(name), 7) == SHA256[name]


PROGRAM = """
import sys
try:
    import numpy
except ImportError:
    sys.exit(3)
import json
from device_agent.codec import from_dict
from device_agent.manifest import Port
from device_agent.preprocessing import Stages
from device_agent.runtimes.preprocess import synthetic_input_sha256
for stages, port in json.load(sys.stdin):
    print(synthetic_input_sha256(from_dict(Stages, stages), from_dict(Port, port), 7))
"""


def computed_by(python: Path, folders: Sequence[Path], **environment: str) -> list[str]:
    """The digests that another interpreter computes; skips where it has no numpy."""
    cases = [[dataclasses.asdict(part) for part in case(name)] for name in KNOWN]
    path = os.pathsep.join(map(str, (ROOT, *folders)))
    done = subprocess.run(
        [python, "-c", PROGRAM],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        timeout=240,
    )
    if done.returncode == 3:
        pytest.skip("that Python has no numpy")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("python", NEW, ids=version_name)
def test_other_pythons_with_another_numpy_give_the_same_bytes(python: Path) -> None:
    assert computed_by(python, ()) == list(SHA256.values())


@pytest.mark.slow
def test_an_aarch64_processor_gives_the_same_bytes() -> None:
    """Emulated, with numpy's wheel for it."""
    board = emulated()
    home = str(board.root / "usr")
    settings = {"QEMU_LD_PREFIX": str(board.root), "QEMU_CPU": "cortex-a76", "PYTHONHOME": home}
    assert computed_by(board.program, [board.site], **settings) == list(SHA256.values())


def test_the_synthetic_picture_is_shake_of_its_seed() -> None:
    picture = synthetic_picture((2, 3), 5)
    assert picture.tobytes() == hashlib.shake_256(b"edgesdk picture 5").digest(18)
    assert not np.array_equal(picture, synthetic_picture((2, 3), 6))


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "picture",
    [noise(8, 8).astype(np.float32), noise(8, 8)[..., 0], np.zeros((8, 8, 4), np.uint8)],
    ids=["float", "gray", "with transparency"],
)
def test_what_is_no_rgb_picture_of_bytes_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(BadTensor, match=r"expected uint8 \[height, width, 3\]"):
        Preprocessor(PLAIN, port(8, 8, 3)).apply(picture)


def test_a_picture_that_makes_another_input_is_refused() -> None:
    with pytest.raises(BadTensor, match=r"makes \[1, 9, 8, 3\] of a picture.*is \[1, 8, 8, 3\]"):
        Preprocessor(PLAIN, port(8, 8, 3)).apply(noise(9, 8))


def test_a_picture_smaller_than_the_crop_is_refused() -> None:
    declared = dataclasses.replace(PLAIN, crop=(8, 8))
    with pytest.raises(BadTensor, match=r"found a picture of 7 x 9 .* to cut 8 x 8 out of"):
        Preprocessor(declared, port(8, 8, 3)).apply(noise(7, 9))


def test_values_beyond_float32_are_refused() -> None:
    declared = dataclasses.replace(PLAIN, std=(1e-44, 1.0, 1.0), scale=1e30)
    with pytest.raises(BadTensor, match="float32 does not hold"):
        Preprocessor(declared, port(8, 8, 3))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "found preprocessing version 2, expected 1"),
        ({"color": "cmyk"}, "found color = 'cmyk'"),
        ({"interpolation": "area"}, "expected one of nearest, box, bilinear, bicubic, lanczos"),
        ({"layout": "chw"}, "found layout = 'chw'"),
        ({"resize": (3,)}, r"found resize = \[3\], expected \[height, width\]"),
        ({"crop": (0, 3)}, r"found crop = \[0, 3\]"),
        ({"resize": (16_384, 16_384)}, "expected at most 16384 a side and 67108864 pixels"),
        ({"shorter_side": 0}, "found shorter_side = 0"),
        ({"mean": (0.0,)}, "found 1 values in mean, expected 3"),
        ({"std": (1.0, 0.0, 1.0)}, "found 0 in std"),
    ],
)
def test_what_no_code_can_do_is_refused(change: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_stages(Stages(dataclasses.replace(PLAIN, **change)))  # type: ignore[arg-type]


def test_a_small_picture_may_not_become_a_huge_one() -> None:
    declared = dataclasses.replace(PLAIN, shorter_side=8000, crop=(8, 8))
    with pytest.raises(BadTensor, match="found a scaled picture = "):
        Preprocessor(declared, port(8, 8, 3)).apply(noise(1, 60))


# ---- answers -------------------------------------------------------------------------------------

SCORES = Port("scores", (1, 4), "int8", 0.5, 2)
BOXES = Port("boxes", (1, 2), "int8", 0.1, 0)
STORED = [np.array([[4, 8, 8, -2]], np.int8), np.array([[10, 20]], np.int8)]


def answer(**declared: object) -> list[np.ndarray]:
    after = Postprocessing(**declared)  # type: ignore[arg-type]
    return Postprocessor(after, (SCORES, BOXES)).apply(STORED)


def test_nothing_declared_leaves_the_outputs_alone() -> None:
    assert [array is stored for array, stored in zip(answer(), STORED, strict=True)] == [True, True]


def test_dequantized_outputs_are_real_numbers() -> None:
    scores, boxes = answer(dequantize=True)
    assert scores.tolist() == [[1.0, 3.0, 3.0, -2.0]]
    assert boxes[0] == pytest.approx([1.0, 2.0])


def test_softmax_is_over_the_first_output_only() -> None:
    shares, boxes = answer(softmax=True)
    raised = np.exp([1.0, 3.0, 3.0, -2.0])
    assert shares[0] == pytest.approx(raised / raised.sum(), rel=1e-6)
    assert boxes[0] == pytest.approx([1.0, 2.0])


def test_the_largest_come_first_and_of_equals_the_first() -> None:
    indices, values = answer(top_k=3)
    assert indices.tolist() == [[1, 2, 0]]
    assert values.tolist() == [[8, 8, 4]]
    assert answer(top_k=1)[0].tolist() == [[1]]


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(BadTensor, match="found top_k = 5, expected at most 4"):
        answer(top_k=5)
