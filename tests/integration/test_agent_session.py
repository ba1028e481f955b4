"""The agent as it really starts: its zipapp in a process of its own, driven over a transport."""

from __future__ import annotations

import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent import runtimes
from device_agent.codec import encode_message
from device_agent.manifest import CHUNK_BYTES, Compatibility, HealthCheck, Limits, Port
from device_agent.model_messages import Bench, Benched, CheckParity, OpenModel
from device_agent.package_messages import Install, Installed
from device_agent.runtimes.tensors import quantize
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.bootstrap import build_agent
from edgesdk.devices.local import LocalTransport
from edgesdk.errors import AgentError, DeadlineExceeded, PackageError, Unhealthy
from edgesdk.keys.signing import Signer
from edgesdk.progress import Silent
from edgesdk.values.package import Package
from tests.agent_processes import agent_processes
from tests.pythons import NEW, OLD, version_name, version_of
from tests.sealed import seal
from tests.signers import OWNER, STRANGER, TRUST

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


def write_package(
    target: Path, files: Mapping[str, Path], signer: Signer | None = OWNER, **changes: Any
) -> Package:
    """A package of those files by role."""
    contents = {role: path.read_bytes() for role, path in files.items()}
    fields: dict[str, Any] = {
        "name": "linear",
        "version": "1",
        "sequence": 1,
        "compatibility": Compatibility("here", (platform.machine(),), "onnxruntime", "1.14"),
        "inputs": (Port("image", (1, 4), "float32"),),
        "outputs": (Port("logits", (1, 3), "float32"),),
    }
    return seal(target, contents, signer=signer, **{**fields, **changes})


def install(session: AgentSession, package: Package) -> Installed:
    """Put a package on trial on a device that believes the owner."""
    session.change_trust([TRUST], lab=False)
    return session.install(package, session.offer(package), SILENT)


def use(session: AgentSession, package: Package) -> Installed:
    """Make a package the current one."""
    return session.commit(install(session, package).package_id, SILENT).installed


@pytest.fixture
def package(tmp_path: Path, linear_model: Path) -> Package:
    """A package of the linear model and its golden vectors."""
    golden = golden_for("onnxruntime", linear_model, {"cpu": ""}, tmp_path / "golden.npz")
    return write_package(tmp_path / "a.edgepkg", {"model": linear_model, "golden": golden})


@pytest.fixture
def any_package(tmp_path: Path) -> Package:
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
    """Living processes of this store's agent that do this."""
    return [pid for pid, role in agent_processes(folder).items() if role == what]


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
    session: AgentSession, package: Package, background: ThreadPoolExecutor
) -> Future[Benched]:
    """A bench that is under way and would take many minutes."""
    session.open_model(opening(use(session, package)), SILENT)
    call = background.submit(session.bench, ENDLESS, SILENT)
    time.sleep(0.5)
    assert not call.done()
    return call


# ---- starting -------------------------------------------------------------------------------


def test_the_agent_says_what_the_device_is(session: AgentSession) -> None:
    assert session.environment.machine == platform.machine()
    assert session.environment.python == platform.python_version()
    assert session.environment.runtimes == runtimes.discover()


