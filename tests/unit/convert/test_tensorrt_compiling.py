"""Facts about NVIDIA's parser and compiler on the workstation: what they refuse, how they fail."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader
from tensorrt_networks import ForTensorRt, mobilenet

from edgesdk.convert.backends.tensorrt import compiling
from edgesdk.errors import ConversionError
from edgesdk.models.opening import open_model
from tests.onnx_networks import Array, Network, plan_for, random_samples

HAS_TENSORRT_RTX = importlib.util.find_spec("tensorrt_rtx") is not None
needs_tensorrt_rtx = pytest.mark.skipif(
    not HAS_TENSORRT_RTX, reason='tensorrt_rtx is not installed: pip install "edgesdk[jetson]"'
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mobilenet(tmp_path_factory.mktemp("compiling") / "net.onnx")


class Reader(CalibrationDataReader):
    def __init__(self, samples: Sequence[dict[str, Array]]) -> None:
        self.samples = list(samples)

    def get_next(self) -> dict[str, Array] | None:
        return self.samples.pop() if self.samples else None


def by_the_toolkit(source: Path, output: Path) -> Path:
    """ONNX Runtime's default QDQ form: int32 biases."""
    samples = random_samples(open_model(source), 4)
    quantize_static(
        source,
        output,
        Reader(samples),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True},
    )
    return output


@pytest.fixture
def refusal(source: Path) -> Callable[[Path], ConversionError]:
    """What compiling a model raises."""
    plan = plan_for(open_model(source))

    def refused(path: Path) -> ConversionError:
        with pytest.raises(ConversionError) as caught:
            compiling.compile(path, plan, path.parent)
        return caught.value

    return refused


# What NVIDIA says


@needs_tensorrt_rtx
@pytest.mark.parametrize(
    ("version", "precision"), [("8.5.2", "w8a8"), ("10.3", "w8a8"), ("10.3", "fp16")]
)
def test_what_is_converted_is_accepted(source: Path, version: str, precision: str) -> None:
    made = ForTensorRt(source, version, precision=precision)
    before = sorted(path.name for path in source.parent.iterdir())
    compiled = compiling.compile(made.path, made.plan, source.parent)
    assert (compiled.account.status, compiled.account.compiler) == ("accepted", "TensorRT-RTX")
    assert compiled.account.version
    assert "the device builds its own" in compiled.account.reason
    assert compiled.model is None
    assert sorted(path.name for path in source.parent.iterdir()) == before


@needs_tensorrt_rtx
def test_int32_biases_are_refused_in_the_parsers_words(
    source: Path, tmp_path: Path, refusal: Callable[[Path], ConversionError]
) -> None:
    error = refusal(by_the_toolkit(source, tmp_path / "net.onnx"))
    assert error.message.endswith("does not parse the model, so TensorRT would not")
    assert "input has type Int32 but must have type" in error.details[0]
    assert error.details[0].startswith("DequantizeLinear ")
    assert "Cuda Runtime" not in "".join(error.details)
    assert error.hint.startswith("start from the float model")


def test_unsigned_activations_are_refused_though_the_parser_takes_them_for_signed(
    source: Path, tmp_path: Path, refusal: Callable[[Path], ConversionError]
) -> None:
    model = onnx.load(str(ForTensorRt(source).path))
    (tensor,) = (each for each in model.graph.initializer if each.name == "x_zero_point")
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(0, np.uint8), "x_zero_point"))
    onnx.save(model, str(tmp_path / "net.onnx"))
    error = refusal(tmp_path / "net.onnx")
    assert "QuantizeLinear x_QuantizeLinear is uint8, expected int8" in error.details


@needs_tensorrt_rtx
def test_a_zero_point_other_than_0_is_refused(
    source: Path, tmp_path: Path, refusal: Callable[[Path], ConversionError]
) -> None:
    model = onnx.load(str(ForTensorRt(source).path))
    (tensor,) = (each for each in model.graph.initializer if each.name == "x_zero_point")
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(3, np.int8), "x_zero_point"))
    onnx.save(model, str(tmp_path / "net.onnx"))
    assert "Non-zero zero point is not supported" in refusal(tmp_path / "net.onnx").details[0]


@needs_tensorrt_rtx
def test_an_operator_that_it_does_not_have_is_refused_by_name(
    tmp_path: Path, refusal: Callable[[Path], ConversionError]
) -> None:
    net = Network()
    net.node("Unique", [net.input("x", (4,))], "y", name="only_once")
    error = refusal(net.write(tmp_path / "net.onnx", y=(None,)))
    assert error.details == ("Unique only_once: UNSUPPORTED_NODE",)
    assert error.hint.startswith("write these operators with others")


def test_without_the_extra_nothing_is_compiled_and_it_is_said(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    made = compiling.compile(source, plan_for(open_model(source)), source.parent)
    assert made.account.status == "not compiled"
    assert 'pip install "edgesdk[jetson]"' in made.account.reason


# How the other process fails


def job(code: str) -> tuple[str, ...]:
    """A child that is given the model and where to answer, in sys.argv[1:]."""
    return (sys.executable, "-c", code)


def failure(source: Path, code: str, deadline_s: float = 60) -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        compiling.ask(source, job(code), deadline_s)
    return caught.value


def test_a_crash_names_its_signal(source: Path) -> None:
    error = failure(source, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert error.message == "TensorRT-RTX crashed (SIGSEGV)"


def test_a_hang_ends_at_the_deadline(source: Path) -> None:
    error = failure(source, "import time; time.sleep(600)", deadline_s=0.5)
    assert error.message == "TensorRT-RTX did not finish within 0.5 s and was stopped"


def test_an_exception_is_told_in_its_own_words(source: Path) -> None:
    error = failure(source, "raise SystemError('libcudart is broken')")
    assert error.message == "TensorRT-RTX ended with exit code 1"
    assert error.details[-1] == "SystemError: libcudart is broken"


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        "import sys; open(sys.argv[2], 'w').write('engine built!')",
        "import sys; open(sys.argv[2], 'w').write('{\"version\": 1}')",
    ],
    ids=["nothing", "no JSON", "other JSON"],
)
def test_an_answer_that_cannot_be_read_is_one_sentence(source: Path, code: str) -> None:
    error = failure(source, code)
    assert error.message == "TensorRT-RTX ended without an answer that can be read"


ANSWER = {"version": "9", "parsed": True, "built": True, "refusals": [], "errors": []}


def answering(**changes: object) -> tuple[str, ...]:
    text = json.dumps({**ANSWER, **changes})
    return job(f"import sys; open(sys.argv[2], 'w').write({text!r})")


def test_a_model_that_parses_and_is_not_built_is_refused(
    source: Path, refusal: Callable[[Path], ConversionError], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = compiling.ask(source, answering(built=False, errors=["no kernel for Conv"]))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(compiling, "ask", lambda model: answer)
    error = refusal(source)
    assert error.message == "TensorRT-RTX 9 does not compile the model"
    assert error.details == ("no kernel for Conv",)


def test_the_child_is_given_an_absolute_path(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source.parent)
    code = f"import os, sys; assert os.path.isfile(sys.argv[1]); {answering()[-1]}"
    assert compiling.ask(Path(source.name), job(code)).built
