"""A Python for aarch64 with ONNX Runtime, run by qemu-user: the device's interpreter, emulated.

The program and its libraries are those of the Debian that `edgesdk device emulate --kind arm64`
makes; ONNX Runtime is the aarch64 wheel of the version that runs here. The emulated processes use
this machine's kernel and files. They need root: a processor of the right kind has to be shown in
/proc/cpuinfo, without which the runtime crashes, and that is a mount in a namespace of theirs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from edgesdk.devices.emulation import processor, requirements
from edgesdk.devices.emulation.image import image, image_path
from edgesdk.errors import ToolchainMissing
from edgesdk.files import new_directory
from edgesdk.progress import Silent

VERSION = "3.11"
_CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
"""The user's, which the tests hide; read before they do."""

_WHEELS = ("onnxruntime", "numpy", "flatbuffers", "packaging", "protobuf")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")


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
        settings = f"export QEMU_LD_PREFIX={self.root} QEMU_CPU={processor.CPU}"
        shown = f"mount --bind {self.cpuinfo} /proc/cpuinfo"
        inner = f'{shown} && {settings} && exec {python} "$@"'
        return f"#!/bin/sh\nexec unshare -m sh -c '{inner}' sh \"$@\"\n"


def emulated() -> Emulated:
    """The interpreter, made where the cache does not have it; skips where it cannot run.

    On a machine that has what it takes, one that cannot be made is a failure.
    """
    try:
        requirements.require()
    except ToolchainMissing as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", _CACHE)
        archive = image(Silent())
    name = f"{image_path().name.partition('.')[0]}-onnxruntime-{version('onnxruntime')}"
    made = Path(_CACHE) / "edgesdk" / "fault-tests" / name
    if not made.exists():
        with new_directory(made) as work:
            _make(archive, work)
    return Emulated(made / "root", made / "site", made / "cpuinfo")


def _make(archive: Path, work: Path) -> None:
    (work / "root").mkdir()
    unpack = ["tar", "--extract", "--zstd", "--file", archive, "--exclude=./dev/*"]
    _run([*unpack, "--directory", work / "root"], work)
    for path in (work / "root").rglob("*"):
        if path.is_symlink() and not path.exists():
            path.unlink()  # To what begins at the root, which is another one here.
    wanted = [f"{name}=={version(name)}" for name in _WHEELS]
    platforms = [f"--platform={name}" for name in _PLATFORMS]
    argv = [sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary=:all:", *platforms]
    argv += [f"--python-version={VERSION}", "--implementation=cp", f"--target={work / 'site'}"]
    _run([*argv, *wanted], work)
    (work / "cpuinfo").write_text(processor.cpuinfo(2))


def _run(argv: Sequence[str | Path], folder: Path) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
