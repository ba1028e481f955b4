"""Whose a device is: who is refused, what expires, what a restart and a wrong clock do to it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent import leases
from device_agent.failures import AgentFailure
from device_agent.lease_messages import ReleaseLease, TakeLease
from device_agent.leases import LeaseFile, Leaseholder, Moment, aged_s, left_s, obstacle, refuse
from device_agent.store import Store
from tests.pythons import NEW, version_name

ANNA, BOB = "anna@desk", "bob@bench"
NOON_S = 1_800_000_000
HOURS = 3600


def moment(up_s: float, boot: str = "first", wall_s: int | None = None) -> Moment:
    return Moment(up_s, boot, NOON_S + int(up_s) if wall_s is None else wall_s)


def lease(owner: str = ANNA, session: str = "", seconds: int = 2 * HOURS) -> LeaseFile:
    at = moment(1000)
    return LeaseFile(owner, 4711, "a night of tests", session, seconds, at, at)


# ---- time ----------------------------------------------------------------------------------------


def test_a_lease_ages_by_the_devices_own_count() -> None:
    assert left_s(lease(), moment(1000 + HOURS)) == HOURS


@given(st.integers(0, 2**33))
def test_a_clock_that_is_set_does_nothing_to_a_lease(wall_s: int) -> None:
    assert left_s(lease(), moment(1000 + HOURS, wall_s=wall_s)) == HOURS


def test_after_a_restart_it_has_aged_by_the_time_since_then_at_least() -> None:
    assert aged_s(moment(1000), moment(50, "second", wall_s=0)) == 50


def test_after_a_restart_the_time_it_was_off_counts_where_the_clock_tells() -> None:
    assert aged_s(moment(1000), moment(50, "second", wall_s=NOON_S + 1000 + HOURS)) == HOURS


@given(st.floats(0, 1e7), st.integers(0, 2**33))
def test_whatever_the_clock_says_it_is_over_its_time_after_a_restart(
    up_s: float, wall_s: int
) -> None:
    found = lease()
    assert left_s(found, moment(found.seconds + up_s, "second", wall_s)) <= 0


def test_a_restart_is_seen_without_a_boot_id_too() -> None:
    unnamed = dataclasses.replace(lease(), taken=moment(1000, ""))
    assert left_s(unnamed, moment(10, "", wall_s=0)) == 2 * HOURS - 10


# ---- who is in the way ---------------------------------------------------------------------------

IN_THE_WAY = {
    "someone else's, of my session": (lease(BOB), lease(ANNA, "mine"), True),
    "my own, of my session": (lease(ANNA), lease(ANNA, "mine"), False),
    "my own session, of itself": (lease(ANNA, "mine"), lease(ANNA, "mine"), False),
    "my other session, of this one": (lease(ANNA, "other"), lease(ANNA, "mine"), True),
    "someone else's session, of what I keep": (lease(BOB, "theirs"), lease(ANNA), True),
    "my own session, of what I keep": (lease(ANNA, "mine"), lease(ANNA), False),
    "what nobody named, of nobody": (lease(""), lease("", "mine"), True),
}


@pytest.mark.parametrize(("there", "wanted", "expected"), IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_in_the_way(there: LeaseFile, wanted: LeaseFile, expected: bool) -> None:
    assert (obstacle([there], wanted, moment(1001)) is not None) is expected


def test_what_has_expired_is_not_in_the_way() -> None:
    assert obstacle([lease(BOB)], lease(ANNA), moment(1000 + 2 * HOURS)) is None


def test_a_refusal_says_who_since_when_until_when_and_what_for() -> None:
    with pytest.raises(AgentFailure) as caught:
        refuse(lease(BOB), moment(1000 + HOURS / 2))
    assert caught.value.code == "busy"
    assert caught.value.message == (
        "the device is leased by bob@bench (process 4711) for a night of tests "
        "since 2027-01-15T08:16:40Z until 2027-01-15T10:16:40Z (1.5 h left)"
    )
    assert caught.value.hint == (
        "wait for it: --wait 10m; or take it away: edgesdk device release DEVICE --force"
    )


def test_a_session_in_the_way_cannot_be_taken_away() -> None:
    with pytest.raises(AgentFailure, match="until that ends") as caught:
        refuse(lease(BOB, "theirs"), moment(1001))
    assert "release" not in caught.value.hint


# ---- on a device ---------------------------------------------------------------------------------


class Session:
    """One session's dealings with leases."""

    def __init__(self, root: Path, host_time_s: int = 0) -> None:
        self.store = Store(str(root))
        self.holder = Leaseholder(lambda: self.store, lambda: host_time_s)

    def use(self, owner: str = ANNA) -> str:
        return self.holder.take(TakeLease(owner, 1, "tests")).note

    def keep(self, owner: str = ANNA, seconds: int = HOURS) -> str:
        return self.holder.take(TakeLease(owner, 1, "tests", seconds, keep=True)).note

    def close(self) -> None:
        self.holder.close()
        self.store.close()


@pytest.fixture
def first(root: Path) -> Iterator[Session]:
    session = Session(root)
    yield session
    session.close()


