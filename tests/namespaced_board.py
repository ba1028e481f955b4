"""A board made of this machine: OpenSSH with processes, sensors and a boot id of its own.

It runs in namespaces of its own for processes and mounts, and is enrolled as a board, so that all
the rules for boards hold. What it says of its clock, heat and start are files of the test,
mounted over the kernel's; all else is this machine's. For root, where mounts are allowed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from edgesdk.devices.emulation import openssh
from edgesdk.devices.inventory import Device
from tests.cli import this_machine

_SSHD = Path("/usr/sbin/sshd")
_START_S = 20.0
_INIT = """\
set -e
mkdir -p /run/sshd
mount --bind "$1/boot_id" /proc/sys/kernel/random/boot_id
mount --bind "$1/cpuinfo" /proc/cpuinfo
mount --bind "$1/thermal" /sys/class/thermal
while :; do
  "$2" -D -e -f "$1/sshd_config" || true
  sleep "$(cat "$1/off_s")"
done
"""
"""$1: the folder; $2: sshd."""


class NamespacedBoard:
    """Use as a context manager.

    Args:
        folder: empty.
        settings: further lines of its sshd_config.
        environment: set for every login.
    """

    def __init__(
        self, folder: Path, *, settings: str = "", environment: dict[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._port = openssh.free_port()
        self._keys = openssh.make_keys(folder)
        self._resources = contextlib.ExitStack()
        (folder / "home").mkdir()
        (folder / "thermal").mkdir()
        self.set_boot_id()
        self.set_off_s(0.0)
        self.set_clock_mhz(2400.0)
        (folder / "authorized_keys").write_text(self._keys.client_line + "\n")
        (folder / "sshd_config").write_text(
            openssh.config(
                port=self._port,
                user="root",
                host_key=str(self._keys.host_file),
                authorized_keys=str(folder / "authorized_keys"),
                sftp="internal-sftp",
                environment={"HOME": str(folder / "home"), **(environment or {})},
                settings=settings,
            )
        )

    def __enter__(self) -> Self:
        if os.getuid() != 0 or not _SSHD.exists():
            pytest.skip("a board of its own namespaces needs root and OpenSSH's server")
        log = self._resources.enter_context((self._folder / "log").open("wb"))
        # It ends with us, however we end, and all that runs in it with it.
        ending = ("setpriv", "--pdeathsig", "KILL")
        unshare = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        self._process = subprocess.Popen(
            [*ending, *unshare, "sh", "-c", _INIT, "init", str(self._folder), str(_SSHD)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        self._resources.callback(self._process.wait)
        self._resources.callback(self._process.kill)
        try:
            self._await_port()
        except BaseException:
            self._resources.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._resources.close()

    def as_device(self, name: str, *, target: str = "", port: int | None = None) -> Device:
        """Enrolled as a board, of this machine's generic target unless said otherwise."""
        return Device(
            name=name,
            host=openssh.HOST,
            port=port or self._port,
            user="root",
            target=target or this_machine(),
            host_key=self._keys.host_line,
            identity_file=str(self._keys.client_file),
            python=sys.executable,
            lab=True,
        )

    def set_boot_id(self) -> None:
        """A new one, as after a start."""
        (self._folder / "boot_id").write_text(secrets.token_hex(16) + "\n")

    def set_off_s(self, seconds: float) -> None:
        """How long it takes to start again."""
        (self._folder / "off_s").write_text(f"{seconds}\n")

    def set_clock_mhz(self, mhz: float) -> None:
        """What its processor's clock says, of each CPU."""
        lines = [f"processor\t: {cpu}\ncpu MHz\t\t: {mhz:.3f}\n" for cpu in range(2)]
        (self._folder / "cpuinfo").write_text("\n".join(lines))

    def set_sensor(self, name: str, **files: str | Path) -> None:
        """Files of a folder of /sys/class/thermal; a path becomes a link to it."""
        folder = self._folder / "thermal" / name
        folder.mkdir(exist_ok=True)
        for file, content in files.items():
            if isinstance(content, Path):
                (folder / file).symlink_to(content)
            else:
                (folder / file).write_text(content)

    def drop_sensor(self, name: str, file: str) -> None:
        """A file of it is gone."""
        (self._folder / "thermal" / name / file).unlink()

    def restart(self, *, programs_first: bool = False) -> None:
        """Kill all that runs there; it returns after the time it is off, with another boot id.

        Args:
            programs_first: as a system that shuts down does, which can be logged in to meanwhile.
        """
        if programs_first:
            self.kill("serve", signal.SIGKILL)
            time.sleep(1.0)
        self.set_boot_id()
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill(self, what: str, number: signal.Signals) -> None:
        """Send a signal to its processes whose command line has that word: "worker", "serve"."""
        for pid in self.processes(what):
            os.kill(pid, number)

    def processes(self, what: str) -> list[int]:
        """Its processes whose command line has that word; an agent's is "serve", as it is told."""
        found = []
        for pid in self._pids():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                is_agent = b"Starts the agent" in b" ".join(words)
                if what.encode() in words or (what == "serve" and is_agent):
                    found.append(pid)
        return found

    def when(self, condition: Callable[[], object], limit_s: float = 60.0) -> None:
        """Wait until it holds."""
        end_s = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end_s, "it never came to that"
            time.sleep(0.02)

    def _pids(self) -> Iterator[int]:
        """All but its first process, which starts OpenSSH again."""
        first = self._first()
        own = os.readlink(f"/proc/{first}/ns/pid")
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != first:
                with contextlib.suppress(OSError):
                    if os.readlink(entry / "ns" / "pid") == own:
                        yield int(entry.name)

    def _first(self) -> int:
        pid = self._process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)

    def _await_port(self) -> None:
        end_s = time.monotonic() + _START_S
        while True:
            if self._process.poll() is not None:
                pytest.skip(f"no namespaces here: {(self._folder / 'log').read_text()[-300:]}")
            try:
                socket.create_connection((openssh.HOST, self._port), 1.0).close()
                return
            except ConnectionRefusedError:
                assert time.monotonic() < end_s, (self._folder / "log").read_text()
                time.sleep(0.02)