def test_an_offer_travels_with_the_greeting(
    start: OpenSession, any_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    start().change_trust([TRUST], lab=False)
    session = start(offering=lambda: any_package)
    monkeypatch.setattr(session, "_ask", lambda *_, **__: pytest.fail("another round trip"))
    assert session.offer(any_package).package_id == any_package.manifest.package_id


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


def with_runtime(python: Path, folder: Path) -> Path:
    """An environment of that Python in which a module calls itself ONNX Runtime."""
    version = ".".join(map(str, version_of(python)))
    site = folder / "lib" / f"python{version}" / "site-packages"
    (site / "onnxruntime").mkdir(parents=True)
    (site / "onnxruntime" / "__init__.py").write_text("raise ImportError('not really')")
    (site / "onnxruntime-1.20.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: onnxruntime\nVersion: 1.20\n"
    (site / "onnxruntime-1.20.dist-info" / "METADATA").write_text(metadata)
    (folder / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(python)
    return folder / "bin" / "python"


@pytest.mark.skipif(not NEW, reason="no pyenv with other Pythons")
@pytest.mark.parametrize("python", NEW, ids=version_name)
def test_every_python_installs(
    python: Path, start: OpenSession, any_package: Package, tmp_path: Path
) -> None:
    session = start(python=str(with_runtime(python, tmp_path / "environment")))
    assert session.environment.python == version_name(python)
    installed = use(session, any_package)
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


def test_installing(session: AgentSession, any_package: Package, folder: Path) -> None:
    installed = install(session, any_package)
    assert installed.package_id == any_package.manifest.package_id
    assert (installed.already, installed.state, installed.signed_by) == (False, "trial", "owner")
    assert (installed.name, installed.runtime_min_version) == ("linear", "1.14")
    assert installed.installed_bytes == 300_000
    assert not (folder / "models" / "linear").exists()
    committed = session.commit(installed.package_id, SILENT)
    assert committed.installed == replace(installed, state="current")
    assert (folder / "models" / "linear" / "model.bin").stat().st_size == 300_000
    assert session.current() == replace(installed, state="current", already=True)


def test_installing_again_sends_nothing(
    session: AgentSession, any_package: Package, folder: Path
) -> None:
    first = use(session, any_package)
    before = (folder / "store" / first.package_id).stat()
    assert session.offer(any_package).already
    any_package.path.unlink()  # It is not even looked at.
    assert install(session, any_package) == replace(first, already=True)
    assert (folder / "store" / first.package_id).stat() == before


def test_a_damaged_installation_is_replaced(
    session: AgentSession, any_package: Package, folder: Path
) -> None:
    first = use(session, any_package)
    model = folder / "store" / first.package_id / "model.bin"
    model.write_bytes(b"rotten")
    assert install(session, any_package) == first
    assert model.stat().st_size == 300_000


def test_nothing_is_installed_on_a_new_device(session: AgentSession) -> None:
    with pytest.raises(AgentError) as caught:
        session.current()
    assert caught.value.code == "not_installed"


def test_a_package_file_that_is_gone_is_said(
    session: AgentSession, any_package: Package, folder: Path
) -> None:
    any_package.path.unlink()
    with pytest.raises(PackageError, match="cannot be read: No such file"):
        install(session, any_package)


def spoil(package: Package, position: int) -> None:
    content = bytearray(package.path.read_bytes())
    content[position] ^= 1
    package.path.write_bytes(content)


def test_a_package_damaged_at_its_end_leaves_none_installed(
    session: AgentSession, any_package: Package, folder: Path
) -> None:
    spoil(any_package, -1)
    with pytest.raises(AgentError) as caught:
        install(session, any_package)
    assert caught.value.code == "corrupt_package"
    assert os.listdir(folder / "store") == []
    assert [os.listdir(folder / "sessions" / name) for name in leftovers(folder)] == [["lock"]]


def test_a_transfer_goes_on_where_it_broke_off(
    start: OpenSession, any_package: Package, folder: Path
) -> None:
    first = start()
    first.change_trust([TRUST], lab=False)
    offered = first.offer(any_package)
    content = any_package.path.read_bytes()
    line = encode_message(Install(offered.package_id, len(content) - offered.resume_at))
    first._process.write(line + content[offered.resume_at : 200_000], 5)
    first._process.close_stdin()
    wait_until(lambda: not processes(folder, "serve"), GONE_S)
    second = start()
    again = second.offer(any_package)
    assert 200_000 - CHUNK_BYTES < again.resume_at <= 200_000
    assert not second.install(any_package, again, SILENT).already


def test_a_refusal_comes_before_all_is_sent(
    session: AgentSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(os.urandom(16 * 2**20))
    package = write_package(tmp_path / "large.edgepkg", {"model": model})
    spoil(package, 200_000)
    sent: list[int] = []
    write = session._process.write

    def counted(data: bytes, deadline_s: float) -> None:
        sent.append(len(data))
        write(data, deadline_s)

    monkeypatch.setattr(session._process, "write", counted)
    with pytest.raises(AgentError) as caught:
        install(session, package)
    assert caught.value.code == "corrupt_package"
    assert sum(sent) < package.path.stat().st_size / 4


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"compatibility": Compatibility("pi", ("sparc",), "litert", "")}, "incompatible"),
        ({"limits": Limits(installed_bytes=299_999)}, "over_budget"),
        ({"signer": None}, "untrusted"),
        ({"signer": STRANGER}, "untrusted"),
        ({"expires": "2020-01-01T00:00:00Z"}, "expired"),
    ],
)
def test_packages_that_do_not_suit_are_refused_before_they_travel(
    session: AgentSession, tmp_path: Path, change: dict[str, Any], code: str
) -> None:
    session.change_trust([TRUST], lab=False)
    model = tmp_path / "model.bin"
    model.write_bytes(os.urandom(300_000))
    package = write_package(tmp_path / "x.edgepkg", {"model": model}, **change)
    with pytest.raises(AgentError) as caught:
        session.offer(package)
    assert caught.value.code == code


def test_of_two_that_install_at_once_one_wins(start: OpenSession, any_package: Package) -> None:
    first, second = start(), start()
    installed = install(first, any_package)
    with pytest.raises(AgentError, match="another session is installing") as caught:
        second.offer(any_package)
    assert (caught.value.code, caught.value.exit_code) == ("busy", 4)
    first.commit(installed.package_id, SILENT)
    assert second.offer(any_package).already


def test_a_killed_installation_does_not_keep_the_device(
    start: OpenSession, any_package: Package, folder: Path
) -> None:
    first = start()
    install(first, any_package)
    (agent,) = processes(folder, "serve")
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: not processes(folder, "serve"), GONE_S)
    second = start()
    with pytest.raises(AgentError, match="no package is installed"):
        second.current()
    assert second.offer(any_package).already, "it is whole, and was only on trial"
    assert use(second, any_package).state == "current"


