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

from device_agent.codec import canonical
from edgesdk.devices.bootstrap import build_agent
from tests.signers import BELIEVES_OWNER, OWNER
from tests.slow.debian_guest import Guest, archive
from tests.slow.emulator import Dead, Disk, Failed, Machine, Message
from tests.unit.device_agent.agent_packages import id_of, package_of

TOOLS = ("mkfs.ext4", "e2fsck", "cp")

ENROL, ROLL_BACK = "enrol", "roll back"
Action = int | str
"""What the agent does: one of these, or the installation of the package of that number."""
History = tuple[Action, ...]
Unsynced = str | int | None
Found = dict[str, Any]
"""What the driver's `look` returns."""

LAZY = {"options": "data=ordered,commit=600,noauto_da_alloc", "writeback": False}
"""Nothing gets to the disk unasked: what is not synced is not there by luck, nor is the content of
a file that was renamed over another, which ext4 would otherwise write first."""
USUAL = {"options": "data=ordered", "writeback": True}

_GUEST = Path(__file__).parent / "guest"
_DISK_BYTES = 64 * 2**20
_PACKAGES = 250
_SIZES = {"model": 48 * 1024, "golden": 3 * 1024}
_AT_MOST = 2
"""Packages that are installed in a row before the one that is cut."""


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
    """When the power goes in an action; with no fields, when it has ended.

    Args:
        step: just after this step of the action, from 0.
        meanwhile: what the system writes by itself before: "nothing", or "names", which is
            everything but the content of files.
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
        ended: whether the action had ended before.
        said: whether the agent had said that it was done.
        current: the package that is the current one at the next start; None for none.
        problems: what must not be.
    """

    ended: bool
    said: bool
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
        self._images: dict[History, Path] = {(): _blank(folder / "blank.img")}
        self._expected: dict[History, Found] = {}
        started = time.monotonic()
        with Machine(guest, self._initrd, Disk(self._images[()], 1.0), self._log) as machine:
            machine.await_ready()
            self.boot_s = time.monotonic() - started
            machine.save(self._state)

    def steps(self, before: History, action: Action) -> list[Step]:
        """What is counted of an action.

        Args:
            before: what was done on that device earlier.
        """
        with self._copy(before) as image, self._start(Disk(image, 1.0), LAZY) as machine:
            return [Step(*step) for step in machine.ask("act", actions=[action])]

    def cut(
        self,
        before: History,
        action: Action,
        cut: Cut,
        keep: float,
        unsynced: Unsynced = None,
    ) -> Outcome:
        """Cut the power in an action, and see what the next start finds and another attempt does.

        Args:
            before: what was done on that device earlier.
            keep: share of the blocks written and not flushed that survive.
            unsynced: which syncs do nothing: those of "files", of "folders", "all", or one step's.
        """
        with self._copy(before) as image:
            disk = Disk(image, keep, seed=cut.request or cut.step or 0, last=cut.request)
            heard = self._act(disk, action, cut, unsynced)
            said = any(message["event"] == "said" for message in heard)
            current, problems = self._examine(image, before, action, said)
        ended = any("value" in message for message in heard)
        return Outcome(ended, said, current, tuple(problems))

    def rounds(self, count: int, keep: float, seed: int) -> Iterator[tuple[int, int]]:
        """Install package after package on one disk, with the power cut at random moments.

        Each moment lies in the time that an installation took just before.

        Yields: for each cut the last package said to be installed, and the one that the next start
            found; all of its files were whole.
        """
        moments = random.Random(seed)
        with self._copy((ENROL, 0)) as image:
            found = 0
            for number in range(count):
                with self._start(Disk(image, keep, seed + number), USUAL) as machine:
                    machine.send("act", actions=list(range(found + 1, found + 2 + _AT_MOST)))
                    done, heard = moments.randint(1, _AT_MOST), machine.listen()
                    started = time.monotonic()
                    said = [next(heard)["action"] for _ in range(done)]
                    time.sleep(moments.uniform(0, (time.monotonic() - started) / done))
                    machine.cut_power()
                    said += _last_words(heard)
                with self._start(Disk(image, 1.0), USUAL) as machine:
                    found = self._whole(machine.ask("look"))
                yield said[-1], found

    def _act(self, disk: Disk, action: Action, cut: Cut, unsynced: Unsynced) -> Sequence[Message]:
        with self._machine(disk) as machine:
            try:
                machine.ask("mount", **LAZY)
            except Failed:
                return ()  # The disk died before.
            machine.send(
                "act",
                actions=[action],
                cut=cut.step,
                meanwhile=cut.meanwhile,
                unsynced=unsynced,
            )
            heard = tuple(machine.listen())
            machine.cut_power()
        return heard

    def _examine(
        self, image: Path, before: History, action: Action, said: bool
    ) -> tuple[int | None, list[str]]:
        """What the next start finds, and what comes of another attempt."""
        found, problems = None, []
        with self._start(Disk(image, 1.0), LAZY) as machine:
            old = self._undisturbed(machine, before)
            new = self._undisturbed(machine, (*before, action))
            try:
                found = machine.ask("look")
                problems += _wrong(found, old, new, said)
                if not (action == ROLL_BACK and _same(found, new)):  # Twice is there and back.
                    machine.ask("act", actions=[action])
                problems += _differences(machine.ask("look"), new)
                machine.ask("leave")
            except Failed as failure:
                problems.append(str(failure).splitlines()[-1])
            else:
                _check_file_system(image)
        return self._current(found), problems

    def _current(self, found: Found | None) -> int | None:
        return None if found is None else self._numbers.get(found["current"])

    def _whole(self, found: Found) -> int:
        """The current package, which the stable path leads to as well, or did just before."""
        assert not found["failures"]
        assert found["application"] in (found["current"], found["previous"])
        return self._numbers[found["current"]]

    def _undisturbed(self, machine: Machine, history: History) -> Found:
        """What is seen after all that without a mishap, on a disk in memory."""
        if history not in self._expected:
            self._expected[history] = machine.ask("undisturbed", actions=list(history))
        return self._expected[history]

    @contextlib.contextmanager
    def _copy(self, history: History) -> Iterator[Path]:
        """A disk of its own, on which all that was done."""
        if history not in self._images:
            with self._copy(()) as image:
                with self._start(Disk(image, 1.0), LAZY) as machine:
                    machine.ask("act", actions=list(history))
                    machine.ask("leave")
                kept = self._folder / f"{len(self._images)}.img"
                self._images[history] = image.rename(kept)
        copy = self._folder / "disk.img"
        subprocess.run(["cp", "--sparse=always", self._images[history], copy], check=True)
        yield copy
        copy.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _start(self, disk: Disk, mounting: Mapping[str, object]) -> Iterator[Machine]:
        with self._machine(disk) as machine:
            machine.ask("mount", **mounting)
            yield machine

    def _machine(self, disk: Disk) -> Machine:
        return Machine(self._guest, self._initrd, disk, self._log, self._state)


