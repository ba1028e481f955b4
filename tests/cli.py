"""The command line as a user runs it: a process, its exit code, its output."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesdk.devices import inventory
from edgesdk.devices.inventory import Device

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "examples" / "digits"
CALIBRATION = f"{DIGITS / 'digits.npz'}#calibration"
TEST = f"{DIGITS / 'digits.npz'}#test"


def this_machine() -> str:
    """The generic target of the machine that runs the tests."""
    return {"x86_64": "generic-x86-64", "aarch64": "generic-arm64"}[platform.machine()]


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """Runs `edgesdk` in a folder of its own, with an inventory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "edgesdk-home"
        self.environment = {**os.environ, "EDGESDK_HOME": str(self.home), "COLUMNS": "100"}

    @staticmethod
    def argv(*arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "edgesdk", *map(str, arguments)]

    def __call__(self, *arguments: str | Path) -> Done:
        done = subprocess.run(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            stdin=subprocess.DEVNULL,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def enrol(self, device: Device) -> None:
        self.home.mkdir(exist_ok=True)
        inventory.add(self.home / "devices.json", device, replace=True)
