"""Frozen dataclasses to and from JSON and TOML, strictly: every problem reported at once, by path.

Reading coerces nothing ("8" is not 8, true is not 1) and refuses unknown keys. It is for files; the
wire between host and agent has its own schema in `device_agent.protocol`.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import cattrs
from cattrs.cols import is_mapping, list_structure_factory, mapping_structure_factory
from cattrs.gen import make_dict_structure_fn
from cattrs.preconf.json import make_converter

from edgesdk.errors import MalformedFile
from edgesdk.files import write_durable

T = TypeVar("T")

_converter = make_converter(forbid_extra_keys=True, detailed_validation=True)


def _strictly(kind: type, *accepted: type) -> None:
    def structure(value: Any, _: type) -> Any:
        if type(value) not in (kind, *accepted):
            raise TypeError(f"found {value!r}, expected {kind.__name__}")
        if kind is float and not math.isfinite(value):
            raise TypeError(f"found {value!r}, expected a finite number")
        return kind(value)

    _converter.register_structure_hook(kind, structure)


_strictly(int)
_strictly(float, int)
_strictly(str)
_strictly(bool)


def _only(
    container: type | tuple[type, ...], word: str, structure: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], Any]:
    """`structure`, but refusing whatever is not a `container` instead of taking it apart."""

    def checked(value: Any, kind: Any) -> Any:
        if not isinstance(value, container):
            raise TypeError(f"found {value!r}, expected {word}")
        return structure(value, kind)

    return checked


def _one_of(kind: Any) -> Callable[[Any, Any], Any]:
    options = get_args(kind)
    expected = ", ".join(map(str, options))

    def structure(value: Any, _: Any) -> Any:
        if not any(type(value) is type(option) and value == option for option in options):
            one_of = "one of " if len(options) > 1 else ""
            raise TypeError(f"found {value!r}, expected {one_of}{expected}")
        return value

    return structure


def _dataclass_from_table(kind: Any) -> Callable[[Any, Any], Any]:
    structure = make_dict_structure_fn(
        kind, _converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )
    return _only(Mapping, "a table", structure)


def _tuple_from_list(kind: Any) -> Callable[[Any, Any], Any]:
    structure = list_structure_factory(kind, _converter)
    return _only((list, tuple), "a list", lambda value, cls: tuple(structure(value, cls)))


def _mapping_from_table(kind: Any) -> Callable[[Any, Any], Any]:
    return _only(Mapping, "a table", mapping_structure_factory(kind, _converter))


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _is_homogeneous_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)


_converter.register_structure_hook_factory(_is_literal, _one_of)
_converter.register_structure_hook_factory(is_dataclass, _dataclass_from_table)
_converter.register_structure_hook_factory(_is_homogeneous_tuple, _tuple_from_list)
_converter.register_structure_hook_factory(is_mapping, _mapping_from_table)


def to_dict(value: Any) -> Any:
    """The plain JSON-ready form (dicts, lists, strings, numbers) of a frozen dataclass."""
    return _converter.unstructure(value)


def from_dict(cls: type[T], data: Any, *, origin: str) -> T:
    """Build `cls` from plain data.

    Args:
        origin: what the data came from, for the message.

    Raises:
        MalformedFile: with one detail line a problem, each ending in its path.
    """
    try:
        return _converter.structure(data, cls)
    except (cattrs.BaseValidationError, TypeError) as problems:
        raise MalformedFile(
            f"{origin} does not hold", details=tuple(_explain(problems))
        ) from problems


def _explain(error: BaseException, path: str = "$") -> Iterator[str]:
    if isinstance(error, cattrs.IterableValidationError):
        with_notes, without = error.group_exceptions()
        for inner, note in with_notes:
            yield from _explain(inner, f"{path}{_step(note.index)}")
    elif isinstance(error, cattrs.ClassValidationError):
        attributes, without = error.group_exceptions()
        for inner, field in attributes:
            yield from _explain(inner, f"{path}.{field.name}")
    else:
        yield f"{_sentence(error)} @ {path}"
        return
    for inner in without:
        yield from _explain(inner, path)


def _step(index: Any) -> str:
    return f".{index}" if isinstance(index, str) else f"[{index}]"


def _sentence(error: BaseException) -> str:
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return "unknown key " + ", ".join(sorted(error.extra_fields))
    if isinstance(error, KeyError):
        return "required key missing"
    return str(error)


def canonical_json(data: Any) -> bytes:
    """One byte string per value: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode("ascii")


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a frozen dataclass."""
    return hashlib.sha256(canonical_json(to_dict(value))).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write a frozen dataclass as indented JSON, durably and all or nothing."""
    write_durable(path, (json.dumps(to_dict(value), indent=1, allow_nan=False) + "\n").encode())


def read_json(cls: type[T], path: Path) -> T:
    """Read what `write_json` wrote.

    Raises:
        MalformedFile: unreadable, not JSON, or not of that shape.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise MalformedFile(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise MalformedFile(f"{path} is not JSON: {error}") from error
    return from_dict(cls, data, origin=str(path))


def read_toml(path: Path) -> Mapping[str, Any]:
    """Read a TOML file as plain data.

    Raises:
        MalformedFile: unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MalformedFile(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MalformedFile(f"{path} is not TOML: {error}") from error
