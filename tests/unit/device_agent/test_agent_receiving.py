"""A package on its way: verified before it is written, continued where it broke off."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from agent_packages import (
    delta_of,
    file_of,
    head_of,
    head_of_package,
    manifest_of,
    noise,
    package_of,
    sealed,
)
from device_store import Device, fails

from device_agent import durable, patching, reading, receiving, store
from device_agent.archive import chunk_offset, payloads
from device_agent.documents import CorruptPackage
from device_agent.manifest import CHUNK_BYTES
from device_agent.receiving import Transfer
from tests.signers import OWNER

pytestmark = pytest.mark.usefixtures("runtimes")

LARGE = {"model": noise(3 * CHUNK_BYTES + 17), "golden": bytes(2 * CHUNK_BYTES), "float": b"f"}
PACKAGE = package_of(LARGE, OWNER)
HEAD = head_of_package(PACKAGE)
GOLDEN = noise(70_000, 1)
OLD = package_of({"model": b"old" * 1000, "golden": GOLDEN}, OWNER, sequence=1)


def incoming(root: Path) -> list[str]:
    return sorted(os.listdir(root / "incoming"))


def breaks_off(device: Device, package: bytes, until: int) -> None:
    """Receive no more than the first `until` bytes."""
    offered = device.offer(package)
    with pytest.raises(CorruptPackage, match="ended after"):
        device.receive(package, offered, until)


def chunk_starts(package: bytes) -> list[int]:
    return [
        chunk_offset(payload, index)
        for payload in payloads(head_of_package(package))
        for index in range(len(payload.sizes) + 1)
    ]


# ---- resuming ------------------------------------------------------------------------------------


def test_a_transfer_goes_on_from_the_last_chunk_that_came_whole(device: Device) -> None:
    starts = chunk_starts(PACKAGE)
    for number, start in enumerate(starts):
        breaks_off(device, PACKAGE, start)
        again = device.offer(PACKAGE).resume_at
        # The end of one payload is as good as the start of the next, where there is one.
        assert again in starts[number : number + 2], (number, start)
        assert again >= start
    device.install(PACKAGE)
    assert device.store.packages.is_intact(HEAD.package_id)


@pytest.mark.parametrize("beyond", [1, 1000, CHUNK_BYTES - 1])
def test_half_a_chunk_is_sent_again(device: Device, beyond: int) -> None:
    start = chunk_starts(PACKAGE)[1]
    breaks_off(device, PACKAGE, start + beyond)
    assert device.offer(PACKAGE).resume_at == start


def test_a_transfer_may_break_off_at_each_chunk_anew(device: Device) -> None:
    sent = 0
    for start in chunk_starts(PACKAGE)[1:]:
        offered = device.offer(PACKAGE)
        sent += max(0, start - offered.resume_at)
        with pytest.raises(CorruptPackage):
            device.receive(PACKAGE, offered, start)
    assert sent < len(PACKAGE) + 3 * CHUNK_BYTES, "hardly anything travelled twice"
    assert device.install(PACKAGE).installed.package_id == HEAD.package_id


def test_a_transfer_survives_its_session(root: Path) -> None:
    start = chunk_starts(PACKAGE)[2]
    first = Device(root)
    breaks_off(first, PACKAGE, start)
    first.close()
    second = Device(root)
    assert second.offer(PACKAGE).resume_at == start
    second.install(PACKAGE)
    assert incoming(root) == []
    second.close()


def test_a_package_with_empty_files_may_break_off_anywhere(device: Device) -> None:
    package = package_of({"model": b"m" * 9, "golden": b"", "float": b"f"}, OWNER)
    first, last = payloads(head_of_package(package))[0], payloads(head_of_package(package))[-1]
    for until in range(first.start, last.start + 1, 256):
        breaks_off(device, package, until)
    device.install(package)
    assert device.store.packages.is_intact(head_of_package(package).package_id)


def test_another_package_starts_anew_and_what_broke_off_is_given_up(
    root: Path, device: Device
) -> None:
    breaks_off(device, PACKAGE, chunk_starts(PACKAGE)[2])
    assert incoming(root) == [Transfer.key(HEAD)]
    device.offer(OLD)
    assert incoming(root) == [Transfer.key(head_of_package(OLD))]
    assert device.offer(PACKAGE).resume_at == chunk_starts(PACKAGE)[0]


def test_a_delta_and_its_full_package_are_two_transfers(device: Device) -> None:
    delta = delta_of(PACKAGE, OLD, {"golden": "same"}, {}, OWNER)
    assert Transfer.key(head_of_package(delta)) != Transfer.key(HEAD)


@pytest.mark.parametrize("signer", [None, OWNER])
def test_the_same_package_signed_by_another_is_the_same_transfer(signer: object) -> None:
    other = head_of_package(package_of(LARGE, signer))  # type: ignore[arg-type]
    assert Transfer.key(other) == Transfer.key(HEAD)


@pytest.mark.parametrize("content", [bytes(3 * CHUNK_BYTES), LARGE["model"]], ids=["z", "plain"])
@pytest.mark.parametrize("cpus", [1, 2])
def test_chunks_are_unpacked_in_threads_where_there_are_processors_to_spare(
    device: Device, monkeypatch: pytest.MonkeyPatch, cpus: int, content: bytes
) -> None:
    """Of a file that is only hashed and written the reader takes care itself."""
    unpacked = reading._unpacked
    threads: set[threading.Thread] = set()

    def noted(*given: Any) -> bytes:
        threads.add(threading.current_thread())
        return unpacked(*given)

    monkeypatch.setattr(reading, "_unpacked", noted)
    monkeypatch.setattr(receiving, "usable_cpus", lambda: cpus)
    package = package_of({"model": content}, OWNER)
    device.receive(package, device.offer(package))
    by_reader = cpus == 1 or content == LARGE["model"]
    assert threads and (threading.current_thread() in threads) is by_reader


# ---- damage --------------------------------------------------------------------------------------


def spoilt(position: int) -> bytes:
    return PACKAGE[:position] + bytes([PACKAGE[position] ^ 1]) + PACKAGE[position + 1 :]


def test_a_damaged_chunk_is_not_written_and_those_before_it_stay(
    root: Path, device: Device
) -> None:
    starts = chunk_starts(PACKAGE)
    offered = device.offer(PACKAGE)
    with pytest.raises(CorruptPackage, match=r"chunk 2 of model.bin"):
        device.receive(spoilt(starts[2] + 5), offered)
    written = root / "incoming" / Transfer.key(HEAD) / "files" / "model.bin"
    assert written.read_bytes() == LARGE["model"][: 2 * CHUNK_BYTES]
    assert device.store.state().trial is None
    assert device.offer(PACKAGE).resume_at == starts[2]
    device.install(PACKAGE)


def files_of(device: Device) -> Path:
    return device.root / "incoming" / Transfer.key(HEAD) / "files"


@pytest.mark.parametrize("done", [1, 2, 4], ids=["a chunk", "two", "the whole file"])
def test_what_a_power_cut_damaged_of_a_plain_file_is_sent_again_from_there_on(
    device: Device, done: int
) -> None:
    breaks_off(device, PACKAGE, chunk_starts(PACKAGE)[done])
    written = files_of(device) / "model.bin"
    for damaged in reversed(range(done)):
        spoil(written, damaged * CHUNK_BYTES + 9)
        assert device.offer(PACKAGE).resume_at == chunk_starts(PACKAGE)[damaged]
    device.install(PACKAGE)
    assert device.store.packages.is_intact(HEAD.package_id)


def spoil(path: Path, position: int) -> None:
    """Flip a bit of what was written there."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_what_a_power_cut_damaged_of_a_compressed_file_is_found_and_costs_that_file_alone(
    device: Device,
) -> None:
    breaks_off(device, PACKAGE, chunk_starts(PACKAGE)[6])
    spoil(files_of(device) / "golden.bin", 9)
    failure = fails("resume_failed", lambda: device.try_out(PACKAGE))
    assert failure.message.startswith("golden.bin: its SHA-256 is not the manifest's; a part of it")
    assert device.store.state().trial is None
    assert {path.name for path in files_of(device).iterdir()} == {"model.bin", "float.bin"}
    assert device.offer(PACKAGE).resume_at == chunk_starts(PACKAGE)[5]
    device.install(PACKAGE)


