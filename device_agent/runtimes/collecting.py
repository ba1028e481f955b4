"""A model's raw outputs, sample after sample. Needs numpy."""

from __future__ import annotations

from typing import Callable, List, Sequence, Tuple

from device_agent.output_messages import OUTPUTS_MAX_BYTES, Collected
from device_agent.runtimes.base import BadTensor, LoadedModel
from device_agent.runtimes.tensors import dequantize, dtype_name, pack_arrays, unpack_samples

Advance = Callable[[int, int], None]


def collect(
    model: LoadedModel, payload: bytes, dtypes: Sequence[str], count: int, advance: Advance
) -> Tuple[Collected, bytes]:
    """Run every sample; quantized outputs become the real numbers they stand for.

    Raises:
        BadTensor: the payload does not hold such samples, or the outputs are too large together.
        RuntimeFailed: the runtime failed.
    """
    names: List[str] = []
    shapes: List[Tuple[int, ...]] = []
    packed: List[bytes] = []
    size = 0
    for done, arrays in enumerate(unpack_samples(payload, model.inputs, dtypes, count), 1):
        for output, port in zip(model.run(arrays), model.outputs):
            real = output if port.scale is None else dequantize(output, port)
            names.append(dtype_name(real.dtype))
            shapes.append(tuple(real.shape))
            packed.append(pack_arrays([real]))
            size += len(packed[-1])
        if size > OUTPUTS_MAX_BYTES:
            raise BadTensor(
                f"found outputs of more than {OUTPUTS_MAX_BYTES} bytes after {done} of {count} "
                "samples, expected fewer samples at once"
            )
        advance(done, count)
    return Collected(tuple(names), tuple(shapes), size), b"".join(packed)
