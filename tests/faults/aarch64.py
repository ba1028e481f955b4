"""A Python for aarch64 with ONNX Runtime, run by qemu-user: the device's interpreter, emulated.

The program and its libraries are Debian's for arm64, unpacked and not installed; ONNX Runtime is
the aarch64 wheel of the version that runs here. The emulated processes use this machine's kernel
and files. They need root: a processor of the right kind has to be shown in /proc/cpuinfo, without
which the runtime crashes, and that is a mount in a namespace of theirs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from edgesdk.files import new_directory

VERSION = "3.11"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
"""The user's, which the tests hide; read before they do."""

_PACKAGES = (
    *(f"python{VERSION}", f"python{VERSION}-minimal", f"libpython{VERSION}-minimal"),
    *(f"libpython{VERSION}-stdlib", "libc6", "libexpat1", "zlib1g", "libssl3", "libffi8"),
    *("libbz2-1.0", "liblzma5", "libstdc++6", "libgcc-s1", "libuuid1"),
)
_WHEELS = ("onnxruntime", "numpy", "flatbuffers", "packaging", "protobuf")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_BINFMT = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
_CPU = "cortex-a76"
_CPUINFO = """\
processor\t: {number}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimdrdm lrcpc asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""


@dataclass(frozen=True, slots=True)
class Emulated:
    """What an emulated interpreter is made of.

    Args:
        root: with its program and libraries.
        site: with ONNX Runtime.
        cpuinfo: what the processor says of itself.
    """

    root: Path
    site: Path
    cpuinfo: Path

    @property
    def program(self) -> Path:
        """The interpreter; it is run by the kernel through binfmt_misc."""
        return self.root / "usr" / "bin" / f"python{VERSION}"

    def command(self, python: Path) -> str:
        """A shell script that runs an environment of it, emulated."""
        settings = f"export QEMU_LD_PREFIX={self.root} QEMU_CPU={_CPU}"
        shown = f"mount --bind {self.cpuinfo} /proc/cpuinfo"
        inner = f'{shown} && {settings} && exec {python} "$@"'
        return f"#!/bin/sh\nexec unshare -m sh -c '{inner}' sh \"$@\"\n"


def emulated() -> Emulated:
    """The interpreter, fetched where the cache does not have it; skips where it cannot run."""
    if os.geteuid() != 0:
        pytest.skip("emulated aarch64 needs root")
    if not _BINFMT.exists():
        pytest.skip("binfmt_misc does not run aarch64 here: install qemu-user-static")
    made = _CACHE / "edgesdk" / "fault-tests" / f"aarch64-{version('onnxruntime')}"
    if not made.exists():
        if missing := [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]:
            pytest.skip(f"not installed: {', '.join(missing)}")
        with new_directory(made) as work:
            _make(work)
    return Emulated(made / "root", made / "site", made / "cpuinfo")


def _make(work: Path) -> None:
    debian = work / "debian"
    for name in ("lists/partial", "archives/partial"):
        (debian / name).mkdir(parents=True)
    (debian / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Dir::State": debian,
        "Dir::State::lists": debian / "lists",
        "Dir::State::status": debian / "status",
        "Dir::Cache": debian,
    }
    options = [f"--option={name}={value}" for name, value in settings.items()]
    _run(["apt-get", *options, "update"], debian)
    _run(["apt-get", *options, "download", *_PACKAGES], debian)
    for package in debian.glob("*.deb"):
        _run(["dpkg-deb", "--extract", package, work / "root"], debian)
    for path in (work / "root").rglob("*"):
        if path.is_symlink() and not path.exists():
            path.unlink()  # To what is in another package, or begins at the root.
    shutil.rmtree(debian)
    wanted = [f"{name}=={version(name)}" for name in _WHEELS]
    platforms = [f"--platform={name}" for name in _PLATFORMS]
    argv = [sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary=:all:", *platforms]
    argv += [f"--python-version={VERSION}", "--implementation=cp", f"--target={work / 'site'}"]
    _run([*argv, *wanted], work)
    (work / "cpuinfo").write_text("".join(_CPUINFO.format(number=number) for number in range(2)))


def _run(argv: Sequence[str | Path], folder: Path) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        pytest.skip(f"nothing to emulate aarch64 with: {argv[0]} failed: {last}")
