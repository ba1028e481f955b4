"""What the device is, read from /proc and /sys without privileges.

What cannot be read is None (or "" for a text), never a guess. Parsing is pure and apart from
reading.
"""

from __future__ import annotations

import contextlib
import glob
import os
import platform
import re
import resource
from typing import List, Optional, Sequence, Tuple

from device_agent import runtimes
from device_agent.accelerators import read_accelerators
from device_agent.durable import free_bytes
from device_agent.environment_messages import Environment
from device_agent.private_runtimes import private_folders
from device_agent.system_files import read_text as _read

_OOM_SCORE = "900"
_CPUFREQ = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/"
_CPU_ZONE = re.compile(r"cpu|soc|pkg", re.IGNORECASE)
_PLAUSIBLE_CELSIUS = (-40.0, 150.0)
_IMPLEMENTER_ARM = "0x41"
# NVIDIA's, of the same sources.
_OTHER_CORES = {("0x4e", "0x003"): "Denver", ("0x4e", "0x004"): "Carmel"}
# MIDR part numbers of Arm Ltd.: Linux arch/arm64/include/asm/cputype.h and util-linux
# sys-utils/lscpu-arm.c.
_ARM_PARTS = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xc08": "Cortex-A8",
    "0xc09": "Cortex-A9",
    "0xc0f": "Cortex-A15",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2",
    "0xd4b": "Cortex-A78C",
    "0xd4c": "Cortex-X1C",
    "0xd4d": "Cortex-A715",
    "0xd4e": "Cortex-X3",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
    "0xd82": "Cortex-X4",
    "0xd83": "Neoverse-V3AE",
    "0xd85": "Cortex-X925",
    "0xd87": "Cortex-A725",
}


def read_environment(root: str) -> Environment:
    """The device as it is now.

    Args:
        root: folder of the agent's store, for the free space of its file system.
    """
    memory = _read("/proc/meminfo")
    return Environment(
        hostname=platform.node(),
        machine=platform.machine(),
        system=parse_os_release(_read("/etc/os-release")) or platform.system(),
        kernel=platform.release(),
        libc=_libc(),
        python=platform.python_version(),
        cpu_model=parse_cpu_model(_read("/proc/cpuinfo")),
        cpu_count=usable_cpus(),
        memory_total_bytes=parse_meminfo(memory, "MemTotal"),
        memory_available_bytes=parse_meminfo(memory, "MemAvailable"),
        disk_free_bytes=free_bytes(root),
        governor=merge_governors(_read_all(_CPUFREQ + "scaling_governor")),
        max_clock_hz=highest_khz(_read_all(_CPUFREQ + "cpuinfo_max_freq")),
        board=board_name(),
        runtimes=runtimes.discover(private_folders(os.path.expanduser(root))),
        accelerators=read_accelerators(),
        boot_id=_read("/proc/sys/kernel/random/boot_id").strip(),
    )


def usable_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0))


def peak_rss_bytes() -> int:
    """Highest resident memory of this process since it started."""
    measured = parse_status(_read("/proc/self/status"), "VmHWM")
    # Kilobytes on Linux, which is where /proc may be hidden.
    return measured or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def rss_bytes() -> Optional[int]:
    """Resident memory of this process now."""
    return parse_status(_read("/proc/self/status"), "VmRSS")


def volunteer_for_the_oom_killer() -> None:
    """Let it take this process rather than the agent, or whatever else the device does."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as stream:
        stream.write(_OOM_SCORE)


def parse_meminfo(text: str, field: str) -> Optional[int]:
    """A field of /proc/meminfo, in bytes."""
    return _kilobytes(text, field)


def parse_status(text: str, field: str) -> Optional[int]:
    """A memory field of /proc/self/status, in bytes."""
    return _kilobytes(text, field)


def _kilobytes(text: str, field: str) -> Optional[int]:
    match = re.search(rf"^{field}:\s*(\d+) kB$", text, re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def parse_cpu_model(text: str) -> str:
    """The CPU's name from /proc/cpuinfo; several kinds of core are joined by " + "."""
    named = re.search(r"^(?:model name|cpu model)\s*:\s*(.+)$", text, re.MULTILINE)
    implementers = re.findall(r"^CPU implementer\s*:\s*(\S+)$", text, re.MULTILINE)
    parts = re.findall(r"^CPU part\s*:\s*(\S+)$", text, re.MULTILINE)
    cores = list(dict.fromkeys(map(arm_core, implementers, parts)))
    if cores:
        return " + ".join(cores)
    return named.group(1).strip() if named else ""


def arm_core(implementer: str, part: str) -> str:
    """A core's name from those two fields of /proc/cpuinfo; the fields where nobody knows it."""
    if implementer == _IMPLEMENTER_ARM and part in _ARM_PARTS:
        return _ARM_PARTS[part]
    return _OTHER_CORES.get((implementer, part), f"implementer {implementer} part {part}")


def parse_cpu_mhz(text: str) -> Optional[int]:
    """The fastest CPU's clock from /proc/cpuinfo (x86 only), in Hz."""
    clocks = re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", text, re.MULTILINE)
    return max((round(float(clock) * 1e6) for clock in clocks), default=None)


def parse_load_average(text: str) -> Optional[float]:
    """The first figure of /proc/loadavg: one minute."""
    match = re.match(r"\d+\.\d+", text)
    return float(match.group()) if match else None


def parse_os_release(text: str) -> str:
    """PRETTY_NAME of /etc/os-release; "" where there is none."""
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', text, re.MULTILINE)
    return match.group(1) if match else ""


def merge_governors(texts: Sequence[str]) -> Optional[str]:
    """The frequency governors of all CPUs, each once, joined by ","."""
    return ",".join(sorted({text.strip() for text in texts} - {""})) or None


def highest_khz(texts: Sequence[str]) -> Optional[int]:
    """The largest of several cpufreq files, in Hz."""
    return max((int(text) * 1000 for text in texts if text.strip().isdigit()), default=None)


def hottest(zones: Sequence[Tuple[str, str]]) -> Optional[float]:
    """The highest temperature in degrees Celsius, of the CPU's zones where there are any.

    Args:
        zones: contents of the `type` and `temp` files of every thermal zone.
    """
    readings = [(kind, _celsius(text)) for kind, text in zones]
    cpu = [value for kind, value in readings if value is not None and _CPU_ZONE.search(kind)]
    everything = [value for _, value in readings if value is not None]
    return max(cpu or everything, default=None)


def _celsius(text: str) -> Optional[float]:
    if not re.fullmatch(r"-?\d+", text.strip()):
        return None
    value = int(text) / 1000
    return value if _PLAUSIBLE_CELSIUS[0] <= value <= _PLAUSIBLE_CELSIUS[1] else None


def board_name() -> Optional[str]:
    """What the board calls itself, e.g. "Raspberry Pi 5 Model B Rev 1.0"; None if it does not."""
    model = _read("/proc/device-tree/model") or _read("/sys/class/dmi/id/product_name")
    return model.strip("\0 \n") or None


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        return ""  # Not glibc.


def _read_all(pattern: str) -> List[str]:
    return [_read(path) for path in sorted(glob.glob(pattern))]
