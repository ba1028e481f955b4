"""Which wheels a board's Python takes, best first, and what its dependencies' markers come to.

The tags are made by `packaging` for the board's Python, libc and architecture as the agent read
them; nothing here looks at this machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from packaging.tags import Tag, compatible_tags, cpython_tags

from device_agent.interpreter import machines
from device_agent.runtime_messages import Interpreter
from edgesdk.errors import NoWheels

_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""Older names of "manylinux_2_N" (PEP 600)."""
_OLDEST_GLIBC = {"x86_64": 5, "i686": 5}
_OLDEST_GLIBC_ELSEWHERE = 17


def board_tags(board: Interpreter) -> tuple[Tag, ...]:
    """Every tag that fits, best first.

    Raises:
        NoWheels: it is no CPython.
    """
    if board.implementation != "cpython":
        raise NoWheels(
            f"found {board.implementation} at {board.path}, expected CPython",
            hint="name another Python of the device: edgesdk device add ... --python PATH",
        )
    version = (board.version[0], board.version[1])
    platforms = board_platforms(board)
    own = cpython_tags(version, abis=(board.abi,), platforms=platforms)
    pure = compatible_tags(version, f"cp{version[0]}{version[1]}", platforms)
    return tuple(dict.fromkeys([*own, *pure]))


def board_platforms(board: Interpreter) -> tuple[str, ...]:
    """The platform tags that fit, best first, e.g. "manylinux_2_31_aarch64"."""
    return tuple(
        f"{prefix}_{machine}" for machine in machines(board) for prefix in _prefixes(board, machine)
    )


def marker_environment(board: Interpreter) -> Mapping[str, str]:
    """What markers such as 'python_version < "3.10"' are judged by (PEP 508)."""
    full = ".".join(map(str, board.version))
    return {
        "implementation_name": board.implementation,
        "implementation_version": full,
        "os_name": "posix",
        "platform_machine": board.machine,
        "platform_python_implementation": "CPython",
        "platform_release": board.release,
        "platform_system": "Linux",
        "platform_version": board.build,
        "python_full_version": full,
        "python_version": ".".join(map(str, board.version[:2])),
        "sys_platform": "linux",
        "extra": "",
    }


def describe_board(board: Interpreter) -> str:
    """Such as "Python 3.11.2 (cp311), aarch64, glibc 2.36"."""
    libc = f"{board.libc or 'unknown libc'} {'.'.join(map(str, board.libc_version))}".strip()
    version = ".".join(map(str, board.version))
    return f"Python {version} ({board.abi}), {machines(board)[0]}, {libc}"


def _prefixes(board: Interpreter, machine: str) -> Iterator[str]:
    major, minor = (*board.libc_version, 0, 0)[:2]
    # A 32-bit Arm that passes floats in integer registers can use no wheel but its own.
    is_soft = machine.startswith("arm") and not board.hard_float
    if board.libc == "glibc" and major == 2 and not is_soft:
        oldest = _OLDEST_GLIBC.get(machine, _OLDEST_GLIBC_ELSEWHERE)
        for each in range(minor, oldest - 1, -1):
            yield f"manylinux_2_{each}"
            if each in _LEGACY:
                yield _LEGACY[each]
    if board.libc == "musl" and major == 1:
        yield from (f"musllinux_1_{each}" for each in range(minor, -1, -1))
    yield "linux"
