"""What devices say of themselves, read from texts as real ones write them."""

from __future__ import annotations

import os
import platform

import pytest

from device_agent import environment
from device_agent.environment import (
    highest_khz,
    hottest,
    merge_governors,
    parse_cpu_mhz,
    parse_cpu_model,
    parse_load_average,
    parse_meminfo,
    parse_os_release,
    parse_status,
    read_environment,
)

PI_5 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

processor\t: 1
BogoMIPS\t: 108.00
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

Revision\t: c04170
Serial\t\t: 0000000000000000
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
RK3588 = """\
processor\t: 0
CPU implementer\t: 0x41
CPU part\t: 0xd05

processor\t: 4
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""
PI_ZERO = """\
processor\t: 0
model name\t: ARMv6-compatible processor rev 7 (v6l)
CPU implementer\t: 0x41
CPU architecture: 7
CPU part\t: 0xb76

Hardware\t: BCM2835
"""
KRYO = "processor\t: 0\nCPU implementer\t: 0x51\nCPU part\t: 0x804\n"
XEON = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Processor @ 2.60GHz
cpu MHz\t\t: 2599.998

processor\t: 1
model name\t: Intel(R) Xeon(R) Processor @ 2.60GHz
cpu MHz\t\t: 3100.5
"""


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (PI_5, "Cortex-A76"),
        (RK3588, "Cortex-A55 + Cortex-A76"),
        (PI_ZERO, "ARM1176"),
        (KRYO, "implementer 0x51 part 0x804"),
        (XEON, "Intel(R) Xeon(R) Processor @ 2.60GHz"),
        ("processor : 0\nhart : 1\nisa : rv64imafdc\n", ""),
        ("", ""),
    ],
)
def test_cpu_models(text: str, model: str) -> None:
    assert parse_cpu_model(text) == model


@pytest.mark.parametrize(("text", "clock_hz"), [(XEON, 3_100_500_000), (PI_5, None), ("", None)])
def test_clocks_in_cpuinfo(text: str, clock_hz: int | None) -> None:
    assert parse_cpu_mhz(text) == clock_hz


MEMINFO = "MemTotal:        8245892 kB\nMemFree:          123 kB\nMemAvailable:    7000000 kB\n"


@pytest.mark.parametrize(
    ("field", "size"),
    [("MemTotal", 8245892 * 1024), ("MemAvailable", 7_000_000 * 1024), ("SwapTotal", None)],
)
def test_memory(field: str, size: int | None) -> None:
    assert parse_meminfo(MEMINFO, field) == size


def test_memory_of_a_process() -> None:
    status = "Name:\tpython3\nVmPeak:\t  999 kB\nVmHWM:\t   18684 kB\nVmRSS:\t   17000 kB\n"
    assert parse_status(status, "VmHWM") == 18684 * 1024
    assert parse_status("", "VmHWM") is None


@pytest.mark.parametrize(
    ("zones", "celsius"),
    [
        ([("cpu-thermal\n", "47750\n")], 47.75),
        ([("battery\n", "60000\n"), ("soc-thermal\n", "41000\n"), ("CPU-therm", "43500")], 43.5),
        ([("x86_pkg_temp\n", "39000\n"), ("acpitz\n", "90000\n")], 39.0),
        ([("acpitz\n", "27800\n"), ("wifi\n", "")], 27.8),
        ([("cpu-thermal\n", "-273000\n")], None),
        ([("cpu-thermal\n", "")], None),
        ([], None),
    ],
)
def test_temperatures(zones: list[tuple[str, str]], celsius: float | None) -> None:
    assert hottest(zones) == celsius


@pytest.mark.parametrize(
    ("texts", "governors"),
    [
        (["ondemand\n"] * 4, "ondemand"),
        (["schedutil\n", "performance\n"], "performance,schedutil"),
        (["", ""], None),
        ([], None),
    ],
)
def test_governors(texts: list[str], governors: str | None) -> None:
    assert merge_governors(texts) == governors


@pytest.mark.parametrize(
    ("texts", "clock_hz"),
    [(["1800000\n", "2400000\n"], 2_400_000_000), (["<unknown>\n"], None), ([""], None)],
)
def test_cpufreq(texts: list[str], clock_hz: int | None) -> None:
    assert highest_khz(texts) == clock_hz


def test_load_and_system() -> None:
    assert parse_load_average("0.52 0.58 0.59 1/467 12345\n") == 0.52
    assert parse_load_average("") is None
    release = 'NAME="Debian GNU/Linux"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
    assert parse_os_release(release) == "Debian GNU/Linux 12 (bookworm)"
    assert parse_os_release("PRETTY_NAME=Buildroot\n") == "Buildroot"
    assert parse_os_release("") == ""


def test_this_machine_can_be_read(tmp_path: os.PathLike[str]) -> None:
    found = read_environment(os.fspath(tmp_path))
    assert found.hostname == platform.node()
    assert found.cpu_count == len(os.sched_getaffinity(0))
    assert (found.memory_total_bytes or 0) > (found.memory_available_bytes or 0) > 0
    assert (found.disk_free_bytes or 0) > 0


def test_what_cannot_be_read_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_read", lambda _: "")
    found = read_environment("/nowhere/at/all")
    assert (found.memory_total_bytes, found.governor, found.max_clock_hz) == (None, None, None)
    assert (found.cpu_model, found.board) == ("", None)
    assert environment.peak_rss_bytes() > 10**6, "from getrusage where there is no /proc"
