"""Clocks, heat, throttling, competing work and power: read from a planted /proc and /sys."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from device_agent.measuring_messages import Conditions, CpuTime, Power
from device_agent.oom import oom_kills
from device_agent.sensors import Sensors, parse_cpu_times, parse_own_time, parse_pi_flags
from device_agent.watching import watching

TICK_MS = 1000 // os.sysconf("SC_CLK_TCK")
Plant = Callable[[Mapping[str, object]], None]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Writes files under the fake root."""

    def plant(files: Mapping[str, object]) -> None:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")

    return plant


def read(root: Path) -> Conditions:
    return Sensors(root=str(root)).read()


CPU = "sys/devices/system/cpu/"
PI = "sys/devices/platform/soc/soc:firmware/get_throttled"


def test_without_sensors_nothing_is_said(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found.clock_hz, found.temperature_celsius, found.load_average) == (None, None, None)
    assert (found.governor, found.throttled, found.throttle_events) == (None, None, {})
    assert (found.cpu, found.power, found.odd) == (None, (), ())


OWN_GROUPS = f"proc/{os.getpid()}/cgroup"


def throttled(counts: Mapping[str, int]) -> dict[str, str]:
    """The cpu.stat of control groups."""
    text = "nr_periods 9\nnr_throttled {}\nthrottled_time 8"
    return {f"sys/fs/cgroup/{group}cpu.stat": text.format(n) for group, n in counts.items()}


@pytest.mark.parametrize(
    ("own", "counted"),
    [
        ("0::/user.slice/jobs", ("user.slice/jobs/", "user.slice/", "")),
        ("7:memory:/\n4:cpu,cpuacct:/limited/jobs", ("cpu/limited/jobs/", "cpu/limited/", "cpu/")),
        ("0::/", ("",)),
        ("7:memory:/jobs\n1:cpu:/", ("cpu/",)),
    ],
    ids=["version 2", "version 1", "version 2, in a container", "version 1, in a container"],
)
def test_a_quota_of_cpu_time_counts_as_throttling(
    tmp_path: Path, plant: Plant, own: str, counted: tuple[str, ...]
) -> None:
    sensors = Sensors(root=str(tmp_path))
    plant({OWN_GROUPS: own, **throttled({**dict.fromkeys(counted, 40), "other/": 40})})
    assert sensors.read().throttle_events == {"CPU quota": 0}
    plant(throttled({**dict.fromkeys(counted, 42), "other/": 50}))
    found = sensors.read()
    assert found.throttle_events == {"CPU quota": 2 * len(counted)}
    assert found.throttled is None, "it tells of no heat"


def test_a_process_that_is_moved_to_another_group_brings_no_count_along(
    tmp_path: Path, plant: Plant
) -> None:
    sensors = Sensors(root=str(tmp_path))
    plant({OWN_GROUPS: "0::/calm", **throttled({"calm/": 5, "busy/": 900})})
    assert sensors.read().throttle_events == {"CPU quota": 0}
    plant({OWN_GROUPS: "0::/busy"})
    assert sensors.read().throttle_events == {"CPU quota": 0}
    plant(throttled({"busy/": 903}))
    assert sensors.read().throttle_events == {"CPU quota": 3}
    plant({OWN_GROUPS: "0::/calm"})
    assert sensors.read().throttle_events == {"CPU quota": 3}


def test_this_machine_can_be_read() -> None:
    sensors = Sensors()
    first, second = sensors.read(), sensors.read()
    assert first.at_ns < second.at_ns and (second.wall_ns or 0) > 10**18
    assert first.cpu is not None and second.cpu is not None
    assert 0 < first.cpu.own_ms <= second.cpu.own_ms
    assert first.cpu.idle_ms < first.cpu.all_ms


def test_clock_governor_and_heat(tmp_path: Path, plant: Plant) -> None:
    plant(
        {
            CPU + "cpu0/cpufreq/scaling_cur_freq": 600_000,
            CPU + "cpu4/cpufreq/scaling_cur_freq": 2_400_000,
            CPU + "cpu0/cpufreq/scaling_governor": "ondemand",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "sys/class/thermal/thermal_zone0/temp": 61_300,
            "proc/loadavg": "0.52 0.58 0.59 1/467 12345",
        }
    )
    found = read(tmp_path)
    assert (found.clock_hz, found.governor) == (2_400_000_000, "ondemand")
    assert (found.temperature_celsius, found.load_average, found.odd) == (61.3, 0.52, ())


