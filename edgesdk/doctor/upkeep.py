"""Is the device in a state in which its results can be believed, and will it last?"""

from __future__ import annotations

from collections.abc import Iterator

from device_agent.inspection_messages import Built, Storage
from device_agent.protocol import ErrorCode
from edgesdk.units import GIB, MIB, format_bytes
from edgesdk.values.doctor import Examined, Finding

_CLOCK_S = 60.0
"""Signatures and expiries are dated to the second; a minute is more than any network takes."""
_NEARLY_FULL = 0.05
_LEAST_FREE_BYTES = 256 * MIB
_LITTLE_MEMORY_BYTES = 1 * GIB
_HOT_CELSIUS = 80.0
"""A Raspberry Pi begins to lower its clock between 80 and 85 degrees (Raspberry Pi documentation,
"Frequency management and thermal control"); others come later."""
_SLOW_GOVERNORS = {"powersave", "conservative"}
_OLD_KEYS = {"ssh-rsa", "ssh-dss"}


def upkeep_findings(examined: Examined, built: Built | None) -> Iterator[Finding]:
    """Clock, disks, governor, store, keys, memory, heat, and what could not be read."""
    yield from _clock(examined)
    yield from _store(examined)
    yield from _disks(examined)
    yield from _governor(examined)
    yield from _host_key(examined)
    yield from _swap(examined)
    yield from _libc(examined)
    yield from _heat(examined)
    yield from _package(examined, built)


def _clock(examined: Examined) -> Iterator[Finding]:
    off = examined.clock_ahead_s
    if abs(off) > _CLOCK_S:
        yield Finding(
            "clock",
            "warning",
            f"the clock of {examined.device} is {_span(off)} {'ahead of' if off > 0 else 'behind'} "
            "this machine's: expiry dates cannot be judged there",
            f"{off:+.0f} s",
            f"within {_CLOCK_S:.0f} s",
            "let it reach a time server: timedatectl set-ntp true, or sudo date -s on a network "
            "without one",
        )


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if abs(seconds) >= 2 * size:
            return f"{abs(seconds) / size:.0f} {unit}"
    return f"{abs(seconds):.0f} seconds"


def _store(examined: Examined) -> Iterator[Finding]:
    if examined.inspection.store_problem:
        yield Finding(
            "store",
            "error",
            f"nothing can be installed on {examined.device}: {examined.inspection.store_problem}",
            examined.inspection.store_problem,
            "a folder of the user's own that can be written",
            f"mount it writable, or log in as a user with a home folder (user "
            f"{examined.inspection.user})",
        )


def _disks(examined: Examined) -> Iterator[Finding]:
    seen = set()
    for storage in examined.inspection.storage:
        if storage.path in seen:
            continue
        seen.add(storage.path)
        total, free = storage.total_bytes, storage.free_bytes
        # An image that is mounted from a file is full by design.
        if total and free is not None and not storage.read_only and _is_nearly_full(total, free):
            yield Finding(
                "disk",
                "warning",
                f"the disk of {examined.device} is nearly full: {format_bytes(free)} of "
                f"{format_bytes(total)} are free at {storage.path}",
                format_bytes(free),
                f"more than {_NEARLY_FULL:.0%}, or {format_bytes(_LEAST_FREE_BYTES)}",
                "remove what is not needed; edgesdk device installed lists its packages",
            )
        yield from _lasting(examined, storage)


def _is_nearly_full(total: int, free: int) -> bool:
    return free < total * _NEARLY_FULL and free < _LEAST_FREE_BYTES


def _lasting(examined: Examined, storage: Storage) -> Iterator[Finding]:
    if storage.of == "store" and storage.kind == "memory":
        yield Finding(
            "store-in-memory",
            "warning",
            f"what is installed on {examined.device} is gone when it restarts: {storage.path} is "
            f"a {storage.filesystem}",
            storage.filesystem,
            "a disk",
            "log in as a user whose home folder is on a disk",
        )
    if storage.of == "system" and storage.read_only and not examined.inspection.store_problem:
        yield Finding(
            "read-only",
            "note",
            f"the system of {examined.device} is mounted read-only: runtimes are not installed "
            "there so easily",
            "read-only",
            "writable, unless it is meant so",
        )


