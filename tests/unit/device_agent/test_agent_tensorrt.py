"""TensorRT's adapter, against a stand-in for NVIDIA's module and driver.

Where NVIDIA's tensorrt_rtx is installed, a relative of TensorRT that builds without a GPU, the
builder's process is also run with the real parser and builder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cuda import STREAM, FakeDriver
from onnx_bytes import onnx_bytes

from device_agent import runtimes
from device_agent.channel import Payload
from device_agent.environment_messages import RuntimeVersion
from device_agent.failures import AgentFailure
from device_agent.profile_messages import ModelPlacement, OperatorPlace
from device_agent.protocol import Failure, Progress
from device_agent.runtimes import NoRuntime, Runtime, RuntimeFailed, cuda, engine_builder
from device_agent.runtimes.engine_builder import BUILDING, BuildOrder, build_in_child
from device_agent.runtimes.engines import EngineKey, read_engine
from device_agent.runtimes.profiling import ProfileOrder
from device_agent.worker import Worker
from device_agent.worker_messages import Load, Loaded

FAKE = Path(__file__).parent / "fake_nvidia"
RELEASES = ("8.6.1", "10.3.0", "11.1.0.106")
QUANTIZED = onnx_bytes("QuantizeLinear", "DequantizeLinear", "Conv")
IMAGE = np.array([[1.0, 5.0, 2.0, 0.5]], np.float32)


class Board:
    """A device with TensorRT, a GPU and a folder for engines."""

    def __init__(self, folder: Path, driver: FakeDriver) -> None:
        self.driver = driver
        self.model = folder / "model.onnx"
        self.model.write_bytes(QUANTIZED)
        self.engines = folder / "engines"
        self.log = folder / "calls.jsonl"
        self.told: list[tuple[int, str]] = []

    def prepare(self) -> Runtime:
        return runtimes.prepare("tensorrt")

    def build(self) -> str:
        return self.prepare().build(str(self.model), str(self.engines), self._tell)

    def load(self) -> runtimes.LoadedModel:
        return self.prepare().load(self.build(), 1)

    def calls(self, name: str) -> list[Any]:
        """The arguments of every call of a function of TensorRT, in any process."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [arguments for called, *arguments in map(json.loads, lines) if called == name]

    def _tell(self, seconds: int, what: str) -> None:
        self.told.append((seconds, what))


@pytest.fixture
def make_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Board]]:
    def make(release: str = "10.3.0") -> Board:
        driver = FakeDriver()
        monkeypatch.setattr(cuda, "_open_library", lambda: driver)
        monkeypatch.setenv("FAKE_TENSORRT", release)
        monkeypatch.setenv("FAKE_TENSORRT_LOG", str(tmp_path / "calls.jsonl"))
        monkeypatch.setenv("PYTHONPATH", str(FAKE))
        monkeypatch.syspath_prepend(str(FAKE))
        sys.modules.pop("tensorrt", None)
        return Board(tmp_path, driver)

    yield make
    sys.modules.pop("tensorrt", None)


@pytest.fixture
def board(make_board: Callable[..., Board]) -> Board:
    return make_board()


# ---- running -------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
def test_a_model_runs(make_board: Callable[..., Board], release: str) -> None:
    model = make_board(release).load()
    assert [(port.name, port.shape, port.dtype) for port in model.inputs] == [
        ("image", (1, 4), "float32")
    ]
    assert [(port.name, port.shape, port.dtype) for port in model.outputs] == [
        ("logits", (1, 2), "float32")
    ]
    assert model.kernel_path == "gpu"
    assert model.runtime == RuntimeVersion("tensorrt", "tensorrt", release)
    assert model.run([IMAGE])[0].tolist() == [[8.5, 5.0]]


def test_outputs_are_copies_and_inputs_stay(board: Board) -> None:
    model = board.load()
    before = model.run([IMAGE])[0]
    assert model.run([IMAGE * 2])[0].tolist() == [[17.0, 10.0]]
    assert before.tolist() == [[8.5, 5.0]]
    model.invoke()
    assert model.get_outputs()[0].tolist() == [[17.0, 10.0]]


def test_a_run_is_the_computation_on_our_stream_and_no_copy(board: Board) -> None:
    model = board.load()
    model.set_inputs([IMAGE])
    board.driver.calls.clear()
    model.invoke()
    assert board.calls("execute_async_v3") == [[STREAM]]
    assert board.driver.calls == ["cuStreamSynchronize"]