@pytest.mark.parametrize(
    ("file", "value", "odd"),
    [
        (CPU + "cpu0/cpufreq/scaling_cur_freq", 0, "CPU clock: 0 Hz"),
        (CPU + "cpu0/cpufreq/scaling_cur_freq", 99_000_000, "CPU clock: 99000000000 Hz"),
        ("sys/class/thermal/thermal_zone0/temp", 200_000, "cpu-thermal: 200.0 C"),
        ("sys/class/thermal/thermal_zone0/temp", -273_000, "cpu-thermal: -273.0 C"),
        ("sys/class/thermal/thermal_zone0/temp", "banana", "cpu-thermal: 'banana'"),
        ("sys/class/hwmon/hwmon0/power1_input", -5_000_000, "ina: -5.000 W"),
        ("sys/class/hwmon/hwmon0/power1_input", 4_000_000_000, "ina: 4000.000 W"),
    ],
)
def test_what_cannot_be_true_is_quoted_and_not_used(
    tmp_path: Path, plant: Plant, file: str, value: int, odd: str
) -> None:
    plant(
        {
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "sys/class/hwmon/hwmon0/name": "ina",
            file: value,
        }
    )
    found = read(tmp_path)
    assert found.odd == (odd,)
    assert (found.clock_hz, found.temperature_celsius) == (None, None)
    assert all(power.microwatts is None for power in found.power)


def test_one_lying_zone_does_not_hide_the_others(tmp_path: Path, plant: Plant) -> None:
    plant(
        {
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "sys/class/thermal/thermal_zone0/temp": 200_000,
            "sys/class/thermal/thermal_zone1/type": "soc-thermal",
            "sys/class/thermal/thermal_zone1/temp": 55_000,
        }
    )
    assert read(tmp_path).temperature_celsius == 55.0


# ---- throttling ----------------------------------------------------------------------------------


def test_a_raspberry_pi_says_what_is_and_what_has_been(tmp_path: Path, plant: Plant) -> None:
    plant({PI: "50004"})
    found = read(tmp_path)
    assert found.throttled == ("throttled",)
    assert found.throttle_events == {
        "under-voltage": 1,
        "clock capped": 0,
        "throttled": 1,
        "soft temperature limit": 0,
    }


def test_a_raspberry_pi_that_is_well_says_so(tmp_path: Path, plant: Plant) -> None:
    plant({PI: "0"})
    assert read(tmp_path).throttled == ()


@pytest.mark.parametrize(
    ("text", "flags"),
    [("50005", 0x50005), ("0x0\n", 0), ("0x50000", 0x50000), ("", None), ("error=1", None)],
)
def test_flags_of_the_raspberry_pi(text: str, flags: int | None) -> None:
    assert parse_pi_flags(text) == flags


def test_counts_of_x86_and_of_jetsons(tmp_path: Path, plant: Plant) -> None:
    plant(
        {
            CPU + "cpu0/thermal_throttle/core_throttle_count": 3,
            CPU + "cpu1/thermal_throttle/core_throttle_count": 4,
            CPU + "cpu0/thermal_throttle/package_throttle_count": 5,
            "sys/class/hwmon/hwmon4/oc3_event_cnt": 2,
        }
    )
    found = read(tmp_path)
    assert found.throttled == ()
    assert found.throttle_events == {
        "core too hot": 7,
        "package too hot": 5,
        "over-current oc3": 2,
    }


def test_a_fan_at_work_is_no_throttling_but_a_slower_cpu_is(tmp_path: Path, plant: Plant) -> None:
    plant(
        {
            "sys/class/thermal/cooling_device0/type": "pwm-fan",
            "sys/class/thermal/cooling_device0/cur_state": 4,
            "sys/class/thermal/cooling_device1/type": "cpufreq-cpu4",
            "sys/class/thermal/cooling_device1/cur_state": 2,
            "sys/class/thermal/cooling_device2/type": "intel_powerclamp",
            "sys/class/thermal/cooling_device2/cur_state": -1,
        }
    )
    assert read(tmp_path).throttled == ("cpufreq-cpu4 at step 2",)


# ---- CPU time ------------------------------------------------------------------------------------


