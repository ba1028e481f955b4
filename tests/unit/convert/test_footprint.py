"""Facts about the memory that live activations take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.convert.footprint import Step, alive_at_peak


def largest_live_bytes(
    steps: list[Step], sizes: dict[str, int], inputs: list[str], outputs: list[str]
) -> int:
    return sum(sizes.get(name, 0) for name in alive_at_peak(steps, sizes, inputs, outputs))


SIZES = {"x": 100, "a": 10, "b": 20, "c": 40, "y": 5}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], 100),
        ([Step(("x",), ("y",))], 105),
        ([Step(("x",), ("a",)), Step(("a",), ("y",))], 110),
        ([Step(("x",), ("a",)), Step(("a",), ("b",)), Step(("b", "x"), ("y",))], 130),
        ([Step(("x",), ("a", "b", "c")), Step(("c",), ("y",))], 170),
        ([Step(("x",), ("y",)), Step(("x",), ("c",))], 145),
        ([Step(("x", "weights"), ("y",))], 105),
    ],
    ids=["nothing", "one", "chain", "kept for later", "unread results", "output stays", "no size"],
)
def test_the_peak_is_the_largest_sum_alive_at_once(steps: list[Step], expected: int) -> None:
    assert largest_live_bytes(steps, SIZES, ["x"], ["y"]) == expected


def test_an_input_that_is_an_output_lives_throughout() -> None:
    steps = [Step(("x",), ("a",)), Step(("a",), ("c",))]
    assert largest_live_bytes(steps, SIZES, ["x"], ["x", "c"]) == 150


def test_the_peak_names_what_is_alive_together() -> None:
    steps = [Step(("x",), ("a",)), Step(("a",), ("b",)), Step(("b", "x"), ("y",))]
    assert alive_at_peak(steps, SIZES, ["x"], ["y"]) == {"x", "a", "b"}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Step], dict[str, int], list[str], list[str]]:
    inputs = [f"in{index}" for index in range(draw(st.integers(1, 3)))]
    known = list(inputs)
    steps = []
    for index in range(draw(st.integers(0, 8))):
        reads = draw(st.lists(st.sampled_from(known), max_size=3))
        writes = [f"t{index}_{port}" for port in range(draw(st.integers(1, 2)))]
        steps.append(Step(tuple(reads), tuple(writes)))
        known += writes
    sizes = {name: draw(st.integers(0, 1000)) for name in known}
    return steps, sizes, inputs, draw(st.lists(st.sampled_from(known), unique=True))


@given(graphs())
def test_the_peak_equals_brute_force_over_lifetimes(
    graph: tuple[list[Step], dict[str, int], list[str], list[str]],
) -> None:
    steps, sizes, inputs, outputs = graph

    def born(name: str) -> int:
        return next((index for index, step in enumerate(steps) if name in step.writes), -1)

    def dies(name: str) -> int:
        if name in outputs:
            return len(steps)
        reads = [index for index, step in enumerate(steps) if name in step.reads]
        return max([born(name), 0, *reads])  # an input that nobody reads is there at first

    # Before the first step every input is there, read or not.
    moments = [sum(sizes[name] for name in inputs)]
    for now in range(len(steps)):
        moments.append(sum(size for name, size in sizes.items() if born(name) <= now <= dies(name)))
    assert largest_live_bytes(steps, sizes, inputs, outputs) == max(moments)