def test_an_unhealthy_package_is_an_error_of_its_own(
    session: AgentSession, any_package: Package, tmp_path: Path
) -> None:
    use(session, any_package)
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(b"nonsense")
    worse = write_package(
        *(tmp_path / "worse.edgepkg", {"model": nonsense}), sequence=2, health=HealthCheck()
    )
    installed = install(session, worse)
    with pytest.raises(Unhealthy, match="its model does not run here") as caught:
        session.commit(installed.package_id, SILENT)
    assert caught.value.exit_code == 1
    assert session.current().package_id == any_package.manifest.package_id


def test_going_back_and_looking_around(
    session: AgentSession, any_package: Package, tmp_path: Path
) -> None:
    first = use(session, any_package)
    model = tmp_path / "second"
    model.write_bytes(b"second")
    second = use(session, write_package(tmp_path / "b.edgepkg", {"model": model}, sequence=2))
    inventory = session.inventory()
    assert [(each.package_id, each.state) for each in inventory.packages] == [
        *((second.package_id, "current"), (first.package_id, "previous")),
    ]
    assert session.roll_back("").package_id == first.package_id == session.current().package_id


# ---- running --------------------------------------------------------------------------------


def test_the_package_and_the_float_model_side_by_side(
    session: AgentSession, package: Package, linear_model: Path
) -> None:
    installed = install(session, package)
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
        assert len(latency.turns) == 3 and len(latency.conditions) >= 6
        for turn, size in zip(latency.turns, latency.block_sizes, strict=True):
            assert size < turn.runs <= size + 3
            within = [at for at in latency.conditions if turn.began_ns <= at.at_ns <= turn.ended_ns]
            assert [within[0].at_ns, within[-1].at_ns] == [turn.began_ns, turn.ended_ns]
            first, last = within[0].cpu, within[-1].cpu
            assert first is not None and last is not None and last.own_ms >= first.own_ms
        assert latency.warm_up_runs > 0
        assert (latency.peak_rss_bytes or 0) > 10 * 2**20


def test_a_cold_load_says_whether_the_file_was_out_of_the_cache(
    session: AgentSession, package: Package
) -> None:
    installed = install(session, package)
    cold = session.open_model(opening(installed, cold=True), SILENT)
    warm = session.open_model(opening(installed), SILENT)
    assert cold.cache_dropped in (True, False), "some file systems keep everything in memory"
    assert warm.cache_dropped is None
    assert cold.load_ns > 0 and warm.load_ns > 0


def test_without_samples_models_are_timed_with_golden_vectors(
    session: AgentSession, package: Package, linear_model: Path
) -> None:
    installed = install(session, package)
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
    installed = install(session, package)
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
    installed = install(session, package)
    session.open_model(opening(installed), SILENT)
    parity = session.check_parity(CheckParity("int8", installed.package_id))
    assert parity.golden_runtime_kernels == tuple(kernels)
    assert (parity.count, parity.values, parity.top1_changed) == (5, values, changed)
    assert (parity.beyond_one_step > 0, parity.worst_steps > 1) == (values > 0, values > 0)


def test_what_a_model_cannot_take_is_said(session: AgentSession, package: Package) -> None:
    session.open_model(opening(install(session, package)), SILENT)
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
    session: AgentSession, any_package: Package, change: dict[str, Any], code: str
) -> None:
    pytest.importorskip("onnxruntime")
    installed = use(session, any_package)
    with pytest.raises(AgentError) as caught:
        session.open_model(opening(installed, **change), SILENT)
    assert caught.value.code == code
    with pytest.raises(AgentError, match="no model is open"):
        session.bench(QUICK, SILENT)
    assert session.current().package_id == installed.package_id


def test_no_blocks_are_no_bench(session: AgentSession, package: Package) -> None:
    session.open_model(opening(install(session, package)), SILENT)
    with pytest.raises(AgentError, match="found 0 blocks"):
        session.bench(replace(QUICK, blocks=0), SILENT)


def test_parity_needs_the_models_own_package(
    session: AgentSession, package: Package, linear_model: Path
) -> None:
    installed = install(session, package)
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


def test_two_sessions_do_not_measure_at_once(start: OpenSession, package: Package) -> None:
    first, second = start(), start()
    installed = use(first, package)
    first.open_model(opening(installed), SILENT)
    refuse_as_busy(second)
    assert second.offer(package).already, "all else goes on"
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


def test_a_worker_that_hangs_is_killed_and_named(
    benching: Future[Benched], session: AgentSession, folder: Path
) -> None:
    (worker,) = processes(folder, "worker")
    os.kill(worker, signal.SIGSTOP)
    words = "model 'int8' hung in an inference that was timed: no answer for [5-9] s, so its"
    with pytest.raises(AgentError, match=words) as caught:
        benching.result(30)
    assert caught.value.code == "hung" and "dmesg" in caught.value.hint
    wait_until(lambda: not processes(folder, "worker"), GONE_S)
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