def test_an_input_that_lies_otherwise_in_memory(board: Board) -> None:
    spread = np.repeat(IMAGE, 2, axis=1)[:, ::2]
    assert board.load().run([spread])[0].tolist() == [[8.5, 5.0]]


@pytest.mark.parametrize("array", [IMAGE.astype(np.float64), IMAGE[:, :3], IMAGE[0]])
def test_inputs_that_do_not_fit_never_reach_the_device(board: Board, array: np.ndarray) -> None:
    model = board.load()
    with pytest.raises(RuntimeFailed, match=r"image: found .*, expected float32 \(1, 4\)"):
        model.run([array])
    assert "cuMemcpyHtoD_v2" not in board.driver.calls


def test_a_run_that_tensorrt_refuses(board: Board) -> None:
    with pytest.raises(RuntimeFailed, match=r"TensorRT failed: .*illegal memory access"):
        board.load().run([-IMAGE])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("cuMemcpyHtoD_v2", "the GPU refuses an input: cuMemcpyHtoD_v2: error number 700"),
        ("cuStreamSynchronize", "TensorRT failed on the GPU: cuStreamSynchronize: error number"),
        ("cuMemcpyDtoH_v2", "the GPU does not give an output: cuMemcpyDtoH_v2: error number 700"),
    ],
)
def test_a_gpu_that_fails(board: Board, function: str, message: str) -> None:
    model = board.load()
    board.driver.failures[function] = 700
    with pytest.raises(RuntimeFailed, match=message):
        model.run([IMAGE])


def test_a_gpu_without_enough_memory(board: Board) -> None:
    board.driver.failures["cuMemAlloc_v2"] = 2
    with pytest.raises(RuntimeFailed, match="cannot load the engine: cuMemAlloc_v2: error number"):
        board.load()


def test_an_error_the_driver_has_no_words_for(board: Board) -> None:
    board.driver.failures.update(cuMemAlloc_v2=2, cuGetErrorString=1)
    with pytest.raises(RuntimeFailed, match=r"cuMemAlloc_v2: error 2$"):
        board.load()


def test_kernels_are_refused(board: Board) -> None:
    with pytest.raises(RuntimeFailed, match="found kernel 'dla', expected '' for TensorRT"):
        board.prepare().load(board.build(), 1, "dla")


def test_types_that_numpy_lacks_are_refused(board: Board) -> None:
    board.model.write_bytes(onnx_bytes("Odd"))
    with pytest.raises(RuntimeFailed, match="image holds FP8 values, expected one of"):
        board.load()


@pytest.mark.parametrize("release", RELEASES)
def test_every_layer_is_on_the_gpu(make_board: Callable[..., Board], release: str) -> None:
    assert make_board(release).load().placement() == ModelPlacement(
        (OperatorPlace("", "sum", "gpu"), OperatorPlace("", "largest", "gpu")),
        "TensorRT's engine inspector",
    )


@pytest.mark.parametrize("release", RELEASES)
def test_each_layer_is_timed_in_runs_of_its_own(
    make_board: Callable[..., Board], release: str
) -> None:
    board = make_board(release)
    order = ProfileOrder(board.build(), 1, lambda ports: [IMAGE], 7, 60, lambda seconds, what: None)
    found = board.prepare().profile(order)
    assert (found.runs, len(found.samples_ns), found.source) == (7, 7, "TensorRT's profiler")
    assert [(each.place.name, each.samples_ns) for each in found.operators] == [
        ("sum", (4_000,) * 7),
        ("largest", (12_000,) * 7),
    ]


# ---- getting ready -------------------------------------------------------------------------------


def test_a_release_that_is_too_old(make_board: Callable[..., Board]) -> None:
    board = make_board("8.4.1")
    with pytest.raises(NoRuntime, match=r"found TensorRT 8.4.1, expected 8.5 \(JetPack 5.1\)"):
        board.prepare()


