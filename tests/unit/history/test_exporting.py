"""Facts about what other programs get of the history."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import socket
from pathlib import Path

import pytest

from edgesdk.cli.main import run
from edgesdk.errors import HistoryError, MalformedFile, ToolchainMissing, TransportError
from edgesdk.flows import runs
from edgesdk.flows.runs import export_runs, history
from edgesdk.serial import to_dict
from edgesdk.values.metric import MetricSummary
from edgesdk.values.verdict import Estimate
from tests.unit.history.measurements import a_measurement


@pytest.fixture(autouse=True)
def a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESDK_HOME", str(tmp_path / "home"))
    history().add(a_measurement())
    history().add(a_measurement("2026-04-01T00:00:00+00:00", device="=HYPERLINK(1)"))


def test_json_lines_hold_every_run_whole(tmp_path: Path) -> None:
    assert export_runs("jsonl", str(tmp_path / "out")).runs == 2
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [line["run"]["number"] for line in lines] == [1, 2]
    assert lines[0]["report"] == json.loads(json.dumps(to_dict(a_measurement().findings)))


def test_csv_has_a_row_a_run_and_no_formulas(tmp_path: Path) -> None:
    export_runs("csv", str(tmp_path / "out.csv"))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert rows[0]["device"] == "bench-pi" and rows[0]["kind"] == "board"
    assert float(rows[0]["int8_p50_ns"]) == pytest.approx(3_127_000, rel=0.01)
    assert rows[1]["device"] == "'=HYPERLINK(1)"


def test_metrics_beyond_top_1_are_columns_and_figures(tmp_path: Path) -> None:
    drop = Estimate(0.5, 640, None)
    found = MetricSummary(
        *("mine:f", "mine", "higher", "own"), drop, Estimate(1.5, 640, None), drop, 640, 0, 0, 0, ""
    )
    measured = a_measurement("2026-05-01T00:00:00+00:00")
    findings = dataclasses.replace(measured.findings, metrics=(found,))
    history().add(dataclasses.replace(measured, findings=findings))
    export_runs("csv", str(tmp_path / "out.csv"))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert [row["metric_mine_f_int8"] for row in rows] == ["", "", "1.5"]
    assert rows[2]["metric_mine_f_drop"] == "0.5"


def test_runs_are_picked_by_name_or_by_what_they_are(tmp_path: Path) -> None:
    assert export_runs("csv", str(tmp_path / "a"), runs=["last"]).runs == 1
    assert export_runs("csv", str(tmp_path / "b"), device="bench-pi").runs == 1
    with pytest.raises(HistoryError):
        export_runs("csv", str(tmp_path / "c"), runs=["9"])
    assert not (tmp_path / "c").exists()


def test_without_mlflow_the_hint_is_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("no", name="mlflow")

    monkeypatch.setattr(runs.importlib, "import_module", missing)
    with pytest.raises(ToolchainMissing, match="needs mlflow") as raised:
        export_runs("mlflow", f"sqlite:///{tmp_path}/m.db")
    assert 'pip install "edgesdk[mlflow]"' in raised.value.hint


@pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own libraries.
@pytest.mark.parametrize("uri", ["banana://x", "/nope/mlruns"])
def test_a_store_that_mlflow_cannot_use_is_one_sentence(uri: str) -> None:
    for needed in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(needed, reason="MLflow's SQLite store needs it")
    with pytest.raises(HistoryError) as refused:
        export_runs("mlflow", uri)
    assert refused.value.hint.startswith("give sqlite:///FILE.db")


@pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own libraries.
def test_a_tracking_server_that_does_not_answer_is_one_sentence_and_the_networks(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(TransportError, match=f"{uri} does not answer"):
        export_runs("mlflow", uri)
    assert "Retrying" not in caplog.text
    left = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_HTTP")}
    assert left == {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}, "elsewhere it is as patient as it was"


@pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own libraries.
def test_what_takes_seconds_to_begin_is_announced(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "export", "--to", "mlflow", "-o", "banana://x"]) != 0
    assert capfd.readouterr().err.startswith("sending runs to banana://x\n")


@pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own libraries.
def test_mlflow_reads_back_what_was_sent_and_takes_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for needed in ("sqlalchemy", "alembic"):
        pytest.importorskip(needed, reason="MLflow's SQLite store needs it")
    mlflow = pytest.importorskip("mlflow")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    first = export_runs("mlflow", uri, runs=["1"])
    assert dataclasses.astuple(first) == (uri, 1, 0)
    assert dataclasses.astuple(export_runs("mlflow", uri, runs=["1"])) == (uri, 0, 1)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("edgesdk/keywords")
    (sent,) = client.search_runs([experiment.experiment_id])
    head = history().find("1")
    assert sent.info.run_name == head.id and sent.info.status == "FINISHED"
    assert sent.data.metrics["int8_p50_ns"] == head.p50_ns
    assert sent.data.params["device"] == "bench-pi"
    (report,) = (tmp_path / "mlflow.artifacts").rglob("report.json")
    assert json.loads(report.read_text()) == runs.find_run("1").document
    assert not list(elsewhere.iterdir()), "nothing is left where the command was started"


def test_a_run_of_another_version_says_how_to_read_it(tmp_path: Path) -> None:
    stored = runs.find_run("1")
    other = dataclasses.replace(stored, document={**stored.document, "novelty": 1})
    with pytest.raises(MalformedFile, match=r"run 1-.* was kept by another version") as raised:
        runs.read_findings(other)
    assert "runs show 1 --json" in raised.value.hint
