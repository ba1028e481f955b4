"""NVIDIA's parser and compiler on one model, run as a process of its own.

Arguments: the model, and the file that what they said is written to as JSON. Nothing of the engine
is kept. It may crash or hang: see `compiling`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tensorrt_rtx as trt

_SERIOUS = (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR)


class Recorder(trt.ILogger):  # type: ignore[misc]
    """Keeps what the compiler complains of, and prints nothing."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT."""
        if severity in _SERIOUS:
            self.errors.append(msg.strip())


def main(model: str, answer: str) -> int:
    """Parse and compile; 0 whatever they said of the model."""
    logger = Recorder()
    builder = trt.Builder(logger)
    network = builder.create_network()
    parser = trt.OnnxParser(network, logger)
    parsed = bool(parser.parse_from_file(model))
    refusals = [_refusal(parser.get_error(index)) for index in range(parser.num_errors)]
    built = parsed and _builds(builder, network)
    said = {
        "version": trt.__version__,
        "parsed": parsed,
        "built": built,
        "refusals": refusals,
        "errors": logger.errors,
    }
    Path(answer).write_text(json.dumps(said))
    return 0


def _builds(builder: trt.Builder, network: trt.INetworkDefinition) -> bool:
    return builder.build_serialized_network(network, builder.create_builder_config()) is not None


def _refusal(error: trt.ParserError) -> dict[str, str]:
    return {
        "operator": error.node_operator(),
        "name": error.node_name(),
        "code": error.code().name,
        "words": error.desc(),
    }


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