@pytest.mark.parametrize("function", ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain"])
def test_a_device_without_a_gpu(board: Board, function: str) -> None:
    board.driver.failures[function] = 100
    with pytest.raises(NoRuntime, match=f"10.3.0 and no GPU to use: {function}: error number 100"):
        board.prepare()


@pytest.mark.skipif(bool(runtimes.find_library(cuda.LIBRARY)), reason="has an NVIDIA driver")
def test_a_device_without_a_driver() -> None:
    with pytest.raises(cuda.CudaFailed, match=r"libcuda\.so\.1, the NVIDIA driver, cannot"):
        cuda.Device()


# ---- building ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "content", "network", "flags"),
    [
        ("8.6.1", QUANTIZED, 1 << 0, [["INT8"]]),
        ("8.6.1", onnx_bytes("Conv"), 1 << 0, []),
        ("10.3.0", QUANTIZED, 1 << 1, []),
        ("10.3.0", onnx_bytes("Conv"), 1 << 1, []),
        ("11.1.0.106", QUANTIZED, 0, []),
    ],
)
def test_each_release_is_told_what_it_understands(
    make_board: Callable[..., Board],
    release: str,
    content: bytes,
    network: int,
    flags: list[list[str]],
) -> None:
    board = make_board(release)
    board.model.write_bytes(content)
    board.build()
    assert board.calls("create_network") == [[network]]
    assert board.calls("set_flag") == flags


def test_an_engine_is_built_once(board: Board) -> None:
    path = board.build()
    assert board.build() == path
    assert len(board.calls("build_serialized_network")) == 1
    assert board.told == [(0, BUILDING)]


def test_a_damaged_engine_is_built_anew(board: Board) -> None:
    path = Path(board.build())
    path.write_bytes(path.read_bytes()[:-1])
    assert board.load().run([IMAGE])[0].tolist() == [[8.5, 5.0]]
    assert len(board.calls("build_serialized_network")) == 2


def test_another_model_gpu_or_release_has_an_engine_of_its_own(
    make_board: Callable[..., Board],
) -> None:
    board = make_board("10.3.0")
    built = {board.build()}
    board.driver.name = "Xavier"
    built.add(board.build())
    board.model.write_bytes(onnx_bytes("QuantizeLinear", "Conv"))
    built.add(board.build())
    built.add(make_board("11.1.0.106").build())
    assert len(built) == 4 == len(os.listdir(board.engines))


def test_open_dimensions_are_one(board: Board) -> None:
    board.model.write_bytes(onnx_bytes("Open"))
    assert board.load().inputs[0].shape == (1, 4)
    assert board.calls("build_serialized_network") == [[[1, 4]]]


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (
            "Unparsable",
            "refuses the model: In node 0 .*: No importer registered for op: Unparsable$",
        ),
        ("Unbuildable", "refuses the model: Could not find any implementation for node Unbuild"),
        ("Raising", "refuses the model: CUDA initialization failure with error: 999$"),
        ("Deadly", "ended by SIGKILL, most often because the device ran out of memory"),
    ],
)
def test_a_model_that_is_not_built(board: Board, operator: str, message: str) -> None:
    board.model.write_bytes(onnx_bytes(operator))
    with pytest.raises(RuntimeFailed, match=message):
        board.build()
    assert [name for name in os.listdir(board.engines) if name.endswith(".engine")] == []


def test_what_is_no_onnx_model(board: Board) -> None:
    board.model.write_bytes(b"no model")
    with pytest.raises(RuntimeFailed, match="cannot read the operators of the model"):
        board.build()


def test_a_build_is_heard_of_and_ends_at_its_deadline(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_builder, "_TELL_S", 0.2)
    board.model.write_bytes(onnx_bytes("Endless"))
    told: list[int] = []
    order = BuildOrder(str(board.model), str(board.model) + ".engine", KEY)
    with pytest.raises(RuntimeFailed, match="still building the engine after 1 s"):
        build_in_child(order, lambda seconds, what: told.append(seconds), deadline_s=1)
    assert len(told) >= 3


