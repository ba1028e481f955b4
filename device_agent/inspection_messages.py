"""What a device is in detail, and what its package was made with: the reply to `protocol.Inspect`.

Beside `environment_messages.Environment`, which every session begins with. A text is "", a number
None where the device does not have the thing, or it cannot be read; `Inspection.unread` says which.
"""

from __future__ import annotations

from typing import Dict, Optional, Tuple

from device_agent.manifest import Compatibility, Lock, Manifest
from device_agent.records import record


@record(frozen=True)
class Unread:
    """Something that could not be read, and why."""

    what: str
    why: str


@record(frozen=True)
class CoreKind:
    """CPU cores of one kind that are on now.

    Args:
        name: such as "Cortex-A76".
        max_clock_hz: the highest that the kernel lets them have.
    """

    name: str
    count: int
    max_clock_hz: Optional[int] = None


@record(frozen=True)
class Storage:
    """The file system that a folder lies on.

    Args:
        of: "system" is the root folder's, "store" that of the agent's store.
        path: where it is mounted.
        device: what the kernel mounts there, such as "/dev/mmcblk0p2".
        kind: "SD card", "eMMC", "NVMe", "SSD", "hard disk", "memory", "overlay" or "network".
        filesystem: such as "ext4".
        free_bytes: for ordinary users.
    """

    of: str
    path: str
    device: str
    kind: str
    filesystem: str
    total_bytes: Optional[int]
    free_bytes: Optional[int]
    read_only: bool


@record(frozen=True)
class PythonFound:
    """A Python of the device and what is installed for it, by its files: none of it was run.

    Args:
        path: of the interpreter.
        version: "3.11.2", or "3.11" where nothing says more.
        runtimes: distributions that runtimes come in, "ai-edge-litert" to "2.3.0".
        numpy: its version.
        impostors: distributions with the name of one that is meant, and something else in them.
        own: it runs the agent.
    """

    path: str
    version: str
    runtimes: Dict[str, str]
    numpy: str = ""
    impostors: Tuple[str, ...] = ()
    own: bool = False


@record(frozen=True)
class Node:
    """A device file of an accelerator.

    Args:
        of: "edgetpu", "htp" or "gpu".
        usable: the agent's user may read and write it.
        group: that it belongs to.
    """

    of: str
    path: str
    usable: bool
    group: str


@record(frozen=True)
class Sensor:
    """A thermal zone, in degrees Celsius; None where it gives no plausible reading."""

    name: str
    celsius: Optional[float]


@record(frozen=True)
class EdgeTpuLibrary:
    """libedgetpu as it is installed.

    Args:
        path: of the library.
        package: version of the Debian package, such as "16.0".
        runtime: its runtime version, such as 14: what compiled models ask for.
    """

    path: str
    package: str = ""
    runtime: Optional[int] = None


@record(frozen=True)
class Qnn:
    """Qualcomm's AI Engine Direct as it is installed.

    Args:
        libraries: paths of libQnnHtp.so, wherever one is.
        hexagon: versions of the Hexagon architecture that a stub is there for, such as "68".
    """

    libraries: Tuple[str, ...] = ()
    hexagon: Tuple[str, ...] = ()


@record(frozen=True)
class Built:
    """An installed package, and what it was made for and with.

    Args:
        installed_bytes: of its files.
        peak_ram_bytes: budget of the process that runs the model.
        provenance: as of the manifest.
    """

    package_id: str
    name: str
    version: str
    compatibility: Compatibility
    installed_bytes: int
    peak_ram_bytes: Optional[int]
    provenance: Dict[str, str]
    lock: Optional[Lock]


@record(frozen=True)
class Inspection:
    """What the device is in detail.

    Args:
        time_s: by its clock, in seconds since 1970.
        user: whom the agent runs as.
        groups: of that user.
        pointer_bits: of the agent's Python: 32 on a 64-bit kernel is a 32-bit system.
        musl: its C library is musl.
        swap_bytes: of swap space.
        power_mode: that a Jetson is in, such as "MAXN_SUPER".
        power_modes: that it has.
        jetpack: release of the installed JetPack, such as "6.2".
        opencl: OpenCL's library, and after it the drivers' own.
        store_problem: why the agent cannot keep anything on the device; "" where it can.
        package: the package that was asked about; None where there is none.
        package_problem: why that is not known.
        package_code: of `protocol.ErrorCode`, for programs: "not_installed", or what is damaged.
    """

    time_s: float
    user: str
    groups: Tuple[str, ...]
    pointer_bits: int
    musl: bool
    cores: Tuple[CoreKind, ...]
    swap_bytes: Optional[int]
    storage: Tuple[Storage, ...]
    pythons: Tuple[PythonFound, ...]
    power_mode: str
    power_modes: Tuple[str, ...]
    jetpack: str
    edgetpu: Optional[EdgeTpuLibrary]
    qnn: Qnn
    opencl: Tuple[str, ...]
    nodes: Tuple[Node, ...]
    sensors: Tuple[Sensor, ...]
    unread: Tuple[Unread, ...]
    store_problem: str = ""
    package: Optional[Built] = None
    package_problem: str = ""
    package_code: str = ""


def built_of(manifest: Manifest) -> Built:
    """What a manifest says of how its package was made."""
    return Built(
        package_id=manifest.package_id,
        name=manifest.name,
        version=manifest.version,
        compatibility=manifest.compatibility,
        installed_bytes=manifest.raw_bytes,
        peak_ram_bytes=manifest.limits.peak_ram_bytes,
        provenance=manifest.provenance,
        lock=manifest.lock,
    )
