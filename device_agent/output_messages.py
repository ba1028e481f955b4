"""Messages of raw outputs: a model's tensors for each sample, for whoever judges them elsewhere.

Those of the host first, then those between the agent and a model's worker process. The rules are
`device_agent.protocol`'s.
"""

from __future__ import annotations

from typing import Tuple

from device_agent.records import record

OUTPUTS_MAX_BYTES = 256 * 1024 * 1024
"""Of one reply, over all models."""


@record(frozen=True)
class Infer:
    """A batch of samples follows as payload, as of `model_messages.Predict`. Reply: `Inferred`.

    Args:
        keys: the models to run, all on the same samples.
        count: samples in this batch.
        dtypes: of the input tensors as sent.
    """

    keys: Tuple[str, ...]
    count: int
    dtypes: Tuple[str, ...]
    payload_bytes: int


@record(frozen=True)
class ModelOutputs:
    """What one model gave for a batch.

    Quantized outputs are the real numbers they stand for, as float32.

    Args:
        dtypes: of each tensor, sample after sample, the outputs of each in the model's order.
        shapes: likewise.
        size_bytes: of all of them.
    """

    key: str
    dtypes: Tuple[str, ...]
    shapes: Tuple[Tuple[int, ...], ...]
    size_bytes: int


@record(frozen=True)
class Inferred:
    """Reply to `Infer`, one entry a key; their tensors follow as payload, in the same order.

    Each is C contiguous, little endian.
    """

    outputs: Tuple[ModelOutputs, ...]
    payload_bytes: int


OUTPUT_MESSAGES = (Infer, Inferred)


@record(frozen=True)
class Collect:
    """As `Infer`, for one model. Reply: `Collected`."""

    count: int
    dtypes: Tuple[str, ...]
    payload_bytes: int


@record(frozen=True)
class Collected:
    """As `ModelOutputs`; the tensors follow as payload."""

    dtypes: Tuple[str, ...]
    shapes: Tuple[Tuple[int, ...], ...]
    payload_bytes: int


OUTPUT_REQUESTS = (Collect,)
OUTPUT_REPLIES = (Collected,)
