"""What the device is in detail: read when it is asked for, without privileges.

The one thing that is run is libedgetpu, in a process of its own: nothing but itself tells its
runtime version.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import subprocess
import sys
import time
from typing import Callable, Dict, List, Optional, Tuple

from device_agent import children
from device_agent.board_files import read_cores, read_nodes, read_sensors, read_storage, read_swap
from device_agent.inspection_messages import EdgeTpuLibrary, Inspection, Qnn, built_of
from device_agent.python_files import read_pythons
from device_agent.system_files import find_library
from device_agent.system_tree import SystemTree

__all__ = ["built_of", "inspect"]

_ASK_SECONDS = 10.0
# libedgetpu, tflite/public/edgetpu_c.h and tflite/edgetpu_manager_direct.cc: it makes the text
# "BuildLabel(...), RuntimeVersion(14)" when it is called.
_ASK = (
    "import ctypes, sys\n"
    "library = ctypes.CDLL(sys.argv[1])\n"
    "library.edgetpu_version.restype = ctypes.c_char_p\n"
    "print(library.edgetpu_version().decode())\n"
)
_STUBS = (
    "/usr/lib/libQnnHtpV*Stub.so",
    "/usr/lib/*-linux-gnu*/libQnnHtpV*Stub.so",
    "/usr/local/lib/libQnnHtpV*Stub.so",
    "/opt/*/lib/*/libQnnHtpV*Stub.so",
)


def inspect(
    store: str,
    *,
    root: str = "/",
    home: str = "",
    ask_edgetpu: Optional[Callable[[str], str]] = None,
) -> Inspection:
    """The device as it is now, but for the store and the package, which are the session's.

    Args:
        store: the store's folder.
        root: of the file system.
        home: of the user; the user's own unless given.
        ask_edgetpu: gives what a libedgetpu says of its version; it is run unless given.
    """
    tree = SystemTree(root)
    home = home or os.path.expanduser("~")
    packages = debian_packages(tree.text("var/lib/dpkg/status"))
    mode, modes = _power_mode(tree)
    pythons = read_pythons(tree, home)
    return Inspection(
        time_s=time.time(),
        user=_user(),
        groups=_groups(),
        pointer_bits=sys.maxsize.bit_length() + 1,
        musl=bool(tree.glob("lib/ld-musl-*.so.1")),
        cores=read_cores(tree),
        swap_bytes=read_swap(tree),
        storage=read_storage(tree, os.path.realpath(os.path.expanduser(store))),
        pythons=pythons,
        power_mode=mode,
        power_modes=modes,
        jetpack=_release(packages.get("nvidia-jetpack", "")),
        edgetpu=_edgetpu(tree, packages, ask_edgetpu or _ask_edgetpu),
        qnn=_qnn(tree),
        opencl=_opencl(tree),
        nodes=read_nodes(tree),
        sensors=read_sensors(tree),
        unread=tree.unread,
    )


def debian_packages(text: str) -> Dict[str, str]:
    """Installed packages and their versions, from /var/lib/dpkg/status."""
    found = {}
    for block in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Status): (.*)$", block, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed") and "Package" in fields:
            found[fields["Package"]] = fields.get("Version", "")
    return found


def parse_power_modes(text: str) -> Dict[int, str]:
    """Names of a Jetson's power modes by their numbers, from /etc/nvpmodel.conf."""
    modes = re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", text, re.MULTILINE)
    return {int(number): name for number, name in modes}


def parse_edgetpu_runtime(text: str) -> Optional[int]:
    """The runtime version of "BuildLabel(...), RuntimeVersion(14)"."""
    match = re.search(r"RuntimeVersion\((\d+)\)", text)
    return int(match.group(1)) if match else None


def _power_mode(tree: SystemTree) -> Tuple[str, Tuple[str, ...]]:
    """The mode a Jetson is in, and all it has: nvpmodel writes "pmode:0002" when it changes it."""
    modes = parse_power_modes(tree.text("etc/nvpmodel.conf"))
    if not modes:
        return "", ()
    told = re.match(r"pmode:(\d+)", tree.text("var/lib/nvpmodel/status", "power mode"))
    names = tuple(modes.values())
    return (modes.get(int(told.group(1)), told.group(1)) if told else ""), names


def _edgetpu(
    tree: SystemTree, packages: Dict[str, str], ask: Callable[[str], str]
) -> Optional[EdgeTpuLibrary]:
    path = find_library("libedgetpu.so.1", tree.root)
    if not path:
        return None
    names = ("libedgetpu1-std", "libedgetpu1-max")
    package = next((packages[name] for name in names if name in packages), "")
    try:
        runtime = parse_edgetpu_runtime(ask(path))
    except (OSError, subprocess.SubprocessError) as error:
        tree.note("runtime version of %s" % path, str(error))
        runtime = None
    return EdgeTpuLibrary(path, package, runtime)


def _ask_edgetpu(path: str) -> str:
    """What the library says of its version.

    Raises:
        OSError, subprocess.SubprocessError: it does not load, crashes or hangs.
    """
    argv = [sys.executable, "-I", "-c", _ASK, path]
    with children.running(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        said, complaints = child.communicate(timeout=_ASK_SECONDS)
    if child.returncode:
        lines = complaints.decode("utf-8", "replace").strip().splitlines() or [""]
        raise OSError("it does not load (exit status %d): %s" % (child.returncode, lines[-1]))
    return said.decode("utf-8", "replace")


def _qnn(tree: SystemTree) -> Qnn:
    """In the system's folders, and in those of Python's packages, which bring their own."""
    libraries = [found for found in [find_library("libQnnHtp.so", tree.root)] if found]
    stubs = [path for pattern in _STUBS for path in tree.glob(pattern)]
    for folder in sys.path if tree.root == "/" else ():
        for package in ("onnxruntime_qnn", "onnxruntime/capi"):
            libraries += tree.glob(os.path.join(folder, package, "libQnnHtp.so"))
            stubs += tree.glob(os.path.join(folder, package, "libQnnHtpV*Stub.so"))
    found = (re.search(r"libQnnHtpV(\d+)Stub\.so$", path) for path in stubs)
    versions = sorted({match.group(1) for match in found if match}, key=int)
    return Qnn(tuple(dict.fromkeys(libraries)), tuple(versions))


def _opencl(tree: SystemTree) -> Tuple[str, ...]:
    """The loader, and the drivers that its folder of names leads to (cl_khr_icd)."""
    loader = find_library("libOpenCL.so.1", tree.root)
    drivers = [tree.text(path).strip() for path in tree.glob("etc/OpenCL/vendors/*.icd")]
    return tuple(filter(None, [loader, *drivers])) if loader else ()


def _release(version: str) -> str:
    """Without the build: "6.2+b77" and "5.1.1-b56" are 6.2 and 5.1.1."""
    match = re.match(r"[\d.]+", version)
    return match.group() if match else ""


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _groups() -> Tuple[str, ...]:
    names: List[str] = []
    for number in sorted({os.getgid(), *os.getgroups()}):
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            names.append(str(number))
    return tuple(names)
