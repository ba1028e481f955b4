"""Kernel and root of a small arm64 Debian, made of packages from this machine's own Debian mirror.

Nothing is installed here and nobody need be root: apt keeps its lists in a folder of ours, and the
packages are unpacked only. The result is kept in the user's cache; remove it there to get newer
packages.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesdk.files import new_directory

TOOLS = ("apt-get", "apt-cache", "dpkg-deb", "cpio")

_ARCHITECTURE = "arm64"
_PLAIN = ("busybox-static", "libc6", "libexpat1", "liblzma5", "zlib1g")
_NEWEST = {  # Names without a version, and the packages they stand for.
    "linux-image-cloud-arm64": ("linux-image-",),
    "python3-minimal": ("python3.",),
    "libpython3-stdlib": ("libpython3.",),
}
_MODULES = ("virtio", "virtio_ring", "virtio_mmio", "virtio_console", "virtio_blk")
_FOLDERS = ("bin", "dev", "proc", "sys", "tmp", "data", "modules", "lib", "usr/bin", "usr/lib")
_UNUSED = ("pydoc_data", "test", "xml", "asyncio", "idlelib", "ensurepip")
"""Of Python's library, for the sake of size."""


class NoGuest(Exception):
    """The packages cannot be had here."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A machine's software.

    Args:
        kernel: an uncompressed or self-extracting image for QEMU's -kernel.
        root: an archive (cpio, "newc") for -initrd; others may follow it in one file.
        packages: names of the Debian packages, with versions.
    """

    kernel: Path
    root: Path
    packages: tuple[str, ...]


def debian_guest(cache: Path) -> Guest:
    """The guest, made where the cache does not have it.

    Raises:
        NoGuest: apt cannot fetch the packages.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    made = cache / "edgesdk" / "slow-tests" / recipe
    if not made.exists():
        with new_directory(made) as work:
            _make(work)
    packages = tuple((made / "packages").read_text().splitlines())
    return Guest(made / "kernel", made / "root.cpio", packages)


def archive(folder: Path) -> bytes:
    """A folder as an archive that the kernel unpacks, all of it root's."""
    listing = "".join(f"{path.relative_to(folder)}\n" for path in sorted(folder.rglob("*")))
    argv = ["cpio", "--create", "--format=newc", "--owner=0:0", "--quiet"]
    return subprocess.run(
        argv, cwd=folder, input=listing.encode(), stdout=subprocess.PIPE, check=True
    ).stdout


def _make(work: Path) -> None:
    scratch = work / "scratch"
    _fetch(scratch)
    unpacked, root = scratch / "unpacked", scratch / "root"
    packages = sorted(scratch.glob("*.deb"))
    for package in packages:
        _run(["dpkg-deb", "--extract", package, unpacked])
    _fill(root, unpacked)
    (kernel,) = (unpacked / "boot").glob("vmlinuz-*")
    kernel.rename(work / "kernel")
    (work / "root.cpio").write_bytes(archive(root))
    (work / "packages").write_text("".join(f"{package.stem}\n" for package in packages))
    shutil.rmtree(scratch)


def _fetch(scratch: Path) -> None:
    for name in ("lists/partial", "archives/partial"):
        (scratch / name).mkdir(parents=True)
    (scratch / "status").touch()
    settings = {
        "APT::Architecture": _ARCHITECTURE,
        "APT::Architectures": _ARCHITECTURE,
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Dir::State": scratch,
        "Dir::State::lists": scratch / "lists",
        "Dir::State::status": scratch / "status",
        "Dir::Cache": scratch,
    }
    options = [f"--option={name}={value}" for name, value in settings.items()]
    _run(["apt-get", *options, "update"], scratch)
    names = [*_PLAIN]
    for meta, prefixes in _NEWEST.items():
        said = _run(["apt-cache", *options, "depends", "--important", meta], scratch)
        found = [line.split(":")[1].strip() for line in said.splitlines() if ":" in line]
        names += [name for name in found if name.startswith(prefixes)]
    names += [f"lib{name}" for name in names if name.startswith("python3.")]
    _run(["apt-get", *options, "download", *names], scratch)


def _fill(root: Path, unpacked: Path) -> None:
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    shutil.copy2(unpacked / "bin/busybox", root / "bin")
    for module in _MODULES:
        (found,) = unpacked.rglob(f"{module}.ko")
        shutil.copy2(found, root / "modules")
    for place in ("lib", "lib/*-linux-gnu", "usr/lib/*-linux-gnu"):
        for path in unpacked.glob(f"{place}/*.so*"):
            _copy(path, root / path.relative_to(unpacked))
    (python,) = (unpacked / "usr/bin").glob("python3.*")
    shutil.copy2(python, root / "usr/bin/python3")
    library = Path("usr/lib") / python.name
    shutil.copytree(
        unpacked / library,
        root / library,
        ignore=shutil.ignore_patterns(*_UNUSED),
        dirs_exist_ok=True,
    )


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, to, follow_symlinks=False)


def _run(argv: Sequence[str | Path], directory: Path | None = None) -> str:
    ended = subprocess.run(
        argv, cwd=directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if ended.returncode:
        last = ended.stdout.strip().splitlines()[-1:]
        raise NoGuest(f"{argv[0]} failed with exit code {ended.returncode}: {' '.join(last)}")
    return ended.stdout
