"""Boards as files below a root, for what reads a device's system: only what is looked at.

Contents are as such boards have them; where a file is quoted from somewhere, that is named beside
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

MOUNTINFO = "{number} 1 {device} / {path} {options} - {filesystem} {source} {options}\n"


def plant(root: Path, files: Mapping[str, str]) -> Path:
    """Write files, and folders where a name ends in "/"."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(text)
    return root


def cpuinfo(*cores: tuple[str, int]) -> str:
    """/proc/cpuinfo of so many Arm cores of each part."""
    blocks = []
    for part, count in cores:
        for _ in range(count):
            blocks.append(
                f"processor\t: {len(blocks)}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd\n"
                f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {part}\n"
            )
    return "\n".join(blocks) + "\n"


def root_on(device: str, source: str, filesystem: str = "ext4", options: str = "rw") -> str:
    """/proc/self/mountinfo of one file system."""
    return MOUNTINFO.format(
        number=25, device=device, path="/", options=options, filesystem=filesystem, source=source
    )


def link(root: Path, name: str, target: str) -> None:
    """A symbolic link, its target as it is on the device."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _disk(root: Path, number: str, place: str) -> None:
    """The link from a device number to a partition's folder in its disk's."""
    (root / "sys/devices" / place).mkdir(parents=True)
    link(root, f"sys/dev/block/{number}", f"../../devices/{place}")


def raspberry_pi_5(root: Path) -> Path:
    """With its system on an SD card, a virtual environment and PyPI's pycoral in it."""
    plant(
        root,
        {
            "proc/cpuinfo": cpuinfo(("0xd0b", 4)),
            "proc/meminfo": "MemTotal:        8245892 kB\nSwapTotal:        524272 kB\n",
            "proc/self/mountinfo": root_on("179:2", "/dev/mmcblk0p2"),
            "sys/devices/soc/mmc0/block/mmcblk0/device/type": "SD\n",
            **{
                f"sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq": "2400000\n"
                for core in range(4)
            },
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "48300\n",
            "usr/bin/python3.11": "",
            "usr/lib/python3/dist-packages/numpy-1.24.2.egg-info/": "",
            "home/pi/env/pyvenv.cfg": "home = /usr/bin\nversion = 3.11.2\n",
            "home/pi/env/lib/python3.11/site-packages/ai_edge_litert-2.1.0.dist-info/": "",
            "home/pi/env/lib/python3.11/site-packages/numpy-2.2.1.dist-info/": "",
            "home/pi/env/lib/python3.11/site-packages/pycoral-0.2.0.dist-info/": "",
            "home/pi/env/lib/python3.11/site-packages/pycoral/cli.py": "",
        },
    )
    _disk(root, "179:2", "soc/mmc0/block/mmcblk0/mmcblk0p2")
    link(root, "usr/bin/python3", "python3.11")
    link(root, "home/pi/env/bin/python", "/usr/bin/python3.11")
    return root


def coral_dev_board_mini(root: Path) -> Path:
    """Mendel's Python 3.7, Coral's pycoral, an Edge TPU on the inner USB."""
    plant(
        root,
        {
            "proc/cpuinfo": cpuinfo(("0xd04", 4)),
            "proc/meminfo": "MemTotal:        2036200 kB\nSwapTotal:             0 kB\n",
            "proc/self/mountinfo": root_on("179:4", "/dev/mmcblk0p4"),
            "sys/devices/mmc0/block/mmcblk0/device/type": "MMC\n",
            "sys/bus/usb/devices/1-1/idVendor": "18d1\n",
            "sys/bus/usb/devices/1-1/idProduct": "9302\n",
            "sys/bus/usb/devices/1-1/busnum": "1\n",
            "sys/bus/usb/devices/1-1/devnum": "3\n",
            "dev/bus/usb/001/003": "",
            "usr/bin/python3.7": "",
            "usr/lib/aarch64-linux-gnu/libedgetpu.so.1": "",
            "usr/lib/python3/dist-packages/numpy-1.16.2.egg-info/": "",
            "usr/lib/python3/dist-packages/tflite_runtime-2.5.0.egg-info/": "",
            "usr/lib/python3/dist-packages/pycoral-2.0.0.egg-info/": "",
            "usr/lib/python3/dist-packages/pycoral/utils/edgetpu.py": "",
            "var/lib/dpkg/status": "Package: libedgetpu1-std\nStatus: install ok installed\n"
            "Priority: optional\nVersion: 15.0\n\nPackage: libedgetpu1-max\n"
            "Status: deinstall ok config-files\nVersion: 14.0\n",
        },
    )
    _disk(root, "179:4", "mmc0/block/mmcblk0/mmcblk0p4")
    link(root, "usr/bin/python3", "python3.7")
    return root


