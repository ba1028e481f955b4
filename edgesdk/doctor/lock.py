"""Does a package fit the device it is on, or shall be on, by what it was made for and with?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast, get_args

from device_agent.inspection_messages import Built
from device_agent.manifest import is_at_least, runs_on
from edgesdk.doctor.software import runtime_finding
from edgesdk.errors import AgentError
from edgesdk.targets.types import Runtime, RuntimeName, Target
from edgesdk.units import format_bytes
from edgesdk.values.doctor import Examined, Finding

_MADE_WITH = {
    "litert": ("ai-edge-litert", ("ai-edge-litert",)),
    "onnxruntime": ("onnxruntime", ("onnxruntime", "onnxruntime-gpu")),
    "openvino": ("openvino", ("openvino",)),
}
"""The distribution that computed golden outputs, and those of a device that are numbered alike.
Only where the device computes with the same kernels: an accelerator does not."""


def lock_findings(
    examined: Examined,
    target: Target,
    built: Built,
    lack: Callable[[Sequence[Runtime]], AgentError | None],
) -> Iterator[Finding]:
    """Target, machine, board, runtime, room, and what it was compiled for."""
    yield from _where(examined, target, built)
    yield from _runtime(examined, target, built, lack)
    yield from _room(examined, built)
    yield from _compiled(examined, target, built)


def _where(examined: Examined, target: Target, built: Built) -> Iterator[Finding]:
    made_for, environment = built.compatibility, examined.environment
    if made_for.target != target.id:
        yield Finding(
            "package-target",
            "warning",
            f"{_name(built)} was made for {made_for.target}, and {examined.device} is enrolled as "
            f"{target.id}",
            target.id,
            made_for.target,
            f"convert for {target.id} and push again, or enrol the device as what it is",
        )
    if not runs_on(environment.machine, made_for.architectures):
        yield Finding(
            "package-architecture",
            "error",
            f"{_name(built)} is for {', '.join(made_for.architectures)}, and {examined.device} is "
            f"{environment.machine}",
            environment.machine,
            ", ".join(made_for.architectures),
            f"convert for {target.id} and push again",
        )
    board = environment.board or ""
    if made_for.boards and not board.startswith(made_for.boards):
        yield Finding(
            "package-board",
            "error",
            f"{_name(built)} is for {' or '.join(made_for.boards)}, and {examined.device} is "
            f"{board or 'a board without a name'}",
            board or "no name",
            " or ".join(made_for.boards),
            "build it with another --board, or push it to such a board",
        )


def _runtime(
    examined: Examined,
    target: Target,
    built: Built,
    lack: Callable[[Sequence[Runtime]], AgentError | None],
) -> Iterator[Finding]:
    made_for = built.compatibility
    if made_for.runtime not in get_args(RuntimeName):
        return  # Of a newer edgesdk; the device itself refuses what it does not know.
    wanted = Runtime(cast(RuntimeName, made_for.runtime), made_for.runtime_min_version)
    missing = lack((wanted,))
    if missing is not None:
        # One finding is enough where all of the target's are missing, and this is one of them.
        if wanted not in target.runtimes or lack(target.runtimes) is None:
            yield runtime_finding(examined, wanted, missing)
        return
    yield from _older_than_made_with(examined, built)
    if not examined.virtual and built.lock is not None:
        yield from _kernels(examined, built)


def _older_than_made_with(examined: Examined, built: Built) -> Iterator[Finding]:
    """Golden outputs are computed with the workstation's runtime; another release may differ."""
    distribution, alike = _MADE_WITH.get(built.compatibility.runtime, ("", ()))
    made_with = built.provenance.get(f"toolchain.{distribution}", "")
    for found in examined.environment.runtimes:
        runs = found.runtime == built.compatibility.runtime and found.package in alike
        if runs and made_with and not is_at_least(found.version, made_with):
            yield Finding(
                "runtime-older",
                "note",
                f"{_name(built)} was made with {distribution} {made_with}, and {examined.device} "
                f"runs it with {found.package} {found.version}: outputs may differ by a step",
                f"{found.package} {found.version}",
                f"{distribution} {made_with}",
                f"edgesdk bench shows whether they do; pip install {found.package}=={made_with} "
                "there makes them alike",
            )
            return


