"""Is the accelerator that its target names there, and may the agent's user use it?"""

from __future__ import annotations

from collections.abc import Iterator

from device_agent.inspection_messages import Node
from edgesdk.targets.types import EdgeTpu, Htp, Target, TensorRt
from edgesdk.values.doctor import Examined, Finding

_USB_RULE = (
    'SUBSYSTEM=="usb",ATTRS{idVendor}=="18d1",ATTRS{idProduct}=="9302",GROUP="plugdev" and the '
    "same for 1a6e and 089a"
)
"""google-coral/libedgetpu, debian/edgetpu-accelerator.rules (revision 3164995)."""
_L4T_OF_JETPACK = {"5": "35", "6": "36", "7": "38"}
"""Major releases, as the sources of our Jetson descriptors have them: JetPack 5.1.6 is R35.6.4, 6.2
is R36.4.3, 7.0 is R38.2.2."""


def accelerator_findings(examined: Examined, target: Target) -> Iterator[Finding]:
    """Of the accelerators in the target's descriptor."""
    accelerator = target.accelerator
    if accelerator.edgetpu is not None:
        yield from _edgetpu(examined, target, accelerator.edgetpu)
    if accelerator.htp is not None:
        yield from _htp(examined, target, accelerator.htp)
    if accelerator.tensorrt is not None:
        yield from _tensorrt(examined, target, accelerator.tensorrt)


# ---- Edge TPU ------------------------------------------------------------------------------------


def _edgetpu(examined: Examined, target: Target, wanted: EdgeTpu) -> Iterator[Finding]:
    if not examined.environment.accelerators.edge_tpus:
        yield Finding(
            "edgetpu",
            "error",
            f"{examined.device} shows no Edge TPU, and {target.id} has one",
            "no Edge TPU on USB or PCIe",
            "an Edge TPU",
            "plug it in, into a port with enough power; on PCIe load its driver (gasket, apex); "
            "lsusb shows 1a6e:089a or 18d1:9302, lspci 1ac1:089a",
        )
    elif not _nodes(examined, "edgetpu"):
        yield Finding(
            "edgetpu-node",
            "error",
            f"{examined.device} has an Edge TPU and no device file for it",
            "no device file",
            "/dev/apex_0 or one below /dev/bus/usb",
            "on PCIe install and load its driver (gasket-dkms); in a container pass the device "
            "through",
        )
    yield from _forbidden(examined, "edgetpu", "plugdev for USB, apex for PCIe")
    library = examined.inspection.edgetpu
    if library is None:
        yield Finding(
            "libedgetpu",
            "error",
            f"{examined.device} has no libedgetpu.so.1, through which the Edge TPU is used",
            "no libedgetpu.so.1",
            "libedgetpu.so.1",
            "from Coral's package repository, sudo apt install libedgetpu1-std",
        )
    elif library.runtime is None:
        yield Finding(
            "libedgetpu-untold",
            "note",
            f"libedgetpu on {examined.device} does not tell its runtime version, so that was "
            "compared with nothing",
            "no runtime version",
            "a runtime version",
            "edgesdk device show has what was read, and why the rest was not",
        )
    elif wanted.min_runtime_version is not None:
        least = wanted.min_runtime_version.value
        if library.runtime < least:
            yield Finding(
                "libedgetpu-version",
                "error",
                f"libedgetpu on {examined.device} has runtime version {library.runtime}, and "
                f"models for {target.id} are compiled for {least}",
                str(library.runtime),
                f"{least} or newer",
                "sudo apt install --only-upgrade libedgetpu1-std",
            )


# ---- Hexagon -------------------------------------------------------------------------------------


def _htp(examined: Examined, target: Target, wanted: Htp) -> Iterator[Finding]:
    yield from _soc(examined, target)
    if not _nodes(examined, "htp"):
        yield Finding(
            "htp-node",
            "error",
            f"{examined.device} has no device file of its HTP, and {target.id} runs models there",
            "no /dev/fastrpc-cdsp",
            "/dev/fastrpc-cdsp, or /dev/adsprpc-smd with Qualcomm's older kernels",
            "use an image whose kernel has FastRPC and whose firmware starts the compute DSP; in a "
            "container pass the device through",
        )
    yield from _forbidden(examined, "htp", "")
    if not examined.inspection.qnn.libraries:
        yield Finding(
            "qnn-libraries",
            "warning",
            f"no QNN libraries are seen on {examined.device}, through which its HTP is used",
            "no libQnnHtp.so",
            "libQnnHtp.so",
            "install onnxruntime-qnn, or the QAIRT SDK, unless they lie where no loader looks",
        )
    hexagon, arch = examined.inspection.qnn.hexagon, str(wanted.arch.value)
    if hexagon and arch not in hexagon:
        yield Finding(
            "qnn-arch",
            "error",
            f"the QNN libraries on {examined.device} are for Hexagon "
            f"{', '.join('v' + each for each in hexagon)}, and {target.id} has v{arch}",
            ", ".join(f"libQnnHtpV{each}Stub.so" for each in hexagon),
            f"libQnnHtpV{arch}Stub.so",
            "install onnxruntime-qnn, or the QAIRT SDK, with the libraries for this chip",
        )


