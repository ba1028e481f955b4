"""Runs as other programs take them: JSON Lines, CSV, and MLflow's tracking store.

JSON Lines hold everything, raw samples included; CSV what a spreadsheet can show, one row a run.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Literal

from edgesdk.serial import to_dict
from edgesdk.values.run import RunHead, StoredRun

Form = Literal["jsonl", "csv", "mlflow"]

_METRIC = "metric_"
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]")
"""Of a metric's name, what MLflow takes in none, such as the colon of a user's own."""


def json_lines(runs: Iterable[StoredRun]) -> Iterator[str]:
    """One line a run: what a list shows under "run", the whole report under "report"."""
    for run in runs:
        told = {"run": {"id": run.head.id, **to_dict(run.head)}, "report": run.document}
        yield json.dumps(told, allow_nan=False) + "\n"


def comma_separated(runs: Iterable[StoredRun]) -> Iterator[str]:
    """A header, and one row a run; what was not measured is empty.

    Metrics beyond top-1 that any run has are columns behind those that there always are.
    """
    names = [field.name for field in fields(RunHead)]
    rows = [{"id": run.head.id, **to_dict(run.head), **figures(run.document)} for run in runs]
    metrics = sorted({name for row in rows for name in row if name.startswith(_METRIC)})
    columns = ["id", *names, *_FIGURES, *metrics]
    yield _row(columns)
    for row in rows:
        yield _row(_plain(row.get(name)) for name in columns)


def figures(document: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a report, by names that stay; those that were not measured are left out."""
    found: dict[str, float] = {}
    if "endured" in document:
        return _of_long(document)
    for latency in document.get("latencies", ()):
        for name in ("minimum", "p50", "p95", "p99"):
            _keep(found, f"{latency['role']}_{name}_ns", latency.get(name))
    for name in ("speedup", "agreement_percent"):
        _keep(found, name, document.get(name))
    accuracy = document.get("accuracy") or {}
    for name in ("float_percent", "int8_percent", "drop"):
        _keep(found, f"accuracy_{name}", accuracy.get(name))
    for metric in document.get("metrics", ()):
        for name, key in (("float", "float_value"), ("int8", "int8_value"), ("drop", "drop")):
            _keep(found, f"{_METRIC}{_NO_NAME.sub('_', metric['name'])}_{name}", metric.get(key))
    return found


def _of_long(document: Mapping[str, Any]) -> dict[str, float]:
    """Of a run without a pause; its curve is in the whole report."""
    found = {"first_p50_ns": float(document["first_p50_ns"]), "seconds": float(document["seconds"])}
    if (gave_way := document.get("gave_way")) is not None:
        found["gave_way_s"] = float(gave_way["at_s"])
    if (settled := document.get("settled")) is not None:
        found["steady_from_s"] = float(settled["from_s"])
        for name in ("p50", "p90", "p95"):
            _keep(found, f"steady_{name}_ns", settled.get(name))
    return found


_FIGURES = (
    *(
        f"{role}_{name}_ns"
        for role in ("float", "int8")
        for name in ("minimum", "p50", "p95", "p99")
    ),
    *("speedup", "agreement_percent"),
    *("accuracy_float_percent", "accuracy_int8_percent", "accuracy_drop"),
    *("seconds", "first_p50_ns", "steady_from_s", "steady_p50_ns", "steady_p90_ns"),
    "steady_p95_ns",
)


def _keep(found: dict[str, float], name: str, estimate: Mapping[str, Any] | None) -> None:
    if estimate is not None:
        found[name] = float(estimate["value"])


def _row(values: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _plain(value: object) -> object:
    """As spreadsheets have it; text that one would run as a formula is quoted."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
