"""The device store: whole or not at all, durable, and never led astray by a link."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_packages import file_of, id_of, manifest_of, package_of, sealed

from device_agent import durable, store
from device_agent.archive import CorruptPackage, PackageReader
from device_agent.failures import AgentFailure
from device_agent.manifest import Compatibility, Limits
from device_agent.store import Store, check_architecture

FIRST = package_of({"model": b"first" * 1000, "golden": b"vectors"}, "zlib", version="1")
SECOND = package_of({"model": b"second" * 1000}, version="2")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "device"


@pytest.fixture
def device(root: Path) -> Iterator[Store]:
    opened = Store(str(root))
    yield opened
    opened.close()


def install(device: Store, package: bytes) -> str:
    return device.install(PackageReader(io.BytesIO(package).read)).package_id


def fails(code: str, call: Callable[[], object]) -> str:
    """The message of the failure, whose code is checked."""
    with pytest.raises(AgentFailure) as caught:
        call()
    assert caught.value.code == code
    return caught.value.message


def test_one_session_measures_at_a_time(root: Path, device: Store) -> None:
    other = Store(str(root))
    device.begin_measuring()
    device.begin_measuring()
    fails("busy", other.begin_measuring)
    device.close()
    other.begin_measuring()
    other.close()


def test_measuring_needs_no_writable_disk(root: Path, device: Store) -> None:
    (root / "measuring.lock").mkdir()  # It cannot be opened to write, as on a read-only disk.
    device.begin_measuring()


def content(root: Path) -> dict[str, bytes]:
    """Every file of the store but locks and what the session staged."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in (root / "store").rglob("*")
        if path.is_file()
    }


def test_installing_writes_the_files_and_points_at_them(device: Store, root: Path) -> None:
    package_id = install(device, FIRST)
    assert set(content(root)) == {
        "store/current",
        f"store/{package_id}/manifest.json",
        f"store/{package_id}/model.bin",
        f"store/{package_id}/golden.bin",
    }
    assert content(root)[f"store/{package_id}/model.bin"] == b"first" * 1000
    assert device.current().package_id == package_id == id_of(FIRST)


def test_the_last_installed_is_the_current_one(device: Store) -> None:
    first, second = install(device, FIRST), install(device, SECOND)
    assert device.current().version == "2"
    assert install(device, FIRST) == first
    assert device.current().version == "1"
    assert device.activate(second).already
    assert device.current().version == "2"


def test_an_unknown_package_is_not_activated(device: Store) -> None:
    fails("not_installed", lambda: device.activate("0" * 64))
    fails("bad_request", lambda: device.activate("../../etc"))


def test_a_corrupt_package_changes_nothing(device: Store, root: Path) -> None:
    install(device, FIRST)
    before = content(root)
    with pytest.raises(CorruptPackage):
        install(device, SECOND[:-1])
    assert content(root) == before


def test_a_corrupt_package_is_refused_even_when_it_is_there(device: Store) -> None:
    install(device, FIRST)
    with pytest.raises(CorruptPackage):
        install(device, FIRST + b"more")


@pytest.mark.parametrize(
    ("wanted", "machine", "suits"),
    [
        ((), "riscv64", True),
        (("aarch64",), "aarch64", True),
        (("arm64",), "aarch64", True),
        (("aarch64",), "arm64", True),
        (("x86_64",), "AMD64", True),
        (("aarch64", "x86_64"), "x86_64", True),
        (("aarch64",), "armv7l", False),
        (("x86_64",), "aarch64", False),
    ],
)
def test_architectures(wanted: tuple[str, ...], machine: str, suits: bool) -> None:
    manifest = manifest_of(compatibility=Compatibility("pi", wanted, "litert", ""))
    if suits:
        check_architecture(manifest, machine)
    else:
        assert machine in fails("incompatible", lambda: check_architecture(manifest, machine))


def test_another_architecture_writes_nothing(device: Store, root: Path) -> None:
    other = "x86_64" if platform.machine() == "aarch64" else "aarch64"
    package = package_of({"model": b"x"}, compatibility=Compatibility("b", (other,), "litert", ""))
    fails("incompatible", lambda: install(device, package))
    assert content(root) == {}


