"""The stages around a model: timed on the device, summarized, judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from device_agent.model_messages import Opened
from device_agent.package_messages import Installed
from device_agent.stage_messages import BenchStages, StagesBenched
from edgesdk.data.preprocessing import expected_input_sha256
from edgesdk.progress import Progress
from edgesdk.validate.statistics import quantile, samples_needed
from edgesdk.validate.validity import stamp_stages
from edgesdk.values.results import Results
from edgesdk.values.stages import STAGES, Stage, StageLatency, StageRun, StagesSummary
from edgesdk.values.timing import Timing
from edgesdk.values.verdict import Estimate

SEED = 1
"""Of the picture that every device is timed with."""

TITLES: Mapping[Stage, str] = {
    "preprocess": "Preprocessing, 95th percentile",
    "inference": "Inference within a whole run, 95th percentile",
    "postprocess": "Postprocessing, 95th percentile",
    "end_to_end": "From picture to answer, 95th percentile",
}
"""Of the gates that bound them."""


class StageTimer(Protocol):
    """What is needed of the agent's session."""

    def bench_stages(self, request: BenchStages, progress: Progress) -> StagesBenched:
        """Time an opened model from picture to answer."""


def time_stages(
    agent: StageTimer, installed: Installed, opened: Opened, timing: Timing, progress: Progress
) -> StageRun | None:
    """Time a package's model from picture to answer; None where it does not say how, or how large.

    The device's input is compared with what this machine makes of the same picture.

    Raises:
        DataError: the declared preprocessing does not make the model's input.
    """
    stages = installed.stages
    if stages is None or not stages.source:
        return None
    expected = expected_input_sha256(stages, opened.inputs[0], SEED)
    request = BenchStages(
        key=opened.key,
        package_id=installed.package_id,
        seed=SEED,
        blocks=timing.blocks,
        min_runs=timing.min_runs,
        min_seconds=timing.min_seconds,
        max_seconds=timing.max_seconds,
        max_warm_up_seconds=timing.max_warm_up_seconds,
    )
    return StageRun(agent.bench_stages(request, progress), expected)


def summarize_stages(run: StageRun | None) -> StagesSummary | None:
    """Quantiles of every stage, in nanoseconds."""
    if run is None:
        return None
    return StagesSummary(
        steady=run.benched.steady,
        same_input=run.same_input,
        latencies=tuple(_latency(run, stage) for stage in STAGES),
    )


def _latency(run: StageRun, stage: Stage) -> StageLatency:
    samples, turns = run.samples_ns(stage), run.benched.block_sizes
    return StageLatency(
        stage=stage,
        n=len(samples),
        p50=quantile(samples, 0.50, turns=turns),
        p95=quantile(samples, 0.95, turns=turns),
    )


def stage_p95(results: Results, stage: Stage) -> Estimate | str:
    """The 95th percentile of a stage, or why there is none."""
    if results.stages is None:
        return _why_not(results.installed)
    found = summarize_stages(results.stages)
    assert found is not None
    p95 = found.latency(stage).p95
    if p95 is None:
        return (
            f"found {found.latency(stage).n} runs; a 95 % interval of this percentile needs"
            f" {samples_needed(0.95)}"
        )
    return p95


def stages_problem(results: Results) -> str:
    """What makes the stages' figures worthless; "" where nothing does."""
    run = results.stages
    return "" if run is None else " ".join(stamp_stages(run, results.device).reasons)


def _why_not(installed: Installed) -> str:
    if installed.stages is None:
        return "the package declares no preprocessing"
    if not installed.stages.source:
        return "the package does not say how large its pictures are (preprocessing.source)"
    return "no whole run was timed"
