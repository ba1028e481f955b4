"""Facts about the commands of the history: what they show, accept, forget and hold together."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import os
import sqlite3
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesdk.cli.main import run
from edgesdk.errors import HistoryError
from edgesdk.flows.runs import accept_run, compare, export_runs, find_run, history, remove_runs
from edgesdk.serial import canonical_json, to_dict
from edgesdk.values.report import Findings
from edgesdk.values.run import Measured
from tests.unit.history.measurements import a_long_run, a_measurement, unsettled


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def invalid() -> Measured:
    measured = a_measurement()
    assert isinstance(measured.findings, Findings)
    stamped = tuple(
        dataclasses.replace(each, stamp="invalid", reasons=("It was held back.",))
        for each in measured.findings.validities
    )
    return dataclasses.replace(
        measured, findings=dataclasses.replace(measured.findings, validities=stamped)
    )


# ---- runs without a pause ------------------------------------------------------------------------


def test_a_long_run_is_listed_and_shown_as_it_was_printed(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    history().add(a_long_run())
    history().add(unsettled())
    assert run(["runs", "ls"]) == 0
    listed = capfd.readouterr().out
    assert "no verdict, not settled" in listed
    assert "sustained" in listed and "gave way after 40 s" in listed and "p90 4." in listed
    assert run(["runs", "show", "1", "--html", "curve.html"]) == 0
    assert "Steady p90" in capfd.readouterr().out
    assert "<svg" in (tmp_path / "curve.html").read_text()
    assert run(["runs", "show", "1", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["gave_way"]["at_s"] == 40.0


def test_its_figures_are_exported(tmp_path: Path) -> None:
    history().add(a_measurement())
    history().add(a_long_run())
    export_runs("csv", str(tmp_path / "runs.csv"))
    first, second = csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text()))
    assert first["steady_p90_ns"] == "" and first["int8_p50_ns"] != ""
    assert float(second["steady_p90_ns"]) == pytest.approx(4.05e6, rel=0.01)
    assert float(second["gave_way_s"]) == 40.0 and second["int8_p50_ns"] == ""
    export_runs("jsonl", str(tmp_path / "runs.jsonl"))
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert len(json.loads(lines[1])["report"]["endured"]["windows"]) == 100


def test_two_long_runs_are_compared_by_their_settled_parts() -> None:
    history().add(a_long_run())
    history().add(a_long_run("2026-03-16T10:00:00+00:00", slow=1.2))
    history().add(a_long_run("2026-03-17T10:00:00+00:00"))
    slower, same = compare("1", "2").latencies[0], compare("1", "3").latencies[0]
    assert slower.word == "slower" and slower.changes[0].ratio.value == pytest.approx(1.2, abs=0.01)
    assert same.word == "no difference shown"


def test_a_long_run_and_one_in_turns_are_not_and_the_reason_is_said(
    capfd: pytest.CaptureFixture[str],
) -> None:
    history().add(a_measurement())
    history().add(a_long_run())
    compared = compare("1", "2")
    (latency,) = compared.latencies
    assert (latency.word, compared.exit_code) == ("cannot be compared", 6)
    assert "ran without a pause" in latency.reason and "another bench --sustained" in latency.reason
    assert run(["runs", "compare", "1", "2"]) == 6
    assert "ran without a pause" in capfd.readouterr().out


def test_a_long_run_that_never_settled_is_not_compared() -> None:
    history().add(a_long_run())
    history().add(unsettled())
    (latency,) = compare("1", "2").latencies
    assert latency.word == "cannot be compared" and "has no part in which" in latency.reason


def test_a_long_run_says_nothing_of_how_much_runs_in_turns_differ() -> None:
    history().add(a_measurement())
    history().add(a_long_run())
    history().add(a_measurement("2026-04-01T00:00:00+00:00"))
    cautions = " ".join(compare("1", "3").cautions)
    assert "lie up to" not in cautions  # The long run's 4 ms beside their 3.1 would make 28 %.


# ---- what is held against what ------------------------------------------------------------------


def test_a_run_is_not_held_against_itself(capfd: pytest.CaptureFixture[str]) -> None:
    head = history().add(a_measurement())
    accept_run("1")
    for command in (["1", "last"], [head.id, "1"], ["baseline", "1"]):
        assert run(["runs", "compare", *command]) == 2
        assert f"found run {head.id} on both sides" in capfd.readouterr().err


def test_runs_in_the_wrong_order_and_of_two_packages_are_remarked() -> None:
    history().add(a_measurement("2026-04-01T00:00:00+00:00"))
    history().add(a_measurement("2026-01-01T00:00:00+00:00", package="faces"))
    cautions = " ".join(compare("1", "2").cautions)
    assert "which is held as the earlier one, was made after run 2-" in cautions
    assert "They are of two packages, keywords and faces" in cautions
    backwards = " ".join(compare("2", "1").cautions)
    assert "was made after" not in backwards


# ---- baselines -----------------------------------------------------------------------------------


def test_what_bench_cannot_be_held_against_is_no_baseline() -> None:
    history().add(a_long_run())
    history().add(invalid())
    with pytest.raises(
        HistoryError, match=r"run 1-.* cannot be a baseline: it ran without a pause"
    ):
        accept_run("1")
    with pytest.raises(HistoryError, match=r"run 2-.* cannot be a baseline: its latency is inval"):
        accept_run("2")
    assert history().baseline("bench-pi", "keywords") is None


# ---- runs of an older edgesdk --------------------------------------------------------------------


FORMAT_1 = """
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sha256 TEXT NOT NULL,
    created TEXT NOT NULL,
    command TEXT NOT NULL,
    device TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    package_id TEXT NOT NULL,
    data_sha256 TEXT NOT NULL,
    outcome TEXT NOT NULL,
    p50_ns REAL,
    drop_points REAL,
    document BLOB NOT NULL
);
CREATE TABLE baselines (
    device TEXT NOT NULL,
    package TEXT NOT NULL,
    number INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    PRIMARY KEY (device, package)
);
PRAGMA application_id = 0x45644765;
PRAGMA user_version = 1;
"""


@pytest.fixture(params=[True, False], ids=["stamped report", "report without stamps"])
def of_format_1(home: Path, request: pytest.FixtureRequest) -> bool:
    """A file as the first edgesdk with a history made it, with one run, the baseline."""
    measured = a_measurement()
    document = to_dict(measured.findings)
    if not request.param:
        del document["validities"], document["since"], document["metrics"]
    text = canonical_json(document)
    digest = hashlib.sha256(measured.created.encode() + b"\0" + text).hexdigest()
    row = (
        *(digest, measured.created, "bench", "bench-pi", "board", "raspberry-pi-5", "keywords"),
        *("1.2.0", "0" * 64, "", "pass", 3_127_000.0, None, zlib.compress(text)),
    )
    home.mkdir()
    db = sqlite3.connect(home / "runs.sqlite")
    db.executescript(FORMAT_1)
    with db:
        marks = ", ".join("?" * len(row))
        db.execute(f"INSERT INTO runs VALUES (1, {marks})", row)
        db.execute("INSERT INTO baselines VALUES ('bench-pi', 'keywords', 1)")
    db.close()
    return bool(request.param)


def test_a_run_of_format_1_is_listed_as_of_unknown_validity(
    of_format_1: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["runs", "ls"]) == 0
    assert "pass, validity not known, baseline" in capfd.readouterr().out
    assert run(["runs", "ls", "--json"]) == 0
    (head,) = json.loads(capfd.readouterr().out)
    assert (head["stamp"], head["steady_p90_ns"], head["gave_way_s"]) == (None, None, None)


def test_nothing_breaks_on_a_run_of_format_1(
    of_format_1: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    history().add(a_measurement("2026-05-01T00:00:00+00:00"))
    assert run(["runs", "ls"]) == 0 and capfd.readouterr().out.count("not known") == 1
    shown = run(["runs", "show", "1"])
    assert shown == (0 if of_format_1 else 3)
    assert of_format_1 or "was kept by another version of edgesdk" in capfd.readouterr().err
    assert run(["runs", "show", "1", "--json"]) == 0
    assert run(["runs", "compare", "baseline", "2"]) == 0
    assert accept_run("1").baseline
    for form in ("csv", "jsonl"):
        assert run(["runs", "export", "--to", form, "-o", str(tmp_path / form)]) == 0
    assert "Traceback" not in capfd.readouterr().err
    assert run(["runs", "rm", "1"]) == 0


@pytest.fixture
def read_only(home: Path, of_format_1: bool) -> Iterator[None]:
    """The home on a disk that cannot be written, which stops root, too."""
    mount = ["mount", "--bind", str(home), str(home)]
    remount = ["mount", "-o", "remount,bind,ro", str(home)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount")
    try:
        subprocess.run(remount, check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


def test_a_history_of_format_1_that_cannot_be_written_is_one_sentence(
    read_only: None, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (home / "runs.sqlite").read_bytes()
    for command in (["ls"], ["show", "1"], ["compare", "baseline", "1"]):
        assert run(["runs", *command]) == 3
        said, hint = capfd.readouterr().err.splitlines()
        assert "runs.sqlite is of an older edgesdk and cannot be brought up to date" in said
        assert "Read-only file system" in said and "make it and its folder writable" in hint
    assert (home / "runs.sqlite").read_bytes() == before


# ---- forgetting and finding ----------------------------------------------------------------------


def test_a_run_that_is_named_twice_is_forgotten_once() -> None:
    head = history().add(a_measurement())
    assert remove_runs(["1", head.id, "last"]) == (head,)
    assert history().heads() == ()


def test_an_unknown_run_among_known_ones_forgets_none(capfd: pytest.CaptureFixture[str]) -> None:
    history().add(a_measurement())
    assert run(["runs", "rm", "1", "7"]) == 3
    assert "found no run 7: none is forgotten" in capfd.readouterr().err
    assert len(history().heads()) == 1


@pytest.mark.parametrize("name", ["7", "last~4", "abcd", "1-ffffffff"])
def test_showing_an_unknown_run_is_one_sentence(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    history().add(a_measurement())
    assert run(["runs", "show", name]) == 3
    said = capfd.readouterr().err
    assert f"found no run {name}" in said and "edgesdk runs ls lists them" in said


def test_without_any_run_it_says_what_makes_one(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "ls"]) == 0
    assert "no runs are kept yet" in capfd.readouterr().out
    assert run(["runs", "ls", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == []
    for command in (["show", "last"], ["rm", "1"], ["accept", "1"], ["compare", "1", "2"]):
        assert run(["runs", *command]) == 3
        assert "no runs are kept yet" in capfd.readouterr().err


def test_a_filter_that_leaves_none_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    history().add(a_measurement())
    assert run(["runs", "ls", "--device", "other"]) == 0
    assert "none of the runs that are kept is of device other" in capfd.readouterr().out
    assert find_run("last").head.number == 1


def test_a_damaged_history_names_the_files_and_the_remedy(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    (home / "runs.sqlite").write_bytes(b"what is this" * 100)
    for command in (["ls"], ["show", "1"], ["rm", "1"], ["export", "-o", "x"]):
        assert run(["runs", *command]) == 3
        said = capfd.readouterr().err
        assert "runs.sqlite is damaged: file is not a database" in said
        assert "move runs.sqlite, runs.sqlite-wal and runs.sqlite-shm to another place" in said
