"""Facts about samples given as an iterable: read once, gone through often."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgesdk.data.samples import open_samples
from edgesdk.errors import DataError
from edgesdk.models.types import TensorSpec

X = TensorSpec("x", (1, 3), "float32")


def samples(count: int) -> Iterator[dict[str, np.ndarray]]:
    for index in range(count):
        yield {"x": np.full(3, index, np.float32), "label": np.int64(index % 2)}


def test_an_iterator_is_read_once_and_gives_every_pass_the_same() -> None:
    opened = open_samples(samples(4), [X])
    assert opened.count == 4
    for _ in range(2):
        assert [sample["x"][0, 0] for sample in opened.stream()] == [0, 1, 2, 3]


def test_passes_may_interleave() -> None:
    opened = open_samples(samples(3), [X])
    pairs = zip(opened.stream(), opened.stream(), strict=True)
    assert all(np.array_equal(first["x"], second["x"]) for first, second in pairs)


def test_an_iterable_that_can_be_read_again_is_read_again() -> None:
    assert open_samples(list(samples(3)), [X]).labels is not None


def test_an_iterators_samples_are_not_kept_in_memory() -> None:
    big = TensorSpec("x", (1, 250_000), "float32")
    many = ({"x": np.zeros(250_000, np.float32)} for _ in range(50))
    tracemalloc.start()
    try:
        opened = open_samples(many, [big])
        for _ in opened.stream():
            pass
        assert tracemalloc.get_traced_memory()[1] < 10_000_000  # of 50,000,000
    finally:
        tracemalloc.stop()


def test_what_is_no_dictionary_is_refused() -> None:
    with pytest.raises(DataError, match="given sample 0 is a ndarray, expected a dictionary"):
        open_samples(iter([np.zeros(3)]), [X])  # type: ignore[list-item]


def test_a_path_is_a_source_as_its_text_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((2, 3), np.float32))
    assert open_samples(tmp_path / "data.npz", [X]).count == 2


def test_what_cannot_be_gone_through_is_refused() -> None:
    with pytest.raises(DataError, match="found a int, expected an iterable of samples"):
        open_samples(5, [X])  # type: ignore[arg-type]


def test_objects_are_refused() -> None:
    with pytest.raises(DataError, match="'x' of given sample 0 holds objects"):
        open_samples(iter([{"x": np.array([{}])}]), [X])
