"""The other Pythons of this machine, for what must run on all of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def interpreters() -> list[Path]:
    """Every Python under pyenv's folder, where there is one."""
    root = os.environ.get("PYENV_ROOT", "")
    if not root and shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True).stdout.strip()
    return sorted(Path(root).glob("versions/*/bin/python")) if root else []


def version_of(python: Path) -> tuple[int, ...]:
    """Such as (3, 7)."""
    return tuple(int(part) for part in python.parents[1].name.split(".")[:2])


def version_name(python: Path) -> str:
    """Such as "3.7.16"."""
    return python.parents[1].name


NEW = [python for python in interpreters() if version_of(python) >= (3, 7)]
OLD = [python for python in interpreters() if version_of(python) < (3, 7)]
