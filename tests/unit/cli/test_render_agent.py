"""Facts about what is said of the agent's own runtimes."""

from __future__ import annotations

import io

from rich.console import Console

from device_agent.runtime_messages import RuntimesHere
from edgesdk.cli import render_agent
from edgesdk.flows.agents import AgentUninstall


def test_the_size_of_what_is_left_is_not_taken_for_what_is_gone() -> None:
    console = Console(file=io.StringIO(), width=100)
    left = RuntimesHere((), 2 * 2**20, 0)
    render_agent.uninstall(console, AgentUninstall("pi", ("onnxruntime",), left, None))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == (
        "removed from pi: onnxruntime\nruntimes of the agent take 2.00 MiB there\n"
    )
