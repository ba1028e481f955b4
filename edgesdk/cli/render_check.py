"""A forecast as a person reads it in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgesdk.cli.output import table
from edgesdk.text import plain
from edgesdk.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from edgesdk.values.artifact import Artifact, Compilation
    from edgesdk.values.forecast import Forecast, PlacedOperator, Placement, Refusal
    from edgesdk.values.remedies import OverBudget

_NAMED = 3
_HOLDS = "holds: no contract and no budget is known to break"
_NOT_TRIED = "; whether the toolchain takes every operator is known once it converts"
_BASIS = {
    "rules": "by the rules of its descriptor",
    "compiled": "read from the compiled file",
    "no accelerator": "there is no accelerator",
}


def forecast(console: Console, told: Forecast, all_operators: bool) -> None:
    """One model on one target: placement, sizes against budgets, what breaks."""
    _line(console, f"{told.model_name} on {told.target_id}, {told.precision}: a forecast")
    _line(console, f"  {told.chain}")
    for title, specs in (("input", told.inputs), ("output", told.outputs)):
        for spec in specs:
            _line(console, f"  {title:<9} {spec}")
    _line(console, f"  operators {placement_counts(told.operators)}; {_BASIS[told.basis]}")
    _sizes(console, told)
    if all_operators:
        _every_operator(console, told.operators)
    else:
        off_accelerator(console, told.operators)
    for note in told.notes:
        _line(console, f"  note: {note}")
    for sentence in told.broken:
        _line(console, f"  broken: {sentence}")
    for over in told.over_budget:
        _remedies(console, over)
    _line(console, _verdict(told))


def rows(console: Console, told: Sequence[Forecast | Refusal]) -> None:
    """One row for each target, and below what stands against it."""
    from edgesdk.values.forecast import Refusal

    columns = ("target", "off CPU", "model", "package", "memory", "holds")
    listed = table("", *columns, right=columns[1:5], fixed="target")
    against: dict[str, list[str]] = {}
    for row in told:
        if isinstance(row, Refusal):
            listed.add_row(row.target_id, "-", "-", "-", "-", "refused")
            against.setdefault(row.reason, []).append(row.target_id)
            continue
        fraction = row.accelerated_fraction
        listed.add_row(
            row.target_id,
            "-" if row.basis == "no accelerator" or fraction is None else f"{fraction:.0%}",
            format_bytes(row.model_bytes),
            format_bytes(row.package_bytes),
            format_bytes(row.working_set_bytes),
            "yes" if row.holds else "no",
        )
        for sentence in row.broken:
            against.setdefault(sentence, []).append(row.target_id)
    console.print(listed)
    for sentence, targets in against.items():
        _line(console, f"{', '.join(targets)}: {sentence}")


def placement_counts(operators: Sequence[Placement]) -> str:
    """ "31 on edgetpu, 1 on cpu", in the order in which the units first come."""
    counts = Counter(operator.unit for operator in operators)
    return ", ".join(f"{count} on {unit}" for unit, count in counts.items()) or "none"


def off_accelerator(console: Console, operators: Sequence[Placement]) -> None:
    """The operators that have fallen back, those of one reason and cure together."""
    groups: dict[tuple[str, str, str], list[Placement]] = {}
    for operator in operators:
        if operator.reason:
            cause = (operator.unit, operator.reason, operator.cure)
            groups.setdefault(cause, []).append(operator)
    for (unit, reason, cure), fallen in groups.items():
        why = f"{reason}; {cure}" if cure else reason
        _line(console, f"  on {unit}: {_named(fallen)}: {why}")


def _named(operators: Sequence[Placement]) -> str:
    """Each operator of a few; of many, how many of each type."""
    if len(operators) <= _NAMED:
        return ", ".join(f"{each.index} {each.type} {each.name}" for each in operators)
    counts = Counter(each.type for each in operators)
    return f"{len(operators)} operators ({', '.join(f'{n} {kind}' for kind, n in counts.items())})"


def placement(console: Console, shown: Artifact) -> None:
    """Where the converted model's operators go: the forecast beside the compiler's own word."""
    from edgesdk.values.forecast import moved

    told, compilation = shown.forecast, shown.compilation
    if told:
        _line(console, f"forecast by the rules of {shown.plan.target_id}: {placement_counts(told)}")
    if compilation.status == "not needed":
        off_accelerator(console, told)
        return
    _line(console, _compilation(compilation, told))
    for change in moved(told, compilation.placements):
        found = change.found
        _line(
            console,
            f"  {found.index} {found.type} {found.name}: forecast on {change.forecast.unit}, "
            f"found on {found.unit}" + (f" ({found.reason})" if found.reason else ""),
        )
    off_accelerator(console, compilation.placements or told)


def _compilation(compilation: Compilation, told: Sequence[Placement]) -> str:
    compiler = " ".join(filter(None, (compilation.compiler, compilation.version)))
    if compilation.status == "not compiled":
        return f"not compiled: {compilation.reason}"
    from edgesdk.values.forecast import moved

    found = compilation.placements
    where = placement_counts(found) if found else "it does not say where the operators go"
    text = f"{compilation.status} by {compiler}: {where}"
    if found and told:
        count = len(moved(told, found))
        text += f"; {count} not as forecast" if count else "; all as forecast"
    return text


def _every_operator(console: Console, operators: Sequence[PlacedOperator]) -> None:
    for operator in operators:
        gives = ", ".join(f"{spec.dtype}{list(spec.shape)}" for spec in operator.outputs)
        told = "; ".join(filter(None, (operator.reason, operator.cure)))
        why = f": {told}" if told else ""
        _line(
            console,
            f"  {operator.index} {operator.type} {operator.name} -> {gives or 'shape not known'} "
            f"on {operator.unit}{why}",
        )


def _sizes(console: Console, told: Forecast) -> None:
    listed = table("", "size", "forecast", "budget", right=("forecast", "budget"))
    for title, size, limit in (
        ("model file", told.model_bytes, None),
        ("package", told.package_bytes, told.budget.package_bytes),
        ("installed", told.installed_bytes, told.budget.installed_bytes),
        ("weights and live activations", told.working_set_bytes, told.budget.peak_ram_bytes),
    ):
        listed.add_row(title, format_bytes(size), "-" if limit is None else format_bytes(limit))
    if told.cache is not None:
        on_chip, capacity = told.cache.on_chip_bytes, told.cache.capacity_bytes
        listed.add_row("weights kept on chip", format_bytes(on_chip), format_bytes(capacity))
        listed.add_row("weights sent every run", format_bytes(told.cache.streamed_bytes), "-")
    console.print(listed)


def _remedies(console: Console, over: OverBudget) -> None:
    for remedy in over.remedies:
        _line(console, f"  to save {over.what}: {remedy}")


def _verdict(told: Forecast) -> str:
    if told.holds:
        return _HOLDS if told.precision == "as it is" else _HOLDS + _NOT_TRIED
    return f"does not hold: {len(told.broken)} of the contracts and budgets cannot be kept"


def _line(console: Console, text: str) -> None:
    console.print(plain(text), markup=False, soft_wrap=True)


def _plain(text: str) -> str:
    return plain(text).replace("[", "\\[")