def test_cpu_time_of_all_and_of_ours(tmp_path: Path, plant: Plant) -> None:
    plant(
        {
            "proc/stat": "cpu  100 1 50 800 20 3 4 22 7 0\ncpu0 1 1 1 1 1 1 1 1 0 0",
            "proc/7/stat": "7 (a (strange) name) S 1 7 7 0 -1 4194560 9 0 0 0 30 12 99 99 20 0",
            "proc/8/stat": "8 (python3) R 1 7 7 0 -1 4194560 9 0 0 0 5 3 0 0 20 0",
        }
    )
    found = Sensors(lambda: (7, 8, 9), str(tmp_path)).read()
    assert found.cpu == CpuTime(1000 * TICK_MS, 820 * TICK_MS, 22 * TICK_MS, 50 * TICK_MS)


@pytest.mark.parametrize("text", ["", "cpu  1 2 3", "cpu  0 0 0 0 0 0 0 0 0 0", "intr 5"])
def test_cpu_times_that_say_nothing(text: str) -> None:
    assert parse_cpu_times(text) is None


def test_a_process_that_has_ended_has_no_time() -> None:
    assert parse_own_time("") is None


# ---- power ---------------------------------------------------------------------------------------


def test_an_ina3221_multiplies_volts_and_amperes(tmp_path: Path, plant: Plant) -> None:
    chip = "sys/class/hwmon/hwmon3/"
    plant(
        {
            chip + "name": "ina3221",
            chip + "in1_label": "VDD_IN",
            chip + "in1_input": 5_080,
            chip + "curr1_input": 1_200,
            chip + "in7_label": "sum of shunt voltages",
            chip + "in7_input": 12,
        }
    )
    assert read(tmp_path).power == (Power("VDD_IN", 6_096_000, None),)


def test_rapl_counts_packages_once_and_beyond_its_range(tmp_path: Path, plant: Plant) -> None:
    zone = "sys/class/powercap/intel-rapl:0/"
    plant(
        {
            zone + "name": "package-0",
            zone + "energy_uj": 900,
            zone + "max_energy_range_uj": 1000,
            "sys/class/powercap/intel-rapl:0:0/name": "core",
            "sys/class/powercap/intel-rapl:0:0/energy_uj": 300,
        }
    )
    sensors = Sensors(root=str(tmp_path))
    assert sensors.read().power == (Power("package-0", None, 900),)
    plant({zone + "energy_uj": 100})
    assert sensors.read().power == (Power("package-0", None, 1100),)


def test_a_counter_that_begins_again_is_not_believed_any_more(tmp_path: Path, plant: Plant) -> None:
    file = "sys/class/hwmon/hwmon0/energy1_input"
    plant({"sys/class/hwmon/hwmon0/name": "amd_energy", file: 900})
    sensors = Sensors(root=str(tmp_path))
    assert sensors.read().power == (Power("amd_energy", None, 900),)
    plant({file: 100})
    found = sensors.read()
    assert found.power == (Power("amd_energy", None, None),)
    assert found.odd == ("amd_energy: 100 uJ after 900 uJ",)


# ---- watching ------------------------------------------------------------------------------------


def test_conditions_are_read_before_during_and_after() -> None:
    third = threading.Event()
    moments: list[int] = []

    def read() -> Conditions:
        moments.append(len(moments))
        if len(moments) == 3:
            third.set()
        return Conditions(moments[-1], None, None, None)

    with watching(read, period_s=0.001) as seen:
        assert third.wait(10)
    assert [reading.at_ns for reading in seen] == moments
    assert len(seen) >= 4


def test_reading_ends_with_the_block_also_after_an_error() -> None:
    with pytest.raises(ValueError), watching(lambda: Conditions(1, None, None, None), 0.001):
        raise ValueError
    assert "conditions" not in [thread.name for thread in threading.enumerate()]


# ---- memory --------------------------------------------------------------------------------------


def test_ends_for_want_of_memory_are_counted(tmp_path: Path, plant: Plant) -> None:
    assert oom_kills(str(tmp_path)) is None
    plant({"proc/vmstat": "pgmajfault 7\noom_kill 3\nzone_reclaim 0"})
    assert oom_kills(str(tmp_path)) == 3
    plant(
        {
            "proc/self/cgroup": "4:memory:/jobs/one\n0::/two",
            "sys/fs/cgroup/memory/jobs/one/memory.oom_control": "under_oom 0\noom_kill 10",
            "sys/fs/cgroup/two/memory.events": "oom 5\noom_kill 100",
        }
    )
    assert oom_kills(str(tmp_path)) == 113
