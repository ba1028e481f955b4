"""Dataclasses to JSON and back, and messages as lines."""

# The fields are spelled as the agent, on Python 3.7, has to spell them.
# ruff: noqa: UP006, UP035, UP045

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.codec import (
    BadMessage,
    Malformed,
    canonical,
    decode_message,
    encode_message,
    from_dict,
    parse_json,
    to_dict,
)
from device_agent.manifest import Port
from device_agent.model_messages import Predictions
from device_agent.protocol import MESSAGES, Failure, Hello, Progress


@dataclass(frozen=True)
class Inner:
    name: str
    sizes: Tuple[int, ...]


@dataclass(frozen=True)
class Outer:
    flag: bool
    ratio: float
    inner: Inner
    many: Tuple[Inner, ...]
    table: Dict[str, float]
    maybe: Optional[int] = None
    nested: Optional[Inner] = None


inners = st.builds(Inner, st.text(), st.lists(st.integers()).map(tuple))
floats = st.floats(allow_nan=False, allow_infinity=False)
outers = st.builds(
    Outer,
    st.booleans(),
    floats,
    inners,
    st.lists(inners).map(tuple),
    st.dictionaries(st.text(), floats),
    st.none() | st.integers(),
    st.none() | inners,
)


@given(outers)
def test_what_is_written_is_read(value: Outer) -> None:
    assert from_dict(Outer, parse_json(canonical(value))) == value


@given(outers)
def test_canonical_bytes_are_canonical(value: Outer) -> None:
    text = canonical(value)
    assert canonical(from_dict(Outer, json.loads(text))) == text


SOUND = to_dict(Outer(True, 0.5, Inner("a", (1, 2)), (Inner("b", ()),), {"x": 1.0}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flag": 1}, "$.flag: found 1, expected bool"),
        ({"ratio": "0.5"}, "$.ratio: found '0.5', expected float"),
        ({"ratio": True}, "$.ratio: found True, expected float"),
        ({"ratio": 10**400}, "$.ratio: found an integer too large for a float"),
        ({"maybe": 1.0}, "$.maybe: found 1.0, expected int"),
        ({"maybe": True}, "$.maybe: found True, expected int"),
        ({"inner": None}, "$.inner: found NoneType, expected an object"),
        ({"inner": {"name": "a"}}, "$.inner.sizes: missing"),
        ({"inner": {"name": "a", "sizes": {}}}, "$.inner.sizes: found {}, expected list"),
        ({"many": [{"name": "a", "sizes": [1, "2"]}]}, "$.many[0].sizes[1]: found '2'"),
        ({"maybe": "x" * 10**6}, "$.maybe: found '" + 79 * "x" + "..., expected int"),
        ({"table": {"x": None}}, "$.table['x']: found None, expected float"),
        ({"nested": []}, "$.nested: found list, expected an object"),
    ],
)
def test_the_first_problem_is_named_with_its_path(change: dict[str, object], message: str) -> None:
    with pytest.raises(Malformed) as caught:
        from_dict(Outer, {**SOUND, **change})
    assert str(caught.value).startswith(message)


def test_unknown_fields_are_for_newer_peers() -> None:
    assert to_dict(from_dict(Outer, {**SOUND, "news": [1]})) == SOUND


def test_whole_numbers_are_floats_where_floats_are_wanted() -> None:
    assert from_dict(Outer, {**SOUND, "ratio": 2}).ratio == 2.0


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"NaN", b"[Infinity]", b"[" * 200_000])
def test_what_is_not_json(text: bytes) -> None:
    with pytest.raises(Malformed, match="not JSON"):
        parse_json(text)


@pytest.mark.parametrize(
    "message",
    [
        Hello(1, 2, "0.1"),
        Failure("storage", "line one\nline two", "h\u00e9"),
        Predictions("int8", (1, 2, 3)),
        Progress(1, 2, "\u2028"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_is_one_line(message: object) -> None:
    line = encode_message(message)
    assert line.index(b"\n") == len(line) - 1
    kinds = {**MESSAGES, "Predictions": Predictions}
    assert decode_message(line, kinds) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"null",
        b'"Hello"',
        b'{"type":"Port"}',
        b'{"type":["Hello"],"body":{}}',
        b'{"type":"Hello"}',
        b'{"type":"Hello","body":[]}',
        b'{"type":"Hello","body":{"protocol_min":"1"}}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_message(line: bytes) -> None:
    with pytest.raises(BadMessage, match="found b"):
        decode_message(line, MESSAGES)


def test_a_port_keeps_its_defaults() -> None:
    assert from_dict(Port, {"name": "x", "shape": [1], "dtype": "int8"}) == Port("x", (1,), "int8")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_numbers_that_are_not_finite_are_no_json(number: str) -> None:
    with pytest.raises(Malformed, match="not JSON: found"):
        parse_json(b'{"a": [%s]}' % number.encode())


def test_integers_of_many_digits_are_not_even_converted() -> None:
    assert parse_json(b"9" * 1000) == 10**1000 - 1
    with pytest.raises(Malformed, match="found an integer of 4000000 digits"):
        parse_json(b"9" * 4_000_000)
