"""Frozen dataclasses to and from JSON and TOML, strictly: every problem reported at once, by path.

Reading coerces nothing ("8" is not 8, true is not 1) and refuses unknown keys. It is for files; the
wire between host and agent has its own schema in `device_agent.protocol`.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.preconf.json import make_converter

from edgesdk.errors import MalformedFile
from edgesdk.files import write_durable

T = TypeVar("T")

_converter = make_converter(forbid_extra_keys=True, detailed_validation=True)


def _strictly(kind: type, *accepted: type) -> None:
    def structure(value: Any, _: type) -> Any:
        if type(value) not in (kind, *accepted):
            raise TypeError(f"found {value!r}, expected {kind.__name__}")
        return kind(value)

    _converter.register_structure_hook(kind, structure)


_strictly(int)
_strictly(float, int)
_strictly(str)
_strictly(bool)


def to_dict(value: Any) -> Any:
    """The plain JSON-ready form (dicts, lists, strings, numbers) of a frozen dataclass."""
    return _converter.unstructure(value)


def from_dict(
    cls: type[T], data: Any, *, origin: str, error: type[MalformedFile] = MalformedFile
) -> T:
    """Build `cls` from plain data.

    Args:
        origin: what the data came from, for the message.

    Raises:
        MalformedFile: with one detail line a problem, each ending in its path.
    """
    try:
        return _converter.structure(data, cls)
    except cattrs.BaseValidationError as problems:
        raise error(f"{origin} does not hold", details=tuple(_explain(problems))) from problems


def _explain(error: BaseException, path: str = "$") -> Iterator[str]:
    if isinstance(error, cattrs.IterableValidationError):
        with_notes, without = error.group_exceptions()
        for inner, note in with_notes:
            yield from _explain(inner, f"{path}[{note.index!r}]")
    elif isinstance(error, cattrs.ClassValidationError):
        attributes, without = error.group_exceptions()
        for inner, field in attributes:
            yield from _explain(inner, f"{path}.{field.name}")
    else:
        yield f"{_sentence(error)} @ {path}"
        return
    for inner in without:
        yield from _explain(inner, path)


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
    write_durable(path, (json.dumps(to_dict(value), indent=1) + "\n").encode())


def read_json(cls: type[T], path: Path) -> T:
    """Read what `write_json` wrote.

    Raises:
        MalformedFile: unreadable, not JSON, or not of that shape.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise MalformedFile(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
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
