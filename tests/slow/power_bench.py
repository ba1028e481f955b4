"""Installs packages in the emulated machine, cuts its power, and says what is wrong afterwards."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesdk.devices.bootstrap import build_agent
from tests.slow.debian_guest import Guest, archive
from tests.slow.emulator import Dead, Disk, Failed, Machine, Message
from tests.unit.device_agent.agent_packages import id_of, package_of

TOOLS = ("mkfs.ext4", "e2fsck", "cp")

_GUEST = Path(__file__).parent / "guest"
_DISK_BYTES = 64 * 2**20
_PACKAGES = 250
_SIZES = {"model": 48 * 1024, "golden": 3 * 1024}
_AT_ONCE = 12
_LOOP_S = 1.2
"""A loop's packages, and when it is cut at the latest; emulated here, it takes longer than that."""

LAZY = {"options": "data=ordered,commit=600,noauto_da_alloc", "writeback": False}
"""Nothing gets to the disk unasked: what is not synced is not there by luck, nor is the content of
a file that was renamed over another, which ext4 would otherwise write first."""
USUAL = {"options": "data=ordered", "writeback": True}

Unsynced = str | int | None
Found = dict[str, Any]
"""What the driver's `look` returns."""


@dataclass(frozen=True, slots=True)
class Step:
    """A call that makes something durable, or changes a name.

    Args:
        call: its name in Python's `os`.
        kind: of what it is about: "file" or "folder".
        path: of that, below the store's root.
    """

    call: str
    kind: str
    path: str

    @property
    def syncs(self) -> bool:
        """It makes something durable."""
        return self.call in ("fsync", "fdatasync")