def test_the_builder_ends_with_its_worker(board: Board) -> None:
    board.model.write_bytes(onnx_bytes("Endless"))
    order = BuildOrder(str(board.model), str(board.model) + ".engine", KEY)
    worker = f"""
        from device_agent.runtimes import engine_builder
        from device_agent.runtimes.engines import EngineKey
        order = engine_builder.{order!r}
        engine_builder.build_in_child(order, lambda seconds, what: print("at work", flush=True))
        """.replace("EngineKey(", "engine_builder.EngineKey(")
    started = [sys.executable, "-c", textwrap.dedent(worker)]
    with subprocess.Popen(started, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        while not board.calls("parse_from_file"):
            assert process.poll() is None
        process.kill()
    (child,) = children
    assert is_gone(int(child))


def is_gone(process: int) -> bool:
    """Whether a process ends within a few seconds."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        subprocess.run(["sleep", "0.1"], check=True)
    return False


KEY = EngineKey("10.3.0", "8.7", "Orin", "a" * 64, ("STRONGLY_TYPED",))


def test_a_disk_that_does_not_take_the_engine(board: Board, tmp_path: Path) -> None:
    order = BuildOrder(str(board.model), str(tmp_path / "absent" / "model.engine"), KEY)
    with pytest.raises(AgentFailure) as caught:
        build_in_child(order, lambda seconds, what: None)
    assert caught.value.code == "storage"
    assert "No such file" in caught.value.message


def test_a_builder_that_does_not_start(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", "nonsense")
    order = BuildOrder(str(board.model), str(board.model) + ".engine", KEY)
    with pytest.raises(RuntimeFailed, match="building the engine ended with exit status 1"):
        build_in_child(order, lambda seconds, what: None)


def test_no_folder_no_engine(board: Board) -> None:
    with pytest.raises(RuntimeFailed, match="has no folder to keep it in"):
        board.prepare().build(str(board.model), "", board._tell)


def test_only_engines_built_here_are_loaded(board: Board) -> None:
    with pytest.raises(RuntimeFailed, match="is not an engine that was built here, or is damaged"):
        board.prepare().load(str(board.model), 1)


def test_an_engine_that_tensorrt_refuses(make_board: Callable[..., Board]) -> None:
    path = make_board("10.3.0").build()
    with pytest.raises(RuntimeFailed, match="refuses its engine: Serialization assertion"):
        make_board("11.1.0.106").prepare().load(path, 1)


class Recorder:
    """A worker's way to the agent."""

    def __init__(self) -> None:
        self.sent: list[object] = []

    def payload(self, size: int) -> Payload:
        return Payload(lambda limit: b"", size)

    def send(self, message: object) -> None:
        self.sent.append(message)


def test_a_worker_tells_that_it_builds_and_then_loads(board: Board) -> None:
    load = Load(str(board.model), "tensorrt", "10.0", 1, None, (), engines=str(board.engines))
    channel = Recorder()
    Worker(channel).obey(load)  # type: ignore[arg-type]
    progress, loaded = channel.sent
    assert progress == Progress(0, 0, BUILDING)
    assert isinstance(loaded, Loaded) and loaded.kernel_path == "gpu"


def test_a_worker_passes_on_that_engines_cannot_be_kept(
    board: Board,
) -> None:
    board.engines.write_bytes(b"not a folder")
    channel = Recorder()
    load = Load(str(board.model), "tensorrt", "", 1, None, (), engines=str(board.engines))
    Worker(channel).obey(load)  # type: ignore[arg-type]
    (failure,) = channel.sent
    assert isinstance(failure, Failure) and failure.code == "storage"


# ---- the real thing's relative -------------------------------------------------------------------

needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None, reason="install tensorrt-rtx-cu12 for NVIDIA's own builder"
)


@needs_rtx
def test_the_stand_in_has_no_name_that_tensorrt_lacks() -> None:
    program = """
        import enum, importlib, json
        fake, real = importlib.import_module("tensorrt"), importlib.import_module("tensorrt_rtx")
        own = {name: value for name, value in vars(fake).items()
               if isinstance(value, type) and value.__module__ == "tensorrt"}
        names = [(kind, name) for kind, value in own.items() for name in vars(value)
                 if not name.startswith("_")]
        print([each for each in names if not hasattr(getattr(real, each[0]), each[1])])
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(FAKE), "FAKE_TENSORRT": "11.1.0.106"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture
def rtx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineKey:
    """The builder's process finds tensorrt_rtx under TensorRT's name."""
    (tmp_path / "site" / "tensorrt").mkdir(parents=True)
    (tmp_path / "site" / "tensorrt" / "__init__.py").write_text("from tensorrt_rtx import *\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    return EngineKey("11.1", "8.7", "Orin", "a" * 64, ("STRONGLY_TYPED",))


@needs_rtx
def test_nvidias_own_builder_builds_a_model(rtx: EngineKey, tmp_path: Path) -> None:
    model = Path(__file__).parents[3] / "examples" / "digits" / "digits.onnx"
    output = str(tmp_path / "built.engine")
    build_in_child(BuildOrder(str(model), output, rtx), lambda seconds, what: None)
    assert len(read_engine(output, rtx) or b"") > 1000


@needs_rtx
def test_nvidias_own_parser_says_what_it_refuses(rtx: EngineKey, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(onnx_bytes("NoSuchOperator"))
    order = BuildOrder(str(model), str(tmp_path / "built.engine"), rtx)
    with pytest.raises(RuntimeFailed, match=r"TensorRT refuses the model: .*NoSuchOperator"):
        build_in_child(order, lambda seconds, what: None)