def _governor(examined: Examined) -> Iterator[Finding]:
    found = set((examined.environment.governor or "").split(","))
    if slow := sorted(found & _SLOW_GOVERNORS):
        yield Finding(
            "governor",
            "warning",
            f"{examined.device} keeps its CPU slow: the governor is {', '.join(slow)}",
            ", ".join(slow),
            "performance, or schedutil and ondemand, which follow the load",
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )


def _host_key(examined: Examined) -> Iterator[Finding]:
    if examined.host_key_type in _OLD_KEYS:
        yield Finding(
            "host-key",
            "note",
            f"{examined.device} was enrolled with an {examined.host_key_type} host key, which "
            "newer SSH no longer prefers",
            examined.host_key_type,
            "ssh-ed25519",
            "sudo ssh-keygen -A there, and enrol it again with --replace",
        )


def _swap(examined: Examined) -> Iterator[Finding]:
    memory, swap = examined.environment.memory_total_bytes, examined.inspection.swap_bytes
    if memory is not None and memory < _LITTLE_MEMORY_BYTES and swap == 0:
        yield Finding(
            "swap",
            "note",
            f"{examined.device} has {format_bytes(memory)} of memory and no swap space: loading a "
            "runtime may end in the kernel's out-of-memory killer",
            "no swap space",
            "swap space, or zram",
            "sudo apt install zram-tools, where the device installs anything",
        )


def _libc(examined: Examined) -> Iterator[Finding]:
    if examined.inspection.musl and not examined.environment.libc:
        yield Finding(
            "libc",
            "warning",
            f"{examined.device} has musl, and runtimes come as wheels for glibc",
            "musl",
            "glibc",
            "use an image with glibc (Debian, Ubuntu, Yocto's default), or build the runtime there",
        )


def _heat(examined: Examined) -> Iterator[Finding]:
    readings = [each for each in examined.inspection.sensors if each.celsius is not None]
    hot = [each for each in readings if each.celsius is not None and each.celsius >= _HOT_CELSIUS]
    if hot:
        hottest = max(hot, key=lambda each: each.celsius or 0.0)
        yield Finding(
            "heat",
            "warning",
            f"{examined.device} is hot before anything runs: {hottest.name} is at "
            f"{hottest.celsius:.0f} degrees Celsius",
            f"{hottest.celsius:.0f} degrees Celsius",
            f"below {_HOT_CELSIUS:.0f}",
            "cool it, or end what runs there: it will throttle",
        )
    elif not readings and not examined.virtual:
        yield Finding(
            "sensors",
            "note",
            f"{examined.device} has no temperature sensor that can be read: that it throttles "
            "would not be seen",
            "no sensor",
            "a thermal zone",
        )


def _package(examined: Examined, built: Built | None) -> Iterator[Finding]:
    """That none is there is worth knowing where nobody asked for one, and an error otherwise."""
    problem, code = examined.inspection.package_problem, examined.inspection.package_code
    if problem and code != ErrorCode.NOT_INSTALLED:
        yield Finding(
            "package-damaged",
            "error",
            f"the installed package of {examined.device} cannot be read: {problem}",
            "what cannot be read",
            "a whole package",
            f"edgesdk push FILE --device {examined.device} repairs it",
        )
    elif problem and examined.asked:
        yield Finding(
            "package-missing",
            "error",
            f"no package {examined.asked!r} is installed on {examined.device}",
            "no such package",
            f"an installed package {examined.asked!r}",
            f"edgesdk device installed {examined.device} lists those that are there; edgesdk push "
            f"FILE --device {examined.device} brings one",
        )
    elif problem and built is None:
        yield Finding(
            "package",
            "note",
            f"{examined.device} was compared with its target only: {problem}",
            "no package",
            "an installed package, or --package FILE",
            f"edgesdk push FILE --device {examined.device}, or name the file",
        )
