"""What CI runs is what there is to run."""

from __future__ import annotations

import re
from pathlib import Path

from edgesdk.devices.emulation.requirements import PROGRAMS

ROOT = Path(__file__).parents[2]
CI = (ROOT / ".ci" / "run").read_text()
ASKED_FOR = {"test-slow"}
"""Of hours: run by whoever changes what it tests."""
ALWAYS_THERE = {"util-linux", "mount", "tar", "coreutils"}
"""Packages of every Debian."""


def test_every_suite_is_run() -> None:
    suites = re.findall(r"^(test[a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(suites) > 3
    run = set(re.findall(r"^make (\S+)$", CI, re.MULTILINE))
    assert set(suites) - run == ASKED_FOR


def test_what_emulates_aarch64_is_installed_where_it_may() -> None:
    wanted = set(re.findall(r"wanted\+=\(([^)]*)\)", CI))
    assert set(PROGRAMS.values()) - ALWAYS_THERE <= wanted
    assert {"binfmt-support", "debian-archive-keyring"} <= wanted
    assert "update-binfmts --enable qemu-aarch64" in CI
