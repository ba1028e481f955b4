"""A device whose programs are real aarch64 ones, run by qemu-user, OpenSSH's server among them.

It has its own root, processes, host name and disk, and shares this machine's kernel and network.
What is computed there is what aarch64 code computes; how long that takes says nothing of any
device, and what memory it takes is QEMU's, too. Needs root.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgesdk.devices.emulation import openssh, processor, requirements
from edgesdk.devices.emulation.first_process import AUTHORIZED, HOST_KEY
from edgesdk.devices.emulation.image import image
from edgesdk.devices.emulation.kinds import DeviceServer
from edgesdk.devices.inventory import Device
from edgesdk.devices.ssh import connect
from edgesdk.errors import DeviceError
from edgesdk.progress import Progress
from edgesdk.serial import from_dict
from edgesdk.units import MIB

USER = "edge"
DISK_BYTES = 2048 * MIB
LEAST_DISK_BYTES = 320 * MIB
"""The Debian, and what a login and the agent write."""

_NAME = "edge-arm64"
_SELF = Path(__file__)
_UNSHARED = ("--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child")
_START_S = 60.0
_LOGIN_S = 60.0
_PROBE_S = 60.0


class Arm64Device(DeviceServer["_Running"]):
    """An emulated arm64 Debian on 127.0.0.1, which lets in one user with one generated key.

    Nothing is kept: every start is a fresh one, and nothing is left when it stops, however this
    process ends.

    Args:
        port: 0 takes a free one.
        disk_bytes: size of its disk, 0.2 GiB of which are taken; it lies in this machine's memory.
        progress: shown while the Debian is made, the first time.
    """

    def __init__(self, progress: Progress, *, port: int = 0, disk_bytes: int = DISK_BYTES) -> None:
        super().__init__()
        self._progress = progress
        self._requested_port = port
        self._disk_bytes = disk_bytes

    def as_device(self, name: str, target: str) -> Device:
        """What its enrolment holds."""
        return self._started.as_device(name, target)

    def _boot(self, resources: contextlib.ExitStack) -> _Running:
        """Start the Debian, and look whether results computed there can be believed."""
        requirements.require()
        archive = image(self._progress)
        port = openssh.free_port(self._requested_port)
        running = resources.enter_context(_booted(archive, port, self._disk_bytes))
        _require_sound(running.as_device("emulated", "generic-arm64"))
        return running

    def serve_forever(self) -> None:
        """Serve a started device until interrupted (KeyboardInterrupt passes on)."""
        self._started.server.wait()


class _Running:
    """A booted device."""

    def __init__(self, server: openssh.Server, port: int, keys: openssh.Keys) -> None:
        self.server = server
        self._port = port
        self._keys = keys

    def as_device(self, name: str, target: str) -> Device:
        return Device(
            name=name,
            host=openssh.HOST,
            port=self._port,
            user=USER,
            target=target,
            host_key=self._keys.host_line,
            identity_file=str(self._keys.client_file),
            kind="arm64",
            lab=True,
        )


@contextlib.contextmanager
def _booted(archive: Path, port: int, disk_bytes: int) -> Iterator[_Running]:
    with tempfile.TemporaryDirectory(prefix="edgesdk-arm64-") as folder:
        files = Path(folder)
        keys = _write_files(files, port)
        argv = _first_process(archive, files, disk_bytes)
        with openssh.served(argv, port, files / "log", _START_S) as server:
            yield _Running(server, port, keys)


def _write_files(files: Path, port: int) -> openssh.Keys:
    """What `first_process` takes from its folder."""
    keys = openssh.make_keys(files)
    (files / "authorized_keys").write_text(keys.client_line + "\n")
    (files / "cpuinfo").write_text(processor.cpuinfo(len(os.sched_getaffinity(0))))
    settings = openssh.config(
        port=port,
        user=USER,
        host_key=HOST_KEY,
        authorized_keys=AUTHORIZED,
        sftp="internal-sftp",
        environment={"QEMU_CPU": processor.CPU},
    )
    (files / "sshd_config").write_text(settings)
    return keys


def _first_process(archive: Path, files: Path, disk_bytes: int) -> list[str]:
    program = [sys.executable, "-m", "edgesdk.devices.emulation.first_process"]
    given = [str(archive), str(files), str(disk_bytes), _NAME, processor.CPU, USER]
    return ["unshare", *_UNSHARED, *program, *given]


def _require_sound(device: Device) -> None:
    """Refuse a device whose results could not be believed.

    Raises:
        DeviceError: saying why.
    """
    if faults := processor.faults(_seen(device)):
        raise DeviceError(
            "what the emulated device computes could not be believed, so it was stopped",
            details=faults,
            hint=f"QEMU 7.2 and later know {processor.CPU}; is another program named in "
            "/proc/sys/fs/binfmt_misc/qemu-aarch64?",
        )


def _seen(device: Device) -> processor.Seen:
    program = _SELF.with_name("probe.py").read_bytes()
    with connect(device, deadline_s=_LOGIN_S) as transport:
        done = transport.run([device.python, "-I", "-"], stdin=program, deadline_s=_PROBE_S)
    if done.returncode != 0:
        raise DeviceError(
            f"Python does not run on the emulated device (exit code {done.returncode})",
            details=done.stderr.splitlines()[-3:],
        )
    return from_dict(processor.Seen, json.loads(done.stdout), origin="the emulated device")
