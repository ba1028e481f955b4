"""A worker that runs out of memory, for real: in a control group that allows it little."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.failures import AgentFailure
from device_agent.worker_messages import Loaded, WarmUp
from device_agent.workers import Worker

V1 = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")
LIMIT_BYTES = 64 * 2**20
GREEDY = """\
import os, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
sys.stdin.readline()
kept = [bytearray(os.urandom(2**20)) for _ in range(512)]
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of 64 MiB without swap."""
    version_1 = (V1 / "memory.limit_in_bytes").exists()
    folder = (V1 if version_1 else V2) / f"edgesdk-test-{os.getpid()}"
    try:
        folder.mkdir()
        limit = "memory.limit_in_bytes" if version_1 else "memory.max"
        (folder / limit).write_text(str(LIMIT_BYTES))
        if not version_1:
            (folder / "memory.swap.max").write_text("0")
    except OSError as error:
        if folder.exists():
            folder.rmdir()
        pytest.skip(f"no control group for memory here: {error}")
    yield folder
    folder.rmdir()


def test_the_kernel_s_end_of_a_worker_is_told_as_want_of_memory(group: Path) -> None:
    worker = Worker("int8", [sys.executable, "-c", GREEDY, str(group)])
    try:
        with pytest.raises(AgentFailure) as caught:
            worker.ask(WarmUp(1.0), Loaded, silence_s=120)
    finally:
        worker.close()
    assert caught.value.code == "out_of_memory"
    assert caught.value.message == (
        "the device ran out of memory while it ran model 'int8', and its kernel ended that process"
    )
