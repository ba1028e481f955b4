"""A lab as a person reads it in a terminal: whose a device is, many devices at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from edgesdk.choices import stand_in
from edgesdk.cli.moments import from_now
from edgesdk.cli.tables import SENTENCES, Column, Listing
from edgesdk.errors import Interrupted
from edgesdk.report.wording import NOT_DEFINED, value_text
from edgesdk.text import plain
from edgesdk.units import format_bytes, format_ns

if TYPE_CHECKING:
    from rich.console import Console

    from device_agent.lease_messages import Lease
    from device_agent.package_messages import Committed, Installed, Inventory
    from edgesdk.devices.enrol import Visited
    from edgesdk.devices.inventory import Device
    from edgesdk.values.doctor import Diagnosis
    from edgesdk.values.outcome import Outcome
    from edgesdk.values.report import Findings
    from edgesdk.values.sweep import Measured, Swept

T = TypeVar("T")


def leased(kept: Lease) -> str:
    """A lease that was just taken, in a few words."""
    return f"yours until {from_now(kept.left_s)}"


def given_back(given: Lease | None) -> str:
    """A lease that was given back, in a few words."""
    return "was kept by nobody" if given is None else f"free; it was kept by {holder(given)}"


def tagged(device: Device) -> str:
    """A device's tags."""
    return ", ".join(device.tags) or "no tags"


def lease(console: Console, name: str, kept: Lease) -> None:
    """A lease that was just taken."""
    _line(console, f"{name} is {leased(kept)}")
    _line(console, f"  edgesdk device release {name} gives it back")


def released(console: Console, name: str, given: Lease | None) -> None:
    """A lease that was given back."""
    _line(console, f"{name} {'' if given is None else 'is '}{given_back(given)}")


def holder(held: Lease) -> str:
    """Who has a device, and what for: "anna@desk (process 4711) for a night of tests"."""
    process = f" (process {held.pid})" if held.pid else ""
    purpose = f" for {held.purpose}" if held.purpose else ""
    return (held.owner or "someone") + process + purpose


def whose(held: Lease) -> str:
    """A lease in full; the clock is this workstation's."""
    until = f"until {from_now(held.left_s)}" if held.kept else "until that ends"
    return f"{holder(held)}, since {from_now(-held.age_s)} {until}"


def outcomes(console: Console, ended: Sequence[Outcome[T]], tell: Callable[[T], str]) -> None:
    """What became of each of many devices, and of how many."""
    listed = Listing(
        Column("device"),
        Column("result"),
        Column("what", fold=SENTENCES),
        Column("tries", right=True, spare=2),
        Column("time", right=True, spare=1),
    )
    for each in ended:
        words = each.problem.message if each.problem else tell(cast(T, each.value))
        verdict = _verdict(each)
        listed.add(each.device, verdict, words, str(each.attempts), f"{each.elapsed_s:.1f} s")
    listed.show(console)
    passed = sum(not each.exit_code for each in ended)
    _line(console, f"{passed} of {len(ended)} devices: ok")
    advised: dict[str, list[str]] = {}
    for each in ended:
        if each.problem is not None and each.problem.hint:
            advised.setdefault(each.problem.hint, []).append(each.device)
    for hint, names in advised.items():
        _line(console, f"next, for {', '.join(names)}: {hint}")


def _verdict(ended: Outcome[object]) -> str:
    if ended.problem is not None and ended.problem.type == Interrupted.__name__:
        return "interrupted" if ended.attempts else "not begun"
    return "ok" if not ended.exit_code else f"exit {ended.exit_code}"


def committed(done: Committed) -> str:
    """What a push did, in a few words."""
    verb = "was there already" if done.already else "is the current package"
    return f"{done.installed.name} {done.installed.version} {verb}"


def installed(receipt: Installed) -> str:
    """The package that a device uses now, in a few words."""
    return f"{receipt.name} {receipt.version} is the current package"


def inventory(found: Inventory) -> str:
    """The packages on a device, in a few words."""
    told = [f"{each.name} {each.version} ({each.state or 'not used'})" for each in found.packages]
    return ", ".join([*told, *(f"{lost.problem}" for lost in found.damaged)]) or "no package"


def visited(visit: Visited) -> str:
    """What a device is, in a few words, and whose."""
    found = visit.environment
    what = f"{found.board or found.machine}, Python {found.python}"
    return "; ".join([what, *(f"leased by {whose(held)}" for held in visit.leases)])


def diagnosis(told: Diagnosis) -> str:
    """What the doctor says of a device, in a few words: its errors."""
    errors = [each.says for each in told.findings if each.severity == "error"]
    warnings = sum(each.severity == "warning" for each in told.findings)
    return "; ".join([*errors, *([f"warnings: {warnings}"] if warnings else [])]) or "nothing amiss"


def findings(found: Findings) -> str:
    """What was measured on a device, in a few words."""
    told: list[str] = [found.outcome]
    latency = found.latency("int8")
    for name, figure in () if latency is None else (("p50", latency.p50), ("p95", latency.p95)):
        if figure is not None:
            told.append(f"{name} {format_ns(figure.value)}")
    if found.accuracy is not None:
        told.append(f"accuracy drop {found.accuracy.drop.value:.2f} points")
    for metric in found.metrics:
        if metric.drop is None:
            told.append(f"{metric.title} {NOT_DEFINED}")
            continue
        value = value_text(metric.int8_value, metric.unit)
        told.append(f"{metric.title} {value}, {value_text(metric.drop, metric.drop_unit)} lost")
    return ", ".join(filter(None, [*told, stand_in(found.results.device.kind)]))


def sweep(console: Console, cells: Sequence[Swept]) -> None:
    """Models by targets, and a row for each device that measured one."""
    listed = Listing(
        Column("model"),
        Column("target"),
        Column("result", fold=SENTENCES),
        Column("size", right=True),
        Column("of float", right=True, spare=4),
        Column("SQNR", right=True, spare=1),
        Column("accelerated", right=True, spare=3),
        Column("package", right=True, spare=2),
    )
    for cell in cells:
        name = cell.model if ":" in cell.model else Path(cell.model).name
        listed.add(name, cell.target, *_cell(cell))
        for each in cell.measured:
            listed.add("", f"  on {each.device}", _measured(each), "", "", "", "", "")
    listed.show(console)
    made = sum(cell.made is not None for cell in cells)
    _line(console, f"{made} of {len(cells)} made")


def _cell(cell: Swept) -> tuple[str, ...]:
    if cell.made is None:
        words = "" if cell.problem is None else cell.problem.message
        return words, "", "", "", "", ""
    made = cell.made
    share, sqnr = made.accelerated_fraction, made.worst_sqnr_db
    return (
        "ok",
        format_bytes(made.model_bytes),
        f"{made.model_bytes / made.float_bytes:.2f}x",
        "-" if sqnr is None else f"{sqnr:.1f} dB",
        "-" if share is None else f"{100 * share:.0f} %",
        format_bytes(made.package_bytes),
    )


def _measured(each: Measured) -> str:
    if each.problem is not None:
        return each.problem.message
    told: list[str] = [each.outcome]
    if each.p50_ns is not None:
        told.append(f"p50 {format_ns(each.p50_ns)}")
    if each.accuracy_drop_points is not None:
        told.append(f"accuracy drop {each.accuracy_drop_points:.2f} points")
    return ", ".join(filter(None, [*told, stand_in(each.kind or "board")]))


def _line(console: Console, text: str) -> None:
    console.print(plain(text), markup=False, soft_wrap=True)
