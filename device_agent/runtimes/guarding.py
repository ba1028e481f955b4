"""The arrays of a guarded runner: from what an application gives to what a model stores, and back.

An application gives and gets real numbers, or integers where the network has such inputs, so that
it need not know which of the two models answers. Needs numpy.
"""

from __future__ import annotations

from typing import List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from device_agent.manifest import InputStatistics, Port
from device_agent.runtimes.base import BadTensor
from device_agent.runtimes.statistics import oddity
from device_agent.runtimes.tensors import dequantize, stored_as

Inputs = Union[Mapping[str, np.ndarray], Sequence[np.ndarray]]
"""Arrays by the manifest's names, or in its order."""


def in_order(inputs: Inputs, ports: Sequence[Port]) -> List[np.ndarray]:
    """One array an input, in the model's order.

    Raises:
        BadTensor: one is missing or too many.
    """
    names = [port.name for port in ports]
    if isinstance(inputs, Mapping):
        if set(inputs) != set(names):
            raise BadTensor(f"found the inputs {sorted(inputs)}, expected {sorted(names)}")
        return [np.asarray(inputs[name]) for name in names]
    if len(inputs) != len(names):
        raise BadTensor(f"found {len(inputs)} inputs, expected {len(names)}: {names}")
    return [np.asarray(array) for array in inputs]


def odd(
    arrays: Sequence[np.ndarray], ports: Sequence[Port], allowed: Sequence[InputStatistics]
) -> Optional[str]:
    """What of the inputs is out of distribution, in words; None where nothing is."""
    for array, port, each in zip(arrays, ports, allowed):
        words = oddity(_real(array, port), each)
        if words is not None:
            return words
    return None


def stored(
    arrays: Sequence[np.ndarray], made_for: Sequence[Port], ports: Sequence[Port]
) -> List[np.ndarray]:
    """The inputs as a model stores them.

    Args:
        made_for: the inputs of the package's own model.
        ports: of the model that is to run.

    Raises:
        BadTensor: they do not fit.
    """
    if len(made_for) != len(ports):
        raise BadTensor(f"found a model of {len(ports)} inputs, expected {len(made_for)}")
    return [stored_as(array, one, port) for array, one, port in zip(arrays, made_for, ports)]


def real(outputs: Sequence[np.ndarray], ports: Sequence[Port]) -> Tuple[np.ndarray, ...]:
    """Outputs in float32 where they are stored quantized, else as they are."""
    return tuple(_real(array, port) for array, port in zip(outputs, ports))


def _real(array: np.ndarray, port: Port) -> np.ndarray:
    if port.scale is not None and array.dtype.kind in "iu":
        return dequantize(array, port)
    return array
