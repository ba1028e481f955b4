"""One visit to a device: both models loaded side by side, on the same samples, timed in turns.

What to do is decided here; how bytes travel is the agent session's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from device_agent.protocol import (
    Bench,
    Benched,
    CheckParity,
    Installed,
    Opened,
    OpenModel,
    Parity,
)
from edgesdk.data.samples import Samples
from edgesdk.models.types import TensorSpec
from edgesdk.progress import Progress
from edgesdk.targets.types import Runtime
from edgesdk.values.results import MeasuredDevice, ModelRun, Predictions, Results, Role


class Agent(Protocol):
    """What a visit needs of the agent's session."""

    def stage(self, path: Path, progress: Progress) -> str:
        """Send a file for this session only; its name there."""

    def open_model(self, request: OpenModel) -> Opened:
        """Load a model."""

    def predict(
        self,
        keys: Sequence[str],
        samples: Iterable[Mapping[str, npt.NDArray[Any]]],
        count: int,
        output: int,
        progress: Progress,
    ) -> Mapping[str, tuple[int, ...]]:
        """Top-1 class of every sample, by key."""

    def check_parity(self, request: CheckParity) -> Parity:
        """Run the golden vectors."""

    def bench(self, request: Bench, progress: Progress) -> Benched:
        """Time the models in turns."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to measure.

    Args:
        blocks: turns of each model.
        min_runs: runs of each model, at least (74 give a 95 % interval of the 95th percentile).
        min_seconds: time in each model, at least.
        max_seconds: time in each model, at most, even if `min_runs` is not reached.
        max_warm_up_seconds: longest warm-up of each model.
        threads: 0 means one per CPU of the device, at most 4.
    """

    blocks: int = 10
    min_runs: int = 400
    min_seconds: float = 3.0
    max_seconds: float = 60.0
    max_warm_up_seconds: float = 10.0
    threads: int = 0


def validate(
    agent: Agent,
    device: MeasuredDevice,
    installed: Installed,
    runtime: Runtime,
    *,
    float_model: Path | None,
    inputs: Sequence[TensorSpec],
    dataset: Samples | None,
    timing: Timing | None,
    progress: Progress,
) -> Results:
    """Measure an installed package, and the float model beside it.

    Args:
        runtime: what the package runs on; the float model uses the same.
        float_model: the float model's file, sent for this visit only; None leaves it out.
        inputs: the model's inputs, in order.
        dataset: samples to predict; None skips accuracy.
        timing: None skips latency.
    """
    keys: list[Role] = ["int8"] if float_model is None else ["float", "int8"]
    opened = {}
    for key in keys:
        staged = agent.stage(float_model, progress) if key == "float" and float_model else None
        opened[key] = agent.open_model(
            OpenModel(
                key=key,
                runtime=runtime.name,
                runtime_min_version=runtime.min_version,
                threads=timing.threads if timing else 0,
                package_id=None if staged else installed.package_id,
                role=None if staged else "model",
                staged=staged,
            )
        )
    predictions = None if dataset is None else _predict(agent, keys, dataset, progress)
    parity = agent.check_parity(CheckParity("int8", installed.package_id))
    runs = () if timing is None else _time(agent, keys, opened, timing, progress)
    return Results(device, runs, predictions, parity)


def _predict(
    agent: Agent, keys: Sequence[Role], dataset: Samples, progress: Progress
) -> Predictions | None:
    top1 = agent.predict(keys, dataset.stream(), dataset.count, 0, progress)
    labels = None if dataset.labels is None else tuple(np.asarray(dataset.labels).tolist())
    return Predictions(labels, top1.get("float"), top1["int8"])


def _time(
    agent: Agent,
    keys: Sequence[Role],
    opened: Mapping[Role, Opened],
    timing: Timing,
    progress: Progress,
) -> tuple[ModelRun, ...]:
    benched = agent.bench(
        Bench(
            keys=tuple(keys),
            blocks=timing.blocks,
            min_runs=timing.min_runs,
            min_seconds=timing.min_seconds,
            max_seconds=timing.max_seconds,
            max_warm_up_seconds=timing.max_warm_up_seconds,
        ),
        progress,
    )
    return tuple(
        ModelRun(key, opened[key], latency)
        for key, latency in zip(keys, benched.latencies, strict=True)
    )
