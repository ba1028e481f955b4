"""Which Python this is and which C library it runs on, as far as that decides which wheels fit.

The C library is that of the interpreter's own program, read from its ELF header: a board may have
both. Parsing is pure and apart from reading.
"""

from __future__ import annotations

import os
import platform
import re
import struct
import subprocess
import sys
import sysconfig
from typing import NamedTuple, Optional, Tuple

from device_agent.runtime_messages import Interpreter

_HEADER_BYTES = 64 * 1024
_PT_INTERP = 3
_EM_ARM = 40
_EF_ARM_EABI = 0x05000000
_EF_ARM_EABI_MASK = 0xFF000000
_EF_ARM_ABI_FLOAT_HARD = 0x00000400
_LOADER_S = 10.0
_VERSION = re.compile(r"(\d+)\.(\d+)")


class Elf(NamedTuple):
    """What an ELF file says of itself.

    Args:
        loader: the program that loads it, e.g. "/lib/ld-musl-aarch64.so.1"; "" where it is static.
        hard_float: a 32-bit Arm program that passes floats in registers.
    """

    loader: str
    hard_float: bool


def read_interpreter() -> Interpreter:
    """The Python of this process."""
    elf = parse_elf(_head(os.path.realpath(sys.executable))) or Elf("", False)
    libc, libc_version = _libc(elf.loader)
    return Interpreter(
        path=sys.executable,
        implementation=sys.implementation.name,
        version=tuple(sys.version_info[:3]),
        abi=abi_tag(sys.version_info[:2], getattr(sys, "abiflags", "")),
        platform=sysconfig.get_platform(),
        machine=platform.machine(),
        bits=struct.calcsize("P") * 8,
        hard_float=elf.hard_float,
        libc=libc,
        libc_version=libc_version,
        release=platform.release(),
        build=platform.version(),
        inflates=_has_zlib(),
    )


def python_key(interpreter: Interpreter) -> str:
    """What must be the same for wheels that fitted once to fit still: "cp311 linux-aarch64 64"."""
    return "%s %s %d" % (interpreter.abi, interpreter.platform, interpreter.bits)


def machines(interpreter: Interpreter) -> Tuple[str, ...]:
    """What wheels may be built for to run on that Python, best first, e.g. ("aarch64",)."""
    machine = interpreter.platform.partition("-")[2].replace("-", "_").replace(".", "_")
    if interpreter.bits == 32:  # The kernel may be of 64 bits.
        machine = {"x86_64": "i686", "aarch64": "armv8l"}.get(machine, machine)
    return (machine, "armv7l") if machine == "armv8l" else (machine,)


def abi_tag(version: Tuple[int, ...], flags: str) -> str:
    """Tag of CPython's ABI (PEP 425), e.g. "cp37m"."""
    return "cp%d%d%s" % (version[0], version[1], flags)


def parse_elf(head: bytes) -> Optional[Elf]:
    """Read the beginning of an ELF file; None where it is none.

    The layout is that of the System V ABI, "Object Files"; the flags are Arm's, "ELF for the Arm
    Architecture".
    """
    if head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    order, is_64 = "<>"[head[5] - 1], head[4] == 2
    try:
        machine = struct.unpack_from(order + "H", head, 18)[0]
        offset = struct.unpack_from(order + ("Q" if is_64 else "I"), head, 32 if is_64 else 28)[0]
        flags = struct.unpack_from(order + "I", head, 48 if is_64 else 36)[0]
        size, count = struct.unpack_from(order + "HH", head, 54 if is_64 else 42)
        loader = _loader(head, order, is_64, range(offset, offset + size * count, size or 1))
    except struct.error:
        return None
    is_hard = flags & _EF_ARM_EABI_MASK == _EF_ARM_EABI and flags & _EF_ARM_ABI_FLOAT_HARD
    return Elf(loader, machine == _EM_ARM and not is_64 and bool(is_hard))


def _loader(head: bytes, order: str, is_64: bool, segments: range) -> str:
    for at in segments:
        if struct.unpack_from(order + "I", head, at)[0] == _PT_INTERP:
            kind = "Q" if is_64 else "I"
            start = struct.unpack_from(order + kind, head, at + (8 if is_64 else 4))[0]
            size = struct.unpack_from(order + kind, head, at + (32 if is_64 else 16))[0]
            return head[start : start + size].rstrip(b"\0").decode("utf-8", "replace")
    return ""


def parse_musl(said: str) -> Tuple[int, ...]:
    """The version from what musl's loader says when it is run alone: "Version 1.2.5"."""
    for line in said.splitlines():
        match = _VERSION.match(line[len("Version ") :]) if line.startswith("Version ") else None
        if match is not None:
            return int(match.group(1)), int(match.group(2))
    return ()


def parse_glibc(said: str) -> Tuple[int, ...]:
    """The version from CS_GNU_LIBC_VERSION: "glibc 2.31"."""
    match = _VERSION.search(said) if said.startswith("glibc") else None
    return (int(match.group(1)), int(match.group(2))) if match else ()


def _libc(loader: str) -> Tuple[str, Tuple[int, ...]]:
    if "musl" in os.path.basename(loader):
        return "musl", _musl_version(loader)
    try:
        version = parse_glibc(os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (OSError, ValueError):
        version = ()
    return ("glibc" if version else ""), version


def _musl_version(loader: str) -> Tuple[int, ...]:
    try:
        said = subprocess.run(
            [loader], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=_LOADER_S
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse_musl(said.decode("utf-8", "replace"))


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(_HEADER_BYTES)
    except OSError:
        return b""


def _has_zlib() -> bool:
    try:
        import zlib  # noqa: F401
    except ImportError:
        return False
    return True
