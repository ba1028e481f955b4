"""Every older Python that the agent has to run on, where pyenv has one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]


def _folder() -> str:
    root = os.environ.get("PYENV_ROOT", "")
    if not root and shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True).stdout.strip()
    return root


def _version(python: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in python.parents[1].name.split(".")[:2])


def pythons() -> list[Path]:
    found = Path(_folder()).glob("versions/*/bin/python") if _folder() else ()
    return sorted(python for python in found if _version(python) >= (3, 7))


def name(python: Path) -> str:
    return python.parents[1].name


def said(python: Path, program: str, stdin: str) -> str:
    """What a program says that may import `device_agent`."""
    done = subprocess.run(
        [python, "-c", program],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
