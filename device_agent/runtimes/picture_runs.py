"""Pictures in, answers out, as a package declares: for the guarded runner. Needs numpy."""

from __future__ import annotations

from typing import Sequence, Tuple

import numpy as np

from device_agent.manifest import Manifest
from device_agent.runtimes.base import BadTensor
from device_agent.runtimes.postprocess import Postprocessor
from device_agent.runtimes.preprocess import Preprocessor


class PictureRuns:
    """What is done before and after a run.

    Raises:
        BadTensor: the package declares no preprocessing, or one that does not fit its model.
    """

    def __init__(self, manifest: Manifest) -> None:
        if manifest.stages is None:
            raise BadTensor(
                f"the package {manifest.name} {manifest.version} declares no preprocessing: "
                "give inputs, not pictures, or declare it and package the model again"
            )
        self._before = Preprocessor(manifest.stages.preprocessing, manifest.inputs[0])
        self._after = Postprocessor(manifest.stages.postprocessing, manifest.outputs)

    def input(self, picture: np.ndarray) -> np.ndarray:
        """The model's input, as its package stores it."""
        return self._before.apply(picture)

    def answer(self, outputs: Sequence[np.ndarray]) -> Tuple[np.ndarray, ...]:
        """What is made of the outputs."""
        return tuple(self._after.apply(outputs))
