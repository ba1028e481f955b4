"""Times in a terminal are UTC and say so, whatever the clock on the wall of whoever reads them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from device_agent.lease_messages import Lease
from edgesdk.cli import moments, render_lab


@pytest.fixture(autouse=True)
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "moment",
    ["2026-11-26T14:58:03+00:00", "2026-11-26T14:58:03Z", "2026-11-26T23:58:03+09:00"],
)
def test_what_was_kept(moment: str) -> None:
    assert moments.minute(moment) == "2026-11-26 14:58Z"


def test_what_is_today_needs_no_day() -> None:
    before = datetime.now(UTC)
    shown = moments.from_now(0)
    if before.date() == datetime.now(UTC).date():
        assert f"{before:%H:%M:%SZ}" <= shown <= f"{datetime.now(UTC):%H:%M:%SZ}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\dZ", moments.from_now(2 * 86400))


def test_a_lease() -> None:
    held = Lease("anna@desk", 4711, "tests", True, 60.0, 3 * 86400.0)
    assert re.fullmatch(
        r"anna@desk \(process 4711\) for tests, since [-\d ]*[\d:]+Z until [-\d]+ [\d:]+Z",
        render_lab.whose(held),
    )
