"""The agent as it really starts: its zipapp in a process of its own, driven over a transport."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent import archive, runtimes
from device_agent.codec import encode_message
from device_agent.manifest import CHUNK_BYTES, Compatibility, File, Limits, Manifest, Port
from device_agent.protocol import Bench, Benched, CheckParity, Install, Installed, OpenModel
from device_agent.runtimes.tensors import quantize
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.bootstrap import build_agent
from edgesdk.devices.local import LocalTransport
from edgesdk.errors import AgentError, DeadlineExceeded, PackageError
from edgesdk.progress import Silent
from tests.pythons import NEW, OLD, version_name

SILENT = Silent()
DIGITS = Path(__file__).parents[2] / "examples" / "digits"
QUICK = Bench(
    keys=("int8",),
    blocks=3,
    min_runs=30,
    min_seconds=0.01,
    max_seconds=2.0,
    max_warm_up_seconds=1.0,
)
ENDLESS = replace(QUICK, blocks=10_000)

GONE_S = 2.0
"""The agent promises to be gone within a second; a busy test machine may take another."""

OpenSession = Callable[..., AgentSession]


@pytest.fixture
def transport() -> Iterator[LocalTransport]:
    with LocalTransport() as local:
        yield local


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The store on the "device"."""
    return tmp_path / "device"


@pytest.fixture
def start(transport: LocalTransport, folder: Path) -> Iterator[OpenSession]:
    """Opens sessions that end with the test."""
    opened: list[AgentSession] = []

    def start(**options: Any) -> AgentSession:
        settings = {"python": sys.executable, "folder": str(folder), **options}
        opened.append(AgentSession.open(transport, **settings))
        return opened[-1]

    yield start
    for session in opened:
        session.close()


@pytest.fixture
def session(start: OpenSession) -> AgentSession:
    return start()


