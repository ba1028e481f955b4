"""What calibration samples looked like is recorded while they stream by, once, in little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.manifest import InputStatistics, Port
from device_agent.runtimes.statistics import measure, oddity
from edgesdk.convert.input_statistics import WatchedSamples
from edgesdk.convert.toolchains import Sample

PORT = Port("x:0", (4,), "int8", 0.5, 0)


class Source:
    """Samples that count how often they are passed over."""

    def __init__(self, *samples: Sample) -> None:
        self.samples = samples
        self.passes = 0

    def stream(self) -> Iterator[Sample]:
        self.passes += 1
        yield from self.samples


def rows(*values: list[float]) -> Source:
    return Source(*({"x": np.array(row, np.float32)} for row in values))


def seen(source: Source) -> InputStatistics:
    (found,) = WatchedSamples(source.stream).statistics(["x"], [PORT])
    return found


def test_bounds_are_over_all_samples_and_named_as_the_converted_model_names_its_input() -> None:
    found = seen(rows([0, 0, 2, 2], [-1, 1, -1, 1], [4, 4, 4, 4]))
    assert (found.name, found.samples, found.max_beyond_percent) == ("x:0", 3, 0.0)
    assert (found.values.low, found.values.high) == (-1.0, 4.0)
    assert (found.mean.low, found.mean.high) == (0.0, 4.0)
    assert (found.deviation.low, found.deviation.high) == (0.0, 1.0)
    assert found.roughness.low == 0.0 and found.roughness.high == 2.0


def test_the_pass_of_whoever_calibrates_is_the_only_one() -> None:
    source = rows([0, 1, 2, 3], [3, 2, 1, 0])
    watched = WatchedSamples(source.stream)
    assert len(list(watched.stream())) == 2
    assert len(list(watched.stream())) == 2
    (found,) = watched.statistics(["x"], [PORT])
    assert source.passes == 2 and found.samples == 2


def test_where_nobody_made_a_whole_pass_one_is_made_for_it() -> None:
    source = rows([0, 1, 2, 3], [30, 20, 10, 0])
    watched = WatchedSamples(source.stream)
    next(watched.stream())
    (found,) = watched.statistics(["x"], [PORT])
    assert source.passes == 2 and found.samples == 2 and found.values.high == 30.0


def test_several_inputs_each_have_their_own() -> None:
    source = Source({"a": np.zeros(3), "b": np.ones(2)})
    found = WatchedSamples(source.stream).statistics(
        ["b", "a"], [Port("B", (2,), "float32"), Port("A", (3,), "float32")]
    )
    assert [(each.name, each.mean.high) for each in found] == [("B", 1.0), ("A", 0.0)]


ROW = st.lists(st.floats(-1e4, 1e4, width=32), min_size=4, max_size=4)


@given(st.lists(ROW, min_size=1, max_size=8))
def test_every_calibration_sample_lies_within_in_whatever_order_they_came(
    values: list[list[float]],
) -> None:
    found = seen(rows(*values))
    assert seen(rows(*reversed(values))) == found
    for row in values:
        assert oddity(np.array(row, np.float32), found) is None


def test_six_digits_are_kept_rounded_outwards() -> None:
    found = seen(rows([0.1, 0.1, 0.1, 0.2]))
    exact = measure(np.array([0.1, 0.1, 0.1, 0.2], np.float32))
    assert found.mean.low == 0.125 and found.mean.high == pytest.approx(0.125001)
    assert found.deviation.low < exact.deviation < found.deviation.high
    assert len(repr(found.deviation.low)) <= len("0.0433012")


def test_memory_does_not_grow_with_the_samples() -> None:
    def peak(count: int) -> int:
        source = WatchedSamples(lambda: ({"x": np.zeros(20_000, np.float32)} for _ in range(count)))
        tracemalloc.start()
        source.statistics(["x"], [PORT])
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(2)
    assert peak(200) < peak(2) + 50_000
