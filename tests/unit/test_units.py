"""Facts about sizes and durations as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.errors import ExitCode, UsageError
from edgesdk.units import format_bytes, format_ns, parse_bytes, parse_duration_ns


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0 B", 0),
        ("412 B", 412),
        ("512 KiB", 524_288),
        ("4 MB", 4_000_000),
        ("4 MiB", 4_194_304),
        ("1.5 GiB", 1_610_612_736),
        ("2GB", 2_000_000_000),
        ("  3 kb ", 3_000),
        ("9007199254740993 B", 9_007_199_254_740_993),
    ],
)
def test_sizes_are_read_exactly(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("1 ns", 1),
        ("2.5 us", 2_500),
        ("10 ms", 10**7),
        ("2 s", 2 * 10**9),
        ("1 m", 60 * 10**9),
        ("10 min", 600 * 10**9),
        ("2 h", 7200 * 10**9),
        ("7d", 7 * 86400 * 10**9),
    ],
)
def test_durations_are_read_exactly(text: str, duration_ns: int) -> None:
    assert parse_duration_ns(text) == duration_ns


@pytest.mark.parametrize(
    "text", ["", "5", "MiB", "-1 MiB", "1 TB", "1,5 MB", "1e3 MB", "5 M B", "0x10 B", ".5 MB"]
)
def test_what_is_no_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="expected a size such as '512 KiB'") as caught:
        parse_bytes(text)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("text", ["10", "10 MB", "ten ms", "1 week"])
def test_what_is_no_duration_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="expected a duration such as '10 ms'"):
        parse_duration_ns(text)


@pytest.mark.parametrize(
    ("text", "least_ns", "expected"),
    [
        ("0 s", 1, "more than 0 and at most 7 days"),
        ("0.1 ns", 1, "more than 0 and at most 7 days"),
        ("7.01 d", 1, "more than 0 and at most 7 days"),
        ("99999999999999999999 h", 0, "expected at most 7 days"),
        ("999 ms", 10**9, "1 s or more, and at most 7 days"),
    ],
)
def test_no_time_at_all_and_times_that_nobody_waits_for_are_usage_errors(
    text: str, least_ns: int, expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        parse_duration_ns(text, least_ns=least_ns)


def test_an_endless_number_is_read_too() -> None:
    assert parse_bytes("9" * 400 + " B") == 10**400 - 1


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (98_509, "96.2 KiB"), (3_565_158, "3.40 MiB")],
)
def test_sizes_are_shown_with_three_digits(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [(0, "0.00 ns"), (512, "512 ns"), (37_200, "37.2 us"), (2.51e9, "2.51 s")],
)
def test_durations_are_shown_with_three_digits(duration_ns: float, text: str) -> None:
    assert format_ns(duration_ns) == text


@given(st.integers(0, 2**50))
def test_a_shown_size_reads_back_within_its_three_digits(count: int) -> None:
    assert parse_bytes(format_bytes(count)) == pytest.approx(count, rel=0.006)


@given(st.integers(1, 6 * 10**14))
def test_a_shown_duration_reads_back_within_its_three_digits(duration_ns: int) -> None:
    assert parse_duration_ns(format_ns(duration_ns)) == pytest.approx(duration_ns, rel=0.006)
