"""What a job is asked and what it answers: JSON files, and arrays beside them as .npz.

Edges are lists of tensors in order. Arrays are keyed "<sample>.<tensor>", both counted from 0.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Kind = Literal["model", "conversion", "missing"]


class Refused(Exception):
    """What the user has to be told; everything else that is raised is shown as a traceback's end.

    Args:
        kind: "model" where the model is at fault, "conversion" where the toolkit is, "missing"
            where a toolkit is not installed: the message is then its name.
    """

    def __init__(
        self, kind: Kind, message: str, hint: str = "", details: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.details = tuple(details)


@dataclass(frozen=True)
class Tensor:
    """A tensor at a model's edge."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Request:
    """What to do.

    Args:
        action: "describe", "run" or the format to convert to.
        source: the model's path.
        label: what messages call the model.
        factory: "module:function" where the model is made by a function.
        input_shapes: the shapes that the user fixed, by input.
        inputs: the source's edge; empty to describe.
        outputs: likewise.
        output: path of the file to write.
        probes: arrays to run the source on; empty for none.
        source_outputs: path for what it gives.
        folder: for scratch files.
        result: path of the answer.
        distributions: whose versions to report.
    """

    action: str
    source: str
    label: str
    factory: str
    input_shapes: Mapping[str, tuple[int, ...]]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    output: str
    probes: str
    source_outputs: str
    folder: str
    result: str
    distributions: tuple[str, ...]

    def samples(self) -> Iterator[tuple[Array, ...]]:
        """The probes, each with its inputs in order."""
        with np.load(self.probes, allow_pickle=False) as stored:
            for sample in range(len(stored.files) // len(self.inputs)):
                yield tuple(stored[f"{sample}.{index}"] for index in range(len(self.inputs)))

    def run(self, network: Callable[[tuple[Array, ...]], Sequence[Any]]) -> None:
        """Run the source on every probe and store what it gives."""
        if not self.probes:
            return
        stored = {
            f"{sample}.{index}": np.asarray(value)
            for sample, inputs in enumerate(self.samples())
            for index, value in enumerate(network(inputs))
        }
        np.savez(self.source_outputs, **stored)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Answer:
    """What came of it.

    Args:
        inputs: described: the source's edge. Converted: the written file's tensors, in the
            source's order.
        outputs: likewise.
        sha256: of weights that lie in no file.
    """

    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    sha256: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def read_request(path: str) -> Request:
    """The request in a file."""
    content = json.loads(Path(path).read_text())
    tensors = {
        edge: tuple(_tensor(each) for each in content[edge]) for edge in ("inputs", "outputs")
    }
    shapes = {name: tuple(shape) for name, shape in content["input_shapes"].items()}
    rest = {"input_shapes": shapes, "distributions": tuple(content["distributions"])}
    return Request(**(content | tensors | rest))


def _tensor(content: Mapping[str, Any]) -> Tensor:
    return Tensor(content["name"], tuple(content["shape"]), content["dtype"])


def serve(path: str, run: Callable[[Request], Answer]) -> None:
    """Do what the file at `path` asks and write the answer."""
    request = read_request(path)
    try:
        content: dict[str, Any] = {"ok": asdict(run(request))}
        content["ok"]["versions"] = _versions(request.distributions)
    except Refused as refused:
        content = {"refused": {**vars(refused)}}
    except ModuleNotFoundError as error:
        content = {"refused": vars(Refused("missing", str(error.name)))}
    scratch = Path(f"{request.result}.part")
    scratch.write_text(json.dumps(content))
    os.replace(scratch, request.result)


def _versions(distributions: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its class where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def fixed_shape(request: Request, name: str, known: Sequence[int | None] | None) -> tuple[int, ...]:
    """The shape of an input: what the model says, open dimensions from the user.

    Raises:
        Refused: a dimension stays open, or what the user gave does not fit.
    """
    given = request.input_shapes.get(name)
    if known is None:
        if given is None:
            raise Refused(
                "model",
                f"input {name!r} of {request.label} has no shape, expected a static one",
                f"fix it with --input-shape {name}=1,224,224,3 (your own sizes)",
            )
        return given
    shown = "[" + ", ".join("?" if size is None else str(size) for size in known) + "]"
    if given is None:
        opened = [index for index, size in enumerate(known) if size is None]
        if opened:
            example = ",".join(
                str(size) if size is not None else "1" if index == 0 else "<size>"
                for index, size in enumerate(known)
            )
            raise Refused(
                "model",
                f"input {name!r} of {request.label} is {shown}: dimension "
                f"{', '.join(map(str, opened))} is dynamic, expected every dimension fixed",
                f"fix it with --input-shape {name}={example}",
            )
        return tuple(size for size in known if size is not None)
    fits = len(given) == len(known) and all(
        wanted > 0 and size in (None, wanted) for size, wanted in zip(known, given, strict=True)
    )
    if not fits:
        raise Refused(
            "model",
            f"input {name!r} of {request.label} is {shown}, which {list(given)} does not fit",
        )
    return given


def require_known_inputs(request: Request, names: Sequence[str]) -> None:
    """Every input that the user named is there.

    Raises:
        Refused: one is not.
    """
    for name in request.input_shapes:
        if name not in names:
            raise Refused(
                "model",
                f"{request.label} has no input {name!r}, its inputs are {', '.join(names)}",
            )
