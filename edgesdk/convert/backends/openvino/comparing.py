"""Activations of the INT8 model against the float model's, by the names that both have."""

from __future__ import annotations

import edgesdk.convert.backends.openvino.telemetry  # noqa: F401 - before openvino

# isort: split
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgesdk.convert.backends.openvino.toolkit import compiled, read, their_failures
from edgesdk.convert.sqnr import ErrorMeter
from edgesdk.convert.toolchains import Array, Sample
from edgesdk.values.artifact import TensorError


def compared(
    float_path: Path, converted_path: Path, samples: Sequence[Sample]
) -> tuple[TensorError, ...]:
    """Every quantized activation and every output, worst first; all of them without quantizers."""
    reference, converted = read(float_path), read(converted_path)
    wanted = _named(reference)
    found = {name: port for name, port in _shared(converted).items() if name in wanted}
    runs = (_Exposed(reference, {name: wanted[name] for name in found}), _Exposed(converted, found))
    meters = {name: ErrorMeter() for name in found}
    for sample in samples:
        expected, actual = (run(sample) for run in runs)
        for name, meter in meters.items():
            meter.add(expected[name], actual[name])
    return tuple(
        sorted((meter.result(name) for name, meter in meters.items()), key=TensorError.badness)
    )


def _named(model: Any) -> dict[str, Any]:
    """Float activation to the port that makes it; one that an output renames goes by that."""
    ports = {
        name: port
        for node in model.get_ordered_ops()
        if node.get_type_name() not in ("Constant", "Parameter", "Result")
        for port in node.outputs()
        if port.get_element_type().is_real()
        for name in sorted(port.get_names())
    }
    return ports


def _shared(model: Any) -> dict[str, Any]:
    """Activation to the port that has its quantized values, and the model's outputs."""
    named = _named(model)
    quantized = {
        name: reader.get_node().output(0)
        for name, port in named.items()
        for reader in port.get_target_inputs()
        if reader.get_node().get_type_name() == "FakeQuantize"
    }
    if not quantized:
        return named
    outputs = {output.get_any_name() for output in model.outputs}
    return quantized | {name: named[name] for name in outputs if name in named}


class _Exposed:
    """A model that gives the values of the named ports, too."""

    def __init__(self, model: Any, ports: Mapping[str, Any]) -> None:
        # What is an output already gets no second one, so places are looked up afterwards.
        model.add_outputs(list(ports.values()))
        sources = [_place(output.get_node().input_value(0)) for output in model.outputs]
        self._places = {name: sources.index(_place(port)) for name, port in ports.items()}
        self._compiled = compiled(model)

    def __call__(self, sample: Sample) -> Mapping[str, Array]:
        fed = dict(sample)
        with their_failures():
            results = self._compiled(fed)
        return {name: results[place] for name, place in self._places.items()}


def _place(port: Any) -> tuple[str, int]:
    return port.get_node().get_name(), port.get_index()
