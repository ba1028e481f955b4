"""Runtimes for boards without internet, over real SSH, onto a device whose Python has none."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgesdk import api
from edgesdk.devices import inventory
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import AgentError, NoWheels, TransportError, UsageError
from edgesdk.testing.fault_proxy import FaultProxy
from edgesdk.values.report import Report
from tests.cli import CALIBRATION, DIGITS, Cli, this_machine
from tests.wheel_files import EMPTY_RUNTIME, wheel_bytes, wheel_of_installed

LITERT = "ai_edge_litert-9.0-py3-none-any.whl"
DISTRIBUTIONS = {
    "onnxruntime": ("onnxruntime", "numpy", "flatbuffers", "packaging", "protobuf"),
}
"""What is installed here and makes a runtime, besides what the metadata may ask for further."""

Listing = dict[str, tuple[int, bytes]]


@pytest.fixture(autouse=True)
def workstation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This workstation's devices, keys and caches."""
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "edgesdk-home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a Python like this one, with nothing installed: no pip, no numpy."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin"


@pytest.fixture
def board(tmp_path: Path, bare_python: Path) -> Iterator[VirtualDevice]:
    """A device called "bare" without a runtime, enrolled; its path has no other Python."""
    with VirtualDevice(tmp_path / "board", path=f"{bare_python}:/usr/bin:/bin") as device:
        enrolled = device.as_device("bare", this_machine())
        inventory.add(inventory.default_path(), enrolled)
        api.show_device("bare")  # The agent is there from now on.
        yield device


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with a LiteRT that imports, though it does no more."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    numpy = wheel_bytes("numpy", "2.0", {"numpy/__init__.py": _AS_MUCH_OF_NUMPY})
    (folder / "numpy-2.0-py3-none-any.whl").write_bytes(numpy)
    litert = wheel_bytes("ai_edge_litert", "9.0", EMPTY_RUNTIME, requires=["numpy"])
    (folder / LITERT).write_bytes(litert)
    return folder


_AS_MUCH_OF_NUMPY = b"def __getattr__(name): return object\n"


def listing(device: VirtualDevice) -> Listing:
    """Every file of the device's home: mode and content."""
    found = sorted(device.home.rglob("*"))
    return {
        str(path.relative_to(device.home)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in found
    }


def runtimes_of(name: str) -> list[tuple[str, str, str]]:
    visited = api.show_device(name)
    return [(each.runtime, each.version, each.source) for each in visited.environment.runtimes]


def test_a_device_without_anything_gets_a_runtime_and_loses_it_without_a_trace(
    board: VirtualDevice, wheels: Path
) -> None:
    before = listing(board)
    assert runtimes_of("bare") == []
    done = api.agent_install("bare", runtimes=("litert",), wheels=wheels)
    (brought,) = done.runtimes
    assert brought.receipt.package == "ai-edge-litert"
    assert [each.name for each in brought.lock.wheels] == ["ai-edge-litert", "numpy"]
    assert all(len(each.sha256) == 64 for each in brought.lock.wheels)
    assert brought.sent_bytes == brought.lock.size_bytes
    assert runtimes_of("bare") == [("litert", "9.0", "private")]
    gone = api.agent_uninstall("bare")
    assert gone.removed == ("litert",)
    assert runtimes_of("bare") == []
    assert listing(board) == before


def test_nothing_of_edgesdk_is_left_where_all_is_to_go(board: VirtualDevice, wheels: Path) -> None:
    api.agent_install("bare", runtimes=("litert",), wheels=wheels)
    gone = api.agent_uninstall("bare", everything=True)
    assert gone.store is not None and gone.store.kept == ()
    assert listing(board) == {}


def test_the_pythons_own_folders_are_not_touched(
    board: VirtualDevice, wheels: Path, bare_python: Path
) -> None:
    def everything() -> list[Path]:
        return sorted(path for path in bare_python.parent.rglob("*") if path.suffix != ".pyc")

    before = everything()
    api.agent_install("bare", runtimes=("litert",), wheels=wheels)
    assert everything() == before


def test_the_same_again_sends_nothing(board: VirtualDevice, wheels: Path) -> None:
    api.agent_install("bare", runtimes=("litert",), wheels=wheels)
    (again,) = api.agent_install("bare", runtimes=("litert",), wheels=wheels).runtimes
    assert (again.sent_bytes, again.receipt.already) == (0, True)


def test_the_agents_own_comes_before_the_pythons(
    tmp_path: Path, wheels: Path, virtual_device: VirtualDevice
) -> None:
    if find_spec("ai_edge_litert") is None:
        pytest.skip("needs a LiteRT of this Python's own")
    inventory.add(inventory.default_path(), virtual_device.as_device("own", this_machine()))
    (own,) = [each for each in runtimes_of("own") if each[0] == "litert"]
    (brought,) = api.agent_install("own", runtimes=("litert",), wheels=wheels).runtimes
    assert brought.beside == f"ai-edge-litert {own[1]}"
    found = [each for each in runtimes_of("own") if each[0] == "litert"]
    assert found == [("litert", "9.0", "private"), own]


def test_a_runtime_that_does_not_import_leaves_the_device_as_it_was(
    board: VirtualDevice, wheels: Path
) -> None:
    before = listing(board)
    interpreter = {"ai_edge_litert/interpreter.py": b"import os; os.kill(os.getpid(), 4)\n"}
    contents = {**EMPTY_RUNTIME, **interpreter}
    evil = wheel_bytes("ai_edge_litert", "9.0", contents, requires=["numpy"])
    (wheels / LITERT).write_bytes(evil)
    with pytest.raises(AgentError, match=r"does not start here, and is gone again.*SIGILL"):
        api.agent_install("bare", runtimes=("litert",), wheels=wheels)
    assert listing(board) == before


def test_wheels_that_lie_outside_their_folder_do_not_get_in(
    board: VirtualDevice, wheels: Path
) -> None:
    before = listing(board)
    evil = wheel_bytes("ai_edge_litert", "9.0", {**EMPTY_RUNTIME, "../../../evil.py": b"x"})
    (wheels / LITERT).write_bytes(evil)
    with pytest.raises(AgentError, match="expected one below the wheel's folder"):
        api.agent_install("bare", runtimes=("litert",), wheels=wheels)
    assert listing(board) == before


def test_a_full_disk_leaves_nothing(
    board: VirtualDevice, wheels: Path, tmp_path: Path, small_disk: Callable[[Path], None]
) -> None:
    api.agent_uninstall("bare", everything=True)
    small_disk(board.home)
    noise = {**EMPTY_RUNTIME, "ai_edge_litert/weights": os.urandom(4 * 2**20)}
    litert = wheel_bytes("ai_edge_litert", "9.0", noise, requires=["numpy"])
    (wheels / LITERT).write_bytes(litert)
    api.show_device("bare")
    before = listing(board)
    with pytest.raises(AgentError, match=r"bytes free for .*, expected") as caught:
        api.agent_install("bare", runtimes=("litert",), wheels=wheels)
    assert caught.value.code == "disk_full"
    assert listing(board) == before


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path], None]]:
    """Puts a folder on a disk of 6 MiB."""
    mounted: list[Path] = []

    def mount(place: Path) -> None:
        argv = ["mount", "-t", "tmpfs", "-o", "mode=700,size=6m", "tmpfs", place]
        if os.geteuid() != 0 or subprocess.run(argv, capture_output=True).returncode != 0:
            pytest.skip("only root can mount a disk of its own")
        mounted.append(place)

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_what_wheels_cannot_bring_is_said_before_anything_is_done(board: VirtualDevice) -> None:
    with pytest.raises(NoWheels) as caught:
        api.agent_install("bare", runtimes=("tensorrt",))
    assert "JetPack" in caught.value.hint


