"""The first process of an emulated device: makes its root and starts OpenSSH's server in it.

    unshare --mount --uts --ipc --pid --fork --kill-child \\
        python -m edgesdk.devices.emulation.first_process ARCHIVE FILES DISK_BYTES NAME CPU USER

It runs in namespaces of its own, natively, and never leaves this machine's root itself. When it
ends, the kernel kills all other processes of the device and takes its mounts apart.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesdk.devices.emulation.keeper import await_end

CONFIG = "/etc/ssh/edgesdk_config"
HOST_KEY = "/etc/ssh/edgesdk_host_key"
AUTHORIZED = "/etc/ssh/edgesdk_authorized_keys"
"""Where the device's server finds its files."""
FILES = {"sshd_config": CONFIG, "host_key": HOST_KEY, "authorized_keys": AUTHORIZED}
"""Name in the folder FILES to the place on the device."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_USER_ID = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """What the device is to be.

    Args:
        archive: of its root, tar in zstd.
        files: a folder with `FILES` and "cpuinfo"; the root is mounted on its "root".
        disk_bytes: size of its disk, which lies in memory.
        name: its host name.
        cpu: QEMU's name of its processor.
        user: who may log in.
    """

    archive: Path
    files: Path
    disk_bytes: int
    name: str
    cpu: str
    user: str

    @property
    def root(self) -> Path:
        """Where its root is mounted."""
        return self.files / "root"


def main(argv: Sequence[str]) -> None:
    """Be the device until our stdin or its server ends."""
    archive, files, disk_bytes, name, cpu, user = argv
    plan = Plan(Path(archive), Path(files), int(disk_bytes), name, cpu, user)
    _unpack(plan)
    _show_hardware(plan)
    _settle(plan)
    server = subprocess.Popen(
        ["chroot", str(plan.root), "/usr/sbin/sshd", "-D", "-e", "-f", CONFIG],
        stdin=subprocess.DEVNULL,
        env={"PATH": _PATH, "QEMU_CPU": plan.cpu},
    )
    # A first process inherits orphans; those that end shall not stay behind as zombies.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    await_end(server.pid)


def _unpack(plan: Plan) -> None:
    plan.root.mkdir()
    size = f"size={plan.disk_bytes},mode=755"
    _run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", plan.root])
    _run(["tar", "--extract", "--zstd", "--file", plan.archive, "--directory", plan.root])


def _show_hardware(plan: Plan) -> None:
    """Its own processes, this machine's /sys to read, its own processor, and the plainest /dev."""
    root = plan.root
    _run(["mount", "-t", "proc", "proc", root / "proc"])
    _run(["mount", "--bind", plan.files / "cpuinfo", root / "proc" / "cpuinfo"])
    _run(["mount", "--bind", "/sys", root / "sys"])
    _run(["mount", "-o", "remount,bind,ro", root / "sys"])
    shutil.rmtree(root / "dev")
    for name in ("dev", "dev/pts", "dev/shm"):
        (root / name).mkdir()
    (root / "dev/shm").chmod(0o1777)
    _run(["mount", "-t", "devpts", "-o", "newinstance,ptmxmode=666", "devpts", root / "dev/pts"])
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    for name in _DEVICES:
        (root / "dev" / name).touch()
        _run(["mount", "--bind", f"/dev/{name}", root / "dev" / name])


def _settle(plan: Plan) -> None:
    """Its name, its user, and its server's files."""
    socket.sethostname(plan.name)
    (plan.root / "etc/hostname").write_text(f"{plan.name}\n")
    (plan.root / "etc/hosts").write_text(f"127.0.0.1 localhost {plan.name}\n")
    (plan.root / "run/sshd").mkdir(mode=0o755, exist_ok=True)
    ids = f"{_USER_ID}:{_USER_ID}"
    for name, line in (
        ("passwd", f"{plan.user}:x:{ids}::/home/{plan.user}:/bin/bash"),
        ("shadow", f"{plan.user}:*:20000:0:99999:7:::"),
        ("group", f"{plan.user}:x:{_USER_ID}:"),
    ):
        with (plan.root / "etc" / name).open("a") as stream:
            stream.write(line + "\n")
    home = plan.root / "home" / plan.user
    home.mkdir(mode=0o755)
    os.chown(home, _USER_ID, _USER_ID)
    for name, place in FILES.items():
        shutil.copy(plan.files / name, plan.root / place.lstrip("/"))


def _run(argv: Sequence[str | Path]) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main(sys.argv[1:])
