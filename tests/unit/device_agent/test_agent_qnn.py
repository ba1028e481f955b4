"""Qualcomm's QNN provider: on the emulator that its x86-64 wheel has, and against a stand-in."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_bytes import onnx_bytes

from device_agent import runtimes
from device_agent.environment_messages import RuntimeVersion
from device_agent.runtimes import NoRuntime, NotProfiled, RuntimeFailed
from device_agent.runtimes import qnn as adapter
from device_agent.runtimes.profiling import ProfileOrder
from device_agent.runtimes.qnn import PROVIDER

VERSION = RuntimeVersion("qnn", "onnxruntime-qnn", "2.7.0")

emulated = pytest.mark.skipif(
    platform.machine() != "x86_64" or not all(map(find_spec, ("onnx", "onnxruntime_qnn"))),
    reason="install onnx, onnxruntime and onnxruntime-qnn on x86-64 for the emulator of the NPU",
)

# ---- on the emulator -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a small network as float.onnx, and quantized as qdq.onnx."""
    onnx = pytest.importorskip("onnx")
    quantization = pytest.importorskip("onnxruntime.quantization")
    made: Path = tmp_path_factory.mktemp("qnn")
    generator = np.random.default_rng(0)

    def constant(name: str, *shape: int) -> Any:
        return onnx.numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name)

    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            node("Conv", ["image", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
            node("Relu", ["c"], ["r"], "relu"),
            node("GlobalAveragePool", ["r"], ["p"], "pool"),
            node("Flatten", ["p"], ["f"], "flatten"),
            node("MatMul", ["f", "m"], ["logits"], "matmul"),
        ],
        "small",
        [value("image", onnx.TensorProto.FLOAT, [1, 3, 16, 16])],
        [value("logits", onnx.TensorProto.FLOAT, [1, 4])],
        [constant("w", 8, 3, 3, 3), constant("b", 8), constant("m", 8, 4)],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), made / "float.onnx"
    )

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        left = 8

        def get_next(self) -> dict[str, np.ndarray] | None:
            self.left -= 1
            return {"image": image(self.left)} if self.left >= 0 else None

    quantization.quantize_static(
        made / "float.onnx",
        made / "qdq.onnx",
        Reader(),
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return made


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, 3, 16, 16)).astype(np.float32)


def step_of(path: Path) -> float:
    """The output's quantization step."""
    import onnx

    graph = onnx.load(path).graph
    last = next(node for node in graph.node if "logits" in node.output)
    (scale,) = [each for each in graph.initializer if each.name == last.input[1]]
    return float(onnx.numpy_helper.to_array(scale))


@pytest.fixture(scope="module")
def compiled(folder: Path) -> Path:
    """The quantized network as a context binary, its binary in a file beside it."""
    module = adapter.prepare("onnxruntime", VERSION)._module  # type: ignore[attr-defined]
    options = module.SessionOptions()
    options.add_session_config_entry("ep.context_enable", "1")
    options.add_session_config_entry("ep.context_embed_mode", "0")
    options.add_session_config_entry("ep.context_file_path", str(folder / "model_ctx.onnx"))
    devices = [each for each in module.get_ep_devices() if each.ep_name == PROVIDER]
    options.add_provider_for_devices(
        devices[:1],
        {"backend_type": "htp", "soc_model": "43", "htp_arch": "73"}
        | {"offload_graph_io_quantization": "0", "enable_htp_prepare_only": "1"},
    )
    module.InferenceSession(str(folder / "qdq.onnx"), sess_options=options)
    assert (folder / "model_ctx_qnn.bin").exists()
    return folder / "model_ctx.onnx"


@emulated
def test_a_quantized_model_gives_on_the_npu_what_it_gives_on_the_cpu(folder: Path) -> None:
    path = folder / "qdq.onnx"
    npu = runtimes.load("qnn", str(path), 1, "htp")
    cpu = runtimes.load("qnn", str(path), 1)
    assert (npu.kernel_path, cpu.kernel_path) == ("htp", "cpu")
    assert npu.runtime.runtime == "qnn" and npu.runtime.package == "onnxruntime-qnn"
    assert (npu.inputs, npu.outputs) == (cpu.inputs, cpu.outputs)
    step, spread = step_of(path), 0.0
    for seed in range(10):
        found, expected = npu.run([image(seed)])[0], cpu.run([image(seed)])[0]
        assert np.abs(found - expected).max() <= step * 1.001
        spread = max(spread, float(np.ptp(expected)))
    assert spread > 20 * step, "or the outputs would say nothing"


@emulated
def test_a_context_binary_runs_on_the_npu(folder: Path, compiled: Path) -> None:
    npu = runtimes.load("qnn", str(compiled), 1)
    cpu = runtimes.load("qnn", str(folder / "qdq.onnx"), 1, "cpu")
    assert npu.kernel_path == "htp"
    found, expected = npu.run([image(1)])[0], cpu.run([image(1)])[0]
    assert np.abs(found - expected).max() <= step_of(folder / "qdq.onnx") * 1.001


