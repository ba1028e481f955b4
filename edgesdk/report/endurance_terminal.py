"""A long run for a terminal: its curve in a line of blocks, its figures, its remarks."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgesdk.report.endurance_words import endurance_facts, endurance_remarks, endurance_title
from edgesdk.report.terminal import gates_table
from edgesdk.report.wording import notice
from edgesdk.text import plain
from edgesdk.units import format_ns
from edgesdk.values.endurance import Endurance

CELLS = 60
_BLOCKS = "▁▂▃▄▅▆▇█"


def render_endurance_text(found: Endurance) -> RenderableType:
    """A renderable for `Console.print`; needs 80 columns, does without colour."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in endurance_facts(found):
        table.add_row(name, Text(plain(text)))
    medians = [float(window.p50_ns) for window in found.endured.windows]
    low, high = format_ns(min(medians)), format_ns(max(medians))
    parts: list[RenderableType] = [
        Text(endurance_title(found), "bold"),
        Text.assemble(sparkline(medians), ("  p50 from zero, ", "dim"), f"{low} to {high}"),
        table,
    ]
    if said := notice(found.endured.device):
        parts.append(Text(said, "yellow"))
    if found.verdicts:
        parts.append(Padding(gates_table(found.verdicts), (1, 0)))
    parts += [Text(f"* {plain(remark)}") for remark in endurance_remarks(found)]
    return Group(*parts)


def sparkline(values: Sequence[float]) -> str:
    """Values from zero to their largest as blocks of eight heights; neighbours are merged."""
    size = -(-len(values) // CELLS)
    merged = [median(values[i : i + size]) for i in range(0, len(values), size)]
    most = max(merged) or 1.0
    return "".join(_BLOCKS[min(7, int(8 * value / most))] for value in merged)