def test_a_compressed_file_that_came_whole_and_was_damaged_is_sent_again(device: Device) -> None:
    breaks_off(device, PACKAGE, chunk_starts(PACKAGE)[8])
    spoil(files_of(device) / "golden.bin", 9)
    assert device.offer(PACKAGE).resume_at == chunk_starts(PACKAGE)[5]
    device.install(PACKAGE)


def test_what_came_earlier_is_read_once_and_the_host_is_told_to_wait(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_off(device, PACKAGE, chunk_starts(PACKAGE)[2])
    read, pieces = [], receiving.read_pieces

    def noted(path: str, *given: Any) -> Iterator[bytes]:
        read.append(Path(path).name)
        return pieces(path, *given)

    monkeypatch.setattr(receiving, "read_pieces", noted)
    device.told.clear()
    device.try_out(PACKAGE)
    assert read == ["model.bin"]
    assert [each.silence_s > 60 for each in device.told] == [True]


def test_of_what_did_not_come_before_the_host_is_told_nothing(device: Device) -> None:
    device.try_out(PACKAGE)
    assert device.told == []


@pytest.mark.parametrize("came", [0, 8], ids=["now", "earlier"])
@pytest.mark.parametrize("name", ["model.bin", "golden.bin"])
def test_what_changes_behind_the_back_of_a_transfer_is_sent_again(
    device: Device, monkeypatch: pytest.MonkeyPatch, name: str, came: int
) -> None:
    breaks_off(device, PACKAGE, chunk_starts(PACKAGE)[came])
    offered, check = device.offer(PACKAGE), Transfer._check

    def spoilt_first(transfer: Transfer, *given: Any) -> None:
        if given[0].path == name:
            spoil(files_of(device) / name, 9)
        check(transfer, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Transfer, "_check", spoilt_first)
        fails("resume_failed", lambda: device.receive(PACKAGE, offered))
    device.install(PACKAGE)
    assert device.store.packages.is_intact(HEAD.package_id)


def test_what_came_and_cannot_be_read_any_more_is_sent_again(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worn card has it: or no push of this package would ever get beyond its offer."""
    breaks_off(device, PACKAGE, chunk_starts(PACKAGE)[2])

    def fail(path: str, *_: object) -> Iterator[bytes]:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with monkeypatch.context() as worn:
        worn.setattr(receiving, "read_pieces", fail)
        assert device.offer(PACKAGE).resume_at == chunk_starts(PACKAGE)[0]
        device.install(PACKAGE)
    assert device.store.packages.is_intact(HEAD.package_id)


def test_a_file_system_that_gives_less_than_is_asked_for_does_not_shift_what_came(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `read` may, on FUSE for one: a piece is a chunk only where it has a chunk's bytes."""
    content = bytes(5 * CHUNK_BYTES)
    package = package_of({"model": content}, OWNER)
    package_id = head_of_package(package).package_id
    breaks_off(device, package, chunk_starts(package)[5])
    fdopen = os.fdopen

    class Short(io.FileIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            return super().read(30_000 if self.reads < 3 else size) or b""

        def readinto(self, buffer: Any, /) -> int:
            self.reads += 1
            return super().readinto(memoryview(buffer)[: 30_000 if self.reads < 3 else None]) or 0

    def opened(descriptor: int, mode: str, buffering: int = -1) -> Any:
        if mode != "rb":
            return fdopen(descriptor, mode, buffering)
        return io.BufferedReader(Short(descriptor)) if buffering else Short(descriptor)

    with monkeypatch.context() as short:
        short.setattr(os, "fdopen", opened)
        device.install(package)
    assert (device.root / "store" / package_id / "model.bin").read_bytes() == content


def test_a_file_with_another_name_elsewhere_is_not_taken_for_what_came(
    device: Device, tmp_path: Path
) -> None:
    """What is written on must not be the start of somebody else's file."""
    breaks_off(device, PACKAGE, chunk_starts(PACKAGE)[2])
    (tmp_path / "second name").hardlink_to(files_of(device) / "model.bin")
    assert device.offer(PACKAGE).resume_at == chunk_starts(PACKAGE)[0]
    device.install(PACKAGE)
    assert device.store.packages.is_intact(HEAD.package_id)


@pytest.mark.parametrize("kind", ["symbolic link", "too long"])
def test_what_stands_for_an_empty_file_is_not_it(device: Device, outside: Path, kind: str) -> None:
    package = package_of({"model": b"", "golden": noise(70_000)}, OWNER)
    head = head_of_package(package)
    breaks_off(device, package, payloads(head)[1].start)
    empty = device.root / "incoming" / Transfer.key(head) / "files" / "model.bin"
    empty.unlink()
    if kind == "too long":
        empty.write_bytes(b"x")
    else:
        empty.symlink_to(outside / "precious")
    device.install(package)
    assert device.store.packages.is_intact(head.package_id)


def test_what_a_partial_file_has_too_much_is_cut_off(device: Device) -> None:
    breaks_off(device, PACKAGE, chunk_starts(PACKAGE)[5])
    with (files_of(device) / "model.bin").open("ab") as stream:
        stream.write(b"more")
    device.install(PACKAGE)
    assert device.store.packages.is_intact(HEAD.package_id)


def test_a_file_whose_chunks_are_right_and_whose_hash_is_not_never_comes_into_use(
    device: Device,
) -> None:
    """A manifest that contradicts itself, whoever signed it."""
    device.install(OLD)
    entry, chunks = file_of("model", b"weights" * 99, sha256="0" * 64)
    package = sealed(head_of(manifest_of(entry), OWNER), {entry.path: chunks})
    with pytest.raises(CorruptPackage, match=r"model\.bin: its SHA-256 is not the manifest's"):
        device.install(package)
    assert device.store.state().trial is None
    assert device.installer.current("").package_id == head_of_package(OLD).package_id


@pytest.mark.parametrize("broke_off", [None, 2, 6], ids=["at once", "plain", "compressed"])
def test_what_has_just_been_received_is_not_read_again(
    device: Device, monkeypatch: pytest.MonkeyPatch, broke_off: int | None
) -> None:
    if broke_off is not None:
        breaks_off(device, PACKAGE, chunk_starts(PACKAGE)[broke_off])
    for place in ("packages", "receiving"):
        monkeypatch.setattr(f"device_agent.{place}.has_content", lambda *_: pytest.fail("read"))
    device.install(PACKAGE)


def test_bytes_after_the_end_leave_no_package(device: Device) -> None:
    offered = device.offer(PACKAGE)
    with pytest.raises(CorruptPackage, match="after the end"):
        device.receive(PACKAGE + b"\0", offered)
    assert device.store.packages.ids() == ()
    device.install(PACKAGE)


def test_a_package_that_is_there_is_not_received_again(device: Device) -> None:
    device.install(PACKAGE)
    assert device.offer(PACKAGE).already
    (device.root / "store" / HEAD.package_id / "float.bin").write_bytes(b"?")
    assert not device.offer(PACKAGE).already
    device.install(PACKAGE)
    assert device.store.packages.is_intact(HEAD.package_id)


# ---- links ---------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder that the agent has no business in, and leaves as it is."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_bytes(b"gold" * 100)
    yield folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "precious": b"gold" * 100
    }


@pytest.mark.parametrize("part", ["", "files", "patches"])
def test_a_link_in_a_folder_s_place_is_replaced(device: Device, outside: Path, part: str) -> None:
    place = device.root / "incoming" / Transfer.key(HEAD)
    if part:
        place.mkdir()
    (place / part if part else place).symlink_to(outside)
    device.install(PACKAGE)


@pytest.mark.parametrize("name", ["model.bin", "manifest.json", "manifest.json.sig"])
@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_link_in_a_file_s_place_is_replaced(
    device: Device, outside: Path, name: str, kind: str
) -> None:
    device.offer(PACKAGE)
    if kind == "hard":
        (files_of(device) / name).hardlink_to(outside / "precious")
    else:
        (files_of(device) / name).symlink_to(outside / "precious")
    device.install(PACKAGE)
    installed = device.root / "store" / HEAD.package_id / name
    assert not installed.is_symlink() and installed.stat().st_nlink == 1


def test_a_folder_in_a_file_s_place_is_replaced(device: Device) -> None:
    device.offer(PACKAGE)
    (files_of(device) / "model.bin").mkdir()
    (files_of(device) / "model.bin" / "more").touch()
    device.install(PACKAGE)


def test_what_else_lies_there_does_not_come_along(device: Device, outside: Path) -> None:
    device.offer(PACKAGE)
    (files_of(device) / "sitecustomize.py").write_text("evil = True")
    (files_of(device) / "link").symlink_to(outside)
    (files_of(device) / "folder").mkdir()
    device.install(PACKAGE)
    assert set(os.listdir(device.root / "store" / HEAD.package_id)) == {
        *("manifest.json", "manifest.json.sig", "model.bin", "golden.bin", "float.bin"),
    }


# ---- deltas --------------------------------------------------------------------------------------


@pytest.fixture
def with_old(device: Device) -> Device:
    device.install(OLD)
    return device


NEW = {"model": b"new" * 1000, "golden": GOLDEN}
NEW_PACKAGE = package_of(NEW, OWNER, sequence=2)
NEW_ID = head_of_package(NEW_PACKAGE).package_id


def content(device: Device, package_id: str) -> dict[str, bytes]:
    folder = device.root / "store" / package_id
    return {path.stem: path.read_bytes() for path in folder.glob("*.bin")}


def test_a_file_the_device_has_does_not_travel(with_old: Device) -> None:
    delta = delta_of(NEW_PACKAGE, OLD, {"golden": "same"}, {}, OWNER)
    assert len(delta) < len(NEW_PACKAGE)
    with_old.install(delta)
    assert content(with_old, NEW_ID) == NEW
    golden = with_old.root / "store" / NEW_ID / "golden.bin"
    assert golden.stat().st_nlink == 1, "a copy: the old package may go"


def test_a_package_that_differs_in_its_manifest_alone_needs_no_payload(with_old: Device) -> None:
    same = {"model": b"old" * 1000, "golden": GOLDEN}
    full = package_of(same, OWNER, sequence=2, version="2")
    delta = delta_of(full, OLD, {"model": "same", "golden": "same"}, {}, OWNER)
    with_old.install(delta)
    assert with_old.version == "2"
    assert content(with_old, head_of_package(full).package_id) == same


def patched(monkeypatch: pytest.MonkeyPatch, result: bytes) -> bytes:
    """A delta of the model, and an applier that makes that of it."""

    def apply(program: str, base: str, patch: str, path: str, size: int) -> None:
        assert size == len(NEW["model"])
        assert Path(base).read_bytes() == b"old" * 1000
        assert Path(patch).read_bytes() == b"a patch" * 20_000
        Path(path).write_bytes(result)

    monkeypatch.setattr("device_agent.installing.apply_patch", apply)
    codecs, patches = {"model": "bytes-delta", "golden": "same"}, {"model": b"a patch" * 20_000}
    return delta_of(NEW_PACKAGE, OLD, codecs, patches, OWNER)


def test_a_patch_is_applied_to_its_base(with_old: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    with_old.install(patched(monkeypatch, NEW["model"]))
    assert content(with_old, NEW_ID) == NEW
    assert incoming(with_old.root) == []


def test_what_a_patch_makes_is_not_believed(
    with_old: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    delta = patched(monkeypatch, b"New" * 1000)
    failure = fails("delta_failed", lambda: with_old.try_out(delta))
    assert failure.message == "model.bin: its SHA-256 is not the manifest's"
    assert failure.hint == "push the full package"
    assert NEW_ID not in with_old.store.packages.ids()
    assert with_old.version == "1.2"


def test_a_transfer_of_a_patch_goes_on_where_it_broke_off(
    with_old: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    delta = patched(monkeypatch, NEW["model"])
    start = chunk_starts(delta)[1]
    breaks_off(with_old, delta, start + 9)
    assert with_old.offer(delta).resume_at == start
    with_old.install(delta)
    assert content(with_old, NEW_ID) == NEW


@pytest.mark.parametrize("came", [1, 3], ids=["a chunk", "the whole patch"])
def test_a_patch_that_was_damaged_before_the_rest_of_it_came_is_sent_again(
    with_old: Device, monkeypatch: pytest.MonkeyPatch, came: int
) -> None:
    delta = patched(monkeypatch, NEW["model"])
    breaks_off(with_old, delta, chunk_starts(delta)[came])
    (patch,) = (with_old.root / "incoming").glob("*/patches/model.bin")
    spoil(patch, 9)
    assert with_old.offer(delta).resume_at == chunk_starts(delta)[0]
    with_old.install(delta)
    assert content(with_old, NEW_ID) == NEW


def test_without_the_base_the_full_package_is_asked_for(device: Device) -> None:
    delta = delta_of(NEW_PACKAGE, OLD, {"golden": "same"}, {}, OWNER)
    failure = fails("base_missing", lambda: device.offer(delta))
    assert "the delta of golden.bin is made against" in failure.message
    assert failure.hint == "push the full package"
    device.install(NEW_PACKAGE)


def test_a_base_that_is_damaged_is_none(with_old: Device) -> None:
    (with_old.root / "store" / head_of_package(OLD).package_id / "golden.bin").write_bytes(b"?")
    delta = delta_of(NEW_PACKAGE, OLD, {"golden": "same"}, {}, OWNER)
    fails("base_missing", lambda: with_old.offer(delta))


def test_a_base_that_goes_between_offer_and_use_is_missing(with_old: Device) -> None:
    delta = delta_of(NEW_PACKAGE, OLD, {"golden": "same"}, {}, OWNER)
    offered = with_old.offer(delta)
    (with_old.root / "store" / head_of_package(OLD).package_id / "golden.bin").write_bytes(b"?")
    fails("base_missing", lambda: with_old.receive(delta, offered))
    with_old.install(NEW_PACKAGE)


def test_a_patch_that_cannot_be_applied_asks_for_the_full_package(
    with_old: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    delta = patched(monkeypatch, b"")

    def fail(program: str, base: str, patch: str, path: str, size: int) -> None:
        raise patching._failed("out of memory")

    monkeypatch.setattr("device_agent.installing.apply_patch", fail)
    failure = fails("delta_failed", lambda: with_old.try_out(delta))
    assert failure.hint == "push the full package"
    assert incoming(with_old.root) == [], "or the disk might not take the full one"
    with_old.install(NEW_PACKAGE)
    assert content(with_old, NEW_ID) == NEW


# ---- room on the disk ----------------------------------------------------------------------------


def test_a_disk_that_is_too_full_is_left_alone(
    device: Device, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (store, durable):
        monkeypatch.setattr(module, "free_bytes", lambda _: 1000)
    message = fails("disk_full", lambda: device.offer(PACKAGE)).message
    needed = HEAD.manifest.raw_bytes + store.SPARE_BYTES
    assert message.startswith("found 1000 bytes free") and message.endswith(f"expected {needed}")
    assert device.store.packages.ids() == ()


def test_only_room_for_the_rest_is_asked_for(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_off(device, PACKAGE, chunk_starts(PACKAGE)[5])
    rest = HEAD.manifest.raw_bytes - len(LARGE["model"])
    for free, enough in ((rest + store.SPARE_BYTES, True), (rest + store.SPARE_BYTES - 1, False)):
        monkeypatch.setattr(store, "free_bytes", lambda _, free=free: free)
        if enough:
            assert device.offer(PACKAGE).resume_at > 0
        else:
            fails("disk_full", lambda: device.offer(PACKAGE))


def steps_until_installed(monkeypatch: pytest.MonkeyPatch, device: Device) -> int:
    """How often a disk is asked for durable bytes while a package is put on trial."""
    calls = 0

    def count(_: int) -> None:
        nonlocal calls
        calls += 1

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", count)
        device.try_out(PACKAGE)
    return calls


def test_a_disk_that_fills_up_loses_the_partial_files_only(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Device(tmp_path / "probe")
    steps = steps_until_installed(monkeypatch, probe)
    probe.close()
    assert steps > 5
    for failing in range(1, steps + 1):
        device = Device(tmp_path / f"device{failing}")
        device.install(OLD)
        calls = 0

        def fsync(_: int, failing: int = failing) -> None:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            failure = fails("disk_full", partial(device.try_out, PACKAGE))
        assert "bytes free" in failure.message
        assert device.version == "1.2" and device.store.packages.verified_path(
            head_of_package(OLD).package_id, "model"
        )
        assert incoming(device.root) == [], "what came of it would keep the disk full"
        device.install(PACKAGE)
        device.close()


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
    device = Device(tiny_disk / "device")
    device.install(OLD)
    free = durable.free_bytes(str(tiny_disk))
    package = package_of({"model": noise(2 * 2**20)}, OWNER)
    assert "expected 2097152" in fails("disk_full", lambda: device.try_out(package)).message
    assert durable.free_bytes(str(tiny_disk)) == free
    assert device.version == "1.2"
    device.install(NEW_PACKAGE)
    device.close()


def test_reading_from_the_middle_is_not_the_host_s_choice(device: Device) -> None:
    """What comes is taken for what was asked for, and found not to be."""
    offered = device.offer(PACKAGE)
    later = chunk_starts(PACKAGE)[2]
    with pytest.raises(CorruptPackage):
        device.installer.install(offered.package_id, io.BytesIO(PACKAGE[later:]).read)
    assert device.store.packages.ids() == ()
