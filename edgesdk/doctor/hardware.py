"""Is it the board that its descriptor describes?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from device_agent.inspection_messages import CoreKind
from device_agent.manifest import runs_on
from edgesdk.targets.types import ComputeUnit, Target
from edgesdk.units import format_bytes
from edgesdk.values.doctor import Examined, Finding

_LEAST_MEMORY = 0.75
"""Share of the memory sold that Linux must see; firmware and the GPU keep some for themselves.
Policy: the configurations that boards are sold in lie a factor of two apart."""
_WIDE = {"aarch64": 64, "x86_64": 64, "armv7l": 32}
_ANOTHER = "enrol it as the board it is (edgesdk device add ... --target ID --replace)"


def hardware_findings(examined: Examined, target: Target) -> Iterator[Finding]:
    """Architecture, name, cores and memory."""
    if not runs_on(examined.environment.machine, (target.architecture,)):
        yield Finding(
            "architecture",
            "error",
            f"{examined.device} is not what its descriptor says: it is "
            f"{examined.environment.machine}, and {target.id} is {target.architecture}",
            examined.environment.machine,
            target.architecture,
            f"{_ANOTHER}; edgesdk target ls lists them",
        )
        return  # Of another machine's cores there is nothing to say.
    yield from _width(examined, target)
    yield from _board(examined, target)
    yield from _cores(examined, target)
    yield from _memory(examined, target)
    yield from _not_compared(examined, target)


def _width(examined: Examined, target: Target) -> Iterator[Finding]:
    found, expected = examined.inspection.pointer_bits, _WIDE[target.architecture]
    if found != expected:
        yield Finding(
            "userland",
            "error",
            f"{examined.device} runs {found}-bit programs on a {examined.environment.machine} "
            f"kernel, and {target.id} needs {expected}-bit ones: runtimes have no others",
            f"{found}-bit Python",
            f"{expected}-bit Python",
            f"install the {expected}-bit operating system, or name a {expected}-bit Python: "
            f"edgesdk device add {examined.device} ... --python PATH --replace",
        )


def _board(examined: Examined, target: Target) -> Iterator[Finding]:
    """A warning only: carriers and images of others give boards other names."""
    found = examined.environment.board
    if target.board is None or examined.virtual:
        return
    if found is not None and not found.startswith(target.board.value):
        yield Finding(
            "board",
            "warning",
            f"{examined.device} calls itself {found}, and is enrolled as {target.id}",
            found,
            f"{target.board.value}...",
            f"if it is another board, {_ANOTHER}",
        )


def _cores(examined: Examined, target: Target) -> Iterator[Finding]:
    """Only cores that the kernel names are compared."""
    found, wanted = examined.inspection.cores, _wanted(target)
    if not wanted or not _are_known(found) or examined.virtual:
        return
    missing = [unit for unit in wanted if not _count(found, unit)]
    if missing:
        yield Finding(
            "cores",
            "error",
            f"{examined.device} is not what its descriptor says: it has {cores_text(found)}, and "
            f"{target.id} has {_units_text(wanted)}",
            cores_text(found),
            _units_text(wanted),
            f"{_ANOTHER}: the target's figures, forecasts and gates do not hold of it",
        )
        return
    fewer = [unit for unit in wanted if unit.cores and _count(found, unit) < unit.cores.value]
    if fewer:
        yield Finding(
            "cores-off",
            "warning",
            f"{examined.device} has {cores_text(found)} on, and {target.id} has "
            f"{_units_text(wanted)}",
            cores_text(found),
            _units_text(wanted),
            "turn them on: a power mode (nvpmodel -m), maxcpus= on the kernel's command line, or a "
            "container may have turned them off",
        )


_NAMED = ("cortex ", "neoverse ", "carmel", "denver")


def _wanted(target: Target) -> list[ComputeUnit]:
    return [unit for unit in target.compute_units if unit.kind == "cpu" and _is_named(unit)]


def _are_known(found: Sequence[CoreKind]) -> bool:
    return bool(found) and all(_plain(kind.name).startswith(_NAMED) for kind in found)


def _is_named(unit: ComputeUnit) -> bool:
    return _plain(unit.core).startswith(_NAMED)


def _plain(core: str) -> str:
    return core.lower().replace("-", " ")


def _count(found: Sequence[CoreKind], unit: ComputeUnit) -> int:
    return sum(kind.count for kind in found if _plain(kind.name) == _plain(unit.core))


def cores_text(found: Sequence[CoreKind]) -> str:
    """Such as "4x Cortex-A55 and 4x Cortex-A76"."""
    counts: dict[str, int] = {}
    for kind in found:
        counts[kind.name or "CPU"] = counts.get(kind.name or "CPU", 0) + kind.count
    return " and ".join(f"{count}x {name}" for name, count in counts.items()) or "no core"


def _units_text(units: Sequence[ComputeUnit]) -> str:
    named = (f"{unit.cores.value}x {unit.core}" if unit.cores else unit.core for unit in units)
    return " and ".join(named)


def _memory(examined: Examined, target: Target) -> Iterator[Finding]:
    found, sold = examined.environment.memory_total_bytes, target.memory.ram_bytes
    if found is None or sold is None or examined.virtual:
        return
    if found < sold.value * _LEAST_MEMORY:
        yield Finding(
            "memory",
            "warning",
            f"{examined.device} has {format_bytes(found)} of memory, and the smallest {target.id} "
            f"has {format_bytes(sold.value)}",
            format_bytes(found),
            f"at least {format_bytes(sold.value)}",
            f"if it is another board, {_ANOTHER}; if a container or the kernel (mem=) limits it, "
            "set budgets for what is left",
        )


def _not_compared(examined: Examined, target: Target) -> Iterator[Finding]:
    """What the target describes and the device does not tell: it fits by nobody's word."""
    if examined.virtual:
        return
    told = {
        "name": target.board is None or examined.environment.board is not None,
        "cores": not _wanted(target) or _are_known(examined.inspection.cores),
        "memory": target.memory.ram_bytes is None
        or examined.environment.memory_total_bytes is not None,
    }
    if untold := [what for what, is_told in told.items() if not is_told]:
        yield Finding(
            "not-compared",
            "note",
            f"{examined.device} does not tell its {' and '.join(untold)}, so that was not compared "
            f"with {target.id}",
            "not readable",
            f"the {' and '.join(untold)} of {target.id}",
            "edgesdk device show has what was read, and why the rest was not",
        )
