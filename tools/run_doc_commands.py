"""Run the `sh` blocks of Markdown files, so that what the docs tell a user to type really works.

Each file's blocks run in order in one shell in the repository's root, with `.venv/bin` first on the
PATH. A block preceded by an HTML comment `<!-- not run: REASON -->` is skipped, and listed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>.*?) -->\n+)?```sh\n(?P<code>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block, and why it is not run, if so."""

    code: str
    reason: str | None


def blocks(text: str) -> Iterator[Block]:
    """Every `sh` block of a Markdown text."""
    for match in _BLOCK.finditer(text):
        yield Block(match["code"], match["reason"])


def run(path: Path) -> int:
    """Run a file's blocks; the first failing command's exit code, or 0."""
    found = list(blocks(path.read_text()))
    if not found:
        print(f"{path}: has no command to run")
    for block in found:
        if block.reason:
            print(f"{path}: not run ({block.reason}): {block.code.strip().splitlines()[0]} ...")
    script = "set -euxo pipefail\n" + "\n".join(block.code for block in found if not block.reason)
    environment = {**os.environ, "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"}
    return subprocess.run(["bash", "-c", script], cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    """Run every file named on the command line."""
    codes = {path: run(Path(path)) for path in sys.argv[1:]}
    for path, code in codes.items():
        print(f"{path}: {'held' if code == 0 else f'failed ({code})'}")
    return max(codes.values(), default=2)


if __name__ == "__main__":
    sys.exit(main())
