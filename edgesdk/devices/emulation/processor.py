"""The processor that is emulated, how it is told of, and whether all that agrees. Pure.

qemu-user emulates instructions and leaves files alone, so what tells of the processor has to be put
in place, and each disagreement has been seen to give wrong results without an error:

- no /sys: LiteRT finds no processors, and XNNPACK is off;
- another machine's /proc/cpuinfo: LiteRT crashes;
- every extension that QEMU knows (its default): XNNPACK computes nonsense with SME;
- a /proc/cpuinfo that promises more than is emulated: ONNX Runtime dies of an illegal instruction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CPU = "cortex-a76"
"""QEMU's name of the processor of a Raspberry Pi 5."""
NAME = "Cortex-A76"
_PART = "0xd0b"
_FEATURES = {
    **{"fp": 0, "asimd": 1, "aes": 3, "pmull": 4, "sha1": 5, "sha2": 6, "crc32": 7},
    **{"atomics": 8, "fphp": 9, "asimdhp": 10, "cpuid": 11, "asimdrdm": 12, "lrcpc": 15},
    **{"dcpop": 16, "asimddp": 20},
}
"""Of a Cortex-A76, with their bits in AT_HWCAP: Linux, arch/arm64/include/uapi/asm/hwcap.h."""
_SVE_BIT = 22
"""In AT_HWCAP."""
_SME_BIT = 23
"""In AT_HWCAP2."""
_CPUINFO = """\
processor\t: {number}
BogoMIPS\t: 108.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: {part}
CPU revision\t: 1

"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a program on the device sees; made by `probe`.

    Args:
        machine: as `uname -m` has it.
        qemu_cpu: QEMU_CPU of a login, "" where it is not set.
        cpus: processors that a program may use.
        sysfs: /sys tells of processors.
        sysfs_writable: /sys could be written.
        parts: each different "CPU part" of /proc/cpuinfo.
        features: of its first processor.
        hwcap: AT_HWCAP, what the emulated processor itself says that it can.
        hwcap2: AT_HWCAP2.
    """

    machine: str
    qemu_cpu: str
    cpus: int
    sysfs: bool
    sysfs_writable: bool
    parts: tuple[str, ...]
    features: tuple[str, ...]
    hwcap: int
    hwcap2: int


def cpuinfo(cpus: int) -> str:
    """/proc/cpuinfo of so many processors."""
    features = " ".join(_FEATURES)
    each = (_CPUINFO.format(number=n, features=features, part=_PART) for n in range(cpus))
    return "".join(each)


def faults(seen: Seen) -> tuple[str, ...]:
    """Why results computed there could not be believed, one sentence each; none where they can."""
    return tuple(_faults(seen))


def _faults(seen: Seen) -> Iterator[str]:
    if seen.machine != "aarch64":
        yield f"found a {seen.machine} machine, expected aarch64"
    if not seen.sysfs:
        yield "/sys tells of no processors, without which LiteRT switches XNNPACK off"
    if seen.sysfs_writable:
        yield "/sys of this machine can be written there"
    if seen.parts != (_PART,):
        found = ", ".join(seen.parts) or "no ARM processor"
        yield f"/proc/cpuinfo tells of {found}, expected CPU part {_PART} ({NAME})"
    if seen.qemu_cpu != CPU:
        yield f"found QEMU_CPU={seen.qemu_cpu or '(not set)'} in a login, expected {CPU}"
    lacking = [name for name in seen.features if not _has(seen.hwcap, _FEATURES.get(name))]
    if lacking:
        yield f"/proc/cpuinfo promises what is not emulated: {', '.join(lacking)}"
    if "asimddp" not in seen.features:
        yield "/proc/cpuinfo tells of no dot products (asimddp), which a Cortex-A76 has"
    if _has(seen.hwcap, _SVE_BIT) or _has(seen.hwcap2, _SME_BIT):
        yield f"SVE or SME is emulated, which a {NAME} lacks and QEMU is known to get wrong"


def _has(capabilities: int, bit: int | None) -> bool:
    return bit is not None and bool(capabilities >> bit & 1)
