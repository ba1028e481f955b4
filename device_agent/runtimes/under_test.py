"""A loaded model with its data: golden vectors, predictions, parity. Needs numpy."""

from __future__ import annotations

import zipfile
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from device_agent.manifest import Port
from device_agent.model_messages import Parity
from device_agent.runtimes.base import BadTensor, LoadedModel
from device_agent.runtimes.tensors import (
    dtype_name,
    pack_arrays,
    step_differences,
    step_size,
    stored_as,
    top1,
    unpack_arrays,
    unpack_samples,
)
from device_agent.worker_messages import Ran

Advance = Callable[[int, int], None]
"""Called with how many samples are done, and of how many."""

_ONE_STEP = 1 + 1e-6  # Float outputs are divided by a step that is itself rounded.


class Golden:
    """Golden vectors: an .npz with `input/<name>` and `expected/<kernel path>/<output name>`.

    The first axis of every array counts the vectors. The file is read when it is needed, so that
    it does not count as the model's memory before.

    Args:
        path: of the file.
        inputs: the inputs the vectors were made for, in the model's order.
    """

    def __init__(self, path: str, inputs: Sequence[Port]) -> None:
        self._path = path
        self._inputs = inputs

    def read(self) -> Vectors:
        """The vectors.

        Raises:
            BadTensor: no such file, not an .npz, or its arrays do not count alike.
        """
        try:
            with np.load(self._path, allow_pickle=False) as archive:
                arrays: Dict[str, np.ndarray] = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise BadTensor(f"the golden vectors cannot be read: {error}") from error
        counts = {len(array) if array.ndim else 0 for array in arrays.values()}
        if len(counts) != 1 or 0 in counts:
            raise BadTensor(f"found {sorted(counts)} golden vectors, expected one count for all")
        return Vectors(arrays, self._inputs, counts.pop())


class Vectors:
    """Golden vectors that have been read."""

    def __init__(self, arrays: Dict[str, np.ndarray], inputs: Sequence[Port], count: int) -> None:
        self.count = count
        self._arrays = arrays
        self._inputs = inputs

    def kernels(self) -> Tuple[str, ...]:
        """The kernel paths there are expectations for."""
        expected = (name.split("/", 2) for name in self._arrays if name.startswith("expected/"))
        return tuple(sorted({parts[1] for parts in expected if len(parts) == 3}))

    def inputs(self, ports: Sequence[Port], index: int) -> List[np.ndarray]:
        """One vector's inputs as the ports store them.

        The ports may be those of another form of the same model: a float model takes the real
        numbers that an INT8 model's golden inputs stand for.

        Raises:
            BadTensor: an input is missing or does not fit.
        """
        if len(ports) != len(self._inputs):
            raise BadTensor(f"found {len(self._inputs)} golden inputs, expected {len(ports)}")
        return [
            stored_as(self._array("input/" + made_for.name)[index], made_for, port)
            for made_for, port in zip(self._inputs, ports)
        ]

    def expected(self, kernel: str, ports: Sequence[Port]) -> List[np.ndarray]:
        """All vectors' outputs by those kernels, one array an output.

        Raises:
            BadTensor: an output is missing.
        """
        return [self._array(f"expected/{kernel}/{port.name}") for port in ports]

    def _array(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise BadTensor(f"the golden vectors have no {name!r}, only {sorted(self._arrays)}")
        return self._arrays[name]


class ModelUnderTest:
    """A model, the golden vectors that came with it, and the sample it is timed with.

    Args:
        model: loaded.
        golden: golden vectors, if there are any.
    """

    def __init__(self, model: LoadedModel, golden: Optional[Golden]) -> None:
        self._model = model
        self._golden = golden
        self._sample: List[np.ndarray] = []

    def prepare_timing(self) -> None:
        """Set the inputs that timed runs use: the first sample ever classified, or golden one.

        Raises:
            BadTensor: there is neither.
            RuntimeFailed: the runtime refuses it.
        """
        if not self._sample:
            self._sample = self._read_golden().inputs(self._model.inputs, 0)
        self._model.set_inputs(self._sample)

    def classify(
        self, payload: bytes, dtypes: Sequence[str], count: int, output: int, advance: Advance
    ) -> Tuple[int, ...]:
        """Index of the largest element of output number `output`, sample after sample.

        Raises:
            BadTensor: the payload does not hold such samples, or there is no such output.
            RuntimeFailed: the runtime failed.
        """
        if not 0 <= output < len(self._model.outputs):
            raise BadTensor(f"found output {output}, expected 0 to {len(self._model.outputs) - 1}")
        found: List[int] = []
        for arrays in unpack_samples(payload, self._model.inputs, dtypes, count):
            self._sample = self._sample or arrays
            found.append(top1(self._model.run(arrays)[output]))
            advance(len(found), count)
        return tuple(found)

    def run(self, payload: bytes) -> Tuple[Ran, bytes]:
        """Run once on inputs that are as the model stores them; the outputs, packed likewise.

        Raises:
            BadTensor: the payload does not hold such inputs.
            RuntimeFailed: the runtime failed.
        """
        ports = self._model.inputs
        arrays = unpack_arrays(
            payload, [port.dtype for port in ports], [port.shape for port in ports]
        )
        outputs = self._model.run(arrays)
        packed = pack_arrays(outputs)
        dtypes = tuple(dtype_name(output.dtype) for output in outputs)
        return Ran(dtypes, tuple(output.shape for output in outputs), len(packed)), packed

    def compare(self, advance: Advance) -> Parity:
        """Run every golden vector and compare with what the same kernels gave elsewhere.

        Raises:
            BadTensor: there are no golden vectors, or they are not this model's.
            RuntimeFailed: the runtime failed.
        """
        golden, kernel = self._read_golden(), self._model.kernel_path
        kernels = golden.kernels()
        if kernel not in kernels:
            return Parity(kernel, kernels, golden.count, 0, 0, 0.0, 0)
        expected = golden.expected(kernel, self._model.outputs)
        steps = [step_size(array) for array in expected]
        values, beyond, worst, changed = 0, 0, 0.0, 0
        for index in range(golden.count):
            actual = self._model.run(golden.inputs(self._model.inputs, index))
            wanted = [array[index] for array in expected]
            for found, want, step in zip(actual, wanted, steps):
                differences = step_differences(found, want, step)
                values += differences.size
                beyond += int(np.count_nonzero(differences > _ONE_STEP))
                worst = max(worst, float(differences.max()))
            changed += top1(actual[0]) != top1(wanted[0])
            advance(index + 1, golden.count)
        return Parity(kernel, kernels, golden.count, values, beyond, worst, changed)

    def _read_golden(self) -> Vectors:
        if self._golden is None:
            raise BadTensor("the model has no golden vectors and no sample was sent for it")
        return self._golden.read()
