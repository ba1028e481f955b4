"""Runs into an MLflow tracking store, by MLflow's own library (mlflow or mlflow-skinny).

An experiment a package, an MLflow run a run of ours: what was measured where as parameters, the
figures as metrics, the whole report as the artifact `report.json`. A run that is there already, by
its digest, is not sent again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from edgesdk.errors import HistoryError, TransportError
from edgesdk.history.exporting import figures
from edgesdk.values.run import RunHead, StoredRun

DIGEST_TAG = "edgesdk.sha256"
_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
_URIS = "give sqlite:///FILE.db or the http address of a tracking server"
_NO_ANSWER = "API request to "
"""How MLflow's message begins where the connection failed, and not the request."""
_EXPERIMENT = "edgesdk/{package}"
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""With MLflow's own, a silent server is tried for minutes, with a line on stderr for each try."""


def send(runs: Iterable[StoredRun], uri: str) -> tuple[int, int]:
    """Send runs to the tracking store.

    Args:
        uri: as MLflow has it: "sqlite:///mlflow.db", or a server's address.

    Returns:
        How many were sent, and how many were there already.

    Raises:
        HistoryError: MLflow knows no such store, or does not take them.
        TransportError: the server does not answer.
    """
    scheme = (urlsplit(uri).scheme or uri).partition("+")[0]
    if scheme not in _SCHEMES:
        raise HistoryError(f"found tracking URI {uri!r}", hint=_URIS)
    try:
        with _patience():
            return _send_all(mlflow.MlflowClient(tracking_uri=uri), runs, _artifacts(uri))
    except MlflowException as error:
        said = error.message.splitlines() or ["no reason given"]
        if scheme in ("http", "https") and said[0].startswith(_NO_ANSWER):
            raise TransportError(
                f"the tracking server {uri} does not answer",
                hint="is it running, and is that its address? Runs that were sent are not sent "
                "again",
                details=said[:1],
            ) from error
        raise HistoryError(f"MLflow does not take the runs: {said[0]}", hint=_URIS) from error


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Ours where the user has set none; MLflow takes it from the environment with each request."""
    ours = {name: value for name, value in _PATIENCE.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def _artifacts(uri: str) -> str | None:
    """Beside an SQLite file: MLflow's own place is where the command happens to be started.

    A server, or another database, knows where; then None.
    """
    scheme, mark, path = uri.partition(":///")
    if scheme.partition("+")[0] != "sqlite" or not mark:
        return None
    return Path(path).absolute().with_suffix(".artifacts").as_uri()


def _send_all(client: Any, runs: Iterable[StoredRun], artifacts: str | None) -> tuple[int, int]:
    sent, there = 0, 0
    for run in runs:
        experiment = _experiment(client, run.head.package, artifacts)
        if _is_there(client, experiment, run.head):
            there += 1
        else:
            _send(client, experiment, run)
            sent += 1
    return sent, there


def _experiment(client: Any, package: str, artifacts: str | None) -> str:
    name = _EXPERIMENT.format(package=package)
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=artifacts))


def _is_there(client: Any, experiment: str, head: RunHead) -> bool:
    condition = f"tags.`{DIGEST_TAG}` = '{head.sha256}' and attributes.status = 'FINISHED'"
    return bool(client.search_runs([experiment], condition, max_results=1))


def _send(client: Any, experiment: str, run: StoredRun) -> None:
    """The status is set last, so that a run that was sent in part is sent again."""
    head = run.head
    made_ms = int(datetime.fromisoformat(head.created).timestamp() * 1000)
    created = client.create_run(
        experiment, start_time=made_ms, run_name=head.id, tags={DIGEST_TAG: head.sha256}
    )
    key = created.info.run_id
    client.log_batch(
        key,
        metrics=[Metric(name, value, made_ms, 0) for name, value in figures(run.document).items()],
        params=[
            Param(name, str(getattr(head, name)))
            for name in ("command", "device", "kind", "target", "package", "version")
        ],
        tags=[
            RunTag("edgesdk.outcome", head.outcome),
            RunTag("edgesdk.package_id", head.package_id),
            RunTag("edgesdk.data_sha256", head.data_sha256),
        ],
    )
    client.log_dict(key, dict(run.document), "report.json")
    client.set_terminated(key, "FINISHED", made_ms)
