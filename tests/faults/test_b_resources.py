"""Rows 12 to 18: something runs out."""

from __future__ import annotations

import dataclasses
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from device_agent.archive import payloads
from device_agent.codec import canonical
from device_agent.manifest import DELTA_FORMAT, Delta, DeltaFile, Limits
from device_agent.trust import DELTA_NAMESPACE
from edgesdk import api
from edgesdk.errors import BudgetExceeded, PackageError
from edgesdk.package.chunks import hashes
from edgesdk.package.reading import full_path
from edgesdk.values.package import Budget, Package
from tests.faults.bench import DEVICE, Bench
from tests.faults.matrix import fault
from tests.faults.releases import Releases
from tests.faults.test_a_interruption import RECEIVED

Mount = Callable[..., Path]

DISK_BYTES = 4 * 2**20
SPARE_BYTES = 256 * 1024
"""What the agent keeps free: it refuses what would leave less."""

PATCH = random.Random(16).randbytes(3000)
"""One that nobody can read."""

FALLS_BACK = "the full package is sent in its place and is committed; the user is told"


@pytest.fixture
def small_disk(virtual_bench: Bench, seed: Path, mount: Mount) -> Bench:
    """A device whose store is a disk of 4 MiB, and runs version 1.0."""
    mount(virtual_bench.store, f"size={DISK_BYTES}")
    virtual_bench.has(seed)
    return virtual_bench


@pytest.fixture
def few_inodes(virtual_bench: Bench, seed: Path, mount: Mount) -> Bench:
    """A device whose store can hold some 40 files more, and runs version 1.0."""
    mount(virtual_bench.store, "size=16m,nr_inodes=80")
    virtual_bench.has(seed)
    return virtual_bench


# ---- 12 to 15: the disk ------------------------------------------------------------------------


