"""What the agent says of the Python that runs it."""

from __future__ import annotations

import dataclasses
import json
import struct
import sys
from pathlib import Path

import pytest
from old_pythons import name, pythons, said

from device_agent.interpreter import (
    Elf,
    abi_tag,
    machines,
    parse_elf,
    parse_glibc,
    parse_musl,
    python_key,
    read_interpreter,
)

MUSL_SAYS = "musl libc (aarch64)\nVersion 1.2.4\nDynamic Program Loader\nUsage: ..."


def elf(loader: bytes, *, bits: int, machine: int, flags: int = 0) -> bytes:
    """The beginning of a program whose only segment names its loader."""
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    if bits == 64:
        head = struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, flags, 64, 56, 1, 0, 0, 0)
        segment = struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(loader), len(loader), 1)
    else:
        head = struct.pack("<HHIIIIIHHHHHH", 3, machine, 1, 0, 52, 0, flags, 52, 32, 1, 0, 0, 0)
        segment = struct.pack("<IIIIIIII", 3, 84, 0, 0, len(loader), len(loader), 4, 1)
    return ident + head + segment + loader


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (
            elf(b"/lib/ld-musl-aarch64.so.1\0", bits=64, machine=183),
            Elf("/lib/ld-musl-aarch64.so.1", False),
        ),
        (
            elf(b"/lib/ld-linux-armhf.so.3\0", bits=32, machine=40, flags=0x05000400),
            Elf("/lib/ld-linux-armhf.so.3", True),
        ),
        (
            elf(b"/lib/ld-linux.so.3\0", bits=32, machine=40, flags=0x05000200),
            Elf("/lib/ld-linux.so.3", False),
        ),
        (b"#!/bin/sh\n", None),
        (b"\x7fELF\x02\x01" + bytes(20), None),
    ],
    ids=["musl", "hard float", "soft float", "a script", "cut off"],
)
def test_a_program_says_what_loads_it(head: bytes, expected: Elf | None) -> None:
    assert parse_elf(head) == expected


def test_a_loader_says_its_version() -> None:
    assert parse_musl(MUSL_SAYS) == (1, 2)
    assert parse_musl("something else") == ()
    assert parse_glibc("glibc 2.31") == (2, 31)
    assert parse_glibc("") == ()


def test_a_32_bit_python_on_a_64_bit_kernel_takes_32_bit_wheels() -> None:
    here = read_interpreter()
    pi = dataclasses.replace(here, platform="linux-aarch64", machine="aarch64", bits=32)
    assert machines(pi) == ("armv8l", "armv7l")
    assert machines(dataclasses.replace(pi, bits=64)) == ("aarch64",)


def test_abi_tags_have_the_flags() -> None:
    assert [abi_tag((3, 7), "m"), abi_tag((3, 13), "t")] == ["cp37m", "cp313t"]


def test_this_python_is_told() -> None:
    found = read_interpreter()
    assert found.path == sys.executable
    assert found.version == sys.version_info[:3]
    assert found.libc_version > (1, 0), "tests run on glibc or musl"
    assert python_key(found).startswith(f"cp{sys.version_info[0]}{sys.version_info[1]}")


@pytest.mark.parametrize("python", pythons(), ids=name)
def test_every_python_tells_of_itself(python: Path) -> None:
    program = (
        "import json; from device_agent.interpreter import read_interpreter\n"
        "found = read_interpreter(); print(json.dumps([found.version[:2], found.abi]))"
    )
    version, abi = json.loads(said(python, program, ""))
    assert ".".join(map(str, version)) == ".".join(name(python).split(".")[:2])
    assert abi.startswith("cp{}{}".format(*version))
