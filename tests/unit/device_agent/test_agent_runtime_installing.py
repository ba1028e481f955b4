"""Runtimes onto a device and away again: all or nothing, one at a time, without a trace."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from device_store import SILENT, fails

from device_agent import runtime_installing
from device_agent.channel import ChannelClosed
from device_agent.environment import read_environment
from device_agent.environment_messages import RuntimeVersion
from device_agent.private_runtimes import FOLDER, folders_for, private_folders, read_sets
from device_agent.protocol import ErrorCode
from device_agent.runtime_installing import RuntimeInstaller
from device_agent.runtime_messages import (
    FinishRuntime,
    OfferRuntime,
    RemoveRuntimes,
    RuntimeInstalled,
    RuntimeOffered,
    SendWheel,
    WheelFile,
)
from device_agent.store import Store
from edgesdk.devices.bootstrap import build_agent
from tests.wheel_files import EMPTY_RUNTIME, described, wheel_bytes

LITERT = wheel_bytes()
NEWER = wheel_bytes(version="2.4.0")
HELPER = wheel_bytes("helper", "1.0", {"helper.py": b"Y = 2\n"})
LITERT_FILE = described(LITERT)
NEWER_FILE = described(NEWER, "ai_edge_litert-2.4.0-py3-none-any.whl")
HELPER_FILE = described(HELPER, "helper-1.0-py3-none-any.whl")


def litert_that(does: str) -> tuple[bytes, WheelFile]:
    """LiteRT whose import runs a line of Python."""
    content = wheel_bytes(
        contents={**EMPTY_RUNTIME, "ai_edge_litert/interpreter.py": does.encode()}
    )
    return content, described(content)


class Device:
    """A session with a store, through the parts that a host's messages reach."""

    def __init__(self, root: Path, program: Path) -> None:
        self.root = root
        self.store = Store(str(root))
        self.installer = RuntimeInstaller(self.store, str(program))

    def offer(self, *wheels: WheelFile, runtime: str = "litert") -> RuntimeOffered:
        return self.installer.offer(OfferRuntime(runtime, wheels))

    def send(self, wheel: WheelFile, content: bytes) -> None:
        request = SendWheel(wheel.sha256, wheel.size_bytes)
        self.installer.take(request, io.BytesIO(content).read)

    def install(
        self, contents: Mapping[WheelFile, bytes], runtime: str = "litert"
    ) -> RuntimeInstalled:
        missing = self.offer(*contents, runtime=runtime).missing
        for wheel, content in contents.items():
            if wheel.sha256 in missing:
                self.send(wheel, content)
        return self.installer.finish(FinishRuntime(runtime), SILENT)

    def listing(self) -> dict[str, tuple[int, bytes]]:
        """Everything in the store but the session's own folder: mode and content."""
        return {
            str(path.relative_to(self.root)): (
                path.lstat().st_mode,
                path.read_bytes() if path.is_file() else b"",
            )
            for path in sorted(self.root.rglob("*"))
            if "sessions" not in path.parts and path.name != "installing.lock"
        }


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent, to start workers from."""
    path = tmp_path_factory.mktemp("agent") / "agent.pyz"
    path.write_bytes(build_agent().zipapp)
    return path


@pytest.fixture
def device(tmp_path: Path, program: Path) -> Iterator[Device]:
    made = Device(tmp_path / "root", program)
    yield made
    made.store.close()


@pytest.fixture
def another(tmp_path: Path, program: Path, device: Device) -> Iterator[Device]:
    """A second session with the same store."""
    made = Device(tmp_path / "root", program)
    yield made
    made.store.close()


def test_what_was_installed_is_used_before_the_pythons_own(device: Device) -> None:
    done = device.install({LITERT_FILE: LITERT, HELPER_FILE: HELPER})
    assert (done.package, done.version, done.already) == ("ai-edge-litert", "2.3.0", False)
    first = read_environment(str(device.root)).runtimes[0]
    assert first == RuntimeVersion("litert", "ai-edge-litert", "2.3.0", "private")
    (folders,) = private_folders(str(device.root))
    assert folders == folders_for(str(device.root), "litert")
    assert [os.path.basename(each) for each in folders] == [LITERT_FILE.sha256, HELPER_FILE.sha256]


def test_a_runtime_of_another_name_has_no_folders(device: Device) -> None:
    device.install({LITERT_FILE: LITERT})
    assert folders_for(str(device.root), "openvino") == ()


def test_nothing_is_used_before_it_imports(device: Device) -> None:
    device.offer(LITERT_FILE)
    device.send(LITERT_FILE, LITERT)
    assert private_folders(str(device.root)) == ()


def test_removing_all_leaves_the_store_as_it_was(device: Device) -> None:
    before = device.listing()
    device.install({LITERT_FILE: LITERT, HELPER_FILE: HELPER})
    assert device.listing() != before
    left = device.installer.remove(RemoveRuntimes())
    assert (left.runtimes, left.bytes) == ((), 0)
    assert device.listing() == before


def test_removing_the_last_one_by_name_leaves_nothing_either(device: Device) -> None:
    before = device.listing()
    device.install({LITERT_FILE: LITERT})
    device.installer.remove(RemoveRuntimes(("litert",)))
    assert device.listing() == before


def test_a_shared_wheel_stays_while_one_needs_it(device: Device) -> None:
    other = wheel_bytes("openvino", "2026.4", {"openvino/__init__.py": b"class Core: pass\n"})
    other_file = described(other, "openvino-2026.4-py3-none-any.whl")
    device.install({LITERT_FILE: LITERT, HELPER_FILE: HELPER})
    offered = device.offer(other_file, HELPER_FILE, runtime="openvino")
    assert offered.missing == (other_file.sha256,)
    device.send(other_file, other)
    device.installer.finish(FinishRuntime("openvino"), SILENT)
    left = device.installer.remove(RemoveRuntimes(("litert",)))
    assert [each.runtime for each in left.runtimes] == ["openvino"]
    wheels = sorted(os.listdir(device.root / FOLDER / "wheels"))
    assert wheels == sorted([other_file.sha256, HELPER_FILE.sha256])


def test_an_unknown_one_cannot_be_removed(device: Device) -> None:
    device.install({LITERT_FILE: LITERT})
    failure = fails(
        ErrorCode.NOT_INSTALLED, lambda: device.installer.remove(RemoveRuntimes(("openvino",)))
    )
    assert "only: litert" in failure.message


def test_a_newer_one_takes_the_place_of_the_older(device: Device) -> None:
    device.install({LITERT_FILE: LITERT, HELPER_FILE: HELPER})
    done = device.install({NEWER_FILE: NEWER})
    assert done.version == "2.4.0"
    assert os.listdir(device.root / FOLDER / "wheels") == [NEWER_FILE.sha256]


def test_the_same_again_sends_nothing(device: Device) -> None:
    device.install({LITERT_FILE: LITERT})
    assert device.offer(LITERT_FILE).missing == ()
    assert device.installer.finish(FinishRuntime("litert"), SILENT).already


# ---- what fails leaves nothing -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("raise ImportError('libstdc++.so.6: cannot open shared object file')\n", "libstdc++.so.6"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)\n", "SIGILL"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n", "SIGSEGV"),
        ("import sys; sys.exit(3)\n", "exit status 3"),
    ],
    ids=["a library is missing", "illegal instruction", "crash", "exit"],
)
def test_what_does_not_import_is_gone_again(device: Device, does: str, said: str) -> None:
    before = device.listing()
    content, wheel = litert_that(does)
    failure = fails(ErrorCode.RUNTIME_FAILED, lambda: device.install({wheel: content}))
    assert "litert does not start here, and is gone again" in failure.message
    assert said in failure.message and failure.hint
    assert device.listing() == before


def test_a_newer_one_that_does_not_import_leaves_the_older_in_use(device: Device) -> None:
    device.install({LITERT_FILE: LITERT})
    content, wheel = litert_that("raise ImportError('no')\n")
    fails(ErrorCode.RUNTIME_FAILED, lambda: device.install({wheel: content}))
    assert [each.version for each in device.installer.list().runtimes] == ["2.3.0"]
    assert os.listdir(device.root / FOLDER / "wheels") == [LITERT_FILE.sha256]


def test_a_runtime_that_is_not_in_its_wheels_is_none(device: Device) -> None:
    failure = fails(ErrorCode.RUNTIME_FAILED, lambda: device.install({HELPER_FILE: HELPER}))
    assert "does not start here" in failure.message
    assert not (device.root / FOLDER).exists()


def test_bytes_that_were_not_announced_are_refused(device: Device) -> None:
    before = device.listing()
    device.offer(LITERT_FILE)
    other = bytes(len(LITERT))
    failure = fails(ErrorCode.BAD_REQUEST, lambda: device.send(LITERT_FILE, other))
    assert "not those announced" in failure.message
    assert device.listing() == before


def test_a_wheel_that_is_bad_within_is_refused(device: Device) -> None:
    before = device.listing()
    content = wheel_bytes(record={"ai_edge_litert/interpreter.py": "sha256=" + "A" * 43})
    wheel = described(content)
    fails(ErrorCode.CORRUPT_PACKAGE, lambda: device.install({wheel: content}))
    assert device.listing() == before


def test_a_wheel_that_was_not_offered_is_refused(device: Device) -> None:
    device.offer(LITERT_FILE)
    fails(ErrorCode.BAD_REQUEST, lambda: device.send(HELPER_FILE, HELPER))


def test_nothing_is_finished_before_all_has_come(device: Device) -> None:
    device.offer(LITERT_FILE, HELPER_FILE)
    device.send(LITERT_FILE, LITERT)
    finish = FinishRuntime("litert")
    failure = fails(ErrorCode.BAD_REQUEST, lambda: device.installer.finish(finish, SILENT))
    assert "helper-1.0-py3-none-any.whl has not come" in failure.message


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "../../../../../../tmp/evil"},
        {"size_bytes": 0},
        {"size_bytes": 2**40},
        {"unpacked_bytes": 2**40},
    ],
)
def test_an_offer_out_of_bounds_is_refused(device: Device, change: dict[str, object]) -> None:
    wheel = dataclasses.replace(LITERT_FILE, **change)
    fails(ErrorCode.BAD_REQUEST, lambda: device.offer(wheel))


@pytest.mark.parametrize("runtime", ["ncnn", "../litert", ""])
def test_an_unknown_runtime_is_refused(device: Device, runtime: str) -> None:
    fails(ErrorCode.BAD_REQUEST, lambda: device.offer(LITERT_FILE, runtime=runtime))


def test_a_wheel_for_another_device_is_refused_unseen(device: Device) -> None:
    wheel = dataclasses.replace(LITERT_FILE, file="ai_edge_litert-2.3.0-cp26-cp26-linux_pdp11.whl")
    fails(ErrorCode.INCOMPATIBLE, lambda: device.offer(wheel))


def test_a_disk_without_room_is_seen_before_anything_travels(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = device.listing()
    monkeypatch.setattr(runtime_installing, "free_bytes", lambda _: 1000)
    fails(ErrorCode.DISK_FULL, lambda: device.offer(LITERT_FILE))
    assert device.listing() == before


# ---- others, and what broke off ----------------------------------------------------------------


def test_two_do_not_install_at_once(device: Device, another: Device) -> None:
    device.offer(LITERT_FILE)
    failure = fails(ErrorCode.BUSY, lambda: another.offer(LITERT_FILE))
    assert "another session is installing" in failure.message
    fails(ErrorCode.BUSY, lambda: another.installer.remove(RemoveRuntimes()))


@pytest.mark.parametrize("ends", ["finished", "failed", "removed"])
def test_others_may_install_when_one_is_done(device: Device, another: Device, ends: str) -> None:
    content, wheel = litert_that("raise ImportError('no')\n")
    if ends == "finished":
        device.install({LITERT_FILE: LITERT})
    elif ends == "failed":
        fails(ErrorCode.RUNTIME_FAILED, lambda: device.install({wheel: content}))
    else:
        device.installer.remove(RemoveRuntimes())
    another.install({NEWER_FILE: NEWER})


def test_wheels_that_came_before_it_broke_off_do_not_come_again(
    device: Device, another: Device
) -> None:
    device.offer(LITERT_FILE, HELPER_FILE)
    device.send(HELPER_FILE, HELPER)
    device.store.close()
    assert another.installer.list().left_over_bytes > 0
    assert private_folders(str(device.root)) == ()
    assert another.offer(LITERT_FILE, HELPER_FILE).missing == (LITERT_FILE.sha256,)


def test_a_wheel_that_ends_too_early_takes_no_other_with_it(
    device: Device, another: Device
) -> None:
    device.offer(HELPER_FILE, LITERT_FILE)
    device.send(HELPER_FILE, HELPER)
    with pytest.raises(ChannelClosed):
        device.send(LITERT_FILE, LITERT[:-1])
    device.store.close()
    assert another.offer(LITERT_FILE, HELPER_FILE).missing == (LITERT_FILE.sha256,)


def test_left_over_wheels_go_with_the_next_install_or_removal(
    device: Device, another: Device
) -> None:
    device.offer(HELPER_FILE)
    device.send(HELPER_FILE, HELPER)
    device.store.close()
    another.install({LITERT_FILE: LITERT})
    assert os.listdir(device.root / FOLDER / "wheels") == [LITERT_FILE.sha256]


def test_killed_while_it_unpacks_leaves_nothing_that_is_used(
    tmp_path: Path, program: Path, device: Device
) -> None:
    kill = "import os, signal\nos.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    (tmp_path / "a.whl").write_bytes(LITERT)
    call = (
        "from device_agent.store import Store\n"
        "from device_agent.runtime_installing import RuntimeInstaller\n"
        "from device_agent.runtime_messages import *\n"
        "import sys\n"
        f"installer = RuntimeInstaller(Store({str(device.root)!r}), {str(program)!r})\n"
        f"wheel = WheelFile{dataclasses.astuple(LITERT_FILE)!r}\n"
        "installer.offer(OfferRuntime('litert', (wheel,)))\n"
        f"{kill}"
        f"stream = open({str(tmp_path / 'a.whl')!r}, 'rb')\n"
        "installer.take(SendWheel(wheel.sha256, wheel.size_bytes), stream.read)\n"
    )
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    device.store.close()
    again = Device(device.root, program)
    assert private_folders(str(device.root)) == ()
    assert again.install({LITERT_FILE: LITERT}).version == "2.3.0"
    again.store.close()
    assert os.listdir(device.root / "sessions") == []


def test_a_set_for_another_python_is_passed_over(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.install({LITERT_FILE: LITERT})
    monkeypatch.setattr("device_agent.private_runtimes.python_key", lambda _: "cp399 linux-vax 64")
    assert private_folders(str(device.root)) == ()
    (listed,) = device.installer.list().runtimes
    assert not listed.usable


def test_a_damaged_list_is_no_runtime_and_can_be_cleared(device: Device) -> None:
    before = device.listing()
    device.install({LITERT_FILE: LITERT})
    (device.root / FOLDER / "sets.json").write_text("{")
    assert private_folders(str(device.root)) == ()
    fails(ErrorCode.STORAGE, lambda: device.installer.list())
    device.installer.remove(RemoveRuntimes())
    assert device.listing() == before
    assert read_sets(str(device.root)).sets == ()


def test_a_wheel_whose_folder_has_gone_is_no_runtime(device: Device) -> None:
    device.install({LITERT_FILE: LITERT})
    os.rename(device.root / FOLDER / "wheels" / LITERT_FILE.sha256, device.root / "elsewhere")
    assert private_folders(str(device.root)) == ()


# ---- the whole store ---------------------------------------------------------------------------


def test_the_whole_store_goes_without_a_trace(device: Device) -> None:
    device.install({LITERT_FILE: LITERT})
    device.store.begin_measuring()
    gone = device.installer.remove_store()
    assert gone.kept == () and not device.root.exists()
    device.store.close()
    assert not device.root.exists()


def test_what_edgesdk_did_not_write_stays(device: Device) -> None:
    (device.root / "my notes").write_text("mine")
    assert device.installer.remove_store().kept == ("my notes",)
    assert os.listdir(device.root) == ["my notes"]
    assert (device.root / "my notes").read_text() == "mine"


def test_the_store_stays_while_another_session_uses_it(device: Device, another: Device) -> None:
    before = device.listing()
    fails(ErrorCode.BUSY, lambda: device.installer.remove_store())
    assert {**device.listing(), **before} == device.listing()
    another.store.close()
    device.installer.remove_store()