def _soc(examined: Examined, target: Target) -> Iterator[Finding]:
    """Linux, drivers/soc/qcom/socinfo.c: the family is "Snapdragon", the machine the chip."""
    found, named = examined.environment.accelerators.soc, target.soc.split()[-1]
    if found.startswith("Snapdragon") and named.lower() not in found.lower():
        yield Finding(
            "soc",
            "error",
            f"{examined.device} is not what its descriptor says: its chip is {found}, and "
            f"{target.id} has {target.soc}",
            found,
            target.soc,
            "enrol it as the chip it is: a model compiled for one Hexagon does not load on another",
        )


# ---- Jetson --------------------------------------------------------------------------------------


def _tensorrt(examined: Examined, target: Target, wanted: TensorRt) -> Iterator[Finding]:
    found = examined.environment.accelerators
    if not found.l4t:
        yield Finding(
            "jetson",
            "error",
            f"{examined.device} is no Jetson, or does not say so: it has no /etc/nv_tegra_release",
            "no Jetson Linux",
            f"JetPack {wanted.jetpack.value}",
            "install JetPack; in a container, mount that file",
        )
        return
    yield from _jetpack(examined, target, wanted)
    if found.tensorrt and not _same_release(found.tensorrt, wanted.version.value):
        yield Finding(
            "tensorrt-version",
            "warning",
            f"{examined.device} has TensorRT {found.tensorrt}, and {target.id} describes "
            f"{wanted.version.value}: operators and precisions may differ",
            found.tensorrt,
            wanted.version.value,
            "use the target of the JetPack it has, or install that one",
        )
    yield from _forbidden(examined, "gpu", "video")
    if not found.cuda:
        yield Finding(
            "cuda",
            "note",
            f"no CUDA toolkit is seen on {examined.device}",
            "no /usr/local/cuda",
            "the CUDA of its JetPack",
            "sudo apt install nvidia-jetpack, unless the libraries lie elsewhere",
        )


def _jetpack(examined: Examined, target: Target, wanted: TensorRt) -> Iterator[Finding]:
    installed, l4t = examined.inspection.jetpack, examined.environment.accelerators.l4t
    expected = wanted.jetpack.value
    by_l4t = _L4T_OF_JETPACK.get(expected.split(".")[0])
    differs = (
        not _same_release(installed, expected)
        if installed
        else by_l4t is not None and l4t.split(".")[0] != by_l4t
    )
    if differs:
        found = f"JetPack {installed} (L4T {l4t})" if installed else f"L4T {l4t}"
        yield Finding(
            "jetpack",
            "warning",
            f"{examined.device} has {found}, and {target.id} is JetPack {expected}",
            found,
            f"JetPack {expected}",
            "enrol it as the target of its JetPack (edgesdk target ls), or install that JetPack",
        )


def _same_release(found: str, expected: str) -> bool:
    """Whether the found release is of the expected one: 10.3.0.30 is of 10.3."""
    count = len(expected.split("."))
    return found.split(".")[:count] == expected.split(".")


# ---- device files --------------------------------------------------------------------------------


def _nodes(examined: Examined, of: str) -> tuple[Node, ...]:
    return tuple(node for node in examined.inspection.nodes if node.of == of)


def _forbidden(examined: Examined, of: str, usual: str) -> Iterator[Finding]:
    """A device file that the agent's user may not use, where there is none that it may."""
    nodes = _nodes(examined, of)
    if not nodes or any(node.usable for node in nodes):
        return
    node, user = nodes[0], examined.inspection.user
    if node.group in ("root", "0", "") or node.group in examined.inspection.groups:
        rule = f": {_USB_RULE}" if node.path.startswith("/dev/bus/usb") else ""
        remedy = f"give it a group with a udev rule{rule} (usual groups: {usual or 'render'})"
    else:
        remedy = f"sudo usermod -aG {node.group} {user} there, and log in anew"
    yield Finding(
        f"{of}-permission",
        "error",
        f"{user} may not use {node.path} on {examined.device}",
        f"{node.path} of group {node.group or 'unknown'}; {user} is in "
        f"{', '.join(examined.inspection.groups)}",
        "read and write",
        remedy,
    )
