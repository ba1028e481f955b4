"""PyTorch programs and factories: describe, run, and convert to ONNX or TFLite."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import os
import pickle
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .protocol import (
    Answer,
    Array,
    Refused,
    Request,
    Tensor,
    first_line,
    fixed_shape,
    require_known_inputs,
)
from .torch_archives import checked_copy

_ONNX_OPSET = 18
_INLINE_LIMIT_BYTES = 1500 * 2**20
"""Beyond it weights go to a file beside the ONNX file, which cannot be larger than 2 GB."""
_FACTORY = "return (module, example_inputs): a torch.nn.Module and a tuple of tensors"


@dataclass(frozen=True)
class _Program:
    """An exported program and its edge."""

    exported: Any
    edge: Answer


def run(request: Request) -> Answer:
    """Describe the program, or convert it and run it on the probes."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    import torch

    torch.manual_seed(0)
    exported = _from_factory(request) if request.factory else _from_file(request)
    program = _Program(exported, _edge(exported, request))
    if request.action == "describe":
        return program.edge
    request.run(lambda values: _evaluate(exported, values))
    return _to_onnx(program, request) if request.action == "onnx" else _to_tflite(program, request)


def _from_file(request: Request) -> Any:
    import torch

    path = checked_copy(request.source, Path(request.folder), request.label)
    unrestricted = torch.load

    def restricted(*args: Any, **options: Any) -> Any:
        return unrestricted(*args, **(options | {"weights_only": True}))

    torch.load = restricted
    try:
        return torch.export.load(str(path))
    except pickle.UnpicklingError as error:
        raise Refused(
            "model",
            f"{request.label} holds pickled objects that are no tensors, which are not loaded",
            "give tensors only as example inputs when exporting it",
        ) from error
    except Exception as error:
        raise Refused(
            "model",
            f"PyTorch {torch.__version__} cannot load {request.label}: {first_line(error)}",
            "export it again with this version of PyTorch",
        ) from error
    finally:
        torch.load = unrestricted
        path.unlink(missing_ok=True)


def _from_factory(request: Request) -> Any:
    """The module that the user's own function makes, exported; their code runs at their wish."""
    import torch

    module, inputs = _made(_function(request), request)
    try:
        with torch.no_grad():
            return torch.export.export(module.eval(), inputs)
    except Exception as error:
        raise Refused(
            "model",
            f"torch.export cannot export what {request.factory} makes: {first_line(error)}",
            "make torch.export.export(module.eval(), example_inputs) pass on its own first",
        ) from error


def _made(function: Any, request: Request) -> tuple[Any, tuple[Any, ...]]:
    import torch

    try:
        made = function()
    except Exception as error:
        raise Refused(
            "model", f"{request.factory} raised {type(error).__name__}: {first_line(error)}"
        ) from error
    if not (
        isinstance(made, tuple)
        and len(made) == 2
        and isinstance(made[0], torch.nn.Module)
        and isinstance(made[1], list | tuple)
        and made[1]
        and all(isinstance(each, torch.Tensor) for each in made[1])
    ):
        raise Refused("model", f"{request.factory} returned {_described(made)}", _FACTORY)
    return made[0], tuple(made[1])


def _described(made: Any) -> str:
    if isinstance(made, tuple):
        return "(" + ", ".join(type(each).__name__ for each in made) + ")"
    return type(made).__name__


def _function(request: Request) -> Any:
    place, _, name = request.factory.rpartition(":")
    try:
        module = _imported(place)
    except Exception as error:
        raise Refused(
            "model", f"{place} cannot be imported: {type(error).__name__}: {first_line(error)}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise Refused("model", f"{place} has no function {name!r}", _FACTORY)
    return function


def _imported(place: str) -> Any:
    sys.path.insert(0, os.getcwd())
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place).resolve()
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _edge(exported: Any, request: Request) -> Answer:
    """What goes in and comes out, every size fixed.

    Outputs are called by their key where the network returns a dictionary, else "output", or
    "output_0", "output_1" and so on: a program has no names for them.
    """
    signature = exported.graph_signature
    if _in_training(exported):
        raise Refused(
            "model",
            f"{request.label} was exported in training mode: its output depends on chance or on "
            "the rest of the batch",
            "call model.eval() before torch.export.export",
        )
    values = {node.name: node.meta.get("val") for node in exported.graph.nodes}
    named = list(zip(signature.user_inputs, signature.user_inputs, strict=True))
    outputs = list(zip(_output_names(exported), signature.user_outputs, strict=True))
    require_known_inputs(request, [str(name) for name, _ in named])
    return Answer(
        inputs=tuple(_tensor("input", *each, values, request) for each in named),
        outputs=tuple(_tensor("output", *each, values, request) for each in outputs),
        sha256=_digest(exported) if request.factory else "",
    )


def _in_training(exported: Any) -> bool:
    """It drops out, normalizes by the batch's statistics, or changes its own weights."""
    signature = exported.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        return True
    return any(
        _argument(node, "train", 2) is True
        if str(node.target).startswith("aten.dropout")
        else _argument(node, "training", 5) is True
        for node in exported.graph.nodes
        if str(node.target).startswith(("aten.dropout", "aten.batch_norm"))
    )