# ---- what is sent ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX model: logits = image @ weights, with [1, 4] float32 in and [1, 3] out."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    weights = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
    node = onnx.helper.make_node("MatMul", ["image", "weights"], ["logits"])
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "linear",
        [value("image", onnx.TensorProto.FLOAT, [1, 4])],
        [value("logits", onnx.TensorProto.FLOAT, [1, 3])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    opsets = [onnx.helper.make_opsetid("", 13)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path = tmp_path_factory.mktemp("models") / "linear.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def samples(count: int) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    return [{"image": generator.normal(size=(1, 4)).astype(np.float32)} for _ in range(count)]


def golden_for(runtime: str, model: Path, kernels: Mapping[str, str], target: Path) -> Path:
    """Golden vectors computed in this very process.

    Args:
        kernels: kernel path in the file to kernel asked of the runtime.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, kernel in kernels.items():
        loaded = runtimes.load(runtime, str(model), 1, kernel)
        generator = np.random.default_rng(1)
        inputs = generator.normal(size=(5, *loaded.inputs[0].shape)).astype(np.float32)
        outputs = [loaded.run([quantize(one, loaded.inputs[0])])[0] for one in inputs]
        arrays[f"input/{loaded.inputs[0].name}"] = inputs
        arrays[f"expected/{name}/{loaded.outputs[0].name}"] = np.stack(outputs)
    np.savez(target, allow_pickle=False, **arrays)
    return target


def entry_of(role: str, path: Path) -> tuple[File, bytes]:
    raw = path.read_bytes()
    stored = zlib.compress(raw)
    chunks = tuple(
        hashlib.sha256(stored[start : start + CHUNK_BYTES]).hexdigest()
        for start in range(0, len(stored), CHUNK_BYTES)
    )
    digest = hashlib.sha256(raw).hexdigest()
    return File(role, role + path.suffix, len(raw), digest, "zlib", len(stored), chunks), stored


def write_package(target: Path, files: Mapping[str, Path], **changes: Any) -> Path:
    """A package of those files by role."""
    entries = dict(entry_of(role, path) for role, path in files.items())
    manifest = Manifest(
        **{
            "format": "edgepkg/1",
            "name": "linear",
            "version": "1",
            "sequence": 1,
            "compatibility": Compatibility("here", (platform.machine(),), "onnxruntime", "1.14"),
            "inputs": (Port("image", (1, 4), "float32"),),
            "outputs": (Port("logits", (1, 3), "float32"),),
            "files": tuple(entries),
            "limits": Limits(None, None),
            "gates": {},
            "provenance": {},
            **changes,
        }
    )
    target.write_bytes(b"".join(archive.write_package(manifest, lambda file: [entries[file]])))
    return target


@pytest.fixture
def package(tmp_path: Path, linear_model: Path) -> Path:
    """A package of the linear model and its golden vectors."""
    golden = golden_for("onnxruntime", linear_model, {"cpu": ""}, tmp_path / "golden.npz")
    return write_package(tmp_path / "a.edgepkg", {"model": linear_model, "golden": golden})


@pytest.fixture
def any_package(tmp_path: Path) -> Path:
    """A package whose model no runtime takes."""
    model = tmp_path / "model.onnx"
    model.write_bytes(os.urandom(300_000))
    return write_package(tmp_path / "any.edgepkg", {"model": model})


def opening(installed: Installed, **changes: Any) -> OpenModel:
    request = OpenModel(
        key="int8",
        runtime=installed.runtime,
        runtime_min_version=installed.runtime_min_version,
        threads=1,
        package_id=installed.package_id,
        role="model",
    )
    return replace(request, **changes)


# ---- who is alive ---------------------------------------------------------------------------


def processes(folder: Path, what: str) -> list[int]:
    """Living processes of this store's agent: those whose command line has the word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(str(folder).encode() in word for word in words) and what.encode() in words:
                found.append(int(entry.name))
    return found


def wait_until(true: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def leftovers(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "sessions"))


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


@pytest.fixture
def benching(
    session: AgentSession, package: Path, background: ThreadPoolExecutor
) -> Future[Benched]:
    """A bench that is under way and would take many minutes."""
    session.open_model(opening(session.install(package, SILENT)), SILENT)
    call = background.submit(session.bench, ENDLESS, SILENT)
    time.sleep(0.5)
    assert not call.done()
    return call


# ---- starting -------------------------------------------------------------------------------


def test_the_agent_says_what_the_device_is(session: AgentSession) -> None:
    assert session.environment.machine == platform.machine()
    assert session.environment.python == platform.python_version()
    assert session.environment.runtimes == runtimes.discover()


def test_the_device_keeps_the_agent(start: OpenSession, folder: Path) -> None:
    start().close()
    kept = folder / "agent" / f"{build_agent().sha256}.pyz"
    before = kept.stat()
    start().close()
    assert kept.stat() == before
    assert kept.read_bytes() == build_agent().zipapp


def test_a_damaged_copy_of_the_agent_is_replaced(start: OpenSession, folder: Path) -> None:
    start().close()
    kept = folder / "agent" / f"{build_agent().sha256}.pyz"
    kept.write_bytes(b"rotten")
    start().close()
    assert kept.read_bytes() == build_agent().zipapp


def test_noise_from_login_scripts_is_skipped(start: OpenSession, tmp_path: Path) -> None:
    noisy = tmp_path / "noisy-python"
    noisy.write_text(
        "#!/bin/sh\necho Welcome to the board\nprintf 'no newline at the end'\n"
        f'exec {sys.executable} "$@"\n'
    )
    noisy.chmod(0o755)
    assert start(python=str(noisy)).environment.python == platform.python_version()


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/x"])
def test_without_a_disk_the_agent_runs_from_memory(start: OpenSession, place: str) -> None:
    session = start(folder=place)
    with pytest.raises(AgentError, match=place) as caught:
        session.current()
    assert caught.value.code == "storage"


def test_a_missing_python_is_named(start: OpenSession) -> None:
    with pytest.raises(AgentError, match="the device has no python9") as caught:
        start(python="python9")
    assert "--python" in caught.value.hint


def test_a_python_that_cannot_is_named(start: OpenSession) -> None:
    with pytest.raises(AgentError, match=r"false on the device did not start .*status 1"):
        start(python="false")


def test_home_is_understood_on_the_device(
    start: OpenSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    start(folder="~/my store").close()
    assert (tmp_path / "my store" / "agent").is_dir()


# ---- every Python ---------------------------------------------------------------------------


@pytest.mark.skipif(not NEW, reason="no pyenv with other Pythons")
@pytest.mark.parametrize("python", NEW, ids=version_name)
def test_every_python_installs(python: Path, start: OpenSession, any_package: Path) -> None:
    session = start(python=str(python))
    assert session.environment.python == version_name(python)
    installed = session.install(any_package, SILENT)
    assert session.current() == replace(installed, already=True)
    with pytest.raises(AgentError) as caught:
        session.open_model(opening(installed), SILENT)
    assert caught.value.code in ("no_runtime", "runtime_failed")


@pytest.mark.skipif(not OLD, reason="no pyenv with old Pythons")
@pytest.mark.parametrize("python", OLD, ids=version_name)
def test_old_pythons_are_refused(python: Path, start: OpenSession) -> None:
    with pytest.raises(AgentError) as caught:
        start(python=str(python))
    assert "3.7 or newer" in caught.value.message + caught.value.hint


# ---- installing -----------------------------------------------------------------------------


def test_installing(session: AgentSession, any_package: Path, folder: Path) -> None:
    installed = session.install(any_package, SILENT)
    manifest = archive.verify(io.BytesIO(any_package.read_bytes()).read)
    assert installed.package_id == manifest.package_id
    assert not installed.already
    assert (installed.name, installed.runtime_min_version) == ("linear", "1.14")
    assert installed.installed_bytes == 300_000
    assert (folder / "store" / "current").read_text() == manifest.package_id + "\n"
    assert session.current() == replace(installed, already=True)


def test_installing_again_sends_nothing(
    session: AgentSession, any_package: Path, folder: Path
) -> None:
    first = session.install(any_package, SILENT)
    before = (folder / "store" / first.package_id).stat()
    assert session.install(any_package, SILENT) == replace(first, already=True)
    assert (folder / "store" / first.package_id).stat() == before


def test_a_damaged_installation_is_replaced(
    session: AgentSession, any_package: Path, folder: Path
) -> None:
    first = session.install(any_package, SILENT)
    model = folder / "store" / first.package_id / "model.onnx"
    model.write_bytes(b"rotten")
    assert session.install(any_package, SILENT) == first
    assert model.stat().st_size == 300_000


def test_nothing_is_installed_on_a_new_device(session: AgentSession) -> None:
    with pytest.raises(AgentError) as caught:
        session.current()
    assert caught.value.code == "not_installed"


def test_a_package_that_is_not_one_never_reaches_the_device(
    session: AgentSession, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.edgepkg"
    wrong.write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(PackageError, match="not a sound package"):
        session.install(wrong, SILENT)


def spoil(package: Path, position: int) -> None:
    content = bytearray(package.read_bytes())
    content[position] ^= 1
    package.write_bytes(content)


def test_a_package_damaged_at_its_end_leaves_nothing(
    session: AgentSession, any_package: Path, folder: Path
) -> None:
    spoil(any_package, -1)
    with pytest.raises(AgentError) as caught:
        session.install(any_package, SILENT)
    assert caught.value.code == "corrupt_package"
    assert os.listdir(folder / "store") == []
    assert [os.listdir(folder / "sessions" / name) for name in leftovers(folder)] == [["lock"]]


def test_a_refusal_comes_before_all_is_sent(
    session: AgentSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(os.urandom(16 * 2**20))
    package = write_package(tmp_path / "large.edgepkg", {"model": model})
    spoil(package, 100_000)
    sent: list[int] = []
    write = session._process.write

    def counted(data: bytes, deadline_s: float) -> None:
        sent.append(len(data))
        write(data, deadline_s)

    monkeypatch.setattr(session._process, "write", counted)
    with pytest.raises(AgentError) as caught:
        session.install(package, SILENT)
    assert caught.value.code == "corrupt_package"
    assert sum(sent) < package.stat().st_size / 4


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"compatibility": Compatibility("pi", ("sparc",), "litert", "")}, "incompatible"),
        ({"limits": Limits(299_999, None)}, "over_budget"),
    ],
)
def test_packages_that_do_not_suit_are_refused(
    session: AgentSession, tmp_path: Path, change: dict[str, Any], code: str
) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(os.urandom(300_000))
    package = write_package(tmp_path / "x.edgepkg", {"model": model}, **change)
    with pytest.raises(AgentError) as caught:
        session.install(package, SILENT)
    assert caught.value.code == code


def test_two_sessions_may_install_at_once(
    start: OpenSession, any_package: Path, background: ThreadPoolExecutor
) -> None:
    sessions = [start(), start()]
    calls = [background.submit(one.install, any_package, SILENT) for one in sessions]
    assert calls[0].result(20).package_id == calls[1].result(20).package_id
    assert start().install(any_package, SILENT).already


# ---- running --------------------------------------------------------------------------------


def test_the_package_and_the_float_model_side_by_side(
    session: AgentSession, package: Path, linear_model: Path
) -> None:
    installed = session.install(package, SILENT)
    staged = session.stage(linear_model, SILENT)
    opened = session.open_model(opening(installed), SILENT)
    session.open_model(
        opening(installed, key="float", package_id=None, role=None, staged=staged), SILENT
    )
    assert opened.kernel_path == "cpu"
    assert opened.threads == 1
    assert opened.inputs == (Port("image", (1, 4), "float32"),)
    assert opened.load_ns > 0 and (opened.baseline_rss_bytes or 0) > 10 * 2**20

    data = samples(700)
    found = session.predict(("float", "int8"), data, len(data), 0, SILENT)
    here = runtimes.load("onnxruntime", str(linear_model), 1)
    expected = tuple(int(np.argmax(here.run([one["image"]])[0])) for one in data)
    assert found == {"float": expected, "int8": expected}

    parity = session.check_parity(CheckParity("int8", installed.package_id))
    assert (parity.kernel_path, parity.count, parity.values) == ("cpu", 5, 15)
    assert (parity.beyond_one_step, parity.top1_changed) == (0, 0)

    benched = session.bench(replace(QUICK, keys=("float", "int8")), SILENT)
    assert [latency.key for latency in benched.latencies] == ["float", "int8"]
    for latency in benched.latencies:
        assert len(latency.samples_ns) == sum(latency.block_sizes) >= 30
        assert len(latency.block_sizes) == 3 and min(latency.block_sizes) >= 10
        assert min(latency.samples_ns) > 0
        assert len(latency.conditions) == 4
        assert latency.warm_up_runs > 0
        assert (latency.peak_rss_bytes or 0) > 10 * 2**20


def test_without_samples_models_are_timed_with_golden_vectors(
    session: AgentSession, package: Path, linear_model: Path
) -> None:
    installed = session.install(package, SILENT)
    staged = session.stage(linear_model, SILENT)
    session.open_model(opening(installed), SILENT)
    session.open_model(
        opening(installed, key="float", package_id=None, role=None, staged=staged), SILENT
    )
    benched = session.bench(replace(QUICK, keys=("float", "int8")), SILENT)
    assert all(latency.samples_ns for latency in benched.latencies)


def test_with_nothing_to_run_on_there_is_no_timing(
    session: AgentSession, linear_model: Path
) -> None:
    staged = session.stage(linear_model, SILENT)
    session.open_model(OpenModel("int8", "onnxruntime", "", 0, staged=staged), SILENT)
    with pytest.raises(AgentError, match="no golden vectors and no sample"):
        session.bench(QUICK, SILENT)


def test_litert_gives_the_golden_outputs(session: AgentSession, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    model = DIGITS / "digits.tflite"
    kernels = {"xnnpack": "", "builtin": "builtin"}
    golden = golden_for("litert", model, kernels, tmp_path / "golden.npz")
    here = runtimes.load("litert", str(model), 1)
    package = write_package(
        tmp_path / "a.edgepkg",
        {"model": model, "golden": golden},
        compatibility=Compatibility("here", (), "litert", "1.0"),
        inputs=here.inputs,
        outputs=here.outputs,
    )
    installed = session.install(package, SILENT)
    opened = session.open_model(opening(installed), SILENT)
    assert opened.kernel_path == here.kernel_path == "xnnpack"
    assert opened.runtime == here.runtime
    parity = session.check_parity(CheckParity("int8", installed.package_id))
    assert parity.golden_runtime_kernels == ("builtin", "xnnpack")
    assert (parity.values, parity.beyond_one_step, parity.top1_changed) == (50, 0, 0)


@pytest.mark.parametrize(
    ("kernels", "values", "changed"), [({"cpu": ""}, 15, 5), ({"other": ""}, 0, 0)]
)
def test_parity_tells_what_differs(
    session: AgentSession,
    tmp_path: Path,
    linear_model: Path,
    kernels: dict[str, str],
    values: int,
    changed: int,
) -> None:
    golden = golden_for("onnxruntime", linear_model, kernels, tmp_path / "golden.npz")
    arrays = dict(np.load(golden))
    arrays = {name: -a if name.startswith("expected") else a for name, a in arrays.items()}
    np.savez(golden, allow_pickle=False, **arrays)
    package = write_package(tmp_path / "a.edgepkg", {"model": linear_model, "golden": golden})
    installed = session.install(package, SILENT)
    session.open_model(opening(installed), SILENT)
    parity = session.check_parity(CheckParity("int8", installed.package_id))
    assert parity.golden_runtime_kernels == tuple(kernels)
    assert (parity.count, parity.values, parity.top1_changed) == (5, values, changed)
    assert (parity.beyond_one_step > 0, parity.worst_steps > 1) == (values > 0, values > 0)


def test_what_a_model_cannot_take_is_said(session: AgentSession, package: Path) -> None:
    session.open_model(opening(session.install(package, SILENT)), SILENT)
    wrong = [{"image": np.zeros((1, 5), np.float32)}]
    with pytest.raises(AgentError, match="found 20 bytes of samples, expected 16"):
        session.predict(("int8",), wrong, 1, 0, SILENT)
    with pytest.raises(AgentError, match="found output 1, expected 0 to 0"):
        session.predict(("int8",), samples(1), 1, 1, SILENT)
    assert len(session.predict(("int8",), samples(1), 1, 0, SILENT)["int8"]) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "runtime_failed"),
        ({"runtime_min_version": "999.0"}, "no_runtime"),
        ({"runtime": "tensorrt"}, "no_runtime"),
        ({"package_id": "0" * 64}, "not_installed"),
        ({"package_id": "../../etc"}, "bad_request"),
        ({"role": "golden"}, "bad_request"),
        ({"package_id": None}, "bad_request"),
        ({"package_id": None, "staged": "nothing"}, "bad_request"),
    ],
    ids=str,
)
def test_models_that_cannot_be_opened(
    session: AgentSession, any_package: Path, change: dict[str, Any], code: str
) -> None:
    pytest.importorskip("onnxruntime")
    installed = session.install(any_package, SILENT)
    with pytest.raises(AgentError) as caught:
        session.open_model(opening(installed, **change), SILENT)
    assert caught.value.code == code
    with pytest.raises(AgentError, match="no model is open"):
        session.bench(QUICK, SILENT)
    assert session.current().package_id == installed.package_id


