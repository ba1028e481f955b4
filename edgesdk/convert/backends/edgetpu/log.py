"""What `edgetpu_compiler -s` says on its standard output, read by its fixed sentences. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MAPPED = "Mapped to Edge TPU"

_VERSION = re.compile(r"^Edge TPU Compiler version (\S+)", re.MULTILINE)
_ROW = re.compile(r"^([A-Za-z0-9_][\w-]*)\s{2,}(\d+)\s{2,}(\S.*?)\s*$", re.MULTILINE)
_FAILURE = re.compile(r"error|fail|abort|invalid|unsupported model", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of operators."""

    type: str
    count: int
    status: str


@dataclass(frozen=True, slots=True)
class Log:
    """What the compiler said.

    Args:
        version: of the compiler, "" where it does not say.
        rows: of its table of operators; empty where it printed none.
        complaints: lines that speak of a failure.
    """

    version: str
    rows: tuple[Row, ...]
    complaints: tuple[str, ...]

    def statuses(self) -> Mapping[str, tuple[str, ...]]:
        """Operator type to what it said of those it did not map."""
        types = {row.type for row in self.rows}
        return {
            kind: tuple(
                row.status for row in self.rows if row.type == kind and row.status != MAPPED
            )
            for kind in sorted(types)
        }


def read_log(text: str) -> Log:
    """Read the compiler's output; what is not there is left out."""
    version = _VERSION.search(text)
    rows = tuple(
        Row(match[1], int(match[2]), match[3])
        for match in _ROW.finditer(text)
        if match[1] != "Operator"
    )
    complaints = tuple(line.strip() for line in text.splitlines() if _FAILURE.search(line))
    return Log(version[1] if version else "", rows, complaints)
