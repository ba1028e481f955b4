"""From a model's outputs to the answer, as `device_agent.preprocessing` declares it. Needs numpy.

Indices are the same everywhere where the outputs are. Softmax is as exact as float32 and the
processor's `exp`: its last digit may differ from one device to the next.
"""

from __future__ import annotations

from typing import List, Sequence

import numpy as np

from device_agent.manifest import Port
from device_agent.preprocessing import Postprocessing
from device_agent.runtimes.base import BadTensor
from device_agent.runtimes.tensors import dequantize


class Postprocessor:
    """What a declaration means for the outputs of a model.

    Args:
        ports: of the outputs, in the model's order.

    Raises:
        BadTensor: the first output has fewer elements than are asked for.
    """

    def __init__(self, declared: Postprocessing, ports: Sequence[Port]) -> None:
        last = ports[0].shape[-1] if ports[0].shape else 0
        if declared.top_k > last:
            raise BadTensor(
                f"found top_k = {declared.top_k}, expected at most {last}: the last axis of "
                f"{ports[0].name} has no more"
            )
        self._declared = declared
        self._ports = ports

    def apply(self, outputs: Sequence[np.ndarray]) -> List[np.ndarray]:
        """The answer.

        Args:
            outputs: in the model's order, as it stores them or as real numbers.

        Returns:
            The outputs, the first one's softmax in its place where that is declared; with `top_k`
            two arrays instead of them all: indices (int64) and their values, the largest first.
        """
        declared = self._declared
        found = list(outputs)
        if declared.dequantize or declared.softmax:
            found = [_real(array, port) for array, port in zip(found, self._ports)]
        if declared.softmax:
            found[0] = _softmax(found[0])
        return _largest(found[0], declared.top_k) if declared.top_k else found


def _real(array: np.ndarray, port: Port) -> np.ndarray:
    return array if array.dtype.kind == "f" else dequantize(array, port)


def _softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores.astype(np.float32) - scores.max(axis=-1, keepdims=True))
    shares: np.ndarray = raised / raised.sum(axis=-1, keepdims=True, dtype=np.float32)
    return shares


def _largest(scores: np.ndarray, count: int) -> List[np.ndarray]:
    # Negated as float64, which holds what any 32 bit output does; a stable sort keeps the first.
    order = np.argsort(-scores.astype(np.float64), axis=-1, kind="stable")[..., :count]
    return [order.astype(np.int64), np.take_along_axis(scores, order, axis=-1)]
