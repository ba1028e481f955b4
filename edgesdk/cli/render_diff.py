"""A difference between two versions as a person reads it in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgesdk.cli.output import table
from edgesdk.text import plain
from edgesdk.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from edgesdk.values.difference import Difference, Explanation, TensorChange

_SHOWN = 20
_NAME_MAX = 60
_REST = "(all that is no tensor)"


def difference(console: Console, found: Difference, all_tensors: bool) -> None:
    """Each file's delta, its size and what its bytes are spent on."""
    _line(console, f"from {found.old} to {found.new}")
    if not found.files:
        _line(console, "  no file of the one has its like in the other")
    for role, explanation in found.files.items():
        _file(console, role, explanation, all_tensors)


def _file(console: Console, role: str, found: Explanation, all_tensors: bool) -> None:
    ratio = found.patch_bytes / found.full_bytes if found.full_bytes else 0.0
    sizes = (
        f"{format_bytes(found.patch_bytes)}, {ratio:.3f} of the {format_bytes(found.full_bytes)}"
    )
    _line(console, f"{role}: the smallest delta is {sizes} that the full file takes")
    counts = Counter(change.how for change in found.changes if change.name)
    if counts:
        told = ", ".join(f"{count} {how}" for how, count in counts.most_common())
        _line(console, f"  tensors: {told}")
    costly = [change for change in found.changes if change.cost_bytes > 0]
    shown = found.changes if all_tensors else costly[:_SHOWN]
    if shown:
        console.print(_changes(shown, found))
    if len(shown) < len(costly):
        rest = sum(change.cost_bytes for change in costly[len(shown) :])
        count = len(costly) - len(shown)
        _line(console, f"  and {count} more that cost {format_bytes(rest)} together: --all")


def _changes(changes: Sequence[TensorChange], found: Explanation) -> object:
    columns = ("tensor", "read by", "type", "changed", "largest step", "how", "cost", "share")
    listed = table("", *columns, right=("changed", "largest step", "cost", "share"))
    total = sum(change.cost_bytes for change in found.changes) or 1
    for change in changes:
        fraction = change.changed_fraction
        listed.add_row(
            _name(change.name or _REST),
            _name(change.layer),
            plain(f"{change.dtype}{list(change.shape)}" if change.dtype else "-").replace(
                "[", "\\["
            ),
            "-" if fraction is None else f"{fraction:.1%}",
            "-" if change.max_step is None else str(change.max_step),
            change.how,
            format_bytes(change.cost_bytes),
            f"{change.cost_bytes / total:.1%}",
        )
    return listed


def _name(text: str) -> str:
    """Converters chain the names of what they fused; the last one is the most telling."""
    last = plain(text).split(";")[-1] or plain(text)
    short = last if len(last) <= _NAME_MAX else "..." + last[-_NAME_MAX:]
    return short.replace("[", "\\[")


def _line(console: Console, text: str) -> None:
    console.print(plain(text), markup=False, soft_wrap=True)
