"""A lab of virtual devices, pushed to and validated: is the fiftieth as quick as the eighth?

    python benchmarks/lab.py [--small 8] [--large 50] [--jobs 8] [--seconds 0.3] [--json]

On each device a package is installed, checked for its health, run on its golden vectors and timed:
`api.bench` with a package, through `api.on_devices`. The devices are virtual, real SSH servers with
homes of their own, all in one other process; they and their agents share this machine's processors
with us, so devices a minute say nothing about boards, and the ratio between a small and a large
lab says what our side adds. The small lab is measured before and after the large one.

Every lab is new, and each is measured from a new process, whose memory is its highest resident set.
What grows by the device is the difference between the labs: results are all kept to the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "examples" / "digits"
TARGET = {"x86_64": "generic-x86-64", "aarch64": "generic-arm64"}[os.uname().machine]
MIB = 2**20


def main() -> None:
    arguments = _arguments()
    if arguments.serve:
        _serve(arguments.serve)
    elif arguments.measure:
        print(json.dumps(_measured(Path(arguments.measure), arguments.jobs, arguments.seconds)))
    else:
        results = _compare(arguments)
        print(json.dumps(results, indent=1) if arguments.json else _text(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=int, default=8)
    parser.add_argument("--large", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.3, help="of timing, on each device")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--measure", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _compare(arguments: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="edgesdk-lab-") as name:
        folder = Path(name)
        os.environ["EDGESDK_HOME"] = str(folder / "home")
        package = _package(folder)
        sizes = (arguments.small, arguments.large, arguments.small)
        labs = [_lab(size, package, arguments) for size in sizes]
    before, large, after = labs
    per_minute = (before["devices_per_minute"] + after["devices_per_minute"]) / 2
    smallest = min(before["peak_rss_bytes"], after["peak_rss_bytes"])
    more = arguments.large - arguments.small
    return {
        "jobs": arguments.jobs,
        "labs": labs,
        "ratio": large["devices_per_minute"] / per_minute,
        "bytes_per_device": (large["peak_rss_bytes"] - smallest) / more,
    }


def _package(folder: Path) -> Path:
    from edgesdk import api

    api.convert(
        DIGITS / "digits.onnx", TARGET, f"{DIGITS / 'digits.npz'}#calibration", folder / "a"
    )
    path = folder / "digits.edgepkg"
    api.package(folder / "a", path)
    return path


def _lab(size: int, package: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """One lab, served by one new process and measured by another."""
    with _served(size):
        before = _busy_s()
        done = subprocess.run(
            [
                *(sys.executable, __file__, "--measure", package),
                *("--jobs", str(arguments.jobs), "--seconds", str(arguments.seconds)),
            ],
            stdout=subprocess.PIPE,
            check=True,
        )
        machine_s = _busy_s() - before
    found: dict[str, float] = json.loads(done.stdout)
    found["machine_cpu_percent"] = 100 * machine_s / found["wall_s"] / (os.cpu_count() or 1)
    return found


@contextlib.contextmanager
def _served(size: int) -> Iterator[None]:
    """That many devices, enrolled."""
    from edgesdk.devices import inventory
    from edgesdk.devices.inventory import Device

    command = [sys.executable, __file__, "--serve", str(size)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        devices = [Device(**each) for each in json.loads(server.stdout.readline())]
        inventory.save(inventory.default_path(), devices)
        try:
            yield
        finally:
            server.stdin.close()


def _serve(size: int) -> None:
    from edgesdk.devices.virtual import VirtualDevice
    from edgesdk.serial import to_dict

    with contextlib.ExitStack() as stack:
        lab = [stack.enter_context(VirtualDevice()) for _ in range(size)]
        devices = [each.as_device(f"board-{index:02}", TARGET) for index, each in enumerate(lab)]
        print(json.dumps([to_dict(each) for each in devices]), flush=True)
        sys.stdin.read()


def _measured(package: Path, jobs: int, seconds: float) -> dict[str, float]:
    from edgesdk import api

    timing = api.Timing(min_seconds=seconds, max_seconds=60.0)
    began_s = time.monotonic()
    outcomes = api.on_devices(
        "all",
        lambda name: api.bench(name, package=package, timing=timing),
        limits=api.Limits(jobs=jobs, per_host=jobs),
        verdict=lambda findings: findings.exit_code,
    )
    wall_s = time.monotonic() - began_s
    for each in outcomes:
        if each.problem is not None:
            raise SystemExit(f"{each.device}: {each.problem.message}")
    return {
        "devices": len(outcomes),
        "wall_s": wall_s,
        "devices_per_minute": 60 * len(outcomes) / wall_s,
        "slowest_s": max(each.elapsed_s for each in outcomes),
        "attempts": sum(each.attempts for each in outcomes),
        "our_cpu_s": time.process_time(),
        "peak_rss_bytes": _peak_rss_bytes(),
    }


def _peak_rss_bytes() -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return 1024 * int(match[1])


def _busy_s() -> float:
    """Processor seconds of the whole machine, all but those it was idle."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _, __, interrupts, soft = ticks[:7]
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def _text(results: dict[str, object]) -> str:
    lines = ["devices  wall      a minute  slowest  machine  our CPU/device  our memory"]
    for lab in results["labs"]:  # type: ignore[attr-defined]
        lines.append(
            f"{lab['devices']:7.0f}  {lab['wall_s']:6.1f} s  {lab['devices_per_minute']:8.1f}"
            f"  {lab['slowest_s']:5.1f} s  {lab['machine_cpu_percent']:5.0f} %"
            f"  {1000 * lab['our_cpu_s'] / lab['devices']:11.0f} ms"
            f"  {lab['peak_rss_bytes'] / MIB:6.1f} MiB"
        )
    lines.append(f"large against small, devices a minute: {results['ratio']:.2f} (at least 0.8)")
    lines.append(f"memory: {results['bytes_per_device'] / 1e6:.2f} MB a device (below 5)")  # type: ignore[operator]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
