"""How the device fares: clocks, heat, throttling, competing work and power, from /proc and /sys.

Needs no privileges; what is not there or may not be read is None. A reading that cannot be true is
None as well and is quoted, never mended. Where each thing is read is found once; after that a
reading opens only those files, a millisecond's work on a desk. Nothing is run but `vcgencmd`, and
that only where the Raspberry Pi's kernel has no file for it.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import time
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from device_agent.environment import (
    highest_khz,
    hottest,
    merge_governors,
    parse_cpu_mhz,
    parse_load_average,
)
from device_agent.measuring_messages import Conditions, CpuTime, Power
from device_agent.system_files import read_text

_CPUFREQ = "sys/devices/system/cpu/cpu[0-9]*/cpufreq/"
_CLOCK_MAX_HZ = 10_000_000_000
_CELSIUS_MIN, _CELSIUS_MAX = -40.0, 130.0
"""A little beyond what silicon is made for (-40 to 125 C, AEC-Q100 grade 1)."""
_WATTS_MAX = 1000
"""More than any edge board takes."""

_PI_FLAGS = (
    "sys/devices/platform/soc*/*firmware/get_throttled",
    "sys/devices/platform/*firmware/get_throttled",
)
_PI_BITS = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
"""Bits 0 to 3 of the Raspberry Pi firmware's GET_THROTTLED; 16 to 19 say the same of the time since
it started. https://www.raspberrypi.com/documentation/computers/os.html#vcgencmd"""
_PI_BEFORE = 16
_PROGRAM_S = 1.0
_X86_COUNTS = "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"
"""Documentation/ABI/testing/sysfs-devices-system-cpu of Linux."""
_JETSON_COUNTS = "sys/class/hwmon/hwmon*/oc[0-9]*_event_cnt"
"""Over-current events: NVIDIA Jetson Linux Developer Guide, "Platform Power and Performance"."""
_THROTTLED = re.compile(r"^nr_throttled (\d+)$", re.MULTILINE)
"""Of cpu.stat: Documentation/admin-guide/cgroup-v2.rst of Linux, and scheduler/sched-bwc.rst."""
_LIMITERS = re.compile(r"cpufreq|devfreq|^processor|powerclamp|tcc", re.IGNORECASE)
"""Types of cooling devices that slow the computing down, unlike fans and displays."""

_OWN_FIELDS = slice(11, 13)
"""utime and stime among the fields of /proc/PID/stat that follow the program's name."""

Pids = Callable[[], Sequence[int]]


class Sensors:
    """The device's sensors, found once.

    Args:
        pids: the processes whose CPU time is ours.
        root: of the file system.
    """

    def __init__(self, pids: Pids = lambda: (os.getpid(),), root: str = "/") -> None:
        self._pids = pids
        self._root = root
        self._clocks = self._find(_CPUFREQ + "scaling_cur_freq")
        self._governors = self._find(_CPUFREQ + "scaling_governor")
        self._zones = [
            (_text(zone + "/type") or os.path.basename(zone), zone + "/temp")
            for zone in self._find("sys/class/thermal/thermal_zone[0-9]*")
        ]
        self._throttling = _Throttling(root)
        self._power = _find_rails(root)
        self._quotas: Dict[str, int] = {}
        self._held_back = 0

    def read(self) -> Conditions:
        """How the device fares at this moment."""
        odd: List[str] = []
        load = parse_load_average(self._read("proc/loadavg"))
        throttled, events = self._throttling.read()
        events.update(self._quota())
        return Conditions(
            at_ns=time.monotonic_ns(),
            clock_hz=self._clock(odd),
            temperature_celsius=self._temperature(odd),
            load_average=load,
            wall_ns=time.time_ns(),
            governor=merge_governors([read_text(path) for path in self._governors]),
            throttled=throttled,
            throttle_events=events,
            cpu=self._cpu_time(),
            power=tuple(rail.read(odd) for rail in self._power),
            odd=tuple(odd),
        )

    def _quota(self) -> Dict[str, int]:
        """How often a control group's quota has stopped our processes; {} where nothing tells.

        The groups are looked up each time: whoever limits a process may move it while it runs. What
        a group counted before it was ours is not ours, so that each counts from its first reading.
        """
        groups = [self._read("proc/%d/cgroup" % pid) for pid in self._pids()]
        if not any(groups):
            return {}
        counts = {}
        for path in {path for each in groups for path in quota_files(self._root, each)}:
            match = _THROTTLED.search(read_text(path))
            if match:
                counts[path] = int(match.group(1))
        self._held_back += sum(
            max(0, count - self._quotas.get(path, count)) for path, count in counts.items()
        )
        self._quotas = counts
        return {"CPU quota": self._held_back}

    def _clock(self, odd: List[str]) -> Optional[int]:
        clock_hz = highest_khz([read_text(path) for path in self._clocks])
        if clock_hz is None:
            clock_hz = parse_cpu_mhz(self._read("proc/cpuinfo"))
        if clock_hz is not None and not 0 < clock_hz <= _CLOCK_MAX_HZ:
            odd.append("CPU clock: %d Hz" % clock_hz)
            return None
        return clock_hz

    def _temperature(self, odd: List[str]) -> Optional[float]:
        believed = []
        for kind, path in self._zones:
            text = read_text(path).strip()
            if text and not re.fullmatch(r"-?\d+", text):
                odd.append("%s: %.20r" % (kind, text))
            elif text:
                if _CELSIUS_MIN <= int(text) / 1000 <= _CELSIUS_MAX:
                    believed.append((kind, text))
                else:
                    odd.append("%s: %.1f C" % (kind, int(text) / 1000))
        return hottest(believed)

    def _cpu_time(self) -> Optional[CpuTime]:
        total = parse_cpu_times(self._read("proc/stat"))
        own = [parse_own_time(self._read("proc/%d/stat" % pid)) for pid in self._pids()]
        spent = [ticks for ticks in own if ticks is not None]
        if total is None or not spent:
            return None
        all_, idle, steal = (_ms(ticks) for ticks in total)
        return CpuTime(all_, idle, steal, _ms(sum(spent)))

    def _find(self, pattern: str) -> List[str]:
        return _find(self._root, pattern)

    def _read(self, path: str) -> str:
        return read_text(os.path.join(self._root, path))


