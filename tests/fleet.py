"""What fleets' own tools do with an export: those tools, and a device to hand it to."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from device_agent.manifest import Compatibility, Port
from edgesdk.keys.signing import open_signer
from edgesdk.values.package import Package
from tests.cli import DIGITS, Cli
from tests.sealed import seal

_DEADLINE_S = 120


def require(*programs: str) -> None:
    """Skip the tests of a module whose programs are not installed; Debian has them all."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed", allow_module_level=True)


def run(*argv: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program's end; what it said is in `stdout`."""
    return subprocess.run(
        list(map(str, argv)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=_DEADLINE_S,
        env={**os.environ, **environment},
    )


def must(*argv: str | Path, **environment: str) -> str:
    """What a program said that has to succeed."""
    done = run(*argv, **environment)
    assert done.returncode == 0, done.stdout
    return done.stdout


def flipped(path: Path, at: int) -> Path:
    """A copy with one bit changed."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    copy = path.with_name(f"flipped-{path.name}")
    copy.write_bytes(content)
    return copy


def make_certificate(folder: Path, name: str, *extensions: str) -> tuple[Path, Path]:
    """A private key and a self-signed certificate."""
    key, certificate = folder / f"{name}.key.pem", folder / f"{name}.cert.pem"
    asked = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    asked += ["-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate)]
    for extension in extensions:
        asked += ["-addext", extension]
    must(*asked)
    return key, certificate


@dataclass(frozen=True)
class Board:
    """This machine as a device of a fleet: the agent, its folder and the file that names both."""

    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What the scripts on the device are told."""
        return {"EDGESDK_SETTINGS": str(self.folder / "settings")}

    def agent(self, *arguments: str) -> Any:
        """What the agent answers to one command."""
        root = ("--root", str(self.folder / "root"))
        return json.loads(must(sys.executable, self.folder / "agent.pyz", *arguments, *root))

    def current(self) -> dict[str, int]:
        """Sequence of the current package by name."""
        inventory = self.agent("installed-local")
        return {
            each["name"]: each["sequence"]
            for each in inventory["packages"]
            if each["state"] == "current"
        }


def make_board(cli: Cli) -> Board:
    """A board that trusts the key that packages are signed with here."""
    board = Board(cli.folder / "board")
    board.folder.mkdir()
    assert cli("key", "new", "fleet").code == 0
    assert cli("agent", "save", board.folder / "agent.pyz").code == 0
    (board.folder / "settings").write_text(
        f"EDGESDK_AGENT={board.folder}/agent.pyz\n"
        f"EDGESDK_ROOT={board.folder}/root\n"
        f"EDGESDK_PYTHON={sys.executable}\n"
    )
    board.agent("trust-local", str(cli.home / "trust" / "1.json"))
    return board


def runnable(cli: Cli, sequence: int, **changes: Any) -> Package:
    """A signed package that the board can run: the example's float model."""
    return seal(
        cli.folder / f"digits-{sequence}.edgepkg",
        {"model": (DIGITS / "digits.onnx").read_bytes()},
        signer=open_signer(cli.home / "keys" / "fleet"),
        sequence=sequence,
        compatibility=Compatibility("a-board", (platform.machine(),), "onnxruntime", "1.14"),
        inputs=(Port("image", (1, 1, 8, 8), "float32"),),
        outputs=(Port("logits", (1, 10), "float32"),),
        **changes,
    )
