"""Tables that stay readable where a terminal is narrow, and are whole where there is none.

Names and numbers are never broken. Where there is no room, text is folded between its words, then
columns that can be spared are left out, which is said, and only then are names cut short.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgesdk.text import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_FRAME = 3
"""Characters beside a cell: a line and two spaces; one more line ends the row."""
NAMES = 10**6
"""Folded between words, never within one."""
SENTENCES = 24
"""Likewise, save a word that is longer, as paths are."""
_WORDS = re.compile(r"[-+]?\d\S* (?:ns|us|ms|s|min|h|d|B|KiB|MiB|GiB|points|dB|%)(?!\w)\S*|\S+")
"""A number and its unit stay together."""
_SHORTEST = 4
"""To what a name is cut at most."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Args:
        right: numbers, which stand to the right.
        fold: text that may be folded between words, and within those longer than this; 0: neither.
        spare: how soon it is left out where there is no room, the highest first; 0 never.
    """

    title: str
    right: bool = False
    fold: int = 0
    spare: int = 0


class Listing:
    """Rows under columns."""

    def __init__(self, *columns: Column) -> None:
        self._columns = columns
        self._rows: list[tuple[str, ...]] = []

    def add(self, *cells: str) -> None:
        """A row; whatever is in it is shown as it is."""
        self._rows.append(tuple(plain(cell) for cell in cells))

    def show(self, console: Console) -> None:
        """Print it: within the width of a terminal, each row in one line elsewhere."""
        if not console.is_terminal:
            before = console.width
            console.width = max(before, _total(self._natural(index) for index in self._all))
            console.print(self.within(console.width))
            console.width = before
            return
        console.print(self.within(console.width))
        kept = self._kept(console.width)
        left_out = [self._columns[index].title for index in self._all if index not in kept]
        if left_out:
            told = f"no room for: {', '.join(left_out)}"
            console.print(told, style="dim", markup=False, soft_wrap=True)

    def within(self, width: int) -> Table:
        """As much of it as so many characters have room for."""
        from rich.table import Table
        from rich.text import Text

        widths = self._widths(width)
        shown = Table()
        for index, characters in widths.items():
            column = self._columns[index]
            shown.add_column(
                column.title,
                justify="right" if column.right else "left",
                no_wrap=True,
                overflow="ellipsis",
                width=characters,
            )
        for row in self._rows:
            shown.add_row(*(Text(self._folded(row, index, widths[index])) for index in widths))
        return shown

    def _folded(self, row: tuple[str, ...], index: int, width: int) -> str:
        most = self._columns[index].fold
        breaks = most <= width  # Else what is too long is cut short, for want of room for any.
        return "\n".join(_lines(row[index], width, breaks)) if most else row[index]

    @property
    def _all(self) -> range:
        return range(len(self._columns))

    def _widths(self, width: int) -> dict[int, int]:
        """Of each column that is kept, the characters between its lines."""
        widths = {index: self._least(index) for index in self._kept(width)}
        natural = {index: self._natural(index) for index in widths}
        while (room := width - _total(widths.values())) > 0:
            folded = [each for each in widths if widths[each] < natural[each]]
            if not folded:
                break
            for index in folded[:room]:
                widths[index] += 1
        while _total(widths.values()) > width and max(widths.values()) > _SHORTEST:
            widest = max(widths, key=lambda index: widths[index])
            widths[widest] -= 1
        return widths

    def _kept(self, width: int) -> list[int]:
        """The columns that there is room for."""
        kept = list(self._all)
        spared = [index for index in kept if self._columns[index].spare]
        for index in sorted(spared, key=lambda each: -self._columns[each].spare):
            if _total(map(self._least, kept)) <= width:
                break
            kept.remove(index)
        return kept

    def _natural(self, index: int) -> int:
        return max(1, *map(_cells, self._texts(index)))

    def _least(self, index: int) -> int:
        """Its width where it is folded as far as it may be."""
        most = self._columns[index].fold
        if not most:
            return self._natural(index)
        words = [word for text in self._texts(index) for word in _WORDS.findall(text)]
        return max(1, *(min(most, _cells(word)) for word in [*words, ""]))

    def _texts(self, index: int) -> list[str]:
        return [self._columns[index].title, *(row[index] for row in self._rows)]


def _lines(text: str, width: int, breaks: bool) -> Iterator[str]:
    """A text in lines of so many characters; longer words are broken where `breaks`."""
    from rich.cells import chop_cells

    line = ""
    for word in _WORDS.findall(text):
        for piece in chop_cells(word, width) if breaks else [word]:
            if line and _cells(f"{line} {piece}") > width:
                yield line
                line = ""
            line = f"{line} {piece}" if line else piece
    yield line


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _total(widths: Iterable[int]) -> int:
    """Of a table whose columns are so wide."""
    return sum(width + _FRAME for width in widths) + 1
