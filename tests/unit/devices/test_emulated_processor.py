"""What tells of an emulated processor has to agree, or results computed there are not believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgesdk.devices.emulation.processor import CPU, Seen, cpuinfo, faults

A76_HWCAP = 0x11DFFB
"""AT_HWCAP of QEMU 7.2's cortex-a76, without evtstrm."""
FEATURES = tuple(
    next(line for line in cpuinfo(1).splitlines() if line.startswith("Features")).split()[2:]
)
SOUND = Seen(
    machine="aarch64",
    qemu_cpu=CPU,
    cpus=2,
    sysfs=True,
    sysfs_writable=False,
    parts=("0xd0b",),
    features=FEATURES,
    hwcap=A76_HWCAP,
    hwcap2=0,
)


def test_a_sound_one_has_no_faults() -> None:
    assert faults(SOUND) == ()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (replace(SOUND, sysfs=False), "XNNPACK"),
        (replace(SOUND, sysfs_writable=True), "can be written"),
        (replace(SOUND, parts=()), "tells of no ARM processor, expected CPU part 0xd0b"),
        (replace(SOUND, parts=("0xd03",)), "tells of 0xd03"),
        (replace(SOUND, parts=("0xd0b", "0xd03")), "tells of 0xd0b, 0xd03"),
        (replace(SOUND, qemu_cpu=""), "found QEMU_CPU=(not set) in a login, expected cortex-a76"),
        (replace(SOUND, qemu_cpu="max"), "found QEMU_CPU=max"),
        (replace(SOUND, hwcap2=1 << 23), "SVE or SME is emulated"),
        (replace(SOUND, hwcap=A76_HWCAP | 1 << 22), "SVE or SME is emulated"),
        (replace(SOUND, hwcap=A76_HWCAP & ~(1 << 20)), "not emulated: asimddp"),
        (replace(SOUND, features=(*FEATURES, "sve")), "not emulated: sve"),
        (replace(SOUND, features=FEATURES[:3]), "no dot products"),
        (replace(SOUND, machine="x86_64"), "found a x86_64 machine"),
    ],
)
def test_each_disagreement_is_a_fault(changed: Seen, words: str) -> None:
    (fault,) = faults(changed)
    assert words in fault


def test_cpuinfo_has_a_paragraph_a_processor() -> None:
    paragraphs = cpuinfo(3).strip().split("\n\n")
    assert [each.splitlines()[0] for each in paragraphs] == [f"processor\t: {n}" for n in range(3)]
