"""The stages of a run, from a decoded picture to the answer: what was timed, and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from device_agent.model_messages import Latency
from device_agent.stage_messages import StagesBenched
from edgesdk.errors import AgentError
from edgesdk.values.verdict import Estimate

Stage = Literal["preprocess", "inference", "postprocess", "end_to_end"]
STAGES: tuple[Stage, ...] = ("preprocess", "inference", "postprocess", "end_to_end")


@dataclass(frozen=True, slots=True)
class StageRun:
    """The converted model, timed from picture to answer; raw.

    Args:
        benched: nanoseconds of each part of each run, in run order, in turns.
        expected_input_sha256: of the input that the workstation makes of the same picture.
    """

    benched: StagesBenched
    expected_input_sha256: str

    def __post_init__(self) -> None:
        parts = (self.benched.preprocess_ns, self.benched.inference_ns, self.benched.postprocess_ns)
        counts, sizes = {len(part) for part in parts}, self.benched.block_sizes
        if counts != {sum(sizes)} or counts == {0} or min(sizes) < 0:
            raise AgentError(
                f"the stages have {sorted(counts)} samples in turns of {sum(sizes)}, expected one "
                "of each part a run"
            )
        if min(map(min, parts)) < 0:
            raise AgentError("a stage has samples below 0")

    @property
    def same_input(self) -> bool:
        """The device made of the picture what the workstation does, to the last bit."""
        return self.benched.input_sha256 == self.expected_input_sha256

    @property
    def whole(self) -> Latency:
        """The runs from picture to answer, with the conditions they were timed under."""
        benched = self.benched
        return Latency(
            key="end_to_end",
            samples_ns=self.samples_ns("end_to_end"),
            block_sizes=benched.block_sizes,
            warm_up_runs=benched.warm_up_runs,
            steady=benched.steady,
            conditions=benched.conditions,
            peak_rss_bytes=None,
            turns=benched.turns,
        )

    def samples_ns(self, stage: Stage) -> tuple[int, ...]:
        """That part of every run; the sum of all three for "end_to_end"."""
        benched = self.benched
        if stage == "end_to_end":
            parts = (benched.preprocess_ns, benched.inference_ns, benched.postprocess_ns)
            return tuple(map(sum, zip(*parts, strict=True)))
        return {
            "preprocess": benched.preprocess_ns,
            "inference": benched.inference_ns,
            "postprocess": benched.postprocess_ns,
        }[stage]


@dataclass(frozen=True, slots=True)
class StageLatency:
    """One stage in nanoseconds.

    Args:
        p50, p95: None where n is too small for a 95 % interval of that quantile.
    """

    stage: Stage
    n: int
    p50: Estimate | None
    p95: Estimate | None


@dataclass(frozen=True, slots=True)
class StagesSummary:
    """The converted model from picture to answer.

    Args:
        steady: the warm-up had settled; if not, none of these figures is to be trusted.
        same_input: the device made of the picture what the workstation does, to the last bit.
        latencies: in the order of `STAGES`. The parts' quantiles do not add up to the whole's.
    """

    steady: bool
    same_input: bool
    latencies: tuple[StageLatency, ...]

    def latency(self, stage: Stage) -> StageLatency:
        """Of that stage."""
        return next(each for each in self.latencies if each.stage == stage)
