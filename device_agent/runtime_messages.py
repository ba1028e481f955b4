"""The part of the wire by which a runtime comes onto a device that has no internet.

Registered with `device_agent.protocol.MESSAGES`; the rules are those of that module. One install is
`OfferRuntime`, a `SendWheel` for each wheel that is missing, and `FinishRuntime`. From the offer to
the end of it the session keeps others from installing.
"""

from __future__ import annotations

from typing import Tuple

from device_agent.records import record


@record(frozen=True)
class ReadInterpreter:
    """Which Python is it that runs the agent, and on what? Reply: `Interpreter`."""


@record(frozen=True)
class Interpreter:
    """What decides which wheels fit; "" and () where the system does not say.

    Args:
        path: of its program.
        implementation: "cpython", "pypy".
        version: such as (3, 11, 2).
        abi: tag of the ABI of its extension modules, e.g. "cp311", "cp37m" or "cp313t".
        platform: what it was built for, as `sysconfig.get_platform()` says: "linux-aarch64".
        machine: what the kernel says. A 32-bit Python may run on a 64-bit kernel.
        bits: of its pointers.
        hard_float: a 32-bit Arm program that passes floats in registers.
        libc: "glibc" or "musl".
        libc_version: such as (2, 31).
        release: of the kernel; markers of dependencies may ask for it.
        build: of the kernel; likewise.
        inflates: it has zlib, without which no wheel can be unpacked.
    """

    path: str
    implementation: str
    version: Tuple[int, ...]
    abi: str
    platform: str
    machine: str
    bits: int
    hard_float: bool
    libc: str
    libc_version: Tuple[int, ...]
    release: str
    build: str
    inflates: bool


@record(frozen=True)
class WheelFile:
    """One wheel.

    Args:
        file: its name, "NAME-VERSION-PYTHON-ABI-PLATFORM.whl".
        sha256: of its bytes, in hex.
        size_bytes: of the file.
        unpacked_bytes: of all files in it.
    """

    file: str
    sha256: str
    size_bytes: int
    unpacked_bytes: int


@record(frozen=True)
class OfferRuntime:
    """May these wheels, and no others, make a runtime here? Reply: `RuntimeOffered`.

    Nothing is written. `Failure` "busy", "disk_full", "incompatible" or "bad_request".

    Args:
        runtime: one of `manifest.RUNTIMES`; what was brought for it before is replaced.
        wheels: the runtime's own and those of all it depends on.
    """

    runtime: str
    wheels: Tuple[WheelFile, ...]


@record(frozen=True)
class RuntimeOffered:
    """They may.

    Args:
        missing: SHA-256 of the wheels that are not here yet, in the order of the offer.
    """

    missing: Tuple[str, ...]


@record(frozen=True)
class SendWheel:
    """The bytes of an offered wheel follow as payload. Reply: `WheelTaken`.

    They are hashed as they come, then every file of the wheel is compared with its RECORD.
    """

    sha256: str
    payload_bytes: int


@record(frozen=True)
class WheelTaken:
    """It lies here, unpacked, whole and durable; nothing uses it yet."""

    sha256: str


@record(frozen=True)
class FinishRuntime:
    """Import what was offered, in a process of its own, and use it from now on.

    Reply: `RuntimeInstalled`. Where it does not import, its `Failure`: what came of this offer is
    gone, and what was there before is used as before.
    """

    runtime: str


@record(frozen=True)
class RuntimeInstalled:
    """A runtime that the agent has to itself.

    Args:
        runtime: one of `manifest.RUNTIMES`.
        package: the distribution it comes from.
        version: as its distribution says.
        folder: where it lies on the device.
        wheels: what it is made of.
        already: it had been there before.
        usable: the Python that runs the agent now can use it; not so after an upgrade of Python.
    """

    runtime: str
    package: str
    version: str
    folder: str
    wheels: Tuple[WheelFile, ...]
    already: bool = False
    usable: bool = True


@record(frozen=True)
class ListRuntimes:
    """What has been installed so? Reply: `RuntimesHere`."""


@record(frozen=True)
class RuntimesHere:
    """The runtimes that the agent has to itself, by name.

    Args:
        bytes: what their folder takes.
        left_over_bytes: of that, what no runtime uses: an install that broke off.
    """

    runtimes: Tuple[RuntimeInstalled, ...]
    bytes: int
    left_over_bytes: int


@record(frozen=True)
class RemoveRuntimes:
    """Remove runtimes that were installed so. Reply: `RuntimesHere`, of what is left.

    Args:
        runtimes: which; none of them means all, and what an install left that broke off.
    """

    runtimes: Tuple[str, ...] = ()


@record(frozen=True)
class RemoveStore:
    """Remove all that the agent ever wrote on the device, packages included. Reply: `StoreRemoved`.

    It is the last request of its session. `Failure` "busy" while another session is there.
    """


@record(frozen=True)
class StoreRemoved:
    """All of it is gone.

    Args:
        folder: where it was.
        kept: names of files in it that are not the agent's; then the folder is still there.
    """

    folder: str
    kept: Tuple[str, ...] = ()


RUNTIME_MESSAGES = (
    ReadInterpreter,
    Interpreter,
    OfferRuntime,
    RuntimeOffered,
    SendWheel,
    WheelTaken,
    FinishRuntime,
    RuntimeInstalled,
    ListRuntimes,
    RuntimesHere,
    RemoveRuntimes,
    RemoveStore,
    StoreRemoved,
)
