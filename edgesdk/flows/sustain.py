"""Run what is installed on a device without a pause for long: does it keep its speed?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from device_agent.measuring_messages import Sustain
from device_agent.model_messages import OpenModel
from device_agent.package_messages import Installed
from edgesdk.devices.agent import AgentSession
from edgesdk.errors import UsageError
from edgesdk.files import write_durable
from edgesdk.flows.installing import Permissions, Say, put
from edgesdk.flows.leasing import Claim
from edgesdk.flows.rebooted import reboot_named
from edgesdk.flows.runs import keep
from edgesdk.flows.session import agent_on, find_device, lack_explained, require_described
from edgesdk.package.reading import read_sealed
from edgesdk.progress import JUDGING, Progress, Silent
from edgesdk.report.endurance_page import render_endurance
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import GateBounds
from edgesdk.validate.endurance import find_endurance
from edgesdk.validate.gates import resolve_gates
from edgesdk.values.endurance import Endurance, Endured
from edgesdk.values.results import MeasuredDevice

KEY = "int8"
WINDOW_S = 1.0
WINDOWS_MOST = 3600
"""A longer run has longer windows, so that its curve stays a curve."""
SAMPLES_MOST = 100_000
KEPT_MOST = 200
WARM_UP_S = 10.0


def sustain(
    device: str,
    seconds: float,
    *,
    package: Path | str | None = None,
    html: Path | str | None = None,
    threads: int = 0,
    gates: tuple[GateBounds, ...] = (),
    permissions: Permissions | None = None,
    wait_s: float = 0.0,
    progress: Progress | None = None,
    say: Say = lambda _: None,
) -> Endurance:
    """Run a package's model on a device without a pause, and see when it gives way.

    Args:
        seconds: how long, after the warm-up.
        package: install this one first; the device's current one unless given.
        html: write the page with the curve to this file.
        threads: 0 means one per CPU of the device, at most 4.
        gates: on top of the target's, the last one winning. Those of p95 and of peak memory are
            judged, by the part in which the latency had settled; which others were asked for is in
            `Endurance.not_judged`.
        wait_s: how long to wait for a device that is someone else's.

    Raises:
        UsageError: not a positive time, or no file for the page.
        EdgeSDKError: the device cannot be reached, or has nothing to run.
    """
    if seconds <= 0:
        raise UsageError(f"found {seconds:g} s to run for, expected more than 0")
    if html is not None:
        _require_writable(Path(html))
    enrolled = find_device(device)
    bounds = resolve_gates(load_target(enrolled.target).gates, *gates)
    claim = Claim("a sustained measurement", wait_s, say)
    with agent_on(enrolled, claim=claim, progress=progress) as agent:
        require_described(enrolled, agent.environment)
        if package is None:
            installed = agent.current()
        else:
            sealed = read_sealed(Path(package))
            allowed = permissions or Permissions()
            committed = put(
                agent, enrolled, sealed, progress or Silent(), permissions=allowed, say=say
            )
            installed = committed.installed
        found = MeasuredDevice(enrolled.name, enrolled.kind, agent.environment)
        with (
            lack_explained(enrolled, agent.environment, installed),
            reboot_named(enrolled, agent.environment, say),
        ):
            endured = _run(agent, found, installed, seconds, threads, progress or Silent())
    with (progress or Silent()).task(JUDGING, 0):
        endurance = find_endurance(endured, bounds, tuple(_beyond(gates)))
    keep("sustained", endurance, target=enrolled.target, data=None, say=say)
    if html is not None:
        write_durable(Path(html), render_endurance(endurance).encode())
    return endurance


def _require_writable(page: Path) -> None:
    """Not only after half an hour."""
    if page.is_dir():
        raise UsageError(f"found the folder {page}, expected a file to write the page to")
    if not page.parent.is_dir():
        raise UsageError(f"found no folder {page.parent} to write the page to")


def _beyond(gates: Sequence[GateBounds]) -> Iterator[str]:
    """Gates that are asked for, and are of other measurements than one model's latency."""
    if any(layer.max_latency_regression_percent is not None for layer in gates):
        yield "latency since the baseline"
    if any(layer.max_metric_drop for layer in gates):
        yield "metrics"


def _run(
    agent: AgentSession,
    device: MeasuredDevice,
    installed: Installed,
    seconds: float,
    threads: int,
    progress: Progress,
) -> Endured:
    request = OpenModel(
        key=KEY,
        runtime=installed.runtime,
        runtime_min_version=installed.runtime_min_version,
        threads=threads,
        package_id=installed.package_id,
        role="model",
    )
    opened = agent.open_model(request, progress)
    sustained, windows = agent.sustain(plan(seconds), progress)
    return Endured(device, installed, opened, sustained, windows)


def plan(seconds: float) -> Sustain:
    """Windows and samples for so long a run, both bounded."""
    window_s = max(WINDOW_S, seconds / WINDOWS_MOST)
    kept = max(1, min(KEPT_MOST, int(SAMPLES_MOST * window_s / seconds)))
    return Sustain(KEY, seconds, window_s, kept, WARM_UP_S)