@pytest.fixture
def second(root: Path) -> Iterator[Session]:
    session = Session(root)
    yield session
    session.close()


def refused(action: object) -> str:
    with pytest.raises(AgentFailure) as caught:
        action()  # type: ignore[operator]
    assert caught.value.code == "busy"
    return caught.value.message


def test_a_session_that_holds_the_device_keeps_others_out(first: Session, second: Session) -> None:
    first.use()
    assert "leased by anna@desk (process 1) for tests" in refused(lambda: second.use(BOB))
    refused(second.holder.require)
    first.holder.require()


def test_it_ends_with_the_session(first: Session, second: Session) -> None:
    first.use()
    first.close()
    assert second.use(BOB) == ""
    assert [each.owner for each in second.holder.show().leases] == [BOB]


def test_a_session_whose_process_was_killed_holds_nothing(root: Path) -> None:
    program = (
        "import os, signal\n"
        "from device_agent.leases import Leaseholder\n"
        "from device_agent.lease_messages import TakeLease\n"
        "from device_agent.store import Store\n"
        f"store = Store({str(root)!r})\n"
        "Leaseholder(lambda: store, lambda: 0).take(TakeLease('bob@bench', 1, 'tests'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program])
    after = Session(root)
    after.use()
    after.close()


def test_what_is_kept_outlives_the_session(first: Session, second: Session) -> None:
    first.keep()
    first.close()
    assert "(60 min left)" in refused(lambda: second.use(BOB))
    second.use(ANNA)


def test_what_is_kept_survives_in_a_file_that_is_replaced_whole(root: Path, first: Session) -> None:
    first.keep()
    first.keep(seconds=2 * HOURS)
    (held,) = first.holder.show().leases
    assert held.kept and 2 * HOURS - 60 < held.left_s <= 2 * HOURS
    assert (root / "lease.json").is_file()


def test_an_expired_one_is_taken_over_with_a_note(
    first: Session, second: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.keep(seconds=60)
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(time, "clock_gettime", lambda _: now_s + 61)
    assert second.keep(BOB) == "the lease of anna@desk (process 1) for tests had expired"
    assert [each.owner for each in second.holder.show().leases] == [BOB]


def test_a_frozen_session_loses_the_device_and_is_told_so_when_it_wakes(
    first: Session, second: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.use()
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(time, "clock_gettime", lambda _: now_s + leases.SESSION_S + 1)
    assert "had expired" in second.use(BOB)
    assert "leased by bob@bench" in refused(first.holder.require)


def test_it_is_renewed_while_the_session_lives(
    first: Session, second: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEWED_S", 0.01)
    first.use()
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(time, "clock_gettime", lambda _: now_s + leases.SESSION_S + 1)
    deadline_s = time.monotonic() + 5
    while not first.holder.show().leases and time.monotonic() < deadline_s:
        time.sleep(0.01)
    refused(lambda: second.use(BOB))


def test_nobody_gives_back_what_someone_else_keeps_unless_forced(
    first: Session, second: Session
) -> None:
    first.keep()
    refused(lambda: second.holder.release(ReleaseLease(BOB)))
    given = second.holder.release(ReleaseLease(BOB, force=True)).lease
    assert given is not None and given.owner == ANNA
    assert second.holder.release(ReleaseLease(BOB)).lease is None


@pytest.mark.parametrize("seconds", [0, -1, leases.LONGEST_S + 1])
def test_a_lease_has_an_end_within_a_week(first: Session, seconds: int) -> None:
    with pytest.raises(AgentFailure, match="expected 1 s to 7 d"):
        first.keep(seconds=seconds)


@pytest.mark.parametrize("content", [b"", b"{", b'{"owner": 3}', b"\xff" * 100])
def test_a_damaged_file_is_no_lease(root: Path, first: Session, content: bytes) -> None:
    (root / "lease.json").write_bytes(content)
    first.use()


def test_a_link_in_its_place_is_not_followed(root: Path, first: Session, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    os.symlink(other, root / "lease.json")
    first.keep()
    assert other.read_text() == "precious"


def test_a_disk_that_takes_nothing_does_not_keep_anyone_from_measuring(
    first: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.store.close()  # Its folder is gone, so that nothing can be written there.
    first.use()


def test_the_hosts_clock_is_shown_where_the_devices_is_years_ahead(root: Path) -> None:
    session = Session(root, host_time_s=NOON_S - 365 * 24 * HOURS)
    session.keep(BOB)
    assert "since 2026-01-15" in refused(session.use)
    session.close()


@pytest.mark.parametrize("python", NEW, ids=version_name)
def test_every_python_takes_a_lease(python: Path, root: Path) -> None:
    program = (
        "from device_agent.leases import Leaseholder\n"
        "from device_agent.lease_messages import TakeLease\n"
        "from device_agent.store import Store\n"
        f"store = Store({str(root)!r})\n"
        "holder = Leaseholder(lambda: store, lambda: 0)\n"
        "holder.take(TakeLease('bob@bench', 1, 'tests', 60, True))\n"
        "print(holder.show().leases[0].owner)\n"
    )
    done = subprocess.run(
        [python, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.strip() == BOB, done.stderr
