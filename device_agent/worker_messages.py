"""What the agent and its worker processes say to each other; never seen by the host.

Any request may be answered by `Failure` instead, and any reply may be preceded by `Progress`.
"""

from __future__ import annotations

from typing import Optional, Tuple

from device_agent.environment_messages import RuntimeVersion
from device_agent.manifest import Port
from device_agent.model_messages import Parity
from device_agent.output_messages import OUTPUT_REPLIES, OUTPUT_REQUESTS
from device_agent.profile_messages import ModelPlacement, Profiled
from device_agent.protocol import Failure, Progress
from device_agent.records import record
from device_agent.stage_messages import STAGE_REPLIES, STAGE_REQUESTS


@record(frozen=True)
class Load:
    """Import the runtime and load a model. Reply: `Loaded`.

    Args:
        path: of the model; its companion, if it has one, lies beside it.
        golden: path of the golden vectors to use, if any.
        golden_inputs: the inputs that the golden vectors were made for, in the model's order.
        engines: folder for what the runtime builds of the model before it can load it; "" is none.
        folders: where the runtime is imported from before all other places; mostly none.
    """

    path: str
    runtime: str
    runtime_min_version: str
    threads: int
    golden: Optional[str]
    golden_inputs: Tuple[Port, ...]
    engines: str = ""
    folders: Tuple[str, ...] = ()


@record(frozen=True)
class Probe:
    """Import a runtime, and no model. Reply: `Probed`.

    Args:
        folders: it must come from there.
    """

    runtime: str
    folders: Tuple[str, ...]


@record(frozen=True)
class Probed:
    """It imports."""

    runtime: RuntimeVersion


@record(frozen=True)
class Loaded:
    """As in `model_messages.Opened`."""

    runtime: RuntimeVersion
    kernel_path: str
    threads: int
    load_ns: int
    baseline_rss_bytes: Optional[int]
    inputs: Tuple[Port, ...]
    outputs: Tuple[Port, ...]


@record(frozen=True)
class WarmUp:
    """Run until the latency no longer falls. Reply: `Warm`."""

    max_seconds: float


@record(frozen=True)
class Warm:
    """How many runs it took, and whether the latency was steady at the end.

    Args:
        slowest_ns: of those runs.
    """

    runs: int
    steady: bool
    slowest_ns: int


@record(frozen=True)
class TimeBlock:
    """Time one turn of runs. Reply: `Timed`.

    The turn ends when both minima are reached, or after `max_seconds`; it has one run at least.
    """

    min_runs: int
    min_seconds: float
    max_seconds: float


@record(frozen=True)
class Timed:
    """The samples follow as payload: nanoseconds, signed 64 bits, in the machine's byte order.

    Args:
        settling_runs: runs before them that were not timed.
    """

    peak_rss_bytes: Optional[int]
    settling_runs: int
    payload_bytes: int


@record(frozen=True)
class TimeWindow:
    """Time runs for one window, as of `measuring_messages.Sustain`. Reply: `Windowed`."""

    seconds: float
    kept_samples: int


@record(frozen=True)
class Windowed:
    """As of `measuring_messages.Window`; the samples follow as payload, as after `Timed`."""

    runs: int
    total_ns: int
    fastest_ns: int
    slowest_ns: int
    p50_ns: int
    p90_ns: int
    every: int
    peak_rss_bytes: Optional[int]
    payload_bytes: int


@record(frozen=True)
class Classify:
    """As `model_messages.Predict`, for one model. Reply: `Classified`."""

    count: int
    dtypes: Tuple[str, ...]
    output: int
    payload_bytes: int


@record(frozen=True)
class Classified:
    """Top-1 class index of each sample."""

    top1: Tuple[int, ...]


@record(frozen=True)
class Run:
    """The inputs of one run follow as payload, as the model stores them. Reply: `Ran`."""

    payload_bytes: int


@record(frozen=True)
class Ran:
    """The outputs follow as payload, as the model stores them.

    Args:
        dtypes: of the outputs, in the model's order.
        shapes: likewise.
    """

    dtypes: Tuple[str, ...]
    shapes: Tuple[Tuple[int, ...], ...]
    payload_bytes: int


@record(frozen=True)
class Compare:
    """Run the golden vectors. Reply: `model_messages.Parity`."""


@record(frozen=True)
class Locate:
    """Where do the operators run? Reply: `profile_messages.ModelPlacement`."""


@record(frozen=True)
class TimeOperators:
    """As `profile_messages.Profile`, in a process that has no model. Reply: `Profiled`.

    Args:
        load: the model; as for `Load`, with golden vectors.
    """

    load: Load
    runs: int
    max_seconds: float


REQUESTS = {
    message.__name__: message
    for message in (
        *(Probe, Load, WarmUp, TimeBlock, TimeWindow, Classify, Run, Compare),
        *(Locate, TimeOperators),
        *STAGE_REQUESTS,
        *OUTPUT_REQUESTS,
    )
}
REPLIES = {
    message.__name__: message
    for message in (
        *(Probed, Loaded, Warm, Timed, Windowed, Classified, Ran, Parity),
        *(ModelPlacement, Profiled, Progress, Failure),
        *STAGE_REPLIES,
        *OUTPUT_REPLIES,
    )
}
