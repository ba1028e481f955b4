"""What ONNX Runtime wrote while it profiled: its JSON of events, read into times per operator."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Sequence, Tuple

from device_agent.profile_messages import OperatorPlace
from device_agent.runtimes.base import RuntimeFailed

_KERNEL = "_kernel_time"
"""Ends the names of the events that count; others, of older releases, time the waiting between."""
_US_TO_NS = 1_000


_UNITS = {
    "CPUExecutionProvider": "cpu",
    "QNNExecutionProvider": "htp",
    "CUDAExecutionProvider": "gpu",
    "TensorrtExecutionProvider": "gpu",
}


def unit_of(provider: str) -> str:
    """The compute unit of an execution provider; one that we do not know is called as it is."""
    return _UNITS.get(provider, provider)


def read_profile(path: str) -> List[Tuple[OperatorPlace, Sequence[int]]]:
    """Nanoseconds of each run of each operator, warm-up included, in the order they ran.

    An operator inside of another one's subgraph (of If, Loop and Scan) is part of that.

    Raises:
        RuntimeFailed: it is not such a file.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            events = [event for event in json.load(stream) if _counts(event)]
        events.sort(key=lambda event: (event["ts"], -event["dur"]))
        return _series(events)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RuntimeFailed(f"ONNX Runtime's profile cannot be read: {error!r}") from error


def _counts(event: Dict[str, Any]) -> bool:
    return event.get("cat") == "Node" and event["name"].endswith(_KERNEL)


def _series(events: Sequence[Dict[str, Any]]) -> List[Tuple[OperatorPlace, Sequence[int]]]:
    times: Dict[Tuple[str, str], List[int]] = {}
    places: Dict[Tuple[str, str], OperatorPlace] = {}
    end = 0
    for event in events:
        if event["ts"] < end:
            continue  # Operators of a session take turns: this one runs inside the last one.
        end = event["ts"] + event["dur"]
        arguments = event["args"]
        # Optimized nodes may share a name, and their index tells them apart.
        key = (event["name"], str(arguments.get("node_index", "")))
        provider = str(arguments.get("provider", ""))
        places.setdefault(
            key,
            OperatorPlace(
                type=str(arguments["op_name"]),
                name=event["name"][: -len(_KERNEL)],
                unit=unit_of(provider),
                delegate=provider,
            ),
        )
        times.setdefault(key, []).append(event["dur"] * _US_TO_NS)
    return [(places[key], values) for key, values in times.items()]
