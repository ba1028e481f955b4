"""The runtime adapters, and the arithmetic round them, in this very process."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent import runtimes
from device_agent.environment_messages import RuntimeVersion
from device_agent.manifest import RUNTIMES, Port
from device_agent.runtimes import BadTensor, LoadedModel, NoRuntime, RuntimeFailed
from device_agent.runtimes.tensors import (
    STEPS_MAX,
    dequantize,
    quantize,
    step_differences,
    step_size,
    top1,
    unpack_samples,
)
from device_agent.runtimes.under_test import Golden, ModelUnderTest
from device_agent.system_files import find_library

DIGITS = Path(__file__).parents[3] / "examples" / "digits"
INT8 = Port("x", (1, 2), "int8", 0.5, -3)
FLOAT = Port("x", (1, 2), "float32")

# ---- tensors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("real", "stored"),
    [
        ([0.0, 0.5], [-3, -2]),
        ([0.25, 0.75], [-3, -1]),
        ([1000.0, -1000.0], [127, -128]),
        ([np.inf, -np.inf], [127, -128]),
    ],
    ids=["exact", "half to even", "saturates", "infinite"],
)
def test_quantizing(real: list[float], stored: list[int]) -> None:
    assert quantize(np.array(real), INT8).tolist() == [stored]


@given(st.lists(st.integers(-128, 127), min_size=2, max_size=2))
def test_stored_values_survive_the_way_to_real_numbers_and_back(stored: list[int]) -> None:
    array = np.array([stored], np.int8)
    assert quantize(dequantize(array, INT8), INT8).tolist() == [stored]
    assert quantize(array, INT8) is not None


@pytest.mark.parametrize(
    ("array", "port"),
    [
        (np.zeros(2, np.float64), FLOAT),
        (np.zeros((2, 1), np.float32), FLOAT),
        (np.zeros(2, np.int8), INT8),
        (np.array([1, 2], np.int64), Port("x", (1, 2), "int32")),
    ],
    ids=["wider float", "another shape", "stored already", "integers that fit"],
)
def test_what_fits_is_taken(array: np.ndarray, port: Port) -> None:
    taken = quantize(array, port)
    assert (taken.shape, taken.dtype.name) == (port.shape, port.dtype)
    assert taken.ravel().tolist() == array.ravel().tolist()


@pytest.mark.parametrize(
    ("array", "port"),
    [
        (np.zeros(3, np.float32), FLOAT),
        (np.zeros(2, np.int8), FLOAT),
        (np.zeros(2, np.uint8), INT8),
        (np.zeros(2, np.int64), INT8),
        (np.array([np.nan, 0]), INT8),
        (np.array([2**40, 0]), Port("x", (1, 2), "int32")),
        (np.zeros(2, np.float32), Port("x", (1, 2), "int32")),
        (np.zeros(2, bool), FLOAT),
    ],
    ids=["size", "int", "uint8", "int64", "NaN", "overflow", "float", "bool"],
)
def test_what_does_not_fit_is_refused(array: np.ndarray, port: Port) -> None:
    with pytest.raises(BadTensor):
        quantize(array, port)


def test_a_float_port_stores_real_numbers() -> None:
    assert dequantize(np.array([1.5]), FLOAT).tolist() == [1.5]


def test_the_first_of_equals_is_the_prediction() -> None:
    assert top1(np.array([[1, 7, 7, 3]])) == 1


@pytest.mark.parametrize(
    ("golden", "step"),
    [
        (np.array([1, 2], np.int8), 1.0),
        (np.array([-1.0, 1.55]), 0.01),
        (np.array([2.55, 2.55]), 0.01),
        (np.array([0.0, 0.0]), 1 / 255),
    ],
    ids=["integers", "range", "constant", "zero"],
)
def test_a_step(golden: np.ndarray, step: float) -> None:
    assert step_size(golden) == pytest.approx(step)


def test_differences_in_steps() -> None:
    actual = np.array([[1.0, 2.0, np.nan, np.nan, np.inf, np.inf]])
    golden = np.array([[1.0, 1.0, np.nan, 0.0, np.inf, -np.inf]])
    assert step_differences(actual, golden, 0.5).tolist() == [0, 2, 0, STEPS_MAX, 0, STEPS_MAX]


def test_int8_does_not_wrap_round() -> None:
    found = step_differences(np.array([127], np.int8), np.array([-128], np.int8), 1.0)
    assert found.tolist() == [255]


def test_samples_from_bytes() -> None:
    ports = (INT8, Port("y", (1,), "int64"))
    payload = np.array([0.5, 1.0], "<f4").tobytes() + np.array([7], "<i4").tobytes()
    found = list(unpack_samples(payload * 2, ports, ("float32", "int32"), 2))
    assert [[array.tolist() for array in sample] for sample in found] == [[[[-2, -1]], [7]]] * 2


@pytest.mark.parametrize(
    ("dtypes", "count"),
    [(("float32",), 2), (("float32", "float32"), 1), (("int99",), 1), (("object",), 1)],
    ids=["count", "dtypes", "unknown", "object"],
)
def test_bytes_that_are_no_such_samples(dtypes: tuple[str, ...], count: int) -> None:
    with pytest.raises(BadTensor):
        list(unpack_samples(bytes(8), (FLOAT,), dtypes, count))


# ---- finding runtimes ----------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place Python looks for modules."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "absent"), str(tmp_path)])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    return tmp_path


def provide(site: Path, module: str, metadata: str | None, content: str = "") -> None:
    (site / module).mkdir()
    (site / module / "__init__.py").write_text(content)
    if metadata:
        (site / metadata).mkdir()


@pytest.mark.parametrize(
    ("module", "metadata", "found"),
    [
        (
            "ai_edge_litert",
            "ai_edge_litert-2.3.0.dist-info",
            RuntimeVersion("litert", "ai-edge-litert", "2.3.0"),
        ),
        (
            "tflite_runtime",
            "tflite_runtime-2.5.0.post1.dist-info",
            RuntimeVersion("litert", "tflite-runtime", "2.5.0.post1"),
        ),
        (
            "onnxruntime",
            "onnxruntime_gpu-1.18.0.dist-info",
            RuntimeVersion("onnxruntime", "onnxruntime-gpu", "1.18.0"),
        ),
        (
            "onnxruntime",
            "onnxruntime-1.14.1-py3.7.egg-info",
            RuntimeVersion("onnxruntime", "onnxruntime", "1.14.1"),
        ),
        ("onnxruntime", None, RuntimeVersion("onnxruntime", "onnxruntime", "unknown")),
        (
            "tensorrt",
            "tensorrt-8.5.2.2.dist-info",
            RuntimeVersion("tensorrt", "tensorrt", "8.5.2.2"),
        ),
        (
            "tensorrt",
            "tensorrt_cu12-10.3.0.dist-info",
            RuntimeVersion("tensorrt", "tensorrt-cu12", "10.3.0"),
        ),
        (
            "openvino",
            "openvino-2026.4.1.dist-info",
            RuntimeVersion("openvino", "openvino", "2026.4.1"),
        ),
    ],
)
@pytest.mark.usefixtures("forgotten")
def test_runtimes_are_found(
    site: Path, module: str, metadata: str | None, found: RuntimeVersion
) -> None:
    provide(site, module, metadata, "raise AssertionError('not to be imported')")
    assert runtimes.discover() == (found,)


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no runtime had been imported yet."""
    names = ("ai_edge_litert", "tflite_runtime", "onnxruntime", "onnxruntime_qnn", "openvino")
    for name in (*names, "tensorrt", "pycoral"):
        for loaded in [each for each in sys.modules if each.split(".")[0] == name]:
            monkeypatch.delitem(sys.modules, loaded)


