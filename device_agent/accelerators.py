"""What the device has beside its CPU, by what its system says. Nothing is opened or started."""

from __future__ import annotations

import glob
import json
import os
import re
from typing import Tuple

from device_agent.environment_messages import Accelerators
from device_agent.system_files import library_release, read_text

USB_EDGE_TPUS = (("1a6e", "089a"), ("18d1", "9302"))
"""Vendor and product: the first pair until its firmware is loaded, then the second."""
_PCI_EDGE_TPU = ("0x1ac1", "0x089a")


def read_accelerators(root: str = "/") -> Accelerators:
    """The accelerators as the system shows them now.

    Args:
        root: of the file system.
    """
    return Accelerators(
        soc=_soc(os.path.join(root, "sys/devices/soc0")),
        l4t=parse_tegra_release(read_text(os.path.join(root, "etc/nv_tegra_release"))),
        cuda=_cuda(os.path.join(root, "usr/local/cuda")),
        tensorrt=library_release("libnvinfer.so", root),
        edge_tpus=_edge_tpus(os.path.join(root, "sys/bus")),
    )


def parse_tegra_release(text: str) -> str:
    """Release of Jetson Linux from "# R36 (release), REVISION: 4.3, ...": "36.4.3"."""
    match = re.match(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text)
    return ".".join(match.groups()) if match else ""


def parse_cuda_release(text: str) -> str:
    """Release of the CUDA toolkit from its version.json, or the version.txt of older ones."""
    match = re.match(r"CUDA Version ([\d.]+)", text)
    if match:
        return match.group(1)
    try:
        release = json.loads(text)["cuda"]["version"]
    except (ValueError, KeyError, TypeError):
        return ""
    return release if isinstance(release, str) else ""


def _cuda(folder: str) -> str:
    texts = (read_text(os.path.join(folder, name)) for name in ("version.json", "version.txt"))
    return next(filter(None, map(parse_cuda_release, texts)), "")


def _soc(folder: str) -> str:
    texts = (read_text(os.path.join(folder, name)) for name in ("family", "machine", "soc_id"))
    return ", ".join(text.strip("\0 \n") for text in texts if text.strip("\0 \n"))


def _edge_tpus(buses: str) -> Tuple[str, ...]:
    usb = _ids(os.path.join(buses, "usb/devices/*"), "idVendor", "idProduct")
    pci = _ids(os.path.join(buses, "pci/devices/*"), "vendor", "device")
    return ("usb",) * sum(ids in USB_EDGE_TPUS for ids in usb) + ("pcie",) * sum(
        ids == _PCI_EDGE_TPU for ids in pci
    )


def _ids(devices: str, vendor: str, product: str) -> Tuple[Tuple[str, str], ...]:
    return tuple(
        (
            read_text(os.path.join(device, vendor)).strip().lower(),
            read_text(os.path.join(device, product)).strip().lower(),
        )
        for device in sorted(glob.glob(devices))
    )
