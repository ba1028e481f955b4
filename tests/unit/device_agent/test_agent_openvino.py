"""OpenVINO's adapter, with the real thing on this machine's CPU."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent import runtimes
from device_agent.runtimes import LoadedModel, RuntimeFailed
from device_agent.runtimes import openvino as adapter
from device_agent.runtimes.tensors import top1

DIGITS = Path(__file__).parents[3] / "examples" / "digits"

# The adapter is imported above: it must be before openvino, which sends word of its own import.
openvino = pytest.importorskip("openvino", reason="install openvino")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the digits example as model.xml and model.bin."""
    made: Path = tmp_path_factory.mktemp("openvino")
    model = openvino.Core().read_model(DIGITS / "digits.onnx")
    openvino.save_model(model, made / "model.xml", compress_to_fp16=False)
    assert (made / "model.bin").stat().st_size > 1000
    return made


@pytest.fixture(params=["model.xml", "digits.onnx"])
def digits(request: pytest.FixtureRequest, folder: Path) -> LoadedModel:
    parent = folder if request.param == "model.xml" else DIGITS
    return runtimes.load("openvino", str(parent / request.param), 1)


def images(count: int) -> np.ndarray:
    with np.load(DIGITS / "digits.npz") as archive:
        found: np.ndarray = archive["test/image"][:count]
    return found


def test_a_model_says_what_it_takes_and_gives(digits: LoadedModel) -> None:
    assert [(port.name, port.shape, port.dtype) for port in digits.inputs] == [
        ("image", (1, 1, 8, 8), "float32")
    ]
    assert [(port.shape, port.dtype) for port in digits.outputs] == [((1, 10), "float32")]
    assert digits.kernel_path == "cpu"
    assert digits.runtime.package == "openvino"


def test_the_same_as_onnx_runtime(digits: LoadedModel) -> None:
    pytest.importorskip("onnxruntime", reason="install onnxruntime")
    other = runtimes.load("onnxruntime", str(DIGITS / "digits.onnx"), 1)
    for image in images(20):
        found, expected = digits.run([image[None]])[0], other.run([image[None]])[0]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert top1(found) == top1(expected)


def test_outputs_are_copies_and_inputs_stay(digits: LoadedModel) -> None:
    first, second = images(2)[:, None]
    before = digits.run([first])[0]
    kept = before.copy()
    other = digits.run([second])[0]
    assert (before == kept).all() and (other != kept).any()
    passing = first.copy()
    digits.set_inputs([passing])
    passing[:] = 0
    for _ in range(3):
        digits.invoke()
        np.testing.assert_array_equal(digits.get_outputs()[0], kept)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 1, 8, 8), np.float64),
        np.zeros((1, 1, 8, 8), np.int32),
        np.zeros((1, 1, 1, 8), np.float32),
        np.zeros((8, 8), np.float32),
    ],
)
def test_inputs_are_neither_cast_nor_broadcast(digits: LoadedModel, array: np.ndarray) -> None:
    with pytest.raises(RuntimeFailed, match=r"image: found .*, expected float32 \(1, 1, 8, 8\)"):
        digits.run([array])


def network(*sizes: int) -> Any:
    """y = relu(x), of that shape."""
    operations = openvino.opset13
    node = operations.parameter(list(sizes), np.float32, name="x")
    node.output(0).set_names({"x"})
    result = operations.relu(node)
    result.output(0).set_names({"y"})
    return openvino.Model([result], [node], "relu")


def test_open_dimensions_are_one(tmp_path: Path) -> None:
    openvino.save_model(network(-1, 4), tmp_path / "model.xml")
    model = runtimes.load("openvino", str(tmp_path / "model.xml"), 1)
    assert model.inputs[0].shape == model.outputs[0].shape == (1, 4)
    assert model.run([np.array([[-1, 2, -3, 4]], np.float32)])[0].tolist() == [[0, 2, 0, 4]]


def test_an_output_of_open_size_is_refused(tmp_path: Path) -> None:
    operations = openvino.opset13
    node = operations.parameter([4], np.float32, name="x")
    node.output(0).set_names({"x"})
    result = operations.non_zero(node)
    result.output(0).set_names({"y"})
    openvino.save_model(openvino.Model([result], [node], "m"), tmp_path / "model.xml")
    with pytest.raises(RuntimeFailed, match=r"y has shape .*, expected one that is known before"):
        runtimes.load("openvino", str(tmp_path / "model.xml"), 1)


def test_float_layers_stay_float32_and_threads_are_as_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    real = openvino.Core.compile_model

    def compile_model(core: Any, model: Any, device: str, config: dict[str, Any]) -> Any:
        asked.append(config)
        return real(core, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    model = runtimes.load("openvino", str(folder / "model.xml"), 2)
    assert asked == [
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": 2,
            "INFERENCE_PRECISION_HINT": "f32",
        }
    ]
    compiled = model._compiled  # type: ignore[attr-defined]
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


def test_other_devices_are_asked_for_by_name(folder: Path) -> None:
    if "GPU" in openvino.Core().available_devices:
        pytest.skip("has a GPU that OpenVINO can use")
    with pytest.raises(RuntimeFailed, match="OpenVINO refuses the model for GPU: ") as caught:
        runtimes.load("openvino", str(folder / "model.xml"), 1, "gpu")
    assert "Exception from" not in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_devices_are_refused(folder: Path) -> None:
    with pytest.raises(RuntimeFailed, match="found kernel 'tpu', expected '', 'cpu', 'gpu' or"):
        runtimes.load("openvino", str(folder / "model.xml"), 1, "tpu")


@pytest.mark.parametrize("name", ["model.xml", "model.onnx"])
@pytest.mark.parametrize("content", [b"", b"no model at all", None])
def test_what_is_no_model_is_refused(name: str, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RuntimeFailed, match="OpenVINO refuses the model for CPU"):
        runtimes.load("openvino", str(path), 1)


def test_a_model_without_its_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes((folder / "model.xml").read_bytes())
    with pytest.raises(RuntimeFailed, match="OpenVINO refuses the model for CPU"):
        runtimes.load("openvino", str(tmp_path / "model.xml"), 1)


def test_several_devices_are_all_named() -> None:
    class Compiled:
        def get_property(self, name: str) -> list[str]:
            assert name == "EXECUTION_DEVICES"
            return ["GPU.0", "GPU.1", "CPU"]

    assert adapter._kernel_path(Compiled()) == "gpu+cpu"


def test_nothing_is_told_to_anyone(tmp_path: Path) -> None:
    program = f"""
        import sys
        from pathlib import Path
        from device_agent import runtimes
        runtimes.load("openvino", {str(DIGITS / "digits.onnx")!r}, 1)
        print([name for name in sys.modules if name.startswith("openvino_telemetry.")])
        print([str(path) for path in Path({str(tmp_path)!r}).rglob("*")])
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["[]", "[]"]