def _kernels(examined: Examined, built: Built) -> Iterator[Finding]:
    """tflite-runtime computes INT8 with the built-in kernels only (see `software`)."""
    assert built.lock is not None
    runs = [each for each in examined.environment.runtimes if each.runtime == "litert"]
    is_old = bool(runs) and runs[0].package.startswith("tflite-runtime")
    kernels = built.lock.kernels
    if built.compatibility.runtime == "litert" and is_old and kernels and "builtin" not in kernels:
        yield Finding(
            "golden-kernels",
            "warning",
            f"{_name(built)} has golden outputs of {', '.join(kernels)} only, and tflite-runtime "
            f"on {examined.device} computes with other kernels: parity cannot be judged",
            "builtin",
            ", ".join(kernels),
            "install ai-edge-litert on the device",
        )


def _room(examined: Examined, built: Built) -> Iterator[Finding]:
    """Only of a package that is not there yet does its size still matter."""
    installed = examined.inspection.package
    free = examined.environment.disk_free_bytes
    is_there = installed is not None and installed.package_id == built.package_id
    if not is_there and free is not None and free < built.installed_bytes:
        yield Finding(
            "package-room",
            "error",
            f"{_name(built)} takes {format_bytes(built.installed_bytes)}, and {examined.device} "
            f"has {format_bytes(free)} free",
            format_bytes(free),
            format_bytes(built.installed_bytes),
            "free some space there",
        )
    total, needs = examined.environment.memory_available_bytes, built.peak_ram_bytes
    if total is not None and needs is not None and total < needs:
        yield Finding(
            "package-memory",
            "warning",
            f"{_name(built)} may take {format_bytes(needs)} of memory, and {examined.device} has "
            f"{format_bytes(total)} available",
            format_bytes(total),
            format_bytes(needs),
            "end what else runs there, or build it under a tighter --ram-budget",
        )


# ---- what it was compiled for --------------------------------------------------------------------


def _compiled(examined: Examined, target: Target, built: Built) -> Iterator[Finding]:
    if built.provenance.get("compilation") == "not compiled":
        yield Finding(
            "package-not-compiled",
            "warning",
            f"{_name(built)} was not compiled for its accelerator: it runs on the CPU, or is "
            f"compiled on {examined.device}",
            "not compiled",
            "compiled",
            "install the vendor's compiler on the workstation, convert and package again",
        )
    lock = built.lock
    if lock is None:
        return
    library = examined.inspection.edgetpu
    needs = lock.edgetpu_runtime
    if needs and library is not None and library.runtime and library.runtime < needs:
        yield Finding(
            "package-edgetpu-runtime",
            "error",
            f"{_name(built)} was compiled for Edge TPU runtime {needs}, and libedgetpu on "
            f"{examined.device} is {library.runtime}",
            str(library.runtime),
            f"{needs} or newer",
            "sudo apt install --only-upgrade libedgetpu1-std there, or compile for the older one "
            "(min_runtime_version in the target's [accelerator.edgetpu])",
        )
    htp = target.accelerator.htp
    if lock.htp_arch is not None and htp is not None and lock.htp_arch != htp.arch.value:
        yield Finding(
            "package-htp-arch",
            "error",
            f"{_name(built)} was compiled for Hexagon v{lock.htp_arch}, and {target.id} has "
            f"v{htp.arch.value}",
            f"v{htp.arch.value}",
            f"v{lock.htp_arch}",
            f"convert for {target.id} and push again",
        )
    yield from _qnn(examined, built)
    yield from _tensorrt(examined, built)


def _qnn(examined: Examined, built: Built) -> Iterator[Finding]:
    """A context binary is not read by an older QAIRT than it was compiled with."""
    lock = built.lock
    if lock is None or lock.htp_arch is None:
        return
    for found in examined.environment.runtimes:
        if found.runtime == "qnn" and not is_at_least(found.version, lock.compiler_version):
            yield Finding(
                "package-qnn-version",
                "error",
                f"{_name(built)} was compiled by {lock.compiler} {lock.compiler_version}, and "
                f"{examined.device} has {found.package} {found.version}, which does not read it",
                f"{found.package} {found.version}",
                f"{lock.compiler_version} or newer",
                f"pip install '{found.package}>={lock.compiler_version}' there, or compile with "
                f"{found.version}",
            )
            return


def _tensorrt(examined: Examined, built: Built) -> Iterator[Finding]:
    lock, found = built.lock, examined.environment.accelerators.tensorrt
    if lock is None or not lock.tensorrt or not found:
        return
    if found.split(".")[0] != lock.tensorrt.split(".")[0]:
        yield Finding(
            "package-tensorrt",
            "warning",
            f"{_name(built)} was made for TensorRT {lock.tensorrt} (JetPack {lock.jetpack}), and "
            f"{examined.device} has {found}: its Q/DQ form may be refused",
            found,
            lock.tensorrt,
            "convert for the target of the JetPack that the device has",
        )


def _name(built: Built) -> str:
    return f"package {built.name} {built.version}"
