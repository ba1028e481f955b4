"""What a device is, as every session begins with it. Part of the wire (`device_agent.protocol`)."""

from __future__ import annotations

from typing import Optional, Tuple

from device_agent.records import record

PRIVATE = "private"
"""Source of a runtime that is the agent's own (`device_agent.private_runtimes`)."""


@record(frozen=True)
class RuntimeVersion:
    """A runtime the device has.

    Args:
        runtime: one of `manifest.RUNTIMES`.
        package: the distribution it comes from, e.g. "ai-edge-litert"; "trtexec" where TensorRT is
            there without the Python module that is needed to run anything.
        version: of that distribution, or "unknown".
        source: `PRIVATE` where it is the agent's own, "" where it is the Python's.
    """

    runtime: str
    package: str
    version: str
    source: str = ""


@record(frozen=True)
class Accelerators:
    """What the device has beside its CPU, by what its system says; "" where it says nothing.

    Args:
        soc: family, machine and id of the chip, as /sys/devices/soc0 gives them.
        l4t: release of Jetson Linux, such as "36.4.3".
        cuda: release of the CUDA toolkit.
        tensorrt: release of the TensorRT library.
        edge_tpus: attached Edge TPUs: "usb" or "pcie" for each.
    """

    soc: str = ""
    l4t: str = ""
    cuda: str = ""
    tensorrt: str = ""
    edge_tpus: Tuple[str, ...] = ()


@record(frozen=True)
class Environment:
    """What the device is, as far as it can be read without privileges.

    None, or "" for a text, where it cannot.

    Args:
        boot_id: what Linux draws anew at each start.
    """

    hostname: str
    machine: str
    system: str
    kernel: str
    libc: str
    python: str
    cpu_model: str
    cpu_count: int
    memory_total_bytes: Optional[int]
    memory_available_bytes: Optional[int]
    disk_free_bytes: Optional[int]
    governor: Optional[str]
    max_clock_hz: Optional[int]
    board: Optional[str]
    runtimes: Tuple[RuntimeVersion, ...]
    accelerators: Accelerators = Accelerators()
    boot_id: str = ""
