"""`torch.export` programs looked at before PyTorch loads them, and copied without what is not data.

`torch.export.load` (2.13 to 2.15) unpickles without restriction: weights and constants marked so,
sample inputs that a restricted load refuses, opaque objects. It also loads compiled code from the
archive, resolves any name below `torch` as an operator, evaluates symbolic sizes as Python and runs
the archive's guards. So what it is given is a copy that this module wrote: no compiled code, no
pickled objects, only operators that torch_operators.py lists, fixed sizes, no guards. The rest of
the pickles, tensors, is for `torch.load(weights_only=True)`; the caller sees to that.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .archives import BROKEN, require_bounded
from .protocol import Refused
from .torch_operators import ATEN, HIGHER, PRIMS, QUANTIZED, VISION

_PLAIN = re.compile(
    r"_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.(ceil|floor|sqrt|trunc)"
)
_OPERATOR = re.compile(r"torch\.ops\.(\w+)\.(\w+?)(\.[A-Za-z]\w*)?")
_KNOWN = {
    "aten": ATEN | {f"{name}_" for name in ATEN if not name.startswith("_")},
    "prims": PRIMS,
    "quantized_decomposed": QUANTIZED,
    "torchvision": VISION,
    "higher_order": HIGHER,
}
_KEPT = re.compile(
    r"(\.data/)?(version|serialization_id)|byteorder|archive_format|archive_version"
    r"|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/(weights|constants)/(model_(weights|constants)_config\.json"
    r"|weight_\d+|tensor_\d+|model\.pt)"
)
_CONTAINERS = frozenset(
    {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
)
_LARGEST_PROGRAM_BYTES = 512 * 2**20
_SAVE = "save it with torch.export.save(torch.export.export(model.eval(), inputs), 'model.pt2')"


def checked_copy(source: str, folder: Path, label: str) -> Path:
    """A copy of the program in `folder` that holds data only.

    Raises:
        Refused: no such program, a pickle, or it holds more than a network.
    """
    copy = folder / "checked.pt2"
    try:
        with zipfile.ZipFile(source) as archive:
            require_bounded(archive, source, label)
            root = _root(archive, label)
            with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as written:
                for entry in archive.infolist():
                    _copy(archive, entry, entry.filename.removeprefix(root), written, label)
    except BROKEN as error:
        raise Refused(
            "model", f"{label} is broken: {error or type(error).__name__}", _SAVE
        ) from error
    return copy


def _root(archive: zipfile.ZipFile, label: str) -> str:
    """What all names begin with: PyTorch puts its archives under the file's name."""
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise Refused("model", f"{label} holds a file of the same name twice")
    found = [name for name in names if name.endswith("models/model.json")]
    if len(found) == 1:
        return found[0].removesuffix("models/model.json")
    what = "a torch.save file" if any(name.endswith("data.pkl") for name in names) else "an archive"
    if "serialized_exported_program.json" in names:
        what = "a program of PyTorch 2.7 or older"
    raise Refused("model", f"{label} is {what}, expected a torch.export program", _SAVE)


def _copy(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    name: str,
    written: zipfile.ZipFile,
    label: str,
) -> None:
    if name.startswith("data/aotinductor/"):
        raise Refused("model", f"{label} holds compiled code, expected a program", _SAVE)
    if re.match(r"data/constants/(custom|opaque)_obj", name):
        raise Refused("model", f"{label} holds a Python object ({name}), expected tensors only")
    if not _KEPT.fullmatch(name):
        return
    if name.endswith(".json") and entry.file_size > _LARGEST_PROGRAM_BYTES:
        raise Refused("model", f"{label} holds a description of more than 512 MiB")
    target = zipfile.ZipInfo(f"checked/{name}")
    if name == "models/model.json":
        written.writestr(target, json.dumps(_checked(json.loads(archive.read(entry)), label)))
        return
    with archive.open(entry) as stream, written.open(target, "w", force_zip64=True) as out:
        while block := stream.read(2**20):
            out.write(block)


def _checked(program: dict[str, Any], label: str) -> dict[str, Any]:
    for problem, hint in _problems(program):
        raise Refused("model", f"{label} {problem}", hint)
    return program | ({"guards_code": []} if "guards_code" in program else {})


def _problems(content: Any) -> Iterator[tuple[str, str]]:
    """What is more than a network of fixed sizes, as the end of a sentence, and what to do."""
    if isinstance(content, list):
        for each in content:
            yield from _problems(each)
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _problem(key, value)
            yield from _problems(value)


def _problem(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if key in ("as_expr", "expr_str") or (key == "range_constraints" and value):
        yield (
            "has dynamic shapes, expected every dimension fixed",
            "export it without dynamic_shapes, with example inputs of the shapes to deploy",
        )
    named = key in ("target", "as_operator") and isinstance(value, str)
    if named and not _is_known(value):
        yield (
            f"uses the operator {value}, which is not among PyTorch's arithmetic known here",
            "replace it by operators of torch, or decompose it: program.run_decompositions()",
        )
    if key in ("in_spec", "out_spec") and isinstance(value, str):
        yield from _problems_of_spec(json.loads(value))


def _is_known(target: str) -> bool:
    found = _OPERATOR.fullmatch(target)
    if found is None:
        return _PLAIN.fullmatch(target) is not None
    return found[2] in _KNOWN.get(found[1], ())


def _problems_of_spec(spec: Any) -> Iterator[tuple[str, str]]:
    if isinstance(spec, list):
        for each in spec:
            yield from _problems_of_spec(each)
    elif isinstance(spec, dict):
        if spec.get("type") not in _CONTAINERS:
            yield (
                f"takes or gives a {spec['type']}, expected tensors, lists, tuples or dictionaries",
                "wrap the module in one whose forward takes and returns tensors",
            )
        yield from _problems_of_spec(spec.get("children_spec", []))