@fault(12, "the disk is filled before the push: all of it, and all but 50 and 99 % of the package")
@pytest.mark.parametrize("percent", [0, 50, 99])
def test_a_full_disk(small_disk: Bench, releases: Releases, percent: int) -> None:
    new = releases(2)
    with filled(small_disk.store, new.installed_bytes * percent // 100):
        error = small_disk.refuses(new)
        assert error.code == "disk_full"
        assert "bytes free" in error.message and "expected" in error.message
        small_disk.await_silence()
        assert small_disk.runs() == "1.0"
    small_disk.is_as_before("1.0")
    small_disk.takes(new)


@fault(12, "others fill the disk to the last byte when 0, 50 and 99 % of the package are written")
@pytest.mark.parametrize("percent", [0, 50, 99])
def test_a_disk_that_fills_up(small_disk: Bench, releases: Releases, percent: int) -> None:
    """Then what was written is given up: it would keep the disk full."""
    new = releases(2)
    chunks = sum(len(payload.sizes) for payload in payloads(new.head))
    filler = small_disk.store / "filler"
    number = max(1, chunks * percent // 100)
    small_disk.order("fill", "append", RECEIVED, number=number, argument=str(filler))
    error = small_disk.refuses(new)
    assert small_disk.struck()
    assert error.code == "disk_full"
    assert os.listdir(small_disk.store / "incoming") == [], "the partial file is gone"
    assert small_disk.runs() == "1.0"
    filler.unlink()
    small_disk.is_as_before("1.0")
    small_disk.takes(new)


@fault(13, "the disk is full when the state is written: for the trial, and for the commit")
@pytest.mark.parametrize("number", [1, 2], ids=["trial", "commit"])
def test_no_space_for_the_state(small_disk: Bench, releases: Releases, number: int) -> None:
    filler = small_disk.store / "filler"
    path = r"/sessions/[^/]+/state\.json$"
    small_disk.order("fill", "open", path, number=number, argument=str(filler))
    error = small_disk.refuses(releases(2))
    assert small_disk.struck()
    assert error.code == "disk_full"
    assert small_disk.runs() == "1.0"
    filler.unlink()
    small_disk.is_as_before("1.0")
    small_disk.takes(releases(2))


@fault(14, "the last inode is taken before the push, and when a file of the package is made")
@pytest.mark.parametrize("when", ["before", "during"])
def test_no_inodes(few_inodes: Bench, releases: Releases, when: str) -> None:
    taken = few_inodes.store / "taken"
    taken.mkdir()
    if when == "before":
        take_inodes(taken)
    else:
        few_inodes.order("inodes", "open", RECEIVED, argument=str(taken))
    error = few_inodes.refuses(releases(2))
    assert when == "before" or few_inodes.struck()
    assert error.code == "disk_full"
    assert few_inodes.runs() == "1.0"
    for path in taken.iterdir():
        path.unlink()
    taken.rmdir()
    few_inodes.is_as_before("1.0")
    few_inodes.takes(releases(2))


@fault(15, "the disk is remounted read-only")
def test_a_read_only_disk(small_disk: Bench, releases: Releases) -> None:
    remount(small_disk.store, "ro")
    error = small_disk.refuses(releases(2))
    assert error.code == "storage"
    assert "Read-only file system" in error.message
    assert small_disk.runs() == "1.0"
    remount(small_disk.store, "rw")
    small_disk.is_as_before("1.0")
    small_disk.takes(releases(2))


@fault(15, "the agent itself is not on the read-only disk yet", "it runs from memory, and says why")
def test_a_read_only_disk_without_an_agent(small_disk: Bench, releases: Releases) -> None:
    for path in (small_disk.store / "agent").iterdir():
        path.unlink()
    remount(small_disk.store, "ro")
    assert "Read-only file system" in small_disk.refuses(releases(2)).message
    remount(small_disk.store, "rw")
    small_disk.is_as_before("1.0")


# ---- 16 and 17: the process --------------------------------------------------------------------


@fault(16, "a delta is pushed and nothing is short", "it is applied and committed")
def test_a_delta_without_a_fault(old_virtual: Bench, releases: Releases) -> None:
    """So that it is the shortage that the others find."""
    said: list[str] = []
    api.push(releases.delta(2).path, DEVICE, say=said.append)
    assert said == []
    old_virtual.is_as_before("2.0")


@fault(16, "no more memory for the process that applies the delta", FALLS_BACK)
def test_no_memory_for_the_delta(old_virtual: Bench, releases: Releases) -> None:
    if old_virtual.interpreter.is_emulated:
        pytest.skip("qemu-user knows no limit of memory")
    old_virtual.order("memory", "begin", role="patch", argument=1024 * 1024)
    assert "MemoryError" in falls_back(old_virtual, releases.delta(2))


@fault(16, "SIGKILL for the process that applies the delta, as the kernel does it", FALLS_BACK)
def test_the_delta_is_killed_for_its_memory(old_virtual: Bench, releases: Releases) -> None:
    old_virtual.order("die", "begin", role="patch")
    assert "signal 9" in falls_back(old_virtual, releases.delta(2))


@fault(
    16,
    "SIGKILL for the process that applies the delta, and there is no full package beside the delta",
)
def test_no_full_package_to_fall_back_to(old_virtual: Bench, releases: Releases) -> None:
    delta = releases.delta(2)
    full_path(delta.path).unlink()
    old_virtual.order("die", "begin", role="patch")
    error = old_virtual.fails(lambda: old_virtual.push(delta), PackageError)
    assert "the full package is not at" in error.message
    old_virtual.is_as_before("1.0")
    old_virtual.takes(delta)


@fault(17, "the agent may open 5, 8, 10, 12 and 14 files")
def test_too_few_file_descriptors(old_virtual: Bench, releases: Releases) -> None:
    """At first it does not start, then it cannot write, and at last it can start no worker."""
    if old_virtual.interpreter.is_emulated:
        pytest.skip("qemu-user opens files of its own, so the limits mean others")
    codes = []
    for most in (5, 8, 10, 12, 14):
        old_virtual.order("files", "begin", argument=most)
        codes.append(old_virtual.refuses(releases(2)).code)
        old_virtual.await_silence()
        assert old_virtual.runs() == "1.0"
    assert codes == ["", "storage", "worker_died", "worker_died", "worker_died"]
    old_virtual.interpreter.order()
    old_virtual.is_as_before("1.0")
    old_virtual.takes(releases(2))


# ---- 18: budgets -------------------------------------------------------------------------------


@fault(
    18,
    "a package over its budget is built",
    "refused before there is a package, naming what is large",
)
@pytest.mark.parametrize("what", ["package", "installed", "peak_ram"])
def test_the_budget_is_kept_before_any_push(
    old_virtual: Bench, releases: Releases, tmp_path: Path, what: str
) -> None:
    output = tmp_path / "big.edgepkg"
    error = old_virtual.fails(
        lambda: releases.build(output, Budget(**{f"{what}_bytes": 10_000})), BudgetExceeded
    )
    assert error.what == what and error.actual_bytes > 10_000
    assert error.details
    assert not output.exists()


@fault(18, "a package that lies about its budget is pushed")
def test_the_device_checks_the_budget_again(old_virtual: Bench, releases: Releases) -> None:
    for limits in (Limits(installed_bytes=10_000), Limits(package_bytes=10_000)):
        big = releases.changed(releases(2), limits=limits)
        error = old_virtual.refuses(big)
        assert error.code == "over_budget"
        assert "expected at most 10000" in error.message
    old_virtual.is_as_before("1.0")
    assert os.listdir(old_virtual.store / "incoming") == []
    old_virtual.takes(releases(2))


# ---- parts -------------------------------------------------------------------------------------


def patched(releases: Releases, base: Package, new: Package) -> Package:
    """A delta whose patch of the model nobody can read; the full package lies beside it."""
    old_files = {file.role: file for file in base.manifest.files}
    hows, patches = [], {}
    for file in new.manifest.files:
        before = old_files[file.role]
        patches[file.path] = [PATCH]
        hows.append(
            DeltaFile(
                file.path,
                "bytes-delta",
                before.sha256,
                before.raw_bytes,
                len(PATCH),
                hashes([PATCH], len(PATCH)),
            )
        )
    delta = Delta(DELTA_FORMAT, new.manifest.package_id, base.manifest.package_id, tuple(hows))
    signatures = releases.signer.sign(canonical(delta), DELTA_NAMESPACE)
    head = dataclasses.replace(new.head, delta=delta, delta_signatures=signatures)
    package = releases.written(head, patches)
    full_path(package.path).write_bytes(new.path.read_bytes())
    return package


def falls_back(bench: Bench, delta: Package) -> str:
    """What the user is told when the delta does not do."""
    said: list[str] = []
    committed = api.push(delta.path, DEVICE, say=said.append)
    assert bench.struck()
    assert committed.installed.version == delta.manifest.version
    bench.is_as_before(delta.manifest.version)
    (line,) = said
    assert line.endswith("sending the full package instead")
    return line


class filled:
    """While it is open, a disk has so many bytes to give, besides what the agent keeps free."""

    def __init__(self, disk: Path, left_bytes: int) -> None:
        self._filler = disk / "filler"
        found = os.statvfs(disk)
        free = found.f_bavail * found.f_frsize
        self._bytes = free - left_bytes - (SPARE_BYTES if left_bytes else 0)

    def __enter__(self) -> None:
        self._filler.write_bytes(bytes(max(0, self._bytes)))

    def __exit__(self, *_: object) -> None:
        self._filler.unlink()


def take_inodes(folder: Path) -> None:
    for number in range(1000):
        try:
            (folder / str(number)).touch()
        except OSError:
            return


def remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", place], check=True)
