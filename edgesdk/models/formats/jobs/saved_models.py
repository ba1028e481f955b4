"""SavedModels looked at before TensorFlow loads them: which signature to use, and every operator.

Loading a SavedModel already runs what is in it (tables are made, saved state is restored by
functions from the file), and TensorFlow may put one function in another's place (`api_implements`).
So it is not enough to follow the signature: every function that can be called from Python after
loading, and all that these call, may hold the operators of tensorflow_operators.py only. What
stays unread are the functions that write and read checkpoints, for TensorFlow 2 restores variables
on its own. Of a SavedModel of TensorFlow 1 all is read but what saves it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .protocol import Refused, Request
from .tensorflow_operators import STATEFUL, STATELESS

_SERVE = "serve"
_SERVING = "serving_default"
_KNOWN = STATELESS | STATEFUL
_RESTORING = frozenset({"RestoreV2", "Restore", "RestoreSlice"})
"""What TensorFlow 1 reads variables with; they read files only."""
_SWAPPED = "api_implements"


def signature_key(request: Request) -> str:
    """The signature to use, read from the file before anything in it is loaded.

    Raises:
        Refused: broken, no signature or no clear one, or operators that are no arithmetic.
    """
    stored = _stored(request)
    graphs = [graph for graph in stored.meta_graphs if _SERVE in graph.meta_info_def.tags]
    if not graphs:
        raise Refused("model", f"{request.label} holds no graph with the tag 'serve'")
    _require_known_operators(graphs, request)
    keys = sorted(key for key in graphs[0].signature_def if not key.startswith("__"))
    if _SERVING in keys:
        return _SERVING
    if len(keys) == 1:
        return str(keys[0])
    found = f"the {len(keys)} signatures {', '.join(keys)}" if keys else "no signature"
    raise Refused(
        "model",
        f"{request.label} holds {found}, expected one, or one called {_SERVING}",
        "save the function to deploy under that name: "
        f"tf.saved_model.save(model, folder, signatures={{'{_SERVING}': function}})",
    )


def _stored(request: Request) -> Any:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    stored = saved_model_pb2.SavedModel()
    try:
        stored.ParseFromString((Path(request.source) / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise Refused(
            "model",
            f"{request.label} is broken: its saved_model.pb is not a SavedModel",
            "save it again, or check that the download is complete",
        ) from error
    return stored


def _require_known_operators(graphs: Iterable[Any], request: Request) -> None:
    found = sorted({name for graph in graphs for name in _unknown(graph)})
    if found:
        raise Refused(
            "model",
            f"{request.label} holds {', '.join(found)}, which may do more than arithmetic and is "
            "not run here",
            "save the network alone, without tables, text, files and printing: "
            "tf.saved_model.save(module, folder, signatures=function)",
        )


def _unknown(graph: Any) -> Iterator[str]:
    """Operators of a graph that run or can be run, and are not known."""
    library = {each.signature.name: each for each in graph.graph_def.library.function}
    if graph.HasField("object_graph_def"):
        nodes: list[Any] = []
        allowed = _KNOWN
    else:
        nodes = list(_run_by_1(graph))
        allowed = _KNOWN | _RESTORING
    pending = sorted(_callable_from_python(graph, library))
    seen: set[str] = set()
    while pending or nodes:
        for node in nodes:
            if node.op not in allowed and node.op not in library:
                yield node.op
            pending += _called(node)
        nodes = []
        if pending and (name := pending.pop()) not in seen and name in library:
            seen.add(name)
            nodes = list(library[name].node_def)


def _callable_from_python(graph: Any, library: dict[str, Any]) -> set[str]:
    """Functions that the saved objects have, and those that may take another's place."""
    objects = graph.object_graph_def
    named = set(objects.concrete_functions)
    for node in objects.nodes:
        named.update(node.function.concrete_functions)
        named.add(node.bare_concrete_function.concrete_function_name)
    swapped = {name for name, each in library.items() if _SWAPPED in each.attr}
    gradients = {each.gradient_func for each in graph.graph_def.library.gradient}
    return named | swapped | gradients


def _called(node: Any) -> Iterator[str]:
    """The functions that an operator may call: it is one, or has them for attributes."""
    yield node.op
    for value in node.attr.values():
        yield value.func.name
        yield from (each.name for each in value.list.func)


def _run_by_1(graph: Any) -> Iterator[Any]:
    """The nodes of a SavedModel of TensorFlow 1 that anything but saving it again depends on."""
    nodes = {node.name: node for node in graph.graph_def.node}
    saving = _behind([graph.saver_def.save_tensor_name], nodes)
    named = [
        tensor.name
        for signature in graph.signature_def.values()
        for tensor in (*signature.outputs.values(), *signature.inputs.values())
    ]
    named += [graph.saver_def.restore_op_name, graph.saver_def.filename_tensor_name]
    named += _named_by_collections(graph)
    return (nodes[name] for name in _behind([*(set(nodes) - saving), *named], nodes))


def _behind(names: Iterable[str], nodes: dict[str, Any]) -> set[str]:
    """These nodes and all that they depend on."""
    pending = list(names)
    seen: set[str] = set()
    while pending:
        name = pending.pop().removeprefix("^").partition(":")[0]
        if name in nodes and name not in seen:
            seen.add(name)
            pending += nodes[name].input
    return seen


def _named_by_collections(graph: Any) -> Iterator[str]:
    """Initializers of the graph and of its variables, which loading runs."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import variable_pb2

    for key, collection in graph.collection_def.items():
        yield from collection.node_list.value
        for value in () if key == "savers" else collection.bytes_list.value:
            try:
                variable = variable_pb2.VariableDef.FromString(value)
            except DecodeError:
                continue
            yield from (variable.initializer_name, variable.initial_value_name)
            yield variable.snapshot_name