def test_no_blocks_are_no_bench(session: AgentSession, package: Path) -> None:
    session.open_model(opening(session.install(package, SILENT)), SILENT)
    with pytest.raises(AgentError, match="found 0 blocks"):
        session.bench(replace(QUICK, blocks=0), SILENT)


def test_parity_needs_the_models_own_package(
    session: AgentSession, package: Path, linear_model: Path
) -> None:
    installed = session.install(package, SILENT)
    staged = session.stage(linear_model, SILENT)
    session.open_model(opening(installed, package_id=None, role=None, staged=staged), SILENT)
    with pytest.raises(AgentError, match="was not opened from package"):
        session.check_parity(CheckParity("int8", installed.package_id))


# ---- one at a time --------------------------------------------------------------------------


def refuse_as_busy(session: AgentSession) -> None:
    with pytest.raises(AgentError, match="another session is measuring on this device") as caught:
        session.open_model(opening(session.current()), SILENT)
    assert caught.value.code == "busy"
    assert caught.value.exit_code == 4
    assert "try again when it has ended" in caught.value.hint


def test_two_sessions_do_not_measure_at_once(start: OpenSession, package: Path) -> None:
    first, second = start(), start()
    installed = first.install(package, SILENT)
    first.open_model(opening(installed), SILENT)
    refuse_as_busy(second)
    assert second.install(package, SILENT).already, "all else goes on"
    first.open_model(opening(installed, key="again"), SILENT)
    first.close()
    second.open_model(opening(installed), SILENT)
    assert second.bench(QUICK, SILENT).latencies[0].samples_ns


