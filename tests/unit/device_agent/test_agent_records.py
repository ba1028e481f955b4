"""Facts about the agent's records: what they share with frozen dataclasses, method by method."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.records import record


@record(frozen=True)
class Ours:
    """A record."""

    a: int
    b: str = "b"
    c: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Theirs:
    """A dataclass with the same fields."""

    a: int
    b: str = "b"
    c: dict[str, int] = dataclasses.field(default_factory=dict)


@record(frozen=True)
class Other:
    """A record of the same fields, by another name."""

    a: int
    b: str = "b"
    c: dict[str, int] = dataclasses.field(default_factory=dict)


VALUES = st.integers() | st.text(max_size=3)
ARGUMENTS = st.tuples(
    st.lists(VALUES, max_size=4), st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)
)


def made(kind: Any, positional: list[Any], named: dict[str, Any]) -> tuple[Any, ...] | type:
    try:
        return dataclasses.astuple(kind(*positional, **named))
    except TypeError:
        return TypeError


@given(ARGUMENTS)
def test_every_call_gives_the_same_values_or_the_same_error(
    arguments: tuple[list[Any], dict[str, Any]],
) -> None:
    positional, named = arguments
    assert made(Ours, positional, dict(named)) == made(Theirs, positional, dict(named))


def test_a_factory_makes_a_value_for_each() -> None:
    assert Ours(1).c is not Ours(1).c


def test_records_are_equal_by_kind_and_values() -> None:
    assert Ours(1, "x") == Ours(1, "x") != Ours(2, "x")
    assert Ours(1) != Other(1)
    assert Ours(1) != (1, "b", {})


def test_the_hash_is_that_of_the_values() -> None:
    @record(frozen=True)
    class Plain:
        a: int
        b: str

    assert len({Plain(1, "x"), Plain(1, "x"), Plain(2, "x")}) == 2


def test_the_text_is_that_of_a_dataclass() -> None:
    assert repr(Ours(1, "x")) == repr(Theirs(1, "x")).replace("Theirs", "Ours")


def test_fields_and_replace_work() -> None:
    assert [field.name for field in dataclasses.fields(Ours)] == ["a", "b", "c"]
    assert dataclasses.replace(Ours(1, "x"), a=2) == Ours(2, "x")
    assert dataclasses.is_dataclass(Ours)


def test_nothing_of_it_can_be_changed() -> None:
    value: Any = Ours(1)
    for change in (
        lambda: setattr(value, "a", 2),
        lambda: setattr(value, "z", 2),
        lambda: delattr(value, "a"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            change()
    assert value == Ours(1)