@pytest.mark.usefixtures("forgotten")
def test_the_preferred_runtime_comes_first(site: Path) -> None:
    provide(site, "tflite_runtime", "tflite_runtime-2.14.0.dist-info")
    provide(site, "ai_edge_litert", "ai_edge_litert-2.3.0.dist-info")
    assert [found.package for found in runtimes.discover()] == ["ai-edge-litert", "tflite-runtime"]


@pytest.mark.usefixtures("forgotten")
def test_a_missing_runtime_is_named(site: Path) -> None:
    with pytest.raises(NoRuntime, match="has no ai-edge-litert or tflite-runtime"):
        runtimes.prepare("litert")
    names = "edgetpu, litert, onnxruntime, openvino, qnn, tensorrt"
    with pytest.raises(NoRuntime, match=f"found runtime 'ncnn', expected one of: {names}$"):
        runtimes.prepare("ncnn")


def test_each_runtime_of_the_contract_has_an_adapter() -> None:
    assert sorted(RUNTIMES) == list(runtimes._names())


def found(runtime: str) -> list[RuntimeVersion]:
    return [version for version in runtimes.discover() if version.runtime == runtime]


@pytest.mark.usefixtures("forgotten")
def test_an_edge_tpu_needs_a_runtime_and_the_library(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(site, "tflite_runtime", "tflite_runtime-2.14.0.dist-info")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(site))
    if not find_library("libedgetpu.so.1"):
        assert found("edgetpu") == []
        with pytest.raises(NoRuntime, match=r"or tflite-runtime with libedgetpu\.so\.1$"):
            runtimes.prepare("edgetpu")
    (site / "libedgetpu.so.1").touch()
    assert found("edgetpu") == [RuntimeVersion("edgetpu", "tflite-runtime", "2.14.0")]


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("vendors", [False, True])
def test_the_other_pycoral_is_recognized(site: Path, vendors: bool) -> None:
    provide(site, "pycoral", "pycoral-0.2.1.dist-info", "raise AssertionError('not imported')")
    if vendors:
        (site / "pycoral" / "utils").mkdir()
        (site / "pycoral" / "utils" / "edgetpu.py").touch()
    with pytest.raises(NoRuntime, match="has no ai-edge-litert with libedgetpu") as caught:
        runtimes.prepare("edgetpu")
    assert ("an unrelated program for the Allen Coral Atlas" in str(caught.value)) != vendors


