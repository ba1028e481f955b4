"""A device in detail, and what the doctor says of it, as a person reads it in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgesdk.cli.moments import minute
from edgesdk.cli.tables import NAMES, Column, Listing
from edgesdk.text import plain
from edgesdk.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from device_agent.environment_messages import Environment
    from device_agent.inspection_messages import Inspection, Storage
    from edgesdk.devices.inventory import Device
    from edgesdk.devices.last_seen import Seen
    from edgesdk.values.doctor import Diagnosis, Finding

_SIGNS = {"error": ("✗", "red"), "warning": ("!", "yellow"), "note": ("-", "dim")}
_GOOD = ("✓", "green")


def diagnosis(console: Console, told: Diagnosis) -> None:
    """Findings with their remedies, worst first, and the verdict."""
    for finding in told.findings:
        _finding(console, finding)
    compared = f"target {told.target}"
    compared += f" and package {told.package}" if told.package else ""
    counts = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for word in _SIGNS
        if (count := sum(each.severity == word for each in told.findings))
    ]
    name = told.device + (" (virtual: its hardware was not compared)" if told.virtual else "")
    if told.able:
        verdict = f"{name} can do what its {compared} ask" + ("" if told.package else "s")
        _signed(console, _GOOD, verdict + (f" ({', '.join(counts)})" if counts else ""))
    else:
        _signed(
            console,
            _SIGNS["error"],
            f"{name} cannot do what its {compared} ask{'' if told.package else 's'}: "
            f"{', '.join(counts)}",
        )


def _finding(console: Console, finding: Finding) -> None:
    _signed(console, _SIGNS[finding.severity], f"{finding.says} ({finding.id})")
    if finding.severity != "note":
        _line(console, f"    found {finding.found}; expected {finding.expected}")
    if finding.remedy:
        _line(console, f"    {finding.remedy}")


def _signed(console: Console, sign: tuple[str, str], text: str) -> None:
    """With a sign in colour on a terminal; with a word where nobody sees colours."""
    symbol, colour = sign
    if console.is_terminal and console.encoding.startswith("utf"):
        console.print(symbol, style=colour, end=" ")
        _line(console, text)
    else:
        words = {"✗": "error: ", "!": "warning: ", "-": "note: ", "✓": "ok: "}
        _line(console, words[symbol] + text)


def listed(console: Console, devices: Sequence[tuple[Device, Seen | None]]) -> None:
    """The inventory, with what each device was when it was last looked at."""
    if not devices:
        _line(console, "no devices yet: edgesdk device add NAME --address user@host --target ID")
        return
    shown = Listing(
        Column("device"),
        Column("address", spare=2),
        Column("target", spare=1),
        Column("kind", fold=NAMES, spare=3),
        Column("tags", fold=NAMES),
        Column("last seen", fold=NAMES),
    )
    for each, seen in devices:
        kind = f"virtual ({each.kind})" if each.virtual else each.kind
        when = "never" if seen is None else f"{minute(seen.at)}, {seen.verdict}"
        tags = ", ".join(each.tags)
        shown.add(each.name, str(each.address), each.target, kind, tags, when)
    shown.show(console)


# ---- device show ---------------------------------------------------------------------------------


def details(console: Console, environment: Environment, found: Inspection) -> None:
    """What the inspection adds to the environment; what could not be read is said at the end."""
    for title, value in _rows(environment, found):
        _line(console, f"  {title:<10} {value}")
    for unread in found.unread:
        _line(console, f"  not readable: {unread.what}: {unread.why}")


def _rows(environment: Environment, found: Inspection) -> Iterator[tuple[str, str]]:
    accelerators = environment.accelerators
    if accelerators.soc:
        yield "soc", accelerators.soc
    for kind in found.cores:
        clock = "" if kind.max_clock_hz is None else f" up to {kind.max_clock_hz / 1e6:.0f} MHz"
        yield "cores", f"{kind.count}x {kind.name or 'CPU'}{clock}"
    if found.swap_bytes is not None:
        yield "swap", format_bytes(found.swap_bytes)
    for storage in found.storage:
        yield "storage", _storage(storage)
    for python in found.pythons:
        told = ", ".join(f"{name} {version}" for name, version in sorted(python.runtimes.items()))
        parts = (told, f"numpy {python.numpy}" if python.numpy else "", *python.impostors)
        own = " (runs the agent)" if python.own else ""
        having = f": {', '.join(filter(None, parts))}" if any(parts) else ""
        yield "python", f"{python.path} {python.version}{own}{having}"
    yield from _accelerator_rows(environment, found)
    for sensor in found.sensors:
        heat = "no plausible reading" if sensor.celsius is None else f"{sensor.celsius:.1f} °C"
        yield "sensor", f"{sensor.name} {heat}"
    yield "user", f"{found.user}, in {', '.join(found.groups)}"
    if found.package is not None:
        built = found.package
        yield "package", f"{built.name} {built.version} for {built.compatibility.target}"


def _accelerator_rows(environment: Environment, found: Inspection) -> Iterator[tuple[str, str]]:
    accelerators = environment.accelerators
    if accelerators.l4t:
        yield "jetpack", f"{found.jetpack or 'not installed as such'} (L4T {accelerators.l4t})"
    if found.power_modes:
        yield "power mode", f"{found.power_mode or '?'} of {', '.join(found.power_modes)}"
    for title, value in (("tensorrt", accelerators.tensorrt), ("cuda", accelerators.cuda)):
        if value:
            yield title, value
    if accelerators.edge_tpus:
        yield "edge tpu", ", ".join(accelerators.edge_tpus)
    if found.edgetpu is not None:
        library = found.edgetpu
        runtime = "not known" if library.runtime is None else str(library.runtime)
        package = f", package {library.package}" if library.package else ""
        yield "libedgetpu", f"{library.path}, runtime version {runtime}{package}"
    for path in found.qnn.libraries:
        hexagon = ", ".join(f"v{each}" for each in found.qnn.hexagon)
        yield "qnn", path + (f", for Hexagon {hexagon}" if hexagon else "")
    if found.opencl:
        yield "opencl", ", ".join(found.opencl)
    for node in found.nodes:
        may = "usable" if node.usable else "NOT usable"
        yield "node", f"{node.path} of group {node.group}, {may} by {found.user}"


def _storage(storage: Storage) -> str:
    sizes = "size not readable"
    if storage.free_bytes is not None and storage.total_bytes is not None:
        sizes = f"{format_bytes(storage.free_bytes)} free of {format_bytes(storage.total_bytes)}"
    kind = f", {storage.kind}" if storage.kind else ""
    only = ", read-only" if storage.read_only else ""
    device = f"{storage.device} at {storage.path} ({storage.filesystem}{kind}{only})"
    return f"of the {storage.of}: {sizes} on {device}"


def _line(console: Console, text: str) -> None:
    console.print(plain(text), markup=False, soft_wrap=True)