def test_the_edge_tpus_library_is_asked_for(board: VirtualDevice, wheels: Path) -> None:
    done = api.agent_install("bare", runtimes=("edgetpu",), wheels=wheels)
    assert "sudo apt install libedgetpu1-std" in done.warnings[0]
    assert [each[0] for each in runtimes_of("bare")] == ["litert"]


def test_some_and_everything_is_no_wish(board: VirtualDevice) -> None:
    with pytest.raises(UsageError):
        api.agent_uninstall("bare", runtimes=("litert",), everything=True)


def test_the_commands_tell_what_they_did(
    board: VirtualDevice, wheels: Path, tmp_path: Path
) -> None:
    cli = Cli(tmp_path)
    install = cli("agent", "install", "bare", "--runtime", "litert", "--wheels", wheels)
    assert install.code == 0, install.err
    assert "bare runs ai-edge-litert 9.0: it imports there" in install.out
    shown = cli("device", "show", "bare")
    assert "ai-edge-litert 9.0 (the agent's own)" in shown.out
    listed = cli("agent", "ls", "bare", "--json").json
    assert [each["runtime"] for each in listed["found"]["runtimes"]] == ["litert"]
    assert "ai-edge-litert 9.0" in cli("agent", "ls", "bare").out
    as_json = cli("agent", "install", "bare", "--runtime", "litert", "--wheels", wheels, "--json")
    (brought,) = as_json.json["runtimes"]
    assert brought["receipt"]["already"] and brought["lock"]["wheels"][0]["sha256"]
    uninstall = cli("agent", "uninstall", "bare")
    assert "removed from bare: litert" in uninstall.out
    nothing = cli("agent", "uninstall", "bare", "--everything")
    assert "nothing of edgesdk is left there" in nothing.out
    assert listing(board) == {}


# ---- real runtimes -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def real_wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX Runtime and what it needs, as wheels made of what is installed here."""
    folder = tmp_path_factory.mktemp("real-wheels")
    for name in DISTRIBUTIONS["onnxruntime"]:
        wheel_of_installed(name, folder)
    return folder


def test_a_package_runs_on_a_runtime_that_was_brought_offline(
    board: VirtualDevice, real_wheels: Path, tmp_path: Path
) -> None:
    _push_and_measure(board, tmp_path, lambda: _install("onnxruntime", real_wheels))