def jetson_orin_nano(root: Path) -> Path:
    """JetPack 6.2 on an NVMe disk, in its middle power mode."""
    plant(
        root,
        {
            "proc/cpuinfo": cpuinfo(("0xd42", 6)),
            "proc/meminfo": "MemTotal:        7802332 kB\nSwapTotal:       3901152 kB\n",
            "proc/self/mountinfo": root_on("259:1", "/dev/nvme0n1p1"),
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081\n",
            "etc/nvpmodel.conf": "# comment\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n"
            "< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
            "var/lib/nvpmodel/status": "pmode:0001\n",
            "var/lib/dpkg/status": "Package: nvidia-jetpack\nStatus: install ok installed\n"
            "Version: 6.2+b77\n\nPackage: nvidia-jetpack-dev\nStatus: install ok installed\n"
            "Version: 6.2.1+b38\n",
            "usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0": "",
            "usr/lib/aarch64-linux-gnu/libOpenCL.so.1": "",
            "usr/bin/python3.10": "",
            "usr/lib/python3.10/dist-packages/tensorrt-10.3.0.dist-info/": "",
            "usr/lib/python3/dist-packages/numpy-1.21.5.egg-info/": "",
            "dev/nvmap": "",
        },
    )
    _disk(root, "259:1", "pci/nvme/nvme0/nvme0n1/nvme0n1p1")
    link(root, "usr/bin/python3", "python3.10")
    return root


def snapdragon(root: Path) -> Path:
    """A QCS6490; its cores as /proc/cpuinfo of one has them (hrw/arm-socs-table)."""
    plant(
        root,
        {
            "proc/cpuinfo": cpuinfo(("0xd05", 4), ("0xd41", 4)),
            "proc/meminfo": "MemTotal:        5700000 kB\nSwapTotal:             0 kB\n",
            "proc/self/mountinfo": root_on("8:2", "/dev/sda2"),
            "sys/devices/ufs/block/sda/queue/rotational": "0\n",
            **{
                f"sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq": (
                    "1958400\n" if core < 4 else "2400000\n" if core < 7 else "2707200\n"
                )
                for core in range(8)
            },
            "sys/devices/soc0/family": "Snapdragon\n",
            "sys/devices/soc0/machine": "QCS6490\n",
            "sys/devices/soc0/soc_id": "498\n",
            "usr/lib/libQnnHtp.so": "",
            "usr/lib/libQnnHtpV68Stub.so": "",
            "usr/lib/libQnnHtpV73Stub.so": "",
            "dev/fastrpc-cdsp": "",
            "usr/bin/python3.12": "",
        },
    )
    _disk(root, "8:2", "ufs/block/sda/sda2")
    link(root, "usr/bin/python3", "python3.12")
    return root


def container(root: Path) -> Path:
    """Little more than /proc, an overlay and musl."""
    return plant(
        root,
        {
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: Intel(R) N100\n",
            "proc/meminfo": "MemTotal:        1000000 kB\nSwapTotal:             0 kB\n",
            "proc/self/mountinfo": root_on("0:64", "overlay", "overlay", "ro"),
            "lib/ld-musl-x86_64.so.1": "",
            "usr/local/bin/python3.13": "",
        },
    )


BOARDS: Mapping[str, Callable[[Path], Path]] = {
    "raspberry-pi-5": raspberry_pi_5,
    "coral-dev-board-mini": coral_dev_board_mini,
    "jetson-orin-nano": jetson_orin_nano,
    "snapdragon": snapdragon,
    "container": container,
}