def _argument(node: Any, name: str, index: int) -> Any:
    return node.kwargs.get(name, node.args[index] if index < len(node.args) else None)


def _tensor(role: str, name: str, node: Any, values: Mapping[str, Any], request: Request) -> Tensor:
    value: Any = values.get(node) if isinstance(node, str) else None
    if not hasattr(value, "dtype"):
        raise Refused(
            "model",
            f"{role} {str(name)!r} of {request.label} is no tensor but {node!r}",
            "wrap the module in one whose forward takes and returns tensors only",
        )
    if not all(isinstance(size, int) for size in value.shape):
        raise Refused(
            "model",
            f"{role} {name!r} of {request.label} is [{', '.join(map(str, value.shape))}], "
            "expected every dimension fixed",
            "export it without dynamic_shapes, with example inputs of the shapes to deploy",
        )
    shape = tuple(value.shape)
    if role == "input":
        fixed_shape(request, name, shape)
    return Tensor(name, shape, str(value.dtype).removeprefix("torch."))


def _output_names(exported: Any) -> list[str]:
    import torch.utils._pytree as pytree

    count = len(exported.graph_signature.user_outputs)
    made = pytree.tree_unflatten(list(range(count)), exported.call_spec.out_spec)
    if isinstance(made, Mapping) and sorted(made.values()) == list(range(count)):
        return [str(key) for key, _ in sorted(made.items(), key=lambda item: item[1])]
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


def _digest(exported: Any) -> str:
    """Of every weight, buffer and constant, by name."""
    import torch

    total = hashlib.sha256(exported.graph_module.code.encode())
    tensors = {**exported.state_dict, **exported.constants}
    for name in sorted(tensors):
        if isinstance(tensors[name], torch.Tensor):
            values = tensors[name].detach().cpu().contiguous()
            total.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
            total.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _arguments(exported: Any, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The flat inputs as the module takes them."""
    import torch.utils._pytree as pytree

    args, kwargs = pytree.tree_unflatten(list(tensors), exported.call_spec.in_spec)
    return tuple(args), dict(kwargs)


def _evaluate(exported: Any, values: Sequence[Array]) -> list[Array]:
    import torch
    import torch.utils._pytree as pytree

    args, kwargs = _arguments(exported, [torch.from_numpy(value.copy()) for value in values])
    with torch.no_grad():
        made = exported.module()(*args, **kwargs)
    return [each.detach().numpy() for each in pytree.tree_leaves(made)]


def _to_onnx(program: _Program, request: Request) -> Answer:
    import torch

    size = sum(each.nbytes for each in program.exported.state_dict.values())
    try:
        torch.onnx.export(
            program.exported,
            (),
            request.output,
            input_names=[each.name for each in request.inputs],
            output_names=[each.name for each in request.outputs],
            opset_version=_ONNX_OPSET,
            dynamo=True,
            external_data=size > _INLINE_LIMIT_BYTES,
            verbose=False,
        )
    except Exception as error:
        raise _unsupported("torch.onnx.export", "ONNX", error, request) from error
    return Answer(request.inputs, request.outputs, program.edge.sha256)


def _unsupported(tool: str, to: str, error: BaseException, request: Request) -> Refused:
    said = "\n".join(_said(error))
    operators = sorted(
        set(
            re.findall(
                r"No (?:ONNX function|decompositions registered|lowering) (?:found )?for "
                r"(?:<?OpOverload\()?(?:op=)?'?([\w.]+)",
                said,
            )
        )
        | set(re.findall(r"Lowering not found: ([\w.]+)", said))
    )
    if operators:
        return Refused(
            "conversion",
            f"{tool} has no {to} form for {', '.join(operators)}, which {request.label} uses",
            "replace that operator, or cut that part of the network off",
        )
    return Refused("conversion", f"{tool} could not convert {request.label}: {first_line(error)}")


def _said(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error)
        error = error.__cause__


def _to_tflite(program: _Program, request: Request) -> Answer:
    import litert_torch
    import torch

    zeros = [torch.zeros(each.shape, dtype=getattr(torch, each.dtype)) for each in request.inputs]
    try:
        converted = litert_torch.convert(_flat(program.exported), tuple(zeros))
        converted.export(request.output)
    except Exception as error:
        raise _unsupported("litert-torch", "TFLite", error, request) from error
    return Answer(
        tuple(Tensor(f"args_{i}", t.shape, t.dtype) for i, t in enumerate(request.inputs)),
        tuple(Tensor(f"output_{i}", t.shape, t.dtype) for i, t in enumerate(request.outputs)),
        program.edge.sha256,
    )


def _flat(exported: Any) -> Any:
    """The program as a module of tensors in and tensors out, in order, so that names are known."""
    import torch
    import torch.utils._pytree as pytree

    class Flat(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.inner = exported.module()
            # An exported module cannot be told so; it was exported in evaluation mode.
            self.training = False

        def forward(self, *values: Any) -> Any:
            args, kwargs = _arguments(exported, values)
            return tuple(pytree.tree_leaves(self.inner(*args, **kwargs)))

    return Flat()