def test_the_budget_is_checked_again_on_the_device(device: Store) -> None:
    fits = package_of({"model": b"x" * 10}, limits=Limits(10, None))
    install(device, fits)
    breaks = package_of({"model": b"x" * 11}, limits=Limits(10, None))
    assert "11 bytes" in fails("over_budget", lambda: install(device, breaks))


# ---- room on the disk ----------------------------------------------------------------------------


def test_a_disk_that_is_too_full_is_left_alone(
    device: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (store, durable):
        monkeypatch.setattr(module, "free_bytes", lambda _: 1000)
    message = fails("disk_full", lambda: install(device, FIRST))
    assert message.startswith("found 1000 bytes free") and message.endswith("expected 267151")
    assert content(root) == {}


@pytest.mark.parametrize("failing", range(1, 6))
def test_a_disk_that_fills_up_loses_the_partial_files_only(
    device: Store, root: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    install(device, SECOND)
    before = content(root)
    calls = 0

    def fsync(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        assert "bytes free" in fails("disk_full", lambda: install(device, FIRST))
    still = {path: data for path, data in content(root).items() if id_of(FIRST) not in path}
    assert still == before
    install(device, FIRST)
    assert device.current().version == "1"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where root may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_real_full_disk(tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "free_bytes", lambda _: None)  # What others write meanwhile.
    device = Store(str(tiny_disk / "device"))
    install(device, FIRST)
    free = durable.free_bytes(str(tiny_disk))
    package = package_of({"model": os.urandom(2 * 2**20)})
    assert "expected 2097152" in fails("disk_full", lambda: install(device, package))
    assert durable.free_bytes(str(tiny_disk)) == free
    assert device.current().version == "1"
    device.close()


# ---- links and other traps -----------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that the agent has no business in."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_bytes(b"gold")
    return folder


@pytest.fixture
def untouched(outside: Path) -> Iterator[None]:
    yield
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"precious": b"gold"}


@pytest.mark.usefixtures("untouched")
class TestLinks:
    def test_in_the_package_s_place(self, device: Store, root: Path, outside: Path) -> None:
        (root / "store" / id_of(FIRST)).symlink_to(outside)
        install(device, FIRST)
        assert not (root / "store" / id_of(FIRST)).is_symlink()

    def test_in_the_pointer_s_place(self, device: Store, root: Path, outside: Path) -> None:
        (root / "store" / "current").symlink_to(outside / "precious")
        assert "pointer" in fails("storage", device.current)
        install(device, FIRST)
        assert device.current().version == "1"

    def test_in_a_file_s_place(self, device: Store, root: Path, outside: Path) -> None:
        package_id = install(device, FIRST)
        model = root / "store" / package_id / "model.bin"
        moved = model.rename(root / "elsewhere")
        model.symlink_to(moved)
        fails("storage", lambda: device.verified_path(package_id, "model"))
        install(device, FIRST)
        assert not model.is_symlink()

    def test_in_the_store_s_place(self, root: Path, outside: Path) -> None:
        root.mkdir(mode=0o700)
        (root / "store").symlink_to(outside)
        assert "not a folder" in fails("storage", lambda: Store(str(root)))

    def test_in_the_lock_s_place(self, root: Path, outside: Path) -> None:
        root.mkdir(mode=0o700)
        (root / "lock").symlink_to(outside / "precious")
        fails("storage", lambda: Store(str(root)))

    def test_among_dead_sessions(self, root: Path, outside: Path) -> None:
        (root / "sessions").mkdir(parents=True, mode=0o700)
        (root / "sessions" / "dead").symlink_to(outside)
        Store(str(root)).close()
        assert os.listdir(root / "sessions") == []

    def test_inside_dead_sessions(self, root: Path, outside: Path) -> None:
        (root / "sessions" / "dead").mkdir(parents=True, mode=0o700)
        (root / "sessions" / "dead" / "lock").symlink_to(outside / "precious")
        (root / "sessions" / "dead" / "more").symlink_to(outside)
        Store(str(root)).close()
        assert os.listdir(root / "sessions") == []


def test_a_pipe_in_a_file_s_place_does_not_hold_the_agent(device: Store, root: Path) -> None:
    package_id = install(device, FIRST)
    model = root / "store" / package_id / "model.bin"
    model.unlink()
    os.mkfifo(model)
    fails("storage", lambda: device.verified_path(package_id, "model"))


CONTEXT, BINARY = b"names model_ctx_qnn.bin" * 9, b"for the NPU" * 999


@pytest.fixture
def pair(device: Store, root: Path) -> tuple[str, Path]:
    """Id and folder of an installed package whose model has a companion, and a float model."""
    entries = dict(
        [
            file_of("model", CONTEXT, path="model_ctx.onnx"),
            file_of("companion", BINARY, codec="zlib", path="model_ctx_qnn.bin"),
            file_of("float", b"float", path="float.onnx"),
        ]
    )
    package_id = install(device, sealed(manifest_of(*entries), entries))
    return package_id, root / "store" / package_id


def test_a_companion_lies_beside_its_model_by_its_name(
    device: Store, pair: tuple[str, Path]
) -> None:
    package_id, folder = pair
    assert device.verified_path(package_id, "model") == str(folder / "model_ctx.onnx")
    assert device.verified_path(package_id, "companion") == str(folder / "model_ctx_qnn.bin")
    assert (folder / "model_ctx_qnn.bin").read_bytes() == BINARY


@pytest.mark.parametrize(
    "content",
    [b"", BINARY[:-1], BINARY + b"x", b"F" + BINARY[1:], None],
    ids=["empty", "cut short", "longer", "changed", "absent"],
)
def test_a_model_is_not_loaded_with_a_companion_that_was_tampered_with(
    device: Store, pair: tuple[str, Path], content: bytes | None
) -> None:
    package_id, folder = pair
    companion = folder / "model_ctx_qnn.bin"
    if content is None:
        companion.unlink()
    else:
        companion.write_bytes(content)
    message = fails("storage", lambda: device.verified_path(package_id, "model"))
    assert "model_ctx_qnn.bin is not as its manifest says" in message
    assert device.verified_path(package_id, "float"), "which does not need it"
    fails("not_installed", lambda: device.activate(package_id))


def test_a_companion_that_is_a_link_is_not_loaded(
    device: Store, pair: tuple[str, Path], tmp_path: Path
) -> None:
    package_id, folder = pair
    (tmp_path / "same").write_bytes(BINARY)
    (folder / "model_ctx_qnn.bin").unlink()
    (folder / "model_ctx_qnn.bin").symlink_to(tmp_path / "same")
    fails("storage", lambda: device.verified_path(package_id, "model"))


def test_a_model_without_companion_needs_none(device: Store) -> None:
    package_id = install(device, FIRST)
    assert device.verified_path(package_id, "model")
    fails("bad_request", lambda: device.verified_path(package_id, "companion"))


def test_engines_lie_beside_the_packages(device: Store, root: Path) -> None:
    assert device.engines == str(root / "engines")
    assert not (root / "engines").exists()


@pytest.mark.parametrize("pointer", [b"", b"../../etc", b"0" * 64, b"\xff" * 64])
def test_a_pointer_to_nowhere_is_said(device: Store, root: Path, pointer: bytes) -> None:
    (root / "store" / "current").write_bytes(pointer)
    with pytest.raises(AgentFailure) as caught:
        device.current()
    assert caught.value.code in ("storage", "not_installed")


def test_a_root_that_others_can_write_is_refused(root: Path) -> None:
    root.mkdir()
    root.chmod(0o777)
    assert "not yours alone" in fails("storage", lambda: Store(str(root)))


def test_a_root_may_be_a_link_that_its_owner_made(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    Store(str(tmp_path / "link")).close()
    assert (tmp_path / "data" / "store").is_dir()


@pytest.mark.parametrize("place", ["/dev/null", "/proc/nowhere"])
def test_an_impossible_root_is_said(place: str) -> None:
    assert place in fails("storage", lambda: Store(place))


# ---- staging -------------------------------------------------------------------------------------


def stage(device: Store, name: str, data: bytes, digest: str | None = None) -> str:
    sha256 = hashlib.sha256(data).hexdigest() if digest is None else digest
    return device.stage(name, len(data), sha256, io.BytesIO(data).read)


def test_a_staged_file_lasts_as_long_as_the_session(root: Path) -> None:
    device = Store(str(root))
    path = stage(device, "float.onnx", b"model")
    assert Path(path).read_bytes() == b"model"
    assert Path(stage(device, "float.onnx", b"other")).read_bytes() == b"other"
    device.close()
    assert not Path(path).exists()


@pytest.mark.parametrize("name", ["../x", "/x", "", ".x", "a/b", "x\0", "x\n"])
def test_staged_names_are_plain(device: Store, name: str) -> None:
    fails("bad_request", lambda: stage(device, name, b"x"))


def test_a_staged_file_that_is_not_as_announced_goes(device: Store) -> None:
    fails("bad_request", lambda: stage(device, "x", b"x", "0" * 64))
    fails("bad_request", lambda: device.stage("x", 9, "0" * 64, io.BytesIO(b"short").read))
    assert [name for name in os.listdir(device._session) if name != "lock"] == []


# ---- sessions, living and dead -------------------------------------------------------------------


def test_a_living_session_is_left_alone(root: Path) -> None:
    first = Store(str(root))
    path = stage(first, "x", b"x")
    second = Store(str(root))
    assert Path(path).exists()
    first.close()
    second.close()
    assert os.listdir(root / "sessions") == []


DIE_AT_STEP = """
import builtins, io, os, sys
package, root, step = sys.argv[1], sys.argv[2], int(sys.argv[3])
from device_agent.archive import PackageReader
from device_agent.store import Store

taken = 0

def dying(function):
    def call(*arguments, **options):
        global taken
        taken += 1
        if taken == step:
            os._exit(9)
        return function(*arguments, **options)
    return call

for name in ("open", "mkdir", "fsync", "rename", "chmod", "unlink", "rmdir"):
    setattr(os, name, dying(getattr(os, name)))
store = Store(root)
with io.open(package, "rb") as stream:
    store.install(PackageReader(stream.read))
store.close()
"""


def test_death_at_any_step_leaves_the_old_or_the_new_package(tmp_path: Path) -> None:
    """Each step that changes the disk, until an installation gets through."""
    new = tmp_path / "new.edgepkg"
    new.write_bytes(FIRST)
    versions = []
    for step in range(1, 200):
        root = tmp_path / f"device{step}"
        before = Store(str(root))
        install(before, SECOND)
        before.close()
        died = subprocess.run([sys.executable, "-c", DIE_AT_STEP, new, root, str(step)]).returncode
        after = Store(str(root))
        versions.append(after.current().version)
        assert after.verified_path(after.current().package_id, "model")
        assert os.listdir(root / "sessions") == [os.path.basename(after._session)]
        install(after, FIRST)
        assert after.current().version == "1"
        after.close()
        if died == 0:
            break
    assert died == 0 and len(versions) > 20
    assert versions == sorted(versions, reverse=True), "the old one until the new one, once"
    assert versions[0] == "2" and versions[-1] == "1"


def test_everything_is_durable_before_it_is_named(
    device: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note(kind: str, path: str) -> None:
        name = os.path.relpath(path, root)
        for hidden, shown in ((id_of(FIRST), "ID"), (os.path.basename(device._session), "S")):
            name = name.replace(hidden, shown)
        parts = ["incoming" if part.startswith("incoming-") else part for part in name.split("/")]
        events.append(f"{kind} {'/'.join(parts)}")

    def noted_fsync(descriptor: int) -> None:
        note("sync", os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def noted_rename(source: str, target: str) -> None:
        rename(source, target)
        note("name", target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    install(device, FIRST)
    assert events == [
        "sync sessions/S/incoming/model.bin",
        "sync sessions/S/incoming/golden.bin",
        "sync sessions/S/incoming/manifest.json",
        "sync sessions/S/incoming",
        "name store/ID",
        "sync store",
        "sync sessions/S/current",
        "name store/current",
        "sync store",
    ]
