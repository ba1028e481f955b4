"""A float ONNX model that gives its activations, as fast as ONNX Runtime runs it without.

On x86 ONNX Runtime computes convolutions in blocks of channels and puts every result that is asked
for back in order, which takes as long as the network itself. Here the blocks are given out instead:
the same values, in another order. Where ONNX Runtime has no blocks, nothing is different.
"""

from __future__ import annotations

import device_agent.runtimes.onnxruntime  # noqa: F401 - turns the telemetry of onnxruntime off

# isort: split
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime

from edgesdk.convert.backends.onnx_toolkit import failures
from edgesdk.convert.toolchains import Array, Sample

_BLOCK = 16
"""Channels of the largest blocks; a multiple of them is not padded."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """A session and where in it to find activations.

    Args:
        inputs: names of the model's inputs.
        outputs: activation to the session's output that has its values, for all but inputs.
    """

    session: onnxruntime.InferenceSession
    inputs: tuple[str, ...]
    outputs: Mapping[str, str]

    def run(self, sample: Sample) -> dict[str, Array]:
        """Every value of each activation, not in the order and shape that it has in the model."""
        fed = {name: sample[name] for name in self.inputs}
        if not self.outputs:  # ONNX Runtime takes an empty list for all of the model's outputs
            return fed
        with failures():
            values = self.session.run(list(self.outputs.values()), fed)
        return fed | dict(zip(self.outputs, values, strict=True))


def expose(model: onnx.ModelProto, names: Sequence[str], threads: int) -> Exposed:
    """The model, optimized as for inference, with the named activations as outputs.

    So its convolutions add in another order than in ONNX Runtime's calibrators, which switch
    optimization off: values differ from theirs in the last digits.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "optimized.onnx"
        _write_optimized(model, names, path)
        optimized = onnx.load(str(path))
        blocks = _give_blocks(optimized.graph)
        onnx.save(optimized, str(path))
        del optimized
        options = _options(threads)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        with failures():
            session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
    inputs = tuple(port.name for port in session.get_inputs())
    outputs = {name: blocks.get(name, name) for name in names if name not in inputs}
    return Exposed(session, inputs, outputs)


def _write_optimized(model: onnx.ModelProto, names: Sequence[str], path: Path) -> None:
    there = {value.name for value in (*model.graph.input, *model.graph.output)}
    exposed = [onnx.ValueInfoProto(name=name) for name in names if name not in there]
    # Messages that are written one after the other are read as one: saves a copy of the weights.
    more = onnx.ModelProto(graph=onnx.GraphProto(output=exposed))
    source = path.with_name("exposing.onnx")
    source.write_bytes(model.SerializeToString())
    with source.open("ab") as file:
        file.write(more.SerializeToString())
    options = _options(threads=1)
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.disable_prepacking", "1")  # it is never run
    with failures(path.parent):
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Planned memory comes on top of the outputs', which are nearly all there is, in every thread.
    options.enable_mem_pattern = False
    # Waiting threads would take the core of another sample.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _give_blocks(graph: onnx.GraphProto) -> dict[str, str]:
    """Output to the blocks that have its values, and no others, and that are an output instead."""
    asked = {value.name: value for value in graph.output}
    blocks = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "ReorderOutput" and node.output[0] in asked and _is_full(node)
    }
    for name, block in blocks.items():
        asked[name].CopyFrom(onnx.ValueInfoProto(name=block))
    read = {name for node in graph.node for name in node.input}
    used = [node for node in graph.node if node.output[0] in read or node.output[0] not in blocks]
    del graph.node[:]
    graph.node.extend(used)
    return blocks


def _is_full(reorder: onnx.NodeProto) -> bool:
    (channels,) = (each.i for each in reorder.attribute if each.name == "channels")
    return int(channels) % _BLOCK == 0