@emulated
def test_every_operator_is_on_the_npu_or_every_one_on_the_cpu(folder: Path, compiled: Path) -> None:
    context = runtimes.load("qnn", str(compiled), 1).placement()
    assert [(each.type, each.unit, each.delegate) for each in context.operators] == [
        ("EPContext", "htp", PROVIDER)
    ]
    here = runtimes.load("qnn", str(folder / "qdq.onnx"), 1, "htp").placement()
    assert len(here.operators) > 1 and {each.unit for each in here.operators} == {"htp"}
    cpu = runtimes.load("qnn", str(folder / "qdq.onnx"), 1, "cpu").placement()
    assert {each.unit for each in cpu.operators} == {"cpu"}


@emulated
def test_the_emulators_times_are_not_told(compiled: Path) -> None:
    order = ProfileOrder(str(compiled), 1, lambda ports: [image(1)], 2, 60, lambda *_: None)
    with pytest.raises(NotProfiled, match="the NPU is emulated here"):
        runtimes.prepare("qnn").profile(order)


@emulated
def test_a_float_model_runs_on_the_cpu_and_says_so(folder: Path) -> None:
    model = runtimes.load("qnn", str(folder / "float.onnx"), 1)
    expected = runtimes.load("onnxruntime", str(folder / "float.onnx"), 1).run([image(1)])
    assert model.kernel_path == "cpu"
    np.testing.assert_array_equal(model.run([image(1)])[0], expected[0])


@emulated
def test_a_context_binary_never_runs_on_the_cpu(compiled: Path) -> None:
    with pytest.raises(RuntimeFailed, match=r"ONNX Runtime refuses the model: .*EPContext"):
        runtimes.load("qnn", str(compiled), 1, "cpu")


