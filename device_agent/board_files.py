"""The board as its kernel shows it: cores, storage, heat, device files. Nothing is started."""

from __future__ import annotations

import grp
import os
import re
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from device_agent.accelerators import USB_EDGE_TPUS
from device_agent.environment import arm_core, hottest, parse_meminfo
from device_agent.inspection_messages import CoreKind, Node, Sensor, Storage
from device_agent.system_tree import SystemTree

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"}
_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
# What the drivers call their device files. Edge TPU: google/gasket-driver, src/apex_driver.c
# ("apex"). HTP: Linux, drivers/misc/fastrpc.c ("fastrpc-%s"), and "adsprpc-smd" of Qualcomm's older
# kernels. GPU of a Jetson: "nvmap", its memory, without which there is no CUDA.
_NODES = (
    ("edgetpu", "/dev/apex_*"),
    ("htp", "/dev/fastrpc-cdsp*"),
    ("htp", "/dev/adsprpc-smd"),
    ("gpu", "/dev/nvmap"),
)


def read_cores(tree: SystemTree) -> Tuple[CoreKind, ...]:
    """The kinds of core that are on, in the order of their numbers."""
    found: Dict[Tuple[str, Optional[int]], int] = {}
    for number, name in parse_cores(tree.text("proc/cpuinfo", "CPU cores")):
        clock = tree.text("sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq" % number).strip()
        kind = (name, int(clock) * 1000 if clock.isdigit() else None)
        found[kind] = found.get(kind, 0) + 1
    return tuple(CoreKind(name, count, clock) for (name, clock), count in found.items())


def parse_cores(text: str) -> List[Tuple[int, str]]:
    """Number and kind of every core of /proc/cpuinfo; "" for a kind that it does not name."""
    cores = []
    for block in text.split("\n\n"):
        fields = dict(
            (key.strip(), value.strip())
            for key, _, value in (line.partition(":") for line in block.splitlines())
        )
        if not fields.get("processor", "").isdigit():
            continue
        if "CPU part" in fields and "CPU implementer" in fields:
            name = arm_core(fields["CPU implementer"], fields["CPU part"])
        else:
            name = fields.get("model name") or fields.get("uarch") or ""
        cores.append((int(fields["processor"]), name))
    return cores


def read_swap(tree: SystemTree) -> Optional[int]:
    """Swap space in bytes."""
    return parse_meminfo(tree.text("proc/meminfo", "memory"), "SwapTotal")


def read_sensors(tree: SystemTree) -> Tuple[Sensor, ...]:
    """Every thermal zone."""
    return tuple(
        Sensor(kind, hottest([("cpu", tree.text(zone + "/temp"))]))
        for zone in tree.glob("sys/class/thermal/thermal_zone*")
        for kind in [tree.text(zone + "/type").strip() or os.path.basename(zone)]
    )


# ---- storage -------------------------------------------------------------------------------------


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo (Linux, Documentation/filesystems/proc.rst, 3.5)."""

    number: str
    path: str
    options: str
    filesystem: str
    device: str
    super_options: str


def parse_mounts(text: str) -> List[Mount]:
    """Every mount, in the order in which they were made."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if separator and len(left) >= 6 and len(right) >= 3:
            path = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code.group(1), 8)), left[4])
            mounts.append(Mount(left[2], path, left[5], *right[:3]))
    return mounts


def mount_of(path: str, mounts: List[Mount]) -> Optional[Mount]:
    """The mount that a path lies on: the longest, of several at one place the last."""
    fitting = [
        (len(mount.path), index)
        for index, mount in enumerate(mounts)
        if path == mount.path or path.startswith(mount.path.rstrip("/") + "/")
    ]
    return mounts[max(fitting)[1]] if fitting else None


def read_storage(
    tree: SystemTree,
    store: str,
    measure: Callable[[str], os.statvfs_result] = os.statvfs,
) -> Tuple[Storage, ...]:
    """The file systems of the root folder and of the agent's store.

    Args:
        store: the store's folder.
        measure: `os.statvfs`.
    """
    mounts = parse_mounts(tree.text("proc/self/mountinfo", "storage"))
    found = []
    for of, path in (("system", "/"), ("store", store)):
        mount = mount_of(path, mounts)
        if mount is not None:
            found.append(_storage(tree, of, mount, measure))
    return tuple(found)


def _storage(
    tree: SystemTree, of: str, mount: Mount, measure: Callable[[str], os.statvfs_result]
) -> Storage:
    total = free = None
    try:
        sizes = measure(mount.path)
    except OSError as error:
        tree.note("storage of %s" % mount.path, error.strerror or str(error))
    else:
        total, free = sizes.f_blocks * sizes.f_frsize, sizes.f_bavail * sizes.f_frsize
    return Storage(
        of=of,
        path=mount.path,
        device=mount.device,
        kind=_kind(tree, mount),
        filesystem=mount.filesystem,
        total_bytes=total,
        free_bytes=free,
        read_only="ro" in mount.options.split(",") or "ro" in mount.super_options.split(","),
    )


def _kind(tree: SystemTree, mount: Mount) -> str:
    """What it is made of, by the name and the attributes of the disk; "" where they do not say."""
    if mount.filesystem in _MEMORY:
        return "memory"
    if mount.filesystem in _NETWORK:
        return "network"
    if mount.filesystem == "overlay":
        return "overlay"
    # A partition's folder lies in its disk's; the link leads there.
    place = os.path.realpath(tree.path("sys/dev/block/" + mount.number))
    for folder in (place, os.path.dirname(place)):
        disk = "/" + os.path.relpath(folder, os.path.realpath(tree.root))
        name = os.path.basename(disk)
        if re.fullmatch(r"mmcblk\d+", name):
            # Linux, Documentation/ABI/testing: the card's type is "SD" or "MMC".
            return {"SD": "SD card", "MMC": "eMMC"}.get(
                tree.text(disk + "/device/type").strip(), ""
            )
        if re.fullmatch(r"nvme\d+n\d+", name):
            return "NVMe"
        rotational = tree.text(disk + "/queue/rotational").strip()
        if rotational and re.fullmatch(r"sd[a-z]+", name):
            return "hard disk" if rotational == "1" else "SSD"
    return ""


# ---- device files --------------------------------------------------------------------------------


def read_nodes(tree: SystemTree) -> Tuple[Node, ...]:
    """The device files of accelerators that are there, and whether this user may use them."""
    found = [(of, path) for of, pattern in _NODES for path in tree.glob(pattern)]
    found += [("edgetpu", path) for path in _usb_edge_tpus(tree)]
    return tuple(_node(tree, of, path) for of, path in found)


def _usb_edge_tpus(tree: SystemTree) -> List[str]:
    nodes = []
    for device in tree.glob("sys/bus/usb/devices/*"):
        ids = tuple(tree.text(device + "/" + name).strip() for name in ("idVendor", "idProduct"))
        bus, number = (tree.text(device + "/" + name).strip() for name in ("busnum", "devnum"))
        if ids in USB_EDGE_TPUS and bus.isdigit() and number.isdigit():
            nodes.append("/dev/bus/usb/%03d/%03d" % (int(bus), int(number)))
    return nodes


def _node(tree: SystemTree, of: str, path: str) -> Node:
    place = tree.path(path)
    try:
        group = _group(os.stat(place).st_gid)
    except OSError as error:
        tree.note(path, error.strerror or str(error))
        group = ""
    return Node(of, path, os.access(place, os.R_OK | os.W_OK), group)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