class _Throttling:
    """Whatever tells that the device is held back."""

    def __init__(self, root: str) -> None:
        flags = [path for pattern in _PI_FLAGS for path in _find(root, pattern)]
        self._pi_flags = flags[0] if flags else ""
        self._vcgencmd = "" if flags or root != "/" else shutil.which("vcgencmd") or ""
        self._counts = [
            (_count_name(path), path)
            for pattern in (_X86_COUNTS, _JETSON_COUNTS)
            for path in _find(root, pattern)
        ]
        self._limiters = [
            (_text(folder + "/type"), folder)
            for folder in _find(root, "sys/class/thermal/cooling_device[0-9]*")
            if _LIMITERS.search(_text(folder + "/type"))
        ]

    def read(self) -> Tuple[Optional[Tuple[str, ...]], Dict[str, int]]:
        """What holds the device back now, None where nothing would tell; and how often it did."""
        now: List[str] = []
        events: Dict[str, int] = {}
        sources = 0
        flags = parse_pi_flags(self._pi_text())
        if flags is not None:
            sources += 1
            now += [name for bit, name in enumerate(_PI_BITS) if flags >> bit & 1]
            for bit, name in enumerate(_PI_BITS):
                events[name] = flags >> (_PI_BEFORE + bit) & 1
        for name, path in self._counts:
            count = _whole(path)
            if count is not None:
                sources += 1
                events[name] = events.get(name, 0) + count
        for kind, folder in self._limiters:
            state = _whole(folder + "/cur_state")
            if state is not None:
                sources += 1
                if state > 0:
                    now.append("%s at step %d" % (kind, state))
        return (tuple(dict.fromkeys(now)) if sources else None), events

    def _pi_text(self) -> str:
        if self._pi_flags:
            return read_text(self._pi_flags)
        if not self._vcgencmd:
            return ""
        try:
            done = subprocess.run(
                [self._vcgencmd, "get_throttled"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_PROGRAM_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            self._vcgencmd = ""  # One that hangs or fails once would cost us at every reading.
            return ""
        return done.stdout.decode("ascii", "replace").partition("=")[2]


class _Rail:
    """One power sensor."""

    def __init__(self, name: str, watts: Tuple[str, ...], joules: str, range_uj: int = 0) -> None:
        self._name = name
        self._watts = watts
        self._joules = joules
        self._range_uj = range_uj
        self._last_uj: Optional[int] = None
        self._wrapped_uj = 0

    def read(self, odd: List[str]) -> Power:
        return Power(self._name, self._read_power(odd), self._read_energy(odd))

    def _read_power(self, odd: List[str]) -> Optional[int]:
        if not self._watts:
            return None
        values = [_whole(path) for path in self._watts]
        if None in values:
            return None
        # Of two files, one is in millivolts and one in milliamperes: together microwatts.
        power = 1
        for value in values:
            power *= value or 0
        if not 0 <= power <= _WATTS_MAX * 1_000_000 or any((value or 0) < 0 for value in values):
            odd.append("%s: %.3f W" % (self._name, power / 1e6))
            return None
        return power

    def _read_energy(self, odd: List[str]) -> Optional[int]:
        now = _whole(self._joules) if self._joules else None
        if now is None:
            return None
        if self._last_uj is not None and now < self._last_uj:
            if not self._range_uj:
                odd.append("%s: %d uJ after %d uJ" % (self._name, now, self._last_uj))
                self._joules = ""  # Where it began again, nobody knows.
                return None
            self._wrapped_uj += self._range_uj
        self._last_uj = now
        return now + self._wrapped_uj


def _find_rails(root: str) -> List[_Rail]:
    """RAPL packages, INA3221 channels, and whatever else hwmon has of power or energy."""
    rails = []
    for zone in _find(root, "sys/class/powercap/*rapl:[0-9]*"):
        # A package's parts have a second number, and would be counted twice.
        if os.path.basename(zone).count(":") == 1 and _whole(zone + "/energy_uj") is not None:
            range_uj = _whole(zone + "/max_energy_range_uj") or 0
            rails.append(_Rail(_text(zone + "/name"), (), zone + "/energy_uj", range_uj))
    for chip in _find(root, "sys/class/hwmon/hwmon[0-9]*"):
        name = _text(chip + "/name") or os.path.basename(chip)
        for path in sorted(glob.glob(glob.escape(chip) + "/curr[0-9]*_input")):
            channel = re.sub(r"\D", "", os.path.basename(path))
            volts, label = (
                "%s/in%s_input" % (chip, channel),
                _text("%s/in%s_label" % (chip, channel)),
            )
            if label and os.path.exists(volts):
                rails.append(_Rail(label, (volts, path), ""))
        for kind in ("power", "energy"):
            for path in sorted(glob.glob("%s/%s[0-9]*_input" % (glob.escape(chip), kind))):
                label = _text(path[: -len("input")] + "label") or name
                watts, joules = ((path,), "") if kind == "power" else ((), path)
                rails.append(_Rail(label, watts, joules))
    return rails


def quota_files(root: str, groups: str) -> List[str]:
    """The cpu.stat of a process's control groups, of either version, and of those around them.

    Up to the root: in a container, that is the group of the container itself.

    Args:
        groups: /proc/PID/cgroup.
    """
    paths = []
    for line in groups.splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        folder = "sys/fs/cgroup" if number == "0" else "sys/fs/cgroup/cpu"
        if number == "0" or "cpu" in controllers.split(","):
            parts = [part for part in path.split("/") if part]
            for depth in range(len(parts) + 1):
                paths.append(os.path.join(root, folder, *parts[:depth], "cpu.stat"))
    return paths


def parse_cpu_times(text: str) -> Optional[Tuple[int, int, int]]:
    """All, idle and stolen CPU time in clock ticks, from /proc/stat; None where it is not that."""
    match = re.match(r"cpu +((?:\d+ ?)+)", text)
    # user nice system idle iowait irq softirq steal; what guests took counts as user already.
    ticks = [int(word) for word in match.group(1).split()[:8]] if match else []
    if len(ticks) < 8 or not sum(ticks):
        return None
    return sum(ticks), ticks[3] + ticks[4], ticks[7]


def parse_own_time(text: str) -> Optional[int]:
    """CPU time of one process in clock ticks, from /proc/PID/stat; None once it has ended."""
    # The name of its program comes before, in brackets, and may hold anything.
    fields = text.rpartition(")")[2].split()[_OWN_FIELDS]
    return sum(int(word) for word in fields) if len(fields) == 2 else None


def parse_pi_flags(text: str) -> Optional[int]:
    """The Raspberry Pi firmware's flags, "50005" or "0x50005"; None where it is not that."""
    match = re.fullmatch(r"(?:0x)?([0-9a-f]{1,8})", text.strip().lower())
    return int(match.group(1), 16) if match else None


def _count_name(path: str) -> str:
    name = os.path.basename(path)
    if name.endswith("_throttle_count"):
        return name[: -len("_throttle_count")] + " too hot"
    return "over-current " + name[: -len("_event_cnt")]


def _ms(ticks: int) -> int:
    return ticks * 1000 // os.sysconf("SC_CLK_TCK")


def _whole(path: str) -> Optional[int]:
    text = read_text(path).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _text(path: str) -> str:
    return read_text(path).strip("\0 \n")


def _find(root: str, pattern: str) -> List[str]:
    return sorted(glob.glob(os.path.join(glob.escape(root), pattern)))