_STANDING = ("current", "previous", "trusts")


def _same(found: Found, other: Found) -> bool:
    """Whether a device is where another is."""
    return all(found[key] == other[key] for key in _STANDING)


def _wrong(found: Found, old: Found, new: Found, said: bool) -> list[str]:
    """What must not be, directly after the power cut."""
    problems = [f"not whole: {failure}" for failure in found["failures"]]
    if not (_same(found, old) or _same(found, new)):
        problems.append("the device is neither where it was nor where it was to get")
    if said and not _same(found, new):
        problems.append("what was said to be done is not")
    allowed = [new] if said else [old, new]
    if found["application"] not in [each["application"] for each in allowed]:
        problems.append(f"an application finds {found['application']}")
    return problems


def _differences(found: Found, wanted: Found) -> list[str]:
    """How another attempt ended elsewhere than one without a mishap."""
    if found == wanted:
        return []
    there, expected = map(dict, (found["names"], wanted["names"]))
    more, less = sorted(set(there) - set(expected)), sorted(set(expected) - set(there))
    other = sorted(name for name in set(there) & set(expected) if there[name] != expected[name])
    return [f"after another attempt: left over {more}, missing {less}, different {other}"]


def _last_words(heard: Iterator[Message]) -> list[Action]:
    """What else the machine said to be done before its end."""
    said = []
    with contextlib.suppress(Dead):
        for message in heard:
            if message["event"] == "said":
                said.append(message["action"])
    return said


def _check_file_system(image: Path) -> None:
    """The file system itself must be sound, or what was seen says nothing about the agent."""
    subprocess.run(["e2fsck", "-fn", image], check=True, capture_output=True)


@functools.cache
def _packages() -> tuple[bytes, ...]:
    content = random.Random(4)
    return tuple(
        package_of(
            {role: content.randbytes(size) for role, size in _SIZES.items()},
            OWNER,
            version=f"1.{number}",
            sequence=number + 1,
        )
        for number in range(_PACKAGES)
    )


def _overlay(folder: Path) -> bytes:
    """What is ours in the guest: the first program, the driver, the agent, the packages, whom to
    believe.
    """
    (folder / "packages").mkdir(parents=True)
    shutil.copy(_GUEST / "init", folder)
    shutil.copy(_GUEST / "driver.py", folder)
    (folder / "agent.pyz").write_bytes(build_agent().zipapp)
    (folder / "trust.json").write_bytes(canonical(BELIEVES_OWNER))
    for number, content in enumerate(_packages()):
        (folder / "packages" / f"{number}.edgepkg").write_bytes(content)
    return archive(folder)


def _blank(image: Path) -> Path:
    """A new file system."""
    image.touch()
    os.truncate(image, _DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", image], check=True)
    return image
