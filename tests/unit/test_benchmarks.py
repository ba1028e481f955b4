"""What the benchmarks take for granted of the code that they measure."""

from __future__ import annotations

import io
import runpy
import sys
import zipfile
from pathlib import Path

import pytest

PUSH = Path(__file__).parents[2] / "benchmarks" / "push.py"


def test_the_agent_that_verifies_nothing_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """By replacing words of the agent's source, so that a change of those words breaks it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    benchmark = runpy.run_path(str(PUSH))
    with zipfile.ZipFile(io.BytesIO(benchmark["_unverifying"]().zipapp)) as agent:
        for name, hashing, _ in benchmark["_HASHES"]:
            assert hashing not in agent.read(f"device_agent/{name}").decode()
