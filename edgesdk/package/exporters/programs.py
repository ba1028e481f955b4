"""Other systems' own programs: found on PATH, run to their end, their words passed on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesdk.errors import ExportError, ToolchainMissing
from edgesdk.processes import CannotStart, Ended, run_to_end

_VERSION_DEADLINE_S = 30.0
_DEADLINE_S = 600.0


@dataclass(frozen=True, slots=True)
class Program:
    """A program that makes another system's files.

    Args:
        name: on PATH.
        install: the command that installs it on Debian and Ubuntu.
    """

    name: str
    install: str

    def path(self) -> str:
        """Where it lies.

        Raises:
            ToolchainMissing: not on PATH.
        """
        found = shutil.which(self.name)
        if found is None:
            raise ToolchainMissing(
                f"{self.name} makes this format, and is not installed", hint=self.install
            )
        return found

    def version(self) -> str:
        """What it says of itself, e.g. "rauc 1.8".

        Raises:
            ToolchainMissing: not on PATH.
            ExportError: it does not start.
        """
        lines = self.run(["--version"], deadline_s=_VERSION_DEADLINE_S).tail(100)
        return lines[0] if lines else self.name

    def run(
        self,
        arguments: Sequence[str],
        *,
        scratch: Path | None = None,
        deadline_s: float = _DEADLINE_S,
    ) -> Ended:
        """Run it to its end.

        Args:
            scratch: a folder with room for what it says.

        Raises:
            ToolchainMissing: not on PATH.
            ExportError: it failed; its own words are the details.
        """
        try:
            ended = run_to_end([self.path(), *arguments], deadline_s, scratch=scratch)
        except CannotStart as error:
            raise ExportError(f"{self.name} cannot be started: {error.strerror}") from error
        if not ended.succeeded:
            raise ExportError(ended.sentence(self.name, deadline_s), details=ended.last_lines())
        return ended
