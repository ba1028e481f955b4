"""A loaded model with what is declared around it: from picture to answer. Needs numpy."""

from __future__ import annotations

import hashlib
from typing import List, Sequence, Tuple

import numpy as np

from device_agent.preprocessing import Stages, check_size
from device_agent.runtimes.base import BadTensor, LoadedModel
from device_agent.runtimes.postprocess import Postprocessor
from device_agent.runtimes.preprocess import Preprocessor, synthetic_picture
from device_agent.runtimes.tensors import pack_arrays, top1
from device_agent.runtimes.under_test import Advance


class StagesUnderTest:
    """A whole run in its three parts, each without arguments so that it can be timed alone.

    Args:
        model: with one input.
        stages: with a source.
        seed: of the synthetic picture.

    Raises:
        BadTensor: the declaration does not fit the model, or names no source.
    """

    def __init__(self, model: LoadedModel, stages: Stages, seed: int) -> None:
        if not stages.source:
            raise BadTensor("the package does not say how large its pictures are (source)")
        self._model = model
        self._before = _preprocessor(model, stages)
        self._after = Postprocessor(stages.postprocessing, model.outputs)
        self._picture = synthetic_picture(stages.source, seed)
        self.answer: List[np.ndarray] = []

    def input_sha256(self) -> str:
        """Of the input that is made of the picture, little endian."""
        return hashlib.sha256(pack_arrays([self._before.apply(self._picture)])).hexdigest()

    def run(self) -> None:
        """All three, one after another."""
        self.preprocess()
        self.infer()
        self.postprocess()

    def preprocess(self) -> None:
        """From the picture to the input in the runtime's hands."""
        self._model.set_inputs([self._before.apply(self._picture)])

    def infer(self) -> None:
        """The runtime's run."""
        self._model.invoke()

    def postprocess(self) -> None:
        """From the outputs in the runtime's hands to the answer."""
        self.answer = self._after.apply(self._model.get_outputs())


def classify_pictures(
    model: LoadedModel,
    stages: Stages,
    sizes: Sequence[Tuple[int, ...]],
    payload: bytes,
    output: int,
    advance: Advance,
) -> Tuple[int, ...]:
    """Index of the largest element of output number `output`, picture after picture.

    Raises:
        BadTensor: the payload does not hold such pictures, they do not make the model's input, or
            there is no such output.
        RuntimeFailed: the runtime failed.
    """
    if not 0 <= output < len(model.outputs):
        raise BadTensor(f"found output {output}, expected 0 to {len(model.outputs) - 1}")
    before = _preprocessor(model, stages)
    found: List[int] = []
    for picture in _pictures(payload, sizes):
        found.append(top1(model.run([before.apply(picture)])[output]))
        advance(len(found), len(sizes))
    return tuple(found)


def _preprocessor(model: LoadedModel, stages: Stages) -> Preprocessor:
    if len(model.inputs) != 1:
        raise BadTensor(f"found a model of {len(model.inputs)} inputs, pictures are made for one")
    return Preprocessor(stages.preprocessing, model.inputs[0])


def _pictures(payload: bytes, sizes: Sequence[Tuple[int, ...]]) -> List[np.ndarray]:
    for size in sizes:
        try:
            check_size("picture", size)
        except ValueError as error:
            raise BadTensor(str(error)) from error
    expected = sum(height * width * 3 for height, width in sizes)
    if len(payload) != expected:
        raise BadTensor(f"found {len(payload)} bytes of pictures, expected {expected}")
    found, offset = [], 0
    for height, width in sizes:
        flat = np.frombuffer(payload, np.uint8, height * width * 3, offset)
        found.append(flat.reshape(height, width, 3))
        offset += flat.nbytes
    return found
