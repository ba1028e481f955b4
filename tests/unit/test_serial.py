"""Facts about files that people write: read strictly, every problem with its path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.errors import MalformedFile
from edgesdk.serial import (
    canonical_json,
    digest,
    from_dict,
    read_json,
    read_toml,
    to_dict,
    write_json,
)


@dataclass(frozen=True)
class Part:
    count: int
    share: float = 0.5


@dataclass(frozen=True)
class Whole:
    name: str
    ready: bool
    kind: Literal["big", "small"]
    parts: tuple[Part, ...]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    note: str | None = None


GOOD: dict[str, Any] = {
    "name": "a",
    "ready": True,
    "kind": "big",
    "parts": [{"count": 1}, {"count": 2, "share": 1}],
    "shapes": {"x": [1, 2]},
}


def problems(data: Any) -> tuple[str, ...]:
    with pytest.raises(MalformedFile) as caught:
        from_dict(Whole, data, origin="the file")
    return caught.value.details


def test_what_holds_is_read() -> None:
    assert from_dict(Whole, GOOD, origin="") == Whole(
        "a", True, "big", (Part(1), Part(2, 1.0)), {"x": (1, 2)}
    )


def test_every_problem_is_reported_at_once_with_its_path() -> None:
    data = {
        "name": 5,
        "kind": "huge",
        "parts": [{"count": "8"}, {"cuont": 1}],
        "shapes": {"x": [1, 2.5]},
        "extra": 1,
    }
    assert set(problems(data)) == {
        "found 5, expected str @ $.name",
        "required key missing @ $.ready",
        "found 'huge', expected one of big, small @ $.kind",
        "found '8', expected int @ $.parts[0].count",
        "required key missing @ $.parts[1].count",
        "unknown key cuont @ $.parts[1]",
        "found 2.5, expected int @ $.shapes.x[1]",
        "unknown key extra @ $",
    }


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("name",), None, "found None, expected str @ $.name"),
        (("ready",), 1, "found 1, expected bool @ $.ready"),
        (("ready",), "true", "found 'true', expected bool @ $.ready"),
        (("parts", 0, "count"), True, "found True, expected int @ $.parts[0].count"),
        (("parts", 0, "count"), 1.0, "found 1.0, expected int @ $.parts[0].count"),
        (("parts", 0, "share"), "1", "found '1', expected float @ $.parts[0].share"),
        (("parts", 0, "share"), True, "found True, expected float @ $.parts[0].share"),
        (("parts",), "ab", "found 'ab', expected a list @ $.parts"),
        (("parts",), {"count": 1}, "found {'count': 1}, expected a list @ $.parts"),
        (("parts", 0), [1], "found [1], expected a table @ $.parts[0]"),
        (("shapes",), [], "found [], expected a table @ $.shapes"),
        (("note",), 3, "found 3, expected str @ $.note"),
    ],
)
def test_nothing_is_coerced(path: tuple[Any, ...], value: Any, problem: str) -> None:
    data = json.loads(json.dumps(GOOD))
    *way, last = path
    place = data
    for step in way:
        place = place[step]
    place[last] = value
    assert problems(data) == (problem,)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_float_is_finite(value: float) -> None:
    data = {**GOOD, "parts": [{"count": 1, "share": value}]}
    assert problems(data) == (f"found {value!r}, expected a finite number @ $.parts[0].share",)


@pytest.mark.parametrize("data", [[], "text", 5, None])
def test_a_whole_file_of_another_kind_is_one_problem(data: Any) -> None:
    assert problems(data) == (f"found {data!r}, expected a table @ $",)


def test_the_message_names_the_origin() -> None:
    with pytest.raises(MalformedFile, match=r"^the file does not hold"):
        from_dict(Whole, {}, origin="the file")


wholes = st.builds(
    Whole,
    name=st.text(),
    ready=st.booleans(),
    kind=st.sampled_from(["big", "small"]),
    parts=st.lists(
        st.builds(Part, st.integers(), st.floats(allow_nan=False, allow_infinity=False))
    ).map(tuple),
    shapes=st.dictionaries(st.text(), st.lists(st.integers()).map(tuple)),
    note=st.none() | st.text(),
)


@given(wholes)
def test_plain_data_read_back_to_the_same_value(value: Whole) -> None:
    assert from_dict(Whole, json.loads(json.dumps(to_dict(value))), origin="") == value


@given(wholes)
def test_canonical_json_is_a_fixed_point(value: Whole) -> None:
    text = canonical_json(to_dict(value))
    assert canonical_json(json.loads(text)) == text


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": 2}) == canonical_json({"a": 2, "b": 1}) == b'{"a":2,"b":1}'


def test_canonical_json_is_ascii() -> None:
    assert canonical_json("é\n") == b'"\\u00e9\\n"'


def test_canonical_json_has_no_nan() -> None:
    with pytest.raises(ValueError):
        canonical_json(float("nan"))


def test_the_digest_follows_the_value() -> None:
    assert digest(Part(1)) == digest(Part(1, 0.5))
    assert digest(Part(1)) != digest(Part(2))


def test_a_written_file_reads_back(tmp_path: Path) -> None:
    value = from_dict(Whole, GOOD, origin="")
    write_json(tmp_path / "w.json", value)
    assert read_json(Whole, tmp_path / "w.json") == value


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "does not hold"),
    ],
)
def test_what_is_not_such_json_is_malformed(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "w.json"
    path.write_bytes(content)
    with pytest.raises(MalformedFile, match=f"{path} {problem}"):
        read_json(Whole, path)


@pytest.mark.parametrize("name", ["nothing", ""])
def test_a_missing_file_and_a_folder_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(MalformedFile, match="cannot be read: "):
        read_json(Whole, tmp_path / name)
    with pytest.raises(MalformedFile, match="cannot be read: "):
        read_toml(tmp_path / name)


@pytest.mark.parametrize("content", [b"a = ", b"a = 1\na = 2", b"\xff"])
def test_what_is_not_toml_is_malformed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f.toml"
    path.write_bytes(content)
    with pytest.raises(MalformedFile, match="is not TOML"):
        read_toml(path)