def test_a_killed_measurement_does_not_keep_the_device(
    benching: Future[Benched], start: OpenSession, folder: Path
) -> None:
    second = start()
    refuse_as_busy(second)
    (measuring,) = (pid for pid in processes(folder, "serve") if has_workers(pid))
    os.kill(measuring, signal.SIGKILL)
    with pytest.raises(AgentError):
        benching.result(20)
    second.open_model(opening(second.current()), SILENT)


def has_workers(pid: int) -> bool:
    return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


# ---- dying ----------------------------------------------------------------------------------


def test_a_worker_that_dies_is_an_answer(
    benching: Future[Benched], session: AgentSession, folder: Path
) -> None:
    (worker,) = processes(folder, "worker")
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(AgentError, match="running model 'int8' was ended by SIGKILL") as caught:
        benching.result(20)
    assert caught.value.code == "worker_died"
    assert "memory" in caught.value.hint
    with pytest.raises(AgentError, match="no model is open"):
        session.bench(QUICK, SILENT)
    session.open_model(opening(session.current()), SILENT)
    assert session.bench(QUICK, SILENT).latencies[0].samples_ns


def test_when_the_host_is_gone_nothing_stays(
    benching: Future[Benched], session: AgentSession, folder: Path
) -> None:
    assert processes(folder, "worker") and processes(folder, "serve")
    session._process.close_stdin()
    wait_until(lambda: not processes(folder, "worker") + processes(folder, "serve"), GONE_S)
    assert leftovers(folder) == []
    with pytest.raises(AgentError):
        benching.result(20)


