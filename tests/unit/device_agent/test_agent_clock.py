"""A clock that may be wrong, and what it can still tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.clock import Clock, format_utc, parse_utc

YEAR_S = 365.25 * 24 * 3600
FLOOR_S = parse_utc("2026-06-01T00:00:00Z")
LATER = "2027-06-01T00:00:00Z"
LATER_S = parse_utc(LATER)


@pytest.mark.parametrize(
    ("now_s", "judged"),
    [
        (FLOOR_S, "valid"),
        (LATER_S - 1, "valid"),
        (LATER_S, "expired"),
        (LATER_S + YEAR_S, "expired"),
        (0, "unknown"),
        (-1.5, "unknown"),
        (FLOOR_S - 1, "unknown"),
        (FLOOR_S + 11 * YEAR_S, "unknown"),
        (parse_utc("2100-01-01T00:00:00Z"), "unknown"),
        (float("nan"), "unknown"),
        (float("inf"), "unknown"),
    ],
)
def test_what_a_clock_tells_of_an_expiry_above_its_floor(now_s: float, judged: str) -> None:
    assert Clock(now_s, FLOOR_S).judge(LATER) == judged


@pytest.mark.parametrize("now_s", [0.0, FLOOR_S + 1.0, parse_utc("2100-01-01T00:00:00Z")])
def test_what_expired_before_the_floor_is_expired_whatever_the_clock_says(now_s: float) -> None:
    assert Clock(now_s, FLOOR_S).judge("2026-05-31T23:59:59Z") == "expired"
    assert Clock(now_s, FLOOR_S).judge("2026-06-01T00:00:00Z") == "expired"


def test_without_a_floor_a_clock_of_today_is_not_believed() -> None:
    assert Clock(LATER_S, 0).judge(LATER) == "unknown"


@pytest.mark.parametrize("now_s", [0.0, FLOOR_S, 1e12])
def test_what_does_not_expire_is_valid(now_s: float) -> None:
    assert Clock(now_s, FLOOR_S).judge(None) == "valid"


@given(st.integers(0, parse_utc("9999-12-31T23:59:59Z")))
def test_times_survive(seconds: int) -> None:
    assert parse_utc(format_utc(seconds)) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2027-06-01",
        "2027-06-01T00:00:00",
        "2027-06-01 00:00:00Z",
        "2027-06-01T00:00:00+00:00",
        "2027-06-01T00:00:00Z\n",
        " 2027-06-01T00:00:00Z",
        "2027-6-1T00:00:00Z",
        "2027-02-29T00:00:00Z",
        "2027-13-01T00:00:00Z",
        "2027-06-01T24:00:00Z",
        "2027-06-01T00:00:60Z",
        "0000-01-01T00:00:00Z",
        "12027-06-01T00:00:00Z",
        "\uff12\uff10\uff12\uff17-06-01T00:00:00Z",
    ],
)
def test_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="found time"):
        parse_utc(text)
    with pytest.raises(ValueError, match="found time"):
        Clock(FLOOR_S, FLOOR_S).judge(text)