@pytest.mark.network
@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_a_package_runs_on_a_runtime_of_the_index(
    board: VirtualDevice, tmp_path: Path, runtime: str
) -> None:
    _push_and_measure(board, tmp_path, lambda: _install(runtime, None), runtime)


def _install(runtime: str, wheels: Path | None) -> None:
    api.agent_install("bare", runtimes=(runtime,), wheels=wheels)


def _push_and_measure(
    board: VirtualDevice, folder: Path, install: Callable[[], None], runtime: str = "onnxruntime"
) -> None:
    package = _package(folder, runtime)
    with pytest.raises(AgentError) as refused:
        api.push(package, "bare")
    assert refused.value.code == "no_runtime"
    assert refused.value.hint.startswith(f"edgesdk agent install bare --runtime {runtime} brings")
    install()
    api.push(package, "bare")
    findings = api.bench("bare", timing=api.Timing(min_seconds=0.1))
    (run,) = findings.results.runs
    assert run.opened.runtime.source == "private"
    assert min(run.latency.samples_ns) > 0
    api.agent_uninstall("bare", everything=True)
    assert listing(board) == {}


def _package(folder: Path, runtime: str) -> Path:
    """The example network, converted for a device like this machine."""
    files = {"onnxruntime": "digits.onnx", "litert": "digits.tflite"}
    api.convert(DIGITS / files[runtime], this_machine(), CALIBRATION, folder / "artifact")
    api.package(folder / "artifact", folder / "digits.edgepkg")
    return folder / "digits.edgepkg"


def test_deploy_brings_the_runtime_that_the_board_lacks(
    board: VirtualDevice, real_wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(real_wheels))
    said: list[str] = []
    report = _deploy(tmp_path, said.append)
    (run,) = [run for run in report.results.runs if run.role == "int8"]
    assert run.opened.runtime.source == "private"
    assert any("bringing one for the agent alone" in line for line in said)
    assert "`edgesdk agent uninstall bare` takes it away again" in said


def test_deploy_says_why_a_runtime_could_not_be_brought(
    board: VirtualDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    before = listing(board)
    with pytest.raises(AgentError, match="has no onnxruntime") as refused:
        _deploy(tmp_path, lambda _: None)
    assert any("it could not be brought: " in line for line in refused.value.details)
    assert not (tmp_path / "out" / "artifact").exists()
    assert runtimes_of("bare") == []
    assert {*listing(board)} == {*before}


def _deploy(folder: Path, say: Callable[[str], None]) -> Report:
    return api.deploy(
        DIGITS / "digits.onnx",
        "bare",
        CALIBRATION,
        folder / "out",
        timing=api.Timing(min_seconds=0.1),
        say=say,
    )


# ---- connections and people --------------------------------------------------------------------


def test_what_came_before_the_connection_broke_does_not_travel_again(
    board: VirtualDevice, wheels: Path
) -> None:
    noise = {**EMPTY_RUNTIME, "ai_edge_litert/weights": os.urandom(4 * 2**20)}
    litert = wheel_bytes("ai_edge_litert", "9.0", noise, requires=["numpy", "zz-late"])
    (wheels / LITERT).write_bytes(litert)
    late = wheel_bytes("zz_late", "1.0", {"zz_late.py": os.urandom(3 * 2**20)})
    (wheels / "zz_late-1.0-py3-none-any.whl").write_bytes(late)
    with FaultProxy("127.0.0.1", board.address.port, cut_after_bytes=6 * 2**20) as proxy:
        through = dataclasses.replace(board.as_device("bare", this_machine()), port=proxy.port)
        inventory.add(inventory.default_path(), through, replace=True)
        with pytest.raises(TransportError):
            api.agent_install("bare", runtimes=("litert",), wheels=wheels)
    direct = board.as_device("bare", this_machine())
    inventory.add(inventory.default_path(), direct, replace=True)
    assert runtimes_of("bare") == []
    assert api.agent_runtimes("bare").found.left_over_bytes > 4 * 2**20
    (brought,) = api.agent_install("bare", runtimes=("litert",), wheels=wheels).runtimes
    assert brought.sent_bytes == len(late)
    assert api.agent_runtimes("bare").found.left_over_bytes == 0
    assert runtimes_of("bare") == [("litert", "9.0", "private")]


def test_a_device_that_is_someone_elses_is_left_alone(
    board: VirtualDevice, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.agent_install("bare", runtimes=("litert",), wheels=wheels)
    monkeypatch.setenv("EDGESDK_OWNER", "someone else")
    api.lease_device("bare", 600)
    monkeypatch.setenv("EDGESDK_OWNER", "me")
    for call in (
        lambda: api.agent_install("bare", runtimes=("litert",), wheels=wheels, renew=True),
        lambda: api.agent_uninstall("bare", everything=True),
    ):
        with pytest.raises(AgentError) as caught:
            call()
        assert caught.value.code == "busy"
    assert runtimes_of("bare") == [("litert", "9.0", "private")]