def test_a_host_that_is_gone_in_the_middle_of_a_package(
    session: AgentSession, any_package: Path, folder: Path
) -> None:
    session.install(any_package, SILENT)
    content = any_package.read_bytes()
    line = encode_message(Install(len(content)))
    session._process.write(line + content[: len(content) // 2], 5)
    session._process.close_stdin()
    wait_until(lambda: not processes(folder, "serve"), GONE_S)
    assert leftovers(folder) == []


def test_nonsense_is_answered_before_the_agent_ends(session: AgentSession) -> None:
    session._process.write(b"nonsense\n", 5)
    session._process.wait(5)
    with pytest.raises(AgentError, match="found b'nonsense'") as caught:
        session.current()
    assert caught.value.code == "protocol"


def test_an_agent_that_is_killed_is_named_and_cleaned_up_after(
    benching: Future[Benched], start: OpenSession, folder: Path
) -> None:
    (agent,) = processes(folder, "serve")
    os.kill(agent, signal.SIGKILL)
    with pytest.raises(AgentError, match="ended in the middle of its work"):
        benching.result(20)
    wait_until(lambda: not processes(folder, "worker"), GONE_S)
    assert len(leftovers(folder)) == 1
    assert start().current().name == "linear"
    assert len(leftovers(folder)) == 1, "only the new session's own"


def test_a_silent_agent_is_not_waited_for(start: OpenSession, folder: Path) -> None:
    session = start(patience_s=0.5)
    (agent,) = processes(folder, "serve")
    os.kill(agent, signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded):
        session.current()
    os.kill(agent, signal.SIGCONT)


def test_a_session_that_ends_leaves_no_scratch(
    session: AgentSession, linear_model: Path, folder: Path
) -> None:
    session.stage(linear_model, SILENT)
    assert len(leftovers(folder)) == 1
    session.close()
    assert leftovers(folder) == []
    assert processes(folder, "serve") == []
