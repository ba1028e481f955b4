"""An emulated arm64 machine whose power can be cut.

It is booted once and saved when its driver says that it is ready; every later start goes on from
there with another disk. The saved kernel has not seen any disk yet, so that nothing of one is in
its memory. A power cut is SIGKILL for the emulator and for the disk: what the guest had in memory
is gone, and so is what the disk had not been told to flush.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.slow.debian_guest import Guest

TOOLS = ("qemu-system-aarch64", "nbdkit", "setpriv", "nice")
"""The first two are the machine and its disk; Debian's qemu-system-arm, nbdkit-plugin-python."""

_MEEKLY = ("setpriv", "--pdeathsig", "KILL", "nice", "-n", "10")
"""Others can work meanwhile; and when the tests are killed, so is what they started."""
_MACHINE = ("-M", "virt", "-cpu", "cortex-a53", "-accel", "tcg", "-m", "256", "-smp", "1")
_BARE = ("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
_CONSOLE = ("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console")
_KERNEL_ARGUMENTS = "console=ttyAMA0 loglevel=5 panic=-1"
_PLUGIN = Path(__file__).with_name("forgetful_disk.py")
_BOOT_S = 120.0
_ANSWER_S = 30.0
_SAVE_S = 60.0

Message = dict[str, Any]


class Dead(Exception):
    """The machine has ended, or does not answer in time."""


class Failed(Exception):
    """The driver could not do what was asked; its traceback."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of the machine.

    Args:
        image: its content, a raw file; of the same size for every start from one saved machine.
        keep: share of the blocks written and not flushed that a power cut leaves, 0 to 1.
        seed: which ones these are.
        last: the request to write or flush in which the disk dies, from 1; 0 is never. Requests
            after it fail.
    """

    image: Path
    keep: float
    seed: int = 0
    last: int = 0


class Machine:
    """A running machine; the block ends it without mercy.

    Args:
        guest: its software.
        initrd: the guest's root, with what the driver needs.
        disk: seen by the kernel when the driver loads its module.
        log: a file that gets what the guest's console and the emulator say.
        state: of a saved machine, to go on from there; None boots.

    Raises:
        Dead: the emulator or the disk does not start.
    """

    def __init__(
        self, guest: Guest, initrd: Path, disk: Disk, log: Path, state: Path | None = None
    ) -> None:
        self._log = log
        self._port, port = socket.socketpair()
        self._monitor, monitor = socket.socketpair()
        self._heard = self._port.makefile("rb")
        self._answers = self._monitor.makefile("rb")
        blocks, served = socket.socketpair()
        with port, monitor, blocks, served, log.open("ab") as said:
            self._disk = subprocess.Popen(_disk(disk), stdin=served, stdout=served, stderr=said)
            passed = [blocks.fileno(), port.fileno(), monitor.fileno()]
            argv = [*_MEEKLY, TOOLS[0], *_MACHINE, *_BARE, *_CONSOLE, *_devices(*passed)]
            argv += ["-kernel", str(guest.kernel), "-initrd", str(initrd)]
            argv += ["-append", _KERNEL_ARGUMENTS]
            with contextlib.ExitStack() as opened:
                if state is not None:
                    passed.append(opened.enter_context(state.open("rb")).fileno())
                    argv += ["-incoming", f"fd:{passed[-1]}"]
                self._emulator = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, pass_fds=passed
                )

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_power()
        for stream in (self._heard, self._answers, self._port, self._monitor):
            stream.close()

    def cut_power(self) -> None:
        """End the disk and the emulator at once. Twice is fine."""
        for process in (self._disk, self._emulator):
            process.kill()
        for process in (self._disk, self._emulator):
            process.wait()

    def await_ready(self) -> None:
        """Wait until a machine that boots has its driver running.

        Raises:
            Dead: it does not get there.
        """
        assert self._hear(_BOOT_S) == {"event": "ready"}

    def ask(self, do: str, **request: object) -> Any:
        """What the driver returns for a request; what it says meanwhile is not heard.

        Raises:
            Failed: it cannot do it.
            Dead: it does not answer.
        """
        self.send(do, **request)
        *_, last = self.listen()
        if "error" in last:
            raise Failed(last["error"])
        return last["value"]

    def send(self, do: str, **request: object) -> None:
        """Begin a request."""
        self._port.sendall(json.dumps({"do": do, **request}).encode() + b"\n")

    def listen(self) -> Iterator[Message]:
        """What the driver says, up to "done", or to "cut", where it waits for its end.

        Raises:
            Dead: it says nothing any more.
        """
        message: Message = {}
        while message.get("event") not in ("done", "cut"):
            message = self._hear(_ANSWER_S)
            yield message

    def save(self, state: Path) -> None:
        """Write the memory to a file, which ends the machine.

        Raises:
            Dead: it does not get there in time.
        """
        with state.open("wb") as stream:
            self._order("qmp_capabilities")
            self._order("getfd", {"fdname": "state"}, [stream.fileno()])
            self._order("migrate", {"uri": "fd:state"})
            deadline = time.monotonic() + _SAVE_S
            while (status := self._order("query-migrate")["status"]) != "completed":
                if status == "failed" or time.monotonic() > deadline:
                    raise Dead(f"saving the machine: {status}")
                time.sleep(0.05)

    def _hear(self, deadline_s: float) -> Message:
        self._port.settimeout(deadline_s)
        try:
            line = self._heard.readline()
        except OSError as error:
            raise Dead(f"no word within {deadline_s:g} s; {self._last_words()}") from error
        if not line.endswith(b"\n"):
            raise Dead(f"the emulator ended; {self._last_words()}")
        message: Message = json.loads(line)
        return message

    def _order(
        self, command: str, arguments: Message | None = None, descriptors: Sequence[int] = ()
    ) -> Any:
        """One command of QEMU's own protocol."""
        order = {"execute": command, "arguments": arguments or {}}
        socket.send_fds(self._monitor, [json.dumps(order).encode()], descriptors)
        self._monitor.settimeout(_ANSWER_S)
        for line in self._answers:
            answer = json.loads(line)
            if "error" in answer:
                raise Dead(f"QEMU refuses to {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise Dead(f"the emulator ended; {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "its log ends: " + " | ".join(lines[-5:])


def _disk(disk: Disk) -> list[str]:
    settings = {
        "script": _PLUGIN,
        "file": disk.image,
        "keep": disk.keep,
        "seed": disk.seed,
        "last": disk.last,
    }
    given = [f"{name}={value}" for name, value in settings.items()]
    return [*_MEEKLY, TOOLS[1], "--single", "python", *given]


def _devices(blocks: int, port: int, monitor: int) -> list[str]:
    """The disk, a serial port for the driver, and QEMU's monitor, each on a socket of ours."""
    return [
        *("-blockdev", f"driver=nbd,node-name=disk,server.type=fd,server.str={blocks}"),
        *("-device", "virtio-blk-device,drive=disk"),
        *("-chardev", f"socket,id=port,fd={port}", "-device", "virtio-serial-device"),
        *("-device", "virtserialport,chardev=port"),
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
    ]
