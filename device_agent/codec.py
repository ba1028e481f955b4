"""Dataclasses to and from plain JSON data, for the wire and the manifest.

Field types understood: bool, int, float, str, Optional, Tuple[X, ...], Dict[str, X], dataclasses.
A missing or mistyped field raises `Malformed` with its path; an unknown field is ignored, so that a
newer peer may say more than an older one understands.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import typing
from typing import Any, Dict, Mapping, Tuple, Type, TypeVar, Union

T = TypeVar("T")

_MOST_DIGITS = 1000
_MOST_SHOWN = 80


class Malformed(ValueError):
    """Data that do not have the declared shape."""


class BadMessage(Exception):
    """What came is no message; nothing that follows can be trusted to be one."""


def to_dict(value: Any) -> Dict[str, Any]:
    """Plain JSON-ready data of a dataclass instance (tuples become lists when dumped)."""
    kind: Any = type(value)
    return {name: _plain(getattr(value, name)) for name in _field_names(kind)}


def canonical(value: Any) -> bytes:
    """The one byte string of a dataclass instance: sorted keys, no spaces, ASCII. For hashing."""
    return json.dumps(
        to_dict(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode("ascii")


def parse_json(text: bytes) -> Any:
    """The plain data of JSON bytes.

    Raises:
        Malformed: they are not JSON, are nested too deeply, or hold NaN, an infinity, or an integer
            of more than 1,000 digits.
    """
    try:
        return json.loads(
            text.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except (ValueError, RecursionError) as error:
        raise Malformed("not JSON: %s" % error) from error


def from_dict(cls: Type[T], data: Any, path: str = "$") -> T:
    """Build a dataclass from plain data.

    Raises:
        Malformed: names the first field that is missing or has another type, with its path.
    """
    if not isinstance(data, dict):
        raise Malformed("%s: found %s, expected an object" % (path, type(data).__name__))
    kind: Any = cls
    hints = _hints(kind)
    values = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        where = "%s.%s" % (path, field.name)
        if field.name in data:
            values[field.name] = _read(hints[field.name], data[field.name], where)
        elif field.default is dataclasses.MISSING:
            raise Malformed("%s: missing" % where)
    return cls(**values)


def encode_message(message: Any) -> bytes:
    """The line of a message on the wire, newline included."""
    data = {"type": type(message).__name__, "body": to_dict(message)}
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def decode_message(line: bytes, messages: Mapping[str, Type[Any]]) -> Any:
    """The message of a line.

    Args:
        line: with or without its newline.
        messages: the message classes by name.

    Raises:
        BadMessage: it is none of them.
    """
    try:
        data = parse_json(line)
        kind = data.get("type") if isinstance(data, dict) else None
        if not isinstance(kind, str) or kind not in messages:
            raise Malformed("expected one of: %s" % ", ".join(sorted(messages)))
        return from_dict(messages[kind], data.get("body"))
    except Malformed as error:
        raise BadMessage("found %r: %s" % (line[:80], error)) from error


def _plain(value: Any) -> Any:
    # `dataclasses.asdict` would copy every hash of a large package, which takes longer than them.
    if isinstance(value, tuple):
        return [_plain(item) for item in value] if _is_nested(value) else value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return to_dict(value) if dataclasses.is_dataclass(value) else value


def _is_nested(items: Tuple[Any, ...]) -> bool:
    return bool(items) and not isinstance(items[0], (str, int, float))


@functools.lru_cache(maxsize=None)
def _field_names(cls: Type[Any]) -> Tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


@functools.lru_cache(maxsize=None)
def _hints(cls: Type[Any]) -> Dict[str, Any]:
    return typing.get_type_hints(cls)


def _read(hint: Any, value: Any, path: str) -> Any:
    origin = getattr(hint, "__origin__", None)
    arguments: Tuple[Any, ...] = getattr(hint, "__args__", ())
    if origin is Union:
        return None if value is None else _read(arguments[0], value, path)
    if origin is tuple:
        items = _expect(list, value, path)
        # Latency samples come by the hundred thousand, hashes of chunks by the thousand.
        kind = arguments[0]
        if kind in (int, str) and all(type(item) is kind for item in items):
            return tuple(items)
        return tuple(
            _read(arguments[0], item, "%s[%d]" % (path, index)) for index, item in enumerate(items)
        )
    if origin is dict:
        return {
            key: _read(arguments[1], item, "%s[%r]" % (path, key))
            for key, item in _expect(dict, value, path).items()
        }
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_dict(hint, value, path)
    if hint is float and type(value) is int:
        return _to_float(value, path)
    return _expect(hint, value, path)


def _to_float(value: int, path: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise Malformed("%s: found an integer too large for a float" % path) from error


def _expect(kind: Any, value: Any, path: str) -> Any:
    accepted = (list, tuple) if kind is list else (kind,)
    if type(value) not in accepted:
        found = repr(value)
        if len(found) > _MOST_SHOWN:  # It comes from a stranger, and would fill a log.
            found = found[:_MOST_SHOWN] + "..."
        raise Malformed("%s: found %s, expected %s" % (path, found, kind.__name__))
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError("found %s, expected a number" % name)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("found %s, expected a finite number" % digits[:40])
    return value


def _bounded(digits: str) -> int:
    # Older Pythons take minutes for the millions of digits that a manifest has room for.
    if len(digits) > _MOST_DIGITS:
        raise ValueError("found an integer of %d digits" % len(digits))
    return int(digits)
