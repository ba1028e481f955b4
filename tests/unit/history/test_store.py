"""Facts about the file that keeps runs."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import HistoryError
from edgesdk.history import store
from edgesdk.history.store import SCHEMA_VERSION, History, Wanted
from edgesdk.serial import from_dict, to_dict
from edgesdk.values.endurance import Endurance
from edgesdk.values.report import Findings
from edgesdk.values.run import RunHead, seen
from tests.cli import ROOT
from tests.unit.history.measurements import a_long_run, a_measurement, findings_of, unsettled


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "runs.sqlite"


@pytest.fixture
def history(path: Path) -> History:
    return History(path)


def test_what_was_kept_is_read_back_whole(history: History) -> None:
    measured = a_measurement()
    stored = history.load(history.add(measured))
    assert from_dict(Findings, stored.document, origin="it") == measured.findings


def test_a_long_run_is_kept_whole_and_told_in_a_list(history: History) -> None:
    measured = a_long_run()
    head = history.add(measured)
    assert from_dict(Endurance, history.load(head).document, origin="it") == measured.findings
    assert (head.command, head.device, head.package) == ("sustained", "bench-pi", "keywords")
    assert head.p50_ns == pytest.approx(4e6, rel=0.01)
    assert head.steady_p90_ns == pytest.approx(4.05e6, rel=0.01)
    assert (head.gave_way_s, head.stamp, head.drop_points) == (40.0, "valid", None)


def test_a_long_run_that_did_not_settle_has_no_figures_and_is_kept(history: History) -> None:
    head = history.add(unsettled())
    assert (head.p50_ns, head.steady_p90_ns, head.gave_way_s) == (None, None, None)


def test_a_list_tells_what_was_measured_where(history: History) -> None:
    head = history.add(a_measurement())
    assert (head.number, head.device, head.package, head.command) == (
        *(1, "bench-pi", "keywords"),
        "bench",
    )
    assert head.p50_ns == pytest.approx(3_127_000, rel=0.01)
    assert head.drop_points is not None and head.kind == "board" and not head.baseline
    assert history.heads() == (head,)


def test_a_history_that_does_not_exist_is_empty_and_stays_away(
    history: History, path: Path
) -> None:
    assert history.heads() == ()
    assert history.baseline("bench-pi", "keywords") is None
    assert not path.exists()


def test_runs_are_narrowed_by_device_target_package_time_and_number(history: History) -> None:
    one = history.add(a_measurement("2026-01-01T00:00:00+00:00"))
    two = history.add(a_measurement("2026-02-01T00:00:00+00:00", device="other"))
    three = history.add(a_measurement("2026-03-01T00:00:00+00:00", package="faces"))
    assert history.heads(Wanted(device="other")) == (two,)
    assert history.heads(Wanted(package="faces")) == (three,)
    assert history.heads(Wanted(target="jetson")) == ()
    assert history.heads(Wanted(since="2026-02-01T00:00:00+00:00")) == (two, three)
    assert history.heads(Wanted(limit=2)) == (two, three)
    assert history.heads(Wanted(device="bench-pi", limit=1)) == (three,)
    assert one.number < two.number < three.number


def test_a_run_is_found_by_number_id_digest_and_place(history: History) -> None:
    first, second = (history.add(a_measurement(f"2026-03-14T15:09:2{i}+00:00")) for i in range(2))
    for name in ("1", first.id, first.id[:-2], first.sha256, first.sha256[:6], "last~1"):
        assert history.find(name) == first
    assert history.find("last") == second


@pytest.mark.parametrize("name", ["3", "last~2", "0000", "1-ffffffff"])
def test_a_run_that_is_not_there_is_said_so(history: History, name: str) -> None:
    history.add(a_measurement())
    history.add(a_measurement("2026-01-01T00:00:00+00:00"))
    with pytest.raises(HistoryError, match="found no run"):
        history.find(name)


@pytest.mark.parametrize("name", ["", "first", "abc", "12-", "-1", "*", "1 OR 1=1"])
def test_what_cannot_name_a_run_is_refused(history: History, name: str) -> None:
    with pytest.raises(HistoryError, match="expected its number"):
        history.find(name)


def test_an_ambiguous_digest_lists_what_it_may_be(history: History, path: Path) -> None:
    history.add(a_measurement())
    history.add(a_measurement("2026-01-01T00:00:00+00:00"))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE runs SET sha256 = 'abcd' || number")
    db.close()
    with pytest.raises(HistoryError, match="may be any of 1-abcd1, 2-abcd2"):
        history.find("abcd")


def test_a_number_is_never_given_twice(history: History) -> None:
    head = history.add(a_measurement())
    history.remove([head])
    assert history.add(a_measurement()).number == 2


def test_the_baseline_is_one_a_package_and_device(history: History) -> None:
    first = history.accept(history.add(a_measurement()))
    other = history.accept(history.add(a_measurement(device="other")))
    assert first.baseline and history.baseline("bench-pi", "keywords") == first
    second = history.accept(history.add(a_measurement("2026-01-01T00:00:00+00:00")))
    assert history.baseline("bench-pi", "keywords") == second
    assert history.baseline("other", "keywords") == other
    assert not history.find("1").baseline
    history.remove([second])
    assert history.baseline("bench-pi", "keywords") is None


def test_a_file_that_is_no_database_is_one_clear_sentence(history: History, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"what is this" * 100)
    for use in (lambda: history.add(a_measurement()), history.heads):
        with pytest.raises(HistoryError, match="is damaged: file is not a database"):
            use()
    assert path.read_bytes() == b"what is this" * 100


def test_a_newer_file_is_refused_and_left_alone(history: History, path: Path) -> None:
    history.add(a_measurement())
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    for use in (lambda: history.add(a_measurement()), history.heads, lambda: history.find("1")):
        with pytest.raises(HistoryError, match="is of a newer edgesdk: found format 3, expected 2"):
            use()


@pytest.fixture
def of_format_1(history: History, path: Path) -> RunHead:
    """The file as edgesdk kept it before long runs were: two columns fewer, and the stamp."""
    head = history.accept(history.add(a_measurement()))
    with sqlite3.connect(path) as db:
        for column in ("stamp", "steady_p90_ns", "gave_way_s"):
            db.execute(f"ALTER TABLE runs DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 1")
    db.close()
    return head


def formats(path: Path) -> int:
    db = sqlite3.connect(path)
    with db:
        found = int(db.execute("PRAGMA user_version").fetchone()[0])
    db.close()
    return found


@pytest.mark.parametrize("reads_first", [True, False])
def test_an_older_file_is_brought_up_to_date_and_loses_nothing(
    history: History, path: Path, of_format_1: RunHead, reads_first: bool
) -> None:
    if reads_first:
        assert history.find("1").sha256 == of_format_1.sha256
    assert history.add(a_long_run()).number == 2
    first, second = history.heads()
    assert first == dataclasses.replace(of_format_1, stamp=None)
    assert second.stamp is not None and history.baseline("bench-pi", "keywords") == first
    assert (
        from_dict(Findings, history.load(first).document, origin="it") == a_measurement().findings
    )
    assert formats(path) == SCHEMA_VERSION


def test_processes_that_bring_it_up_to_date_at_once_lose_nothing(
    history: History, path: Path, of_format_1: RunHead
) -> None:
    writers = [writer(path, 4) for _ in range(3)]
    for each in writers:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    numbers = [int(line) for each in writers for line in each.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(2, 14))
    assert len(history.heads()) == 13


def test_an_update_that_breaks_off_leaves_the_old_file(
    history: History, path: Path, of_format_1: RunHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {1: ("ALTER TABLE runs ADD COLUMN stamp TEXT", "ALTER TABLE nonsense")}
    monkeypatch.setattr(store, "_MIGRATIONS", steps)
    with pytest.raises(HistoryError, match="older edgesdk and cannot be brought up to date"):
        history.heads()
    assert formats(path) == 1
    monkeypatch.undo()
    assert history.find("1").sha256 == of_format_1.sha256


def test_a_file_with_other_columns_says_which_and_what_to_do(history: History, path: Path) -> None:
    """As an edgesdk that was never released left it."""
    history.add(a_measurement())
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE runs RENAME COLUMN kind TO virtual")
    db.close()
    for use in (lambda: history.add(a_measurement()), history.heads):
        with pytest.raises(HistoryError, match="the table runs differs in kind, virtual") as raised:
            use()
        assert raised.value.hint.startswith("move runs.sqlite, runs.sqlite-wal and runs.sqlite-shm")


def test_another_programs_database_is_left_alone(history: History, path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE photos (name TEXT)")
    db.close()
    with pytest.raises(HistoryError, match="another program's database"):
        history.add(a_measurement())


def test_a_home_that_cannot_be_written_is_said_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match=r"file.* cannot be used"):
        History(tmp_path / "file" / "runs.sqlite").add(a_measurement())


def test_a_document_that_was_changed_is_noticed(history: History, path: Path) -> None:
    head = history.add(a_measurement())
    with sqlite3.connect(path) as db:
        db.execute("UPDATE runs SET document = x'00'")
    db.close()
    with pytest.raises(HistoryError, match=f"run {head.id} .* is damaged"):
        history.load(head)


def test_only_the_user_can_read_it(history: History, path: Path) -> None:
    history.add(a_measurement())
    assert path.stat().st_mode & 0o077 == 0


_WRITER = """
import sys
from pathlib import Path
from edgesdk.history.store import History
from tests.unit.history.measurements import a_measurement
history, measured = History(Path(sys.argv[1])), a_measurement()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    print(history.add(measured).number, flush=True)
"""


def writer(path: Path, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_processes_that_write_at_once_lose_nothing(history: History, path: Path) -> None:
    writers = [writer(path, 8) for _ in range(3)]
    for each in writers:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    numbers = [int(line) for each in writers for line in each.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(1, 25))
    assert len(history.heads()) == 24


def test_a_writer_that_is_killed_leaves_whole_runs_only(history: History, path: Path) -> None:
    process = writer(path, 10_000)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    promised = [int(process.stdout.readline()) for _ in range(5)]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    heads = history.heads()
    assert {head.number for head in heads} >= set(promised)
    for head in heads:
        assert seen(history.load(head).document, head.id).runs
    assert history.add(a_measurement()).number == len(heads) + 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 2**53), min_size=1, max_size=40))
def test_every_raw_sample_comes_back(
    tmp_path_factory: pytest.TempPathFactory, samples: list[int]
) -> None:
    measured, findings = a_measurement(), findings_of()
    results = findings.results
    run = results.runs[1]
    latency = dataclasses.replace(
        run.latency, samples_ns=tuple(samples), block_sizes=(len(samples),)
    )
    changed = dataclasses.replace(
        measured,
        findings=dataclasses.replace(
            findings,
            results=dataclasses.replace(results, runs=(dataclasses.replace(run, latency=latency),)),
        ),
    )
    history = History(tmp_path_factory.mktemp("home") / "runs.sqlite")
    stored = history.load(history.add(changed))
    assert stored.document == json.loads(json.dumps(to_dict(changed.findings)))
    assert seen(stored.document, "it").run("int8").latency.samples_ns == tuple(samples)  # type: ignore[union-attr]
