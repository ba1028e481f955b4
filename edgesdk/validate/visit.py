"""One visit to a device: both models loaded side by side, on the same samples, timed in turns.

What to do is decided here; how bytes travel is the agent session's business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from device_agent.model_messages import Bench, Benched, CheckParity, Opened, OpenModel, Parity
from device_agent.package_messages import Installed
from device_agent.profile_messages import ModelPlacement, Profile, Profiled, ReadPlacement
from device_agent.stage_messages import BenchStages, StagesBenched
from edgesdk.data.samples import Samples
from edgesdk.errors import UsageError
from edgesdk.progress import Progress
from edgesdk.validate.stages import time_stages
from edgesdk.values.results import MeasuredDevice, ModelRun, Predictions, Prepared, Results, Role
from edgesdk.values.timing import Timing

PROFILED_RUNS = 100
"""Enough for a median; a profile is to say where the time goes, not how long it takes."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The float model to measure beside the package.

    Args:
        path: its file, sent for this visit only.
        dataset: samples to predict with both models; None skips accuracy.
        on_device: they are pictures, and the device prepares them as the package declares.
    """

    path: Path
    dataset: Samples | None
    on_device: bool = False


class Agent(Protocol):
    """What a visit needs of the agent's session."""

    def stage(self, path: Path, progress: Progress) -> str:
        """Send a file for this session only; its name there."""

    def open_model(self, request: OpenModel, progress: Progress) -> Opened:
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

    def predict_pictures(
        self,
        keys: Sequence[str],
        package_id: str,
        pictures: Iterable[npt.NDArray[np.uint8]],
        count: int,
        progress: Progress,
    ) -> Mapping[str, tuple[int, ...]]:
        """Top-1 class of every picture, by key."""

    def bench_stages(self, request: BenchStages, progress: Progress) -> StagesBenched:
        """Time a model from picture to answer."""

    def check_parity(self, request: CheckParity) -> Parity:
        """Run the golden vectors."""

    def bench(self, request: Bench, progress: Progress) -> Benched:
        """Time the models in turns."""

    def placement(self, request: ReadPlacement) -> ModelPlacement:
        """What computes each operator."""

    def profile(self, request: Profile, progress: Progress) -> Profiled:
        """Time each operator."""


def validate(
    agent: Agent,
    device: MeasuredDevice,
    installed: Installed,
    *,
    reference: Reference | None,
    timing: Timing | None,
    progress: Progress,
) -> Results:
    """Measure an installed package, and the float model beside it.

    Args:
        reference: the float model, and data for both; None measures the package alone.
        timing: None skips latency.
    """
    threads = timing.threads if timing else 0
    opened: dict[Role, Opened] = {}
    predictions, cold = None, None
    if timing is not None and timing.cold_load:
        # First, while nothing else takes the device's memory; the next opening ends it.
        wanted = _request("int8", installed, threads, None)
        cold = agent.open_model(dataclasses.replace(wanted, cold=True), progress)
    if reference is not None:
        staged = agent.stage(reference.path, progress)
        opened["float"] = agent.open_model(_request("float", installed, threads, staged), progress)
    opened["int8"] = agent.open_model(_request("int8", installed, threads, None), progress)
    if "float" in opened:
        shapes = [[tuple(port.shape) for port in each.inputs] for each in opened.values()]
        require_alike(shapes[0], shapes[1], f"the package {installed.name} {installed.version}")
    if reference is not None and reference.dataset is not None:
        predictions = _predict(agent, installed, reference, reference.dataset, progress)
    parity = agent.check_parity(CheckParity("int8", installed.package_id))
    placement = agent.placement(ReadPlacement("int8"))
    if timing is None:
        return Results(device, installed, (), predictions, parity, placement=placement)
    runs = _time(agent, opened, timing, progress)
    runs = tuple(dataclasses.replace(run, cold=cold) if run.role == "int8" else run for run in runs)
    stages = time_stages(agent, installed, opened["int8"], timing, progress)
    profiles = _profile(agent, opened, timing, progress) if timing.operators else ()
    return Results(device, installed, runs, predictions, parity, stages, placement, profiles)


def require_alike(
    reference: Sequence[tuple[int, ...]], packaged: Sequence[tuple[int, ...]], called: str
) -> None:
    """See that both models take inputs of the same shapes: they are to run on the same samples.

    Raises:
        UsageError: they do not.
    """
    if list(reference) != list(packaged):
        first, second = ([list(shape) for shape in each] for each in (reference, packaged))
        raise UsageError(
            f"found a float model that takes inputs of {first}, and {called} takes {second}",
            hint="give the float model that the package was converted from, or its artifact",
        )


def _request(key: Role, installed: Installed, threads: int, staged: str | None) -> OpenModel:
    """The float model runs on the very runtime that the package asks for."""
    return OpenModel(
        key=key,
        runtime=installed.runtime,
        runtime_min_version=installed.runtime_min_version,
        threads=threads,
        package_id=None if staged else installed.package_id,
        role=None if staged else "model",
        staged=staged,
    )


def _predict(
    agent: Agent,
    installed: Installed,
    reference: Reference,
    dataset: Samples,
    progress: Progress,
) -> Predictions:
    both, count = ("float", "int8"), dataset.count
    prepared: Prepared
    if reference.on_device and dataset.pictures is not None:
        package_id, pictures = installed.package_id, dataset.pictures()
        top1 = agent.predict_pictures(both, package_id, pictures, count, progress)
        prepared = "device"
    else:
        top1 = agent.predict(both, dataset.stream(), count, 0, progress)
        prepared = "as given" if dataset.pictures is None else "workstation"
    labels = None if dataset.labels is None else tuple(np.asarray(dataset.labels).tolist())
    return Predictions(labels, top1["float"], top1["int8"], prepared)


def _profile(
    agent: Agent, opened: Mapping[Role, Opened], timing: Timing, progress: Progress
) -> tuple[Profiled, ...]:
    """After the clean runs, whose processes it leaves alone."""
    return tuple(
        agent.profile(Profile(role, PROFILED_RUNS, timing.max_seconds), progress) for role in opened
    )


def _time(
    agent: Agent, opened: Mapping[Role, Opened], timing: Timing, progress: Progress
) -> tuple[ModelRun, ...]:
    request = Bench(
        keys=tuple(opened),
        blocks=timing.blocks,
        min_runs=timing.min_runs,
        min_seconds=timing.min_seconds,
        max_seconds=timing.max_seconds,
        max_warm_up_seconds=timing.max_warm_up_seconds,
    )
    benched = agent.bench(request, progress)
    return tuple(
        ModelRun(role, opened[role], latency)
        for role, latency in zip(opened, benched.latencies, strict=True)
    )
