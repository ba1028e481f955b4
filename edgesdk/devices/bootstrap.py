"""What goes to the device first: the agent as one file, and the few lines that start it there.

The same sources give the same bytes on every machine, so a device keeps one copy under its hash.
"""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import device_agent

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = """\
import sys
if sys.version_info < (3, 7):
    sys.exit("found Python %d.%d, expected 3.7 or newer" % sys.version_info[:2])
from device_agent.program import main
sys.exit(main(sys.argv[1:], sys.path[0]))
"""
_STAGE0 = "stage0.py"


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent as it is sent.

    Args:
        zipapp: its bytes, without compression: a device's Python may lack zlib.
        sha256: of those bytes, in hex.
        stage0: source of the program that receives and starts it.
    """

    zipapp: bytes
    sha256: str
    stage0: str

    def command(self, python: str, marker: str, folder: str) -> Sequence[str]:
        """The argv that starts it.

        Args:
            python: the device's interpreter.
            marker: the first line of what is ours in the output.
            folder: of the store on the device; "~" is its user's home.
        """
        size = str(len(self.zipapp))
        return (python, "-c", self.stage0, marker, size, self.sha256, folder)


@functools.cache
def build_agent() -> Agent:
    """The agent, from the `device_agent` that is installed here."""
    package = Path(device_agent.__file__).parent
    zipapp = _zip(package)
    stage0 = (package / _STAGE0).read_text(encoding="utf-8")
    return Agent(zipapp, hashlib.sha256(zipapp).hexdigest(), stage0)


def _zip(package: Path) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry("__main__.py"), _MAIN)
        for path in sorted(package.rglob("*.py")):
            if path.name != _STAGE0:
                name = path.relative_to(package.parent).as_posix()
                archive.writestr(_entry(name), path.read_bytes())
    return target.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3  # Unix, wherever it is built.
    entry.external_attr = 0o644 << 16
    return entry
