"""What this machine has to have to emulate aarch64: looked at, never installed."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgesdk.errors import ToolchainMissing

_BINFMT = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ENABLE = (
    "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; "
    "update-binfmts --enable qemu-aarch64"
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found here.

    Args:
        machine: as `uname -m` has it.
        is_root: this process is root's.
        programs: those of `PROGRAMS` that are there.
        keyring: Debian's keys are there.
        binfmt: what the kernel says of running aarch64 programs; "" where it runs none.
    """

    machine: str
    is_root: bool
    programs: frozenset[str]
    keyring: bool
    binfmt: str


PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "zstd": "zstd",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "tar": "tar",
    "chroot": "coreutils",
    "qemu-aarch64-static": "qemu-user-static",
}
"""Program to the Debian package it is in."""


def require() -> None:
    """Refuse a machine that cannot emulate aarch64.

    Raises:
        ToolchainMissing: naming all that is missing, and the command that installs it.
    """
    if error := lack(this_machine()):
        raise error


def this_machine() -> Machine:
    """What is here."""
    return Machine(
        machine=platform.machine(),
        is_root=os.geteuid() == 0,
        programs=frozenset(name for name in PROGRAMS if shutil.which(name, path=_path())),
        keyring=_KEYRING.exists(),
        binfmt=_BINFMT.read_text() if _BINFMT.exists() else "",
    )


def _path() -> str:
    """Where root finds programs, whoever asks."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def lack(found: Machine) -> ToolchainMissing | None:
    """The error for what is missing; None where nothing is."""
    if found.machine == "aarch64":
        return ToolchainMissing(
            "this machine is aarch64 itself, so there is nothing to emulate",
            hint="--kind sshd and --kind python are real aarch64 here",
        )
    missing = list(_missing(found))
    if not missing:
        return None
    packages = sorted({package for _, package in missing if package})
    steps = [f"apt-get install {' '.join(packages)}"] if packages else []
    if not _runs_in_any_root(found.binfmt):
        steps.append(_ENABLE)
    if not found.is_root:
        steps.append("run edgesdk as root")
    return ToolchainMissing(
        f"--kind arm64 needs what is missing here: {', '.join(what for what, _ in missing)}",
        hint="; ".join(steps),
    )


def _missing(found: Machine) -> Iterator[tuple[str, str]]:
    """What is missing, and the package it is in, "" where none brings it."""
    if not found.is_root:
        yield "root, for mounts of its own", ""
    for program, package in PROGRAMS.items():
        if program not in found.programs:
            yield program, package
    if not found.keyring:
        yield str(_KEYRING), "debian-archive-keyring"
    if not _runs_in_any_root(found.binfmt):
        yield "a kernel that starts aarch64 programs (binfmt_misc, with flag F)", "binfmt-support"


def _runs_in_any_root(binfmt: str) -> bool:
    """Enabled, with the flag that keeps QEMU open: the device's root has none."""
    lines = binfmt.splitlines()
    flags = [line.removeprefix("flags: ") for line in lines if line.startswith("flags: ")]
    return "enabled" in lines and any("F" in flag for flag in flags)