@pytest.mark.usefixtures("forgotten")
def test_qnn_as_a_plug_in_or_built_in(site: Path) -> None:
    provide(site, "onnxruntime", "onnxruntime-1.31.1.dist-info")
    assert found("qnn") == []
    provide(site, "onnxruntime_qnn", "onnxruntime_qnn-2.7.0.dist-info")
    assert found("qnn") == [RuntimeVersion("qnn", "onnxruntime-qnn", "2.7.0")]
    assert found("onnxruntime") == [RuntimeVersion("onnxruntime", "onnxruntime", "1.31.1")]
    (site / "onnxruntime_qnn" / "__init__.py").unlink()
    (site / "onnxruntime_qnn").rmdir()
    (site / "onnxruntime-1.31.1.dist-info").rmdir()
    (site / "onnxruntime_qnn-2.7.0.dist-info").rename(site / "onnxruntime_qnn-1.18.0.dist-info")
    sys.path_importer_cache.clear()
    assert found("qnn") == [RuntimeVersion("qnn", "onnxruntime-qnn", "1.18.0")]
    assert found("onnxruntime") == [RuntimeVersion("onnxruntime", "onnxruntime-qnn", "1.18.0")]


@pytest.mark.usefixtures("forgotten")
def test_tensorrt_without_its_python_module(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "TRTEXEC_FOLDER", str(site))
    monkeypatch.setattr(runtimes, "library_release", lambda name: "10.3.0")
    monkeypatch.setenv("PATH", "/nowhere")
    assert found("tensorrt") == []
    with pytest.raises(NoRuntime, match=r"has no tensorrt$"):
        runtimes.prepare("tensorrt")
    (site / "trtexec").touch(0o755)
    assert found("tensorrt") == [RuntimeVersion("tensorrt", "trtexec", "10.3.0")]
    with pytest.raises(NoRuntime, match=r"trtexec is there, .*: install python3-libnvinfer, or"):
        runtimes.prepare("tensorrt")
    provide(site, "tensorrt", "tensorrt-10.3.0.dist-info")
    sys.path_importer_cache.clear()
    assert found("tensorrt") == [RuntimeVersion("tensorrt", "tensorrt", "10.3.0")]


@pytest.mark.usefixtures("forgotten")
def test_a_runtime_that_does_not_import_is_named(site: Path) -> None:
    provide(site, "onnxruntime", None, "raise ImportError('libgomp.so.1 is missing')")
    with pytest.raises(NoRuntime, match="installed but does not import: libgomp"):
        runtimes.prepare("onnxruntime")


# ---- running models ------------------------------------------------------------------------------


@pytest.fixture(params=["xnnpack", "builtin", "cpu"])
def digits(request: pytest.FixtureRequest) -> LoadedModel:
    """The digits example, with each kind of kernels."""
    if request.param == "cpu":
        pytest.importorskip("onnxruntime")
        return runtimes.load("onnxruntime", str(DIGITS / "digits.onnx"), 1)
    pytest.importorskip("ai_edge_litert")
    kernel = "builtin" if request.param == "builtin" else ""
    model = runtimes.load("litert", str(DIGITS / "digits.tflite"), 1, kernel)
    assert model.kernel_path == request.param
    return model


def images(count: int) -> np.ndarray:
    with np.load(DIGITS / "digits.npz") as archive:
        found: np.ndarray = archive["test/image"][:count]
    return found


def labels(count: int) -> list[int]:
    with np.load(DIGITS / "digits.npz") as archive:
        return [int(label) for label in archive["test/label"][:count]]


def test_a_model_says_what_it_takes_and_gives(digits: LoadedModel) -> None:
    assert [(port.shape, port.dtype) for port in digits.inputs] == [((1, 1, 8, 8), "float32")]
    assert [(port.shape, port.dtype) for port in digits.outputs] == [((1, 10), "float32")]


