"""Facts about calibrations kept between runs: whole or not at all, few, and never necessary."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.calibration import cache
from edgesdk.calibration.state import Seen, from_bytes, to_bytes
from edgesdk.errors import ConversionError


def seen(samples: int = 3, histograms: bool = True, complete: bool = True) -> Seen:
    found = Seen.nothing(("a", "b/c"), histograms)
    random = np.random.default_rng(0)
    for _ in range(samples):
        values = {n: random.normal(size=50).astype(np.float32) for n in found.tensors}
        found.add(found.summaries(values))
    found.complete = complete
    return found


@pytest.mark.parametrize("histograms", [True, False])
@pytest.mark.parametrize("samples", [0, 3])
def test_what_is_kept_comes_back_bit_for_bit(histograms: bool, samples: int) -> None:
    before = seen(samples, histograms)
    after = from_bytes(to_bytes(before))
    assert after is not None
    assert to_bytes(after) == to_bytes(before)
    assert list(after.tensors) == ["a", "b/c"]
    assert (after.samples, after.complete) == (samples, True)
    assert after.has_histograms == histograms


def test_what_comes_back_goes_on_as_if_nothing_had_been() -> None:
    values = {name: np.array([9, -7], np.float32) for name in ("a", "b/c")}
    through, straight = from_bytes(to_bytes(seen())), seen()
    assert through is not None
    through.add(through.summaries(values))
    straight.add(straight.summaries(values))
    assert to_bytes(through) == to_bytes(straight)


CONTENT = to_bytes(seen())


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 7))
def test_one_damaged_bit_is_seen(place: int, bit: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[place] ^= 1 << bit
    assert from_bytes(bytes(damaged)) is None


@given(st.integers(0, len(CONTENT) - 1))
def test_a_cut_off_file_is_seen(size: int) -> None:
    assert from_bytes(CONTENT[:size]) is None


def test_nothing_is_unpickled() -> None:
    assert b"pickle" not in CONTENT
    with np.load(io.BytesIO(CONTENT), allow_pickle=False) as arrays:
        assert {arrays[name].dtype.kind for name in arrays} <= {"U", "i", "f"}


def test_a_damaged_file_is_passed_over_and_replaced(tmp_path: Path) -> None:
    cache.save(tmp_path, "k", seen())
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.load(tmp_path, "k", histograms=True) is None
    cache.save(tmp_path, "k", seen())
    assert cache.load(tmp_path, "k", histograms=True) is not None


def test_bounds_do_not_stand_in_for_histograms_but_histograms_for_bounds(tmp_path: Path) -> None:
    cache.save(tmp_path, "k", seen(histograms=False))
    assert cache.load(tmp_path, "k", histograms=True) is None
    cache.save(tmp_path, "l", seen(histograms=True))
    assert cache.load(tmp_path, "l", histograms=False) is not None


def test_the_one_that_is_furthest_on_is_taken(tmp_path: Path) -> None:
    cache.save(tmp_path, "k", seen(samples=2, histograms=True, complete=False))
    cache.save(tmp_path, "k", seen(samples=3, histograms=False))
    found = cache.load(tmp_path, "k", histograms=False)
    assert found is not None and found.complete


def test_another_key_finds_nothing(tmp_path: Path) -> None:
    cache.save(tmp_path, "k", seen())
    assert cache.load(tmp_path, "l", histograms=False) is None


def test_the_key_follows_all_that_the_result_depends_on() -> None:
    given = ("m", "s", ("a", "b"), {"edgesdk": "1"})
    others = [
        ("n", "s", ("a", "b"), {"edgesdk": "1"}),
        ("m", "t", ("a", "b"), {"edgesdk": "1"}),
        ("m", "s", ("a", "c"), {"edgesdk": "1"}),
        ("m", "s", ("a", "b"), {"edgesdk": "2"}),
    ]
    assert len({cache.key(*each) for each in [given, *others]}) == 5
    assert cache.key(*given) == cache.key(*given)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for index in range(cache.KEPT + 3):
        cache.save(tmp_path, f"k{index}", seen(samples=1))
        for path in tmp_path.glob(f"k{index}.npz"):
            os.utime(path, (index, index))
    kept = {path.stem for path in tmp_path.iterdir()}
    assert kept == {f"k{index}" for index in range(3, cache.KEPT + 3)}


def test_one_that_is_used_is_not_the_oldest(tmp_path: Path) -> None:
    for index in range(cache.KEPT):
        cache.save(tmp_path, f"k{index}", seen(samples=1))
        os.utime(tmp_path / f"k{index}.npz", (index, index))
    cache.load(tmp_path, "k0", histograms=True)
    cache.save(tmp_path, "new", seen(samples=1))
    assert (tmp_path / "k0.npz").exists()
    assert not (tmp_path / "k1.npz").exists()


@pytest.mark.parametrize("place", [None, Path("/dev/null/cache")])
def test_without_a_folder_nothing_is_kept_and_nothing_fails(place: Path | None) -> None:
    cache.save(place, "k", seen())
    assert cache.load(place, "k", histograms=True) is None


def test_the_folder_is_below_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache.folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/edgesdk/calibration")
    below_home = Path("/home/someone/.cache/edgesdk/calibration")
    assert cache.folder({}) == below_home
    assert cache.folder({"XDG_CACHE_HOME": "relative"}) == below_home


def test_not_a_number_names_tensor_and_sample() -> None:
    found = seen(samples=4)
    values = np.array([1, np.nan], np.float32)
    with pytest.raises(ConversionError, match=r"'b/c' .* is not a number on calibration sample 5"):
        found.add(found.summaries({"a": np.zeros(2, np.float32), "b/c": values}))
