"""The digits example, converted for LiteRT from end to end."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesdk.convert.backends import litert
from edgesdk.models.opening import open_model
from tests.plans import USUAL_PLAN

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def convert(directory: Path) -> Path:
    """Convert the digits example into `directory`; returns the INT8 file."""
    model = open_model(DIGITS / "digits.tflite")
    with np.load(DIGITS / "digits.npz") as arrays:
        images = arrays["calibration/image"]
    plan = replace(
        USUAL_PLAN,
        model_name=model.name,
        model_format=model.format,
        model_sha256=model.sha256,
        inputs=model.inputs,
        outputs=model.outputs,
        calibration_samples=len(images),
    )
    (name,) = (spec.name for spec in model.inputs)
    litert.prepare(model.path, plan, directory / "float.tflite")
    litert.convert(
        directory / "float.tflite",
        plan,
        lambda: ({name: image[None]} for image in images),
        directory / "int8.tflite",
        lambda count: None,
    )
    return directory / "int8.tflite"


def correct(path: Path, kernel: str) -> int:
    with np.load(DIGITS / "digits.npz") as arrays:
        images, labels = arrays["test/image"], arrays["test/label"]
    outputs = litert.run(path, kernel, ([image[None]] for image in images))
    return sum(
        int(logits.argmax()) == label for (logits,), label in zip(outputs, labels, strict=True)
    )


def test_int8_digits_lose_at_most_three_of_640_images(tmp_path: Path) -> None:
    int8 = convert(tmp_path)
    for kernel in litert.kernels():
        assert correct(int8, kernel) >= correct(tmp_path / "float.tflite", kernel) - 3


def test_nothing_of_the_digits_stays_in_float_and_the_file_is_a_third(tmp_path: Path) -> None:
    int8 = convert(tmp_path)
    assert {operator.precision for operator in litert.describe(int8).operators} == {"int8", "-"}
    assert int8.stat().st_size < (DIGITS / "digits.tflite").stat().st_size / 3


@pytest.mark.parametrize("seed", ["1", "2"])
def test_two_conversions_are_byte_identical(tmp_path: Path, seed: str) -> None:
    here = convert(tmp_path)
    there = tmp_path / seed
    there.mkdir()
    program = (
        "import sys; from pathlib import Path; from test_litert_digits import convert; "
        "convert(Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(there)],
        check=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONHASHSEED": seed},
        timeout=120,
    )
    assert (there / "int8.tflite").read_bytes() == here.read_bytes()
    assert (there / "float.tflite").read_bytes() == (tmp_path / "float.tflite").read_bytes()