def test_a_model_reads_digits(digits: LoadedModel) -> None:
    found = [top1(digits.run([image[None]])[0]) for image in images(50)]
    right = sum(one == label for one, label in zip(found, labels(50), strict=True))
    assert right >= 45


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


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
@pytest.mark.parametrize("content", [b"", b"no model at all" * 100, None])
def test_what_is_no_model_is_refused(runtime: str, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RuntimeFailed, match="refuses the model"):
        runtimes.load(runtime, str(path), 1)


@pytest.mark.parametrize(
    ("runtime", "file"), [("litert", "digits.tflite"), ("onnxruntime", "digits.onnx")]
)
def test_unknown_kernels_are_refused(runtime: str, file: str) -> None:
    with pytest.raises(RuntimeFailed, match="found kernel 'gpu'"):
        runtimes.load(runtime, str(DIGITS / file), 1, "gpu")


def test_inputs_of_another_dtype_are_refused(digits: LoadedModel) -> None:
    with pytest.raises(RuntimeFailed):
        digits.run([np.zeros((1, 1, 8, 8), np.int32)])


# ---- golden vectors ------------------------------------------------------------------------------


class Echo(LoadedModel):
    """Gives its input back."""

    def __init__(self, port: Port) -> None:
        super().__init__(RuntimeVersion("test", "test", "1"), "echo", (port,), (port,))

    def set_inputs(self, arrays: object) -> None:
        (self._array,) = arrays  # type: ignore[misc]

    def invoke(self) -> None:
        """There is nothing to do."""

    def get_outputs(self) -> list[np.ndarray]:
        return [self._array.copy()]


def golden(tmp_path: Path, port: Port = INT8, **arrays: np.ndarray) -> Golden:
    path = tmp_path / "golden.npz"
    renamed = {name.replace("_", "/"): array for name, array in arrays.items()}
    np.savez(path, allow_pickle=False, **renamed)
    return Golden(str(path), (port,))


def test_parity_counts_what_differs(tmp_path: Path) -> None:
    stored = np.array([[[1, 2]], [[3, 4]], [[5, 6]]], np.int8)
    expected = stored + np.array([[[0, 1]], [[2, 0]], [[0, 0]]], np.int8)
    vectors = golden(tmp_path, input_x=stored, expected_echo_x=expected, expected_other_x=stored)
    parity = ModelUnderTest(Echo(INT8), vectors).compare(lambda done, total: None)
    assert (parity.kernel_path, parity.golden_runtime_kernels) == ("echo", ("echo", "other"))
    assert (parity.count, parity.values) == (3, 6)
    assert (parity.beyond_one_step, parity.worst_steps, parity.top1_changed) == (1, 2.0, 1)


def test_a_float_model_is_timed_with_the_real_numbers(tmp_path: Path) -> None:
    vectors = golden(tmp_path, input_x=np.array([[[-3, 1]]], np.int8))
    under_test = ModelUnderTest(echo := Echo(Port("other name", (1, 2), "float32")), vectors)
    under_test.prepare_timing()
    assert echo.get_outputs()[0].tolist() == [[0.0, 2.0]]


def test_the_first_sample_goes_before_golden_vectors(tmp_path: Path) -> None:
    vectors = golden(tmp_path, FLOAT, input_x=np.zeros((1, 1, 2), np.float32))
    under_test = ModelUnderTest(echo := Echo(FLOAT), vectors)
    payload = np.array([1, 2, 3, 4], "<f4").tobytes()
    assert under_test.classify(payload, ("float32",), 2, 0, lambda done, total: None) == (1, 1)
    under_test.prepare_timing()
    assert echo.get_outputs()[0].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"input_y": np.zeros((1, 1, 2), np.int8)},
        {"input_x": np.zeros((0, 1, 2), np.int8)},
        {"input_x": np.zeros((2, 1, 2), np.int8), "expected_echo_x": np.zeros((1, 1, 2), np.int8)},
        {"input_x": np.zeros((1, 1, 3), np.int8)},
    ],
    ids=["nothing", "another name", "no vectors", "other counts", "another shape"],
)
def test_golden_vectors_that_do_not_fit(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(BadTensor):
        ModelUnderTest(Echo(INT8), golden(tmp_path, **arrays)).prepare_timing()


def test_golden_vectors_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", **{"input/x": np.array([[{}]])})
    under_test = ModelUnderTest(Echo(INT8), Golden(str(tmp_path / "golden.npz"), (INT8,)))
    with pytest.raises(BadTensor, match="cannot be read"):
        under_test.prepare_timing()
