"""Which delegate took which operators of a LiteRT model, read from its interpreter.

An interpreter keeps the operators that a delegate took, and adds a node of its own, DELEGATE, for
each run of them; its Python API does not tell which of all these is executed. But a delegate's node
computes what its operators did: they are those that lead from its inputs to its outputs.
"""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Set, Tuple

from device_agent.profile_messages import OperatorPlace

DELEGATE = "DELEGATE"
XNNPACK = "XNNPACK"
EDGE_TPU = "Edge TPU"
EDGE_TPU_OPERATOR = "edgetpu-custom-op"  # libedgetpu, tflite/public/edgetpu.h: kCustomOp

_Node = Dict[str, Any]


def places(interpreter: Any) -> Tuple[OperatorPlace, ...]:
    """The model file's operators, in its order, each with the delegate that took it."""
    nodes = interpreter._get_ops_details()
    taken = _taken(nodes)
    names = {each["index"]: each["name"] for each in interpreter.get_tensor_details()}
    return tuple(
        _place(node, names, taken.get(position, ""))
        for position, node in enumerate(nodes)
        if node["op_name"] != DELEGATE
    )


def _place(node: _Node, names: Dict[int, str], delegate: str) -> OperatorPlace:
    outputs = [int(index) for index in node["outputs"]]
    name = names.get(outputs[0], "") if outputs else ""
    unit = "edgetpu" if delegate == EDGE_TPU else "cpu"
    return OperatorPlace(node["op_name"], name, unit, delegate)


def _taken(nodes: Sequence[_Node]) -> Dict[int, str]:
    """Position of each operator that a delegate took, and the delegate's name."""
    makers = {
        int(tensor): position
        for position, node in enumerate(nodes)
        if node["op_name"] != DELEGATE
        for tensor in node["outputs"]
    }
    taken: Dict[int, str] = {}
    for node in nodes:
        if node["op_name"] == DELEGATE:
            covered = _covered(node, nodes, makers)
            kinds = {nodes[position]["op_name"] for position in covered}
            delegate = EDGE_TPU if EDGE_TPU_OPERATOR in kinds else XNNPACK
            taken.update(dict.fromkeys(covered, delegate))
    return taken


def _covered(delegate: _Node, nodes: Sequence[_Node], makers: Dict[int, int]) -> Set[int]:
    inputs = {int(tensor) for tensor in delegate["inputs"]}
    found: Set[int] = set()
    open_tensors: List[int] = [int(tensor) for tensor in delegate["outputs"]]
    while open_tensors:
        tensor = open_tensors.pop()
        if tensor in inputs or tensor not in makers or makers[tensor] in found:
            continue
        found.add(makers[tensor])
        open_tensors.extend(int(each) for each in nodes[makers[tensor]]["inputs"])
    return found
