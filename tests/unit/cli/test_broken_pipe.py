"""A reader that goes away, as `head` does, is no failed gate."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli import Cli


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["for people", "for programs"])
def test_a_reader_that_has_gone_is_told_from_a_failed_gate(
    more: tuple[str, ...], tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = Cli(tmp_path)
    argv = command.argv("target", "show", "raspberry-pi-5", *more)
    try:
        done = subprocess.run(
            argv, stdout=writing, stderr=subprocess.PIPE, env=command.environment, timeout=60
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
