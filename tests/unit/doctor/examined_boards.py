"""Planted boards as a visit finds them, and the doctor asked about them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from device_agent.accelerators import read_accelerators
from device_agent.environment_messages import Environment, RuntimeVersion
from device_agent.inspection import inspect
from device_agent.inspection_messages import Built, Sensor
from device_agent.manifest import Compatibility, Lock
from edgesdk.devices.inventory import Device
from edgesdk.doctor.diagnosing import diagnose
from edgesdk.flows.session import lack_of_runtime
from edgesdk.targets.loading import load_target
from edgesdk.values.doctor import Examined, Finding
from tests.unit.device_agent.boards import BOARDS

GIB = 2**30
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
TARGETS = {
    "raspberry-pi-5": "raspberry-pi-5",
    "coral-dev-board-mini": "coral-dev-board-mini",
    "jetson-orin-nano": "jetson-orin-nano@jp6.2",
    "snapdragon": "qcs6490",
}
RUNTIMES = {
    "raspberry-pi-5": (RuntimeVersion("litert", "ai-edge-litert", "2.1.0"),),
    "coral-dev-board-mini": (
        RuntimeVersion("litert", "ai-edge-litert", "1.2.0"),
        RuntimeVersion("edgetpu", "ai-edge-litert", "1.2.0"),
    ),
    "jetson-orin-nano": (RuntimeVersion("tensorrt", "tensorrt", "10.3.0"),),
    "snapdragon": (RuntimeVersion("qnn", "onnxruntime-qnn", "2.7.0"),),
}
NAMES = {
    "raspberry-pi-5": "Raspberry Pi 5 Model B Rev 1.0",
    "coral-dev-board-mini": None,
    "jetson-orin-nano": "NVIDIA Jetson Orin Nano Developer Kit",
    "snapdragon": "Qualcomm Technologies, Inc. Robotics RB3gen2",
}


def examined(planted: str, root: Path, /, **changes: Any) -> Examined:
    """A board that is as it should be.

    Args:
        changes: fields of the environment, of the inspection, or of `Examined`.
    """
    BOARDS[planted](root)
    found = inspect(
        "/store",
        root=str(root),
        home="/home/pi",
        ask_edgetpu=lambda _: "BuildLabel(N/A), RuntimeVersion(14)",
    )
    clean = (python for python in found.pythons if not python.impostors)
    found = replace(
        found,
        pythons=tuple(replace(python, numpy=python.numpy or "1.26.4") for python in clean),
        pointer_bits=64,
        user="pi",
        groups=("pi", "plugdev"),
        package_problem="no package is installed on this device",
        package_code="not_installed",
    )
    if not found.sensors:
        found = replace(found, sensors=(Sensor("cpu-thermal", 45.0),))
    environment = Environment(
        hostname="board",
        machine="aarch64",
        system="Debian GNU/Linux 12 (bookworm)",
        kernel="6.6.31",
        libc="glibc 2.36",
        python="3.11.2",
        cpu_model="",
        cpu_count=4,
        memory_total_bytes=4 * GIB,
        memory_available_bytes=3 * GIB,
        disk_free_bytes=10 * GIB,
        governor="schedutil",
        max_clock_hz=None,
        board=NAMES[planted],
        runtimes=RUNTIMES[planted],
        accelerators=replace(
            read_accelerators(str(root)), cuda="12.6.11" if planted == "jetson-orin-nano" else ""
        ),
    )
    whole = Examined("bench-3", "ssh-ed25519", False, environment, found)
    return changed(whole, **changes)


def changed(whole: Examined, **changes: Any) -> Examined:
    """With fields changed, wherever they are."""
    for field, value in changes.items():
        if hasattr(whole.environment, field):
            whole = replace(whole, environment=replace(whole.environment, **{field: value}))
        elif hasattr(whole.inspection, field):
            whole = replace(whole, inspection=replace(whole.inspection, **{field: value}))
        else:
            whole = replace(whole, **{field: value})
    return whole


def built(board: str, **changes: Any) -> Built:
    """A package for that board's target."""
    target = load_target(TARGETS[board])
    runtime = target.runtimes[0]
    made = Built(
        package_id="a" * 64,
        name="digits",
        version="1.0",
        compatibility=Compatibility(
            target.id, (target.architecture,), runtime.name, runtime.min_version
        ),
        installed_bytes=1000,
        peak_ram_bytes=None,
        provenance={"compilation": "not needed", "toolchain.ai-edge-litert": "2.1.0"},
        lock=Lock(kernels=("xnnpack", "builtin")),
    )
    return replace(made, **changes)


def findings(found: Examined, target: str, package: Built | None = None) -> dict[str, Finding]:
    """What the doctor says, by id, but for that there is no package."""
    device = Device(found.device, "10.0.0.3", 22, "pi", target, HOST_KEY)
    lack = partial(lack_of_runtime, device, found.environment)
    told = diagnose(found, load_target(target), package, lack)
    assert len({each.id for each in told}) == len(told), "each once"
    return {each.id: each for each in told if each.id != "package"}
