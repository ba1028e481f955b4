"""Messages of the stages around a model: timing them, and running pictures as they were taken.

Those of the host first, then those between the agent and a model's worker process. The rules are
`device_agent.protocol`'s.
"""

from __future__ import annotations

from typing import Tuple

from device_agent.measuring_messages import Conditions, Turn
from device_agent.preprocessing import Stages
from device_agent.records import record


@record(frozen=True)
class BenchStages:
    """Time an opened model from picture to answer, in turns of its own. Reply: `StagesBenched`.

    Each run prepares the same synthetic picture of the package's `Stages.source`, hands it to the
    runtime, infers, fetches the outputs and makes the answer of them.

    Args:
        key: the model, opened from that package.
        seed: of the picture.
        blocks: turns.
        min_runs, min_seconds, max_seconds, max_warm_up_seconds: as in `model_messages.Bench`; a
            turn of very fast runs may end before its share of time, at 5,000 runs.
    """

    key: str
    package_id: str
    seed: int
    blocks: int
    min_runs: int
    min_seconds: float
    max_seconds: float
    max_warm_up_seconds: float


@record(frozen=True)
class StagesBenched:
    """Raw samples, one a run in each tuple, nanoseconds by the monotonic clock, in order.

    The three parts of a run follow one another without a gap: their sum is the run.

    Args:
        preprocess_ns: from the decoded picture to the input in the runtime's hands.
        inference_ns: the runtime's run alone.
        postprocess_ns: from there to the answer, fetching the outputs included.
        block_sizes: how many samples each turn gave.
        warm_up_runs: runs before the first sample.
        steady: the warm-up ended because the whole run no longer got faster.
        input_sha256: of the input that was made of the picture, as the model stores it, little
            endian.
        conditions: before, during and after each turn, in order.
        turns: where each turn lies among these.
    """

    preprocess_ns: Tuple[int, ...]
    inference_ns: Tuple[int, ...]
    postprocess_ns: Tuple[int, ...]
    block_sizes: Tuple[int, ...]
    warm_up_runs: int
    steady: bool
    input_sha256: str
    conditions: Tuple[Conditions, ...]
    turns: Tuple[Turn, ...]


@record(frozen=True)
class PredictPictures:
    """A batch of decoded pictures follows as payload. Reply: `model_messages.Predicted`.

    The payload is, picture after picture, uint8 RGB of (height, width, 3). Each model makes its own
    input of them by the package's declared preprocessing.

    Args:
        keys: the models to run.
        package_id: whose preprocessing.
        sizes: (height, width) of each picture.
        output: index of the output whose largest element is the prediction.
    """

    keys: Tuple[str, ...]
    package_id: str
    sizes: Tuple[Tuple[int, ...], ...]
    output: int
    payload_bytes: int


STAGE_MESSAGES = (BenchStages, StagesBenched, PredictPictures)
"""What host and agent say."""


@record(frozen=True)
class PrepareStages:
    """Agent to worker: get ready to run from picture to answer. Reply: `StagesPrepared`.

    Args:
        seed: of the picture that is timed.
    """

    stages: Stages
    seed: int


@record(frozen=True)
class StagesPrepared:
    """`input_sha256` as in `StagesBenched`."""

    input_sha256: str


@record(frozen=True)
class WarmUpStages:
    """As `worker_messages.WarmUp`, of whole runs. Reply: `worker_messages.Warm`."""

    max_seconds: float


@record(frozen=True)
class TimeStages:
    """As `worker_messages.TimeBlock`, of whole runs. Reply: `StagesTimed`."""

    min_runs: int
    min_seconds: float
    max_seconds: float


@record(frozen=True)
class StagesTimed:
    """Four clock readings a run follow as payload: nanoseconds, as in `worker_messages.Timed`.

    Args:
        settling_runs: runs before them that were not timed.
    """

    settling_runs: int
    payload_bytes: int


@record(frozen=True)
class ClassifyPictures:
    """As `PredictPictures`, for one model. Reply: `worker_messages.Classified`."""

    stages: Stages
    sizes: Tuple[Tuple[int, ...], ...]
    output: int
    payload_bytes: int


STAGE_REQUESTS = (PrepareStages, WarmUpStages, TimeStages, ClassifyPictures)
STAGE_REPLIES = (StagesPrepared, StagesTimed)
