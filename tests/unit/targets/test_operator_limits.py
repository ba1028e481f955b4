"""Limits of operators in a descriptor: what they look at is known, and each has one bound."""

from __future__ import annotations

from typing import Any

import pytest

from edgesdk.targets.checks import value_problems


def problems(**limit: Any) -> list[str]:
    rules = {"source": "s", "types": {"ADD": {"limits": [limit]}}}
    sources = {"s": {"accessed": "2026-11-21"}}
    return list(value_problems({"operators": {"npu": rules}, "sources": sources}))


def test_a_known_quantity_with_one_bound_is_right() -> None:
    assert problems(quantity="rank", at_most=4) == []


def test_an_attribute_by_any_name_is_right() -> None:
    assert problems(quantity="attribute.whatever", one_of=["1"]) == []


def test_an_unknown_quantity_is_named_with_its_path() -> None:
    (problem,) = problems(quantity="rnak", at_most=4)
    assert problem.startswith("found 'rnak', expected attribute.NAME or one of axes")
    assert problem.endswith("@ $.operators.npu.types.ADD.limits[0].quantity")


@pytest.mark.parametrize(
    ("bounds", "found"),
    [({}, "no bound"), ({"at_most": 1, "one_of": ["1"]}, "at_most and one_of")],
)
def test_a_limit_has_one_bound(bounds: dict[str, Any], found: str) -> None:
    (problem,) = problems(quantity="rank", **bounds)
    assert problem.startswith(f"found {found}, expected one of at_most, at_least and one_of")
