"""The Edge TPU's adapter: with a stand-in for the delegate, and LiteRT itself for the rest."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.environment_messages import RuntimeVersion
from device_agent.profile_messages import OperatorPlace
from device_agent.runtimes import RuntimeFailed
from device_agent.runtimes.edgetpu import LIBRARY, EdgeTpu, prepare

VERSION = RuntimeVersion("edgetpu", "ai-edge-litert", "2.3.0")
DIGITS = Path(__file__).parents[3] / "examples" / "digits" / "digits.tflite"
DETAILS = {
    "name": "image",
    "index": 0,
    "shape": np.array([1, 4]),
    "dtype": np.uint8,
    "quantization_parameters": {"scales": np.array([0.5]), "zero_points": np.array([128])},
}


class FakeInterpreter:
    """An interpreter, as far as a compiled model needs one; gives its input back."""

    left_alone = False

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self._tensor = np.zeros((1, 4), np.uint8)

    def allocate_tensors(self) -> None:
        if not self.arguments.get("experimental_delegates"):
            raise RuntimeError("Encountered unresolved custom op: edgetpu-custom-op.")

    def get_input_details(self) -> list[dict[str, Any]]:
        return [DETAILS]

    get_output_details = get_input_details

    def _get_ops_details(self) -> list[dict[str, Any]]:
        """As LiteRT's: what a delegate took is still there, and the delegate's node beside it."""
        compiled = {"op_name": "edgetpu-custom-op", "inputs": [0], "outputs": [1]}
        behind = {"op_name": "SOFTMAX", "inputs": [1], "outputs": [2]}
        delegate = {"op_name": "DELEGATE", "inputs": [0], "outputs": [1]}
        return [compiled, behind, *([] if self.left_alone else [delegate])]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        return [{"index": index, "name": name} for index, name in enumerate(("in", "mid", "out"))]

    def set_tensor(self, index: int, array: np.ndarray) -> None:
        self._tensor = array.copy()

    def invoke(self) -> None:
        """There is nothing to do."""

    def get_tensor(self, index: int) -> np.ndarray:
        return self._tensor.copy()


def litert(load_delegate: Callable[[str], object]) -> types.SimpleNamespace:
    """An interpreter module whose delegates load so."""
    return types.SimpleNamespace(Interpreter=FakeInterpreter, load_delegate=load_delegate)


@pytest.fixture
def compiled(tmp_path: Path) -> str:
    """What passes for a model compiled for the Edge TPU."""
    path = tmp_path / "model_edgetpu.tflite"
    path.write_bytes(b"TFL3 ... edgetpu-custom-op\0 ...")
    return str(path)


def test_a_compiled_model_runs_on_the_edge_tpu(compiled: str) -> None:
    asked: list[str] = []
    model = EdgeTpu(VERSION, litert(lambda name: asked.append(name) or "delegate")).load(
        compiled, 2
    )
    assert (asked, model.kernel_path, model.runtime) == ([LIBRARY], "edgetpu", VERSION)
    (port,) = model.inputs
    assert (port.dtype, port.scale, port.zero_point) == ("uint8", 0.5, 128)
    image = np.array([[1, 2, 3, 4]], np.uint8)
    assert model.run([image])[0].tolist() == image.tolist()


def test_the_compiled_operator_is_on_the_edge_tpu_and_the_one_behind_it_on_the_cpu(
    compiled: str,
) -> None:
    model = EdgeTpu(VERSION, litert(lambda name: "delegate")).load(compiled, 1)
    assert model.placement().operators == (
        OperatorPlace("edgetpu-custom-op", "mid", "edgetpu", "Edge TPU"),
        OperatorPlace("SOFTMAX", "out", "cpu"),
    )


def refuse(error: Exception) -> Callable[[str], object]:
    def load_delegate(name: str) -> object:
        raise error

    return load_delegate


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("libedgetpu.so.1: cannot open shared object file"), "cannot open shared object"),
        (ValueError("Failed to load delegate from libedgetpu.so.1\n"), "Failed to load delegate"),
        (ValueError(""), "it does not say why"),
    ],
)
def test_a_compiled_model_never_runs_elsewhere(compiled: str, error: Exception, said: str) -> None:
    with pytest.raises(RuntimeFailed) as caught:
        EdgeTpu(VERSION, litert(refuse(error))).load(compiled, 1)
    message = str(caught.value)
    assert message.startswith(f"{LIBRARY} cannot be used: ") and said in message
    for cure in ("plug the Edge TPU in", "plugdev", "libedgetpu that was built for this runtime"):
        assert cure in message
    assert "\n" not in message


def test_a_delegate_that_takes_nothing(compiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeInterpreter, "left_alone", True)
    with pytest.raises(RuntimeFailed, match="left the operator for the Edge TPU to the CPU"):
        EdgeTpu(VERSION, litert(lambda name: "delegate")).load(compiled, 1)


def test_a_compiled_model_that_is_refused(compiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate_tensors(_: FakeInterpreter) -> None:
        raise RuntimeError("Executable requires runtime version 15, but current version is 14")

    monkeypatch.setattr(FakeInterpreter, "allocate_tensors", allocate_tensors)
    with pytest.raises(
        RuntimeFailed, match=r"with libedgetpu.so.1 refuses the model: .*version 15"
    ):
        EdgeTpu(VERSION, litert(lambda name: "delegate")).load(compiled, 1)


def test_a_compiled_model_has_no_other_kernels(compiled: str) -> None:
    with pytest.raises(RuntimeFailed, match="found kernel 'builtin', expected '' for a model"):
        EdgeTpu(VERSION, litert(lambda name: "delegate")).load(compiled, 1, "builtin")


@pytest.mark.parametrize(("kernel", "kernel_path"), [("", "xnnpack"), ("builtin", "builtin")])
def test_what_is_not_compiled_runs_on_the_cpu_and_says_so(kernel: str, kernel_path: str) -> None:
    pytest.importorskip("ai_edge_litert", reason="install ai-edge-litert")
    model = prepare("ai_edge_litert", VERSION).load(str(DIGITS), 1, kernel)
    assert (model.kernel_path, model.runtime) == (kernel_path, VERSION)
    assert model.run([np.zeros((1, 1, 8, 8), np.float32)])[0].shape == (1, 10)


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_what_is_no_model(content: bytes | None, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="install ai-edge-litert")
    path = tmp_path / "model.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RuntimeFailed, match="LiteRT refuses the model"):
        prepare("ai_edge_litert", VERSION).load(str(path), 1)


def test_the_adapter_needs_no_delegate_to_be_imported() -> None:
    assert "pycoral" not in sys.modules
