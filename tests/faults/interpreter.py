"""A Python for a device under test, which can be told to misbehave at a named point.

It is an environment of the Python that runs the tests, with the runtimes installed there, and with
`saboteur` started by its site-packages. The agent starts itself anew from `sys.executable`, and its
workers too, so that each of them is one that obeys.
"""

from __future__ import annotations

import copy
import json
import shutil
import stat
import sys
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults import aarch64
from tests.faults.aarch64 import Emulated

_SABOTEUR = Path(__file__).with_name("saboteur.py")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to happen, and where; see `saboteur`.

    Args:
        action: "die", "pause", "fill", "inodes", "files", "memory", "clock" or "swap".
        call: of the `os` module, or "append", "spawn", "begin".
        path: pattern of what the call is about.
        number: of the calls that fit, the one that counts; from 1.
        moment: "before" or "after" that call.
        role: of the process: "serve", "worker" or "patch".
        argument: of the action.
    """

    action: str
    call: str
    path: str = ""
    number: int = 1
    moment: str = "before"
    role: str = "serve"
    argument: Any = None


class Interpreter:
    """The environment.

    Args:
        folder: where it is made.
        readable: it has to be one that every user can read, which the tests' own may not be.
        emulated: it is for another processor.
    """

    def __init__(
        self, folder: Path, *, readable: bool = False, emulated: Emulated | None = None
    ) -> None:
        self.path = folder / "bin" / "python3"
        self.is_emulated = emulated is not None
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        runtimes = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        if readable and not all(map(_is_readable, map(Path, runtimes))):
            pytest.skip("no other user can read the runtimes that the tests use")
        real = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        if emulated is not None:
            real, version, runtimes = emulated.program, aarch64.VERSION, {str(emulated.site)}
        elif readable and not _is_readable(real):
            real = _system_python(version)
        self._site = folder / "lib" / f"python{version}" / "site-packages"
        self._site.mkdir(parents=True)
        self.path.parent.mkdir()
        self.path.symlink_to(real)
        home = f"home = {real.parent}\ninclude-system-site-packages = false\n"
        (folder / "pyvenv.cfg").write_text(home)
        (self._site / "a.pth").write_text("\n".join(sorted(runtimes)) + "\n")
        (self._site / "b.pth").write_text("import saboteur\n")
        shutil.copy(_SABOTEUR, self._site)
        if emulated is not None:
            command = folder / "python-emulated"
            command.write_text(emulated.command(self.path))
            command.chmod(0o755)
            self.path = command

    def behind(self, command: Path) -> Interpreter:
        """The same, started by another command; what it becomes is the same again."""
        wrapped = copy.copy(self)
        wrapped.path = command
        return wrapped

    def order(self, *orders: Order) -> None:
        """Let these happen, in place of what was ordered before."""
        (self._site / "done.log").unlink(missing_ok=True)
        (self._site / "orders.json").write_text(json.dumps([asdict(order) for order in orders]))

    def done(self) -> tuple[str, ...]:
        """What happened since: role, call and path of each."""
        log = self._site / "done.log"
        return tuple(log.read_text().splitlines()) if log.exists() else ()


def _is_readable(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in [path, *path.parents])


def _system_python(version: str) -> Path:
    path = Path(f"/usr/bin/python{version}")
    if not path.exists():
        pytest.skip(f"no other user can run this Python, and there is no {path}")
    return path
