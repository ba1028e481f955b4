"""What is asked of the agent about samples: what opened models answer to each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from device_agent.model_messages import Predict, Predicted
from device_agent.output_messages import OUTPUTS_MAX_BYTES, Infer, Inferred
from device_agent.protocol import ErrorCode
from device_agent.stage_messages import PredictPictures
from edgesdk.devices.conversation.connection import Connection
from edgesdk.devices.outputs import unpack_outputs
from edgesdk.devices.pictures import picture_batches
from edgesdk.errors import AgentError
from edgesdk.progress import Progress as ProgressDisplay
from edgesdk.units import MIB

_BATCH_BYTES = 1 * MIB
_BATCH_SAMPLES = 256
_ANSWER_BYTES = 8 * MIB


class SampleRequests(Connection):
    """Samples, sent in batches of bounded size, and the models' answers."""

    def predict(
        self,
        keys: Sequence[str],
        samples: Iterable[Mapping[str, npt.NDArray[Any]]],
        count: int,
        output: int,
        progress: ProgressDisplay,
    ) -> Mapping[str, tuple[int, ...]]:
        """Top-1 class of every sample by every model, sent in batches of bounded size.

        Args:
            keys: the opened models.
            samples: each maps input names to arrays, in the order of the models' inputs.
            count: how many there are, for the progress.
            output: index of the output whose largest element counts.
        """
        found: dict[str, list[int]] = {key: [] for key in keys}
        with progress.task("running the samples", count) as advance:
            for batch in _batches(samples):
                for key, top1 in self._predict(tuple(keys), batch, output).items():
                    found[key].extend(top1)
                advance(batch.count)
        return {key: tuple(top1) for key, top1 in found.items()}

    def predict_pictures(
        self,
        keys: Sequence[str],
        package_id: str,
        pictures: Iterable[npt.NDArray[np.uint8]],
        count: int,
        progress: ProgressDisplay,
    ) -> Mapping[str, tuple[int, ...]]:
        """Top-1 class of every picture by every model's first output, prepared on the device.

        Args:
            keys: the opened models.
            package_id: whose declared preprocessing.
            pictures: decoded RGB, each uint8 of shape (height, width, 3).
            count: how many there are, for the progress.
        """
        found: dict[str, list[int]] = {key: [] for key in keys}
        with progress.task("running the pictures", count) as advance:
            for batch in picture_batches(pictures):
                request = PredictPictures(
                    tuple(keys), package_id, batch.sizes, 0, len(batch.payload)
                )
                reply = self._ask(request, Predicted, pieces=[batch.payload])
                for key, top1 in _by_key(reply, tuple(keys), len(batch.sizes)).items():
                    found[key].extend(top1)
                advance(len(batch.sizes))
        return {key: tuple(top1) for key, top1 in found.items()}

    def infer(
        self,
        keys: Sequence[str],
        samples: Iterable[Mapping[str, npt.NDArray[Any]]],
        count: int,
        progress: ProgressDisplay,
    ) -> Iterator[Mapping[str, tuple[npt.NDArray[Any], ...]]]:
        """Every model's outputs for every sample, in order; quantized ones as real numbers.

        The first sample travels alone and tells how many at once keep the answers small.

        Args:
            keys: the opened models.
            samples: as of `predict`.
            count: likewise.
        """
        with progress.task("collecting the outputs", count) as advance:
            remaining, most, left = iter(samples), 1, True
            while left:
                left = False
                for batch in _batches(itertools.islice(remaining, most)):
                    inferred, payload = self._infer(tuple(keys), batch)
                    yield from unpack_outputs(inferred, payload, keys, batch.count)
                    advance(batch.count)
                    each = max(1, len(payload) // batch.count)
                    most = max(1, min(_BATCH_SAMPLES, _ANSWER_BYTES // each))
                    left = True

    def _infer(self, keys: tuple[str, ...], batch: _Batch) -> tuple[Inferred, bytes]:
        request = Infer(keys, batch.count, batch.dtypes, len(batch.payload))
        exchange = self._exchange(self._patience_s)
        inferred = exchange.ask(request, Inferred, pieces=[batch.payload])
        if not 0 <= inferred.payload_bytes <= OUTPUTS_MAX_BYTES:
            raise AgentError(
                f"the agent announced outputs of {inferred.payload_bytes} bytes, expected at most "
                f"{OUTPUTS_MAX_BYTES}",
                code=ErrorCode.PROTOCOL,
            )
        return inferred, exchange.hear_payload(inferred.payload_bytes)

    def _predict(self, keys: tuple[str, ...], batch: _Batch, output: int) -> dict[str, Any]:
        request = Predict(keys, batch.count, batch.dtypes, output, len(batch.payload))
        reply = self._ask(request, Predicted, pieces=[batch.payload])
        return _by_key(reply, keys, batch.count)


def _by_key(reply: Predicted, keys: tuple[str, ...], count: int) -> dict[str, Any]:
    top1 = {entry.key: entry.top1 for entry in reply.predictions}
    if set(top1) != set(keys) or any(len(found) != count for found in top1.values()):
        raise AgentError(
            f"the agent predicted {[len(found) for found in top1.values()]} samples, "
            f"expected {count} for each of {', '.join(keys)}",
            code=ErrorCode.PROTOCOL,
        )
    return top1


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some samples, ready for the wire."""

    count: int
    dtypes: tuple[str, ...]
    payload: bytes


def _batches(samples: Iterable[Mapping[str, npt.NDArray[Any]]]) -> Iterator[_Batch]:
    """Samples in order, as few to a batch as keeps it small; at least one."""
    packed: list[bytes] = []
    dtypes: tuple[str, ...] = ()
    for sample in samples:
        arrays = [np.asarray(array) for array in sample.values()]
        found, one = tuple(array.dtype.name for array in arrays), b"".join(map(_packed, arrays))
        full = len(packed) == _BATCH_SAMPLES or sum(map(len, packed)) + len(one) > _BATCH_BYTES
        if packed and (full or found != dtypes):
            yield _Batch(len(packed), dtypes, b"".join(packed))
            packed = []
        packed.append(one)
        dtypes = found
    if packed:
        yield _Batch(len(packed), dtypes, b"".join(packed))


def _packed(array: npt.NDArray[Any]) -> bytes:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