@dataclass(frozen=True, slots=True)
class Cut:
    """When the power goes in an installation; with no fields, when it has ended.

    Args:
        step: just after this step of the installation, from 0.
        meanwhile: what the system does by itself before: "nothing", "names" (everything but the
            content of files) or "everything".
        request: the request to write or flush in which the disk dies, from 1.
    """

    step: int | None = None
    meanwhile: str = "nothing"
    request: int = 0

    def __str__(self) -> str:
        if self.request:
            return f"in request {self.request} to the disk"
        return "at the end" if self.step is None else f"after step {self.step}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a power cut led to.

    Args:
        ended: whether the installation had ended before.
        reported: whether the agent had said "installed".
        current: the package that is the current one at the next start; None for none.
        problems: what must not be.
    """

    ended: bool
    reported: bool
    current: int | None
    problems: tuple[str, ...]


class Bench:
    """A saved machine with our agent, and disks to start it with.

    Args:
        guest: its software.
        folder: for its files, some hundred MB.
    """

    def __init__(self, guest: Guest, folder: Path) -> None:
        self._guest = guest
        self._folder = folder
        self._log = folder / "console.log"
        self._state = folder / "state"
        self._initrd = folder / "initrd"
        self._initrd.write_bytes(guest.root.read_bytes() + _overlay(folder / "overlay"))
        self._numbers = {id_of(content): number for number, content in enumerate(_packages())}
        self._images: dict[int, Path] = {0: _blank(folder / "0.img")}
        self._expected: dict[int, Found] = {}
        started = time.monotonic()
        with Machine(guest, self._initrd, Disk(self._images[0], 1.0), self._log) as machine:
            machine.await_ready()
            self.boot_s = time.monotonic() - started
            machine.save(self._state)

    def steps(self, installed: int) -> list[Step]:
        """What is counted of one more installation.

        Args:
            installed: how many packages are on the disk before.
        """
        with self._copy(installed) as image, self._start(Disk(image, 1.0), LAZY) as machine:
            return [Step(*step) for step in machine.ask("install", packages=[installed])]

    def install(self, installed: int, cut: Cut, keep: float, unsynced: Unsynced = None) -> Outcome:
        """Install one more package, cut the power, and see what the next start finds.

        Args:
            installed: how many packages are on the disk before.
            keep: share of the blocks written and not flushed that survive.
            unsynced: which syncs do nothing: those of "files", of "folders", "all", or one step's.
        """
        with self._copy(installed) as image:
            disk = Disk(image, keep, seed=cut.request or cut.step or 0, last=cut.request)
            heard = self._install(disk, installed, cut, unsynced)
            reported = any(message["event"] == "installed" for message in heard)
            current, problems = self._examine(image, installed, reported)
        ended = any("value" in message for message in heard)
        return Outcome(ended, reported, current, tuple(problems))

    def rounds(self, count: int, keep: float, seed: int) -> Iterator[tuple[int, int]]:
        """Install package after package on one disk, with the power cut at random moments.

        Yields: for each cut the last package said to be installed, and the one that the next start
            found; all of its files were whole.
        """
        moments = random.Random(seed)
        with self._copy(1) as image:
            found = 0
            for number in range(count):
                with self._start(Disk(image, keep, seed + number), USUAL) as machine:
                    wanted = range(found + 1, found + 1 + _AT_ONCE)
                    machine.send("install", packages=list(wanted))
                    time.sleep(moments.uniform(0, _LOOP_S))
                    machine.cut_power()
                    reported = _last_reported(machine, found)
                with self._start(Disk(image, 1.0), USUAL) as machine:
                    found = self._numbers[_whole(machine.ask("look"))]
                yield reported, found

    def _install(self, disk: Disk, number: int, cut: Cut, unsynced: Unsynced) -> Sequence[Message]:
        with self._machine(disk) as machine:
            try:
                machine.ask("mount", **LAZY)
            except Failed:
                return ()  # The disk died before.
            machine.send(
                "install",
                packages=[number],
                cut=cut.step,
                meanwhile=cut.meanwhile,
                unsynced=unsynced,
            )
            heard = tuple(machine.listen())
            machine.cut_power()
        return heard

    def _examine(self, image: Path, installed: int, reported: bool) -> tuple[int | None, list[str]]:
        """What the next start finds, and what comes of another attempt."""
        current, problems = None, []
        with self._start(Disk(image, 1.0), LAZY) as machine:
            try:
                found = machine.ask("look")
                current = self._number(found)
                problems += _wrong(found, current, installed, reported)
                machine.ask("install", packages=[installed])
                if machine.ask("look") != self._undisturbed(machine, installed + 1):
                    problems.append("another attempt does not lead to what one alone leads to")
            except Failed as failure:
                problems.append(str(failure).splitlines()[-1])
            machine.ask("leave")
        _check_file_system(image)
        return current, problems

    def _number(self, found: Found) -> int | None:
        return None if found["current"] is None else self._numbers[found["current"]]

    def _undisturbed(self, machine: Machine, packages: int) -> Found:
        """What is seen after as many installations without a mishap, on a disk in memory."""
        if packages not in self._expected:
            self._expected[packages] = machine.ask("undisturbed", packages=list(range(packages)))
        return self._expected[packages]

    @contextlib.contextmanager
    def _copy(self, installed: int) -> Iterator[Path]:
        """A disk of its own, with as many packages."""
        if installed not in self._images:
            with self._copy(0) as image:
                with self._start(Disk(image, 1.0), LAZY) as machine:
                    machine.ask("install", packages=list(range(installed)))
                    machine.ask("leave")
                self._images[installed] = image.rename(self._folder / f"{installed}.img")
        copy = self._folder / "disk.img"
        subprocess.run(["cp", "--sparse=always", self._images[installed], copy], check=True)
        yield copy
        copy.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _start(self, disk: Disk, mounting: Mapping[str, object]) -> Iterator[Machine]:
        with self._machine(disk) as machine:
            machine.ask("mount", **mounting)
            yield machine

    def _machine(self, disk: Disk) -> Machine:
        return Machine(self._guest, self._initrd, disk, self._log, self._state)


def _wrong(found: Found, current: int | None, installed: int, reported: bool) -> list[str]:
    """What must not be, directly after the power cut."""
    old, new = installed - 1 if installed else None, installed
    if current is None and found["failure"].startswith("not_installed") and not installed:
        problems = []
    elif found["failure"]:
        problems = [f"no whole package: {found['failure']}"]
    else:
        problems = [] if current in (old, new) else [f"package {current} is the current one"]
    if reported and current != new:
        problems.append(f"package {new} was installed, and package {current} is the current one")
    return problems


def _last_reported(machine: Machine, before: int) -> int:
    """What the machine said before its end."""
    reported = before
    with contextlib.suppress(Dead):
        for message in machine.listen():
            reported = message.get("package", reported)
    return reported


def _whole(found: Found) -> str:
    assert found["failure"] is None, found["failure"]
    package_id: str = found["current"]
    return package_id


def _check_file_system(image: Path) -> None:
    """The file system itself must be sound, or what was seen says nothing about the agent."""
    subprocess.run(["e2fsck", "-fn", image], check=True, capture_output=True)


@functools.cache
def _packages() -> tuple[bytes, ...]:
    content = random.Random(4)
    return tuple(
        package_of(
            {role: content.randbytes(size) for role, size in _SIZES.items()},
            version=f"1.{number}",
            sequence=number + 1,
        )
        for number in range(_PACKAGES)
    )


def _overlay(folder: Path) -> bytes:
    """What is ours in the guest: the first program, the driver, the agent, the packages."""
    (folder / "packages").mkdir(parents=True)
    shutil.copy(_GUEST / "init", folder)
    shutil.copy(_GUEST / "driver.py", folder)
    (folder / "agent.pyz").write_bytes(build_agent().zipapp)
    for number, content in enumerate(_packages()):
        (folder / "packages" / f"{number}.edgepkg").write_bytes(content)
    return archive(folder)


def _blank(image: Path) -> Path:
    """A new file system."""
    image.touch()
    os.truncate(image, _DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", image], check=True)
    return image