@emulated
@pytest.mark.parametrize(
    ("binary", "reason"),
    [(None, "does not exist or is not accessible"), (b"\0" * 9999, "context binary info")],
    ids=["absent", "no binary"],
)
def test_a_context_binary_without_its_companion(
    compiled: Path,
    binary: bytes | None,
    reason: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(compiled, tmp_path)
    if binary is not None:
        (tmp_path / "model_ctx_qnn.bin").write_bytes(binary)
    with pytest.raises(RuntimeFailed, match="with the QNN provider refuses the model: ") as caught:
        runtimes.load("qnn", str(tmp_path / compiled.name), 1)
    assert reason in str(caught.value) and "\n" not in str(caught.value)
    assert reason in capfd.readouterr().err, "still said on stderr"


@emulated
def test_a_provider_that_does_not_start_is_not_the_cpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(adapter._OPTIONS, "soc_model", "9999")
    with pytest.raises(RuntimeFailed, match="QNN_DEVICE_ERROR_INVALID_CONFIG"):
        runtimes.load("qnn", str(folder / "qdq.onnx"), 1, "htp")


@emulated
def test_unknown_kernels_are_refused(folder: Path) -> None:
    with pytest.raises(RuntimeFailed, match="found kernel 'dsp', expected '', 'htp' or 'cpu'"):
        runtimes.load("qnn", str(folder / "qdq.onnx"), 1, "dsp")


# ---- with a stand-in for onnxruntime -------------------------------------------------------------


class Fail(Exception):
    """As onnxruntime's own: no base but Exception."""


class FakeSession:
    """Takes what a session takes; refuses what its module is told to refuse."""

    def __init__(self, path: str, sess_options: Any, **arguments: Any) -> None:
        self.options, self.arguments = sess_options, arguments
        FakeOrt.sessions.append(self)
        if FakeOrt.logged:
            os.write(2, FakeOrt.logged)
        if FakeOrt.error:
            raise Fail(FakeOrt.error)

    def get_providers(self) -> list[str]:
        return FakeOrt.runs_on

    def get_inputs(self) -> list[Any]:
        return []

    get_outputs = get_inputs

    def io_binding(self) -> None:
        return None


class FakeOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.devices: list[Any] = []

    def add_session_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value

    def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
        self.devices = [devices, options]


class FakeOrt:
    """What the stand-in does."""

    sessions: list[FakeSession]
    error: str
    logged: bytes
    runs_on: list[str]


@pytest.fixture
def fake_ort(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """An onnxruntime with the provider built in, as onnxruntime-qnn 1.x is."""
    FakeOrt.sessions, FakeOrt.error, FakeOrt.logged = [], "", b""
    FakeOrt.runs_on = [PROVIDER, "CPUExecutionProvider"]
    module = types.ModuleType("fake_ort")
    module.__version__ = "1.18.0"  # type: ignore[attr-defined]
    module.InferenceSession = FakeSession  # type: ignore[attr-defined]
    module.SessionOptions = FakeOptions  # type: ignore[attr-defined]
    module.get_available_providers = lambda: FakeOrt.runs_on  # type: ignore[attr-defined]
    native = types.ModuleType("native")
    native.Fail = Fail  # type: ignore[attr-defined]
    for name, value in (
        ("fake_ort", module),
        ("fake_ort.capi", types.ModuleType("capi")),
        ("fake_ort.capi.onnxruntime_pybind11_state", native),
    ):
        monkeypatch.setitem(sys.modules, name, value)
    return module


@pytest.fixture
def context(tmp_path: Path) -> str:
    path = tmp_path / "model_ctx.onnx"
    path.write_bytes(onnx_bytes("EPContext"))
    return str(path)


def test_the_provider_of_an_older_wheel(fake_ort: types.ModuleType, context: str) -> None:
    assert adapter.prepare("fake_ort", VERSION).load(context, 2).kernel_path == "htp"
    (session,) = FakeOrt.sessions
    ((name, options),) = session.arguments["providers"]
    assert (name, options["backend_path"]) == (PROVIDER, "libQnnHtp.so")
    assert session.arguments["enable_fallback"] == 0
    assert session.options.entries["session.disable_cpu_ep_fallback"] == "1"


def plug_in(
    ort: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    register: Callable[[str, str], None],
    devices: list[Any],
) -> None:
    """Make the stand-in take plug-ins."""
    FakeOrt.runs_on = ["CPUExecutionProvider"]
    library = types.ModuleType("onnxruntime_qnn")
    library.get_library_path = lambda: "/here/lib.so"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", library)
    ort.register_execution_provider_library = register  # type: ignore[attr-defined]
    ort.get_ep_devices = lambda: devices  # type: ignore[attr-defined]


NPU = types.SimpleNamespace(ep_name=PROVIDER)


def test_the_plug_in(
    fake_ort: types.ModuleType, context: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    cpu = types.SimpleNamespace(ep_name="CPUExecutionProvider")
    plug_in(fake_ort, monkeypatch, lambda *pair: asked.append(pair), [cpu, NPU, NPU])
    runtime = adapter.prepare("fake_ort", VERSION)
    assert asked == [(PROVIDER, "/here/lib.so")]
    FakeOrt.runs_on = [PROVIDER]
    assert runtime.load(context, 1).kernel_path == "htp"
    (session,) = FakeOrt.sessions
    devices, options = session.options.devices
    assert devices == [NPU] and options["backend_type"] == "htp"
    assert "providers" not in session.arguments


def test_a_plug_in_without_devices(
    fake_ort: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(fake_ort, monkeypatch, lambda *pair: None, [])
    with pytest.raises(NoRuntime, match="is plugged into onnxruntime and offers no device"):
        adapter.prepare("fake_ort", VERSION)


def test_a_plug_in_that_does_not_load(
    fake_ort: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def register(*pair: str) -> None:
        raise Fail("libcdsprpc.so: cannot open shared object file")

    plug_in(fake_ort, monkeypatch, register, [])
    with pytest.raises(NoRuntime, match="cannot be plugged into onnxruntime: libcdsprpc"):
        adapter.prepare("fake_ort", VERSION)


def test_an_onnxruntime_that_takes_no_plug_ins(
    fake_ort: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(fake_ort, monkeypatch, lambda *pair: None, [])
    del fake_ort.register_execution_provider_library
    with pytest.raises(NoRuntime, match=r"found onnxruntime 1\.18\.0, which takes no plug-ins"):
        adapter.prepare("fake_ort", VERSION)


def test_the_first_error_that_is_logged_is_the_reason(
    fake_ort: types.ModuleType, context: str
) -> None:
    FakeOrt.error = "This session contains graph nodes that are assigned to the default CPU EP"
    FakeOrt.logged = (
        b"\x1b[1;31m2026-01-01 [E:onnxruntime:, qnn_ep.cc:2290 GetCapability] QNN SetupBackend "
        b"failed Unable to load backend, error: libQnnHtp.so: cannot open\x1b[m\n"
        b"2026-01-01 [E:onnxruntime:, session.cc:1 operator()] This session contains\n"
    )
    with pytest.raises(RuntimeFailed, match=r"refuses the model: QNN SetupBackend .*cannot open$"):
        adapter.prepare("fake_ort", VERSION).load(context, 1)


def test_without_a_log_the_error_is_the_reason(fake_ort: types.ModuleType, context: str) -> None:
    FakeOrt.error = "FastRPC is not permitted"
    with pytest.raises(RuntimeFailed, match="QNN provider refuses the model: FastRPC is not perm"):
        adapter.prepare("fake_ort", VERSION).load(context, 1)


def test_a_session_that_went_to_the_cpu_after_all(fake_ort: types.ModuleType, context: str) -> None:
    runtime = adapter.prepare("fake_ort", VERSION)
    FakeOrt.runs_on = ["CPUExecutionProvider"]
    fake_ort.get_ep_devices = lambda: [NPU]  # type: ignore[attr-defined]
    with pytest.raises(RuntimeFailed, match=r"found a session of .*CPUExec.*, expected QNNExec"):
        runtime.load(context, 1)
