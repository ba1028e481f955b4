"""Facts about the published schema of report.json."""

from __future__ import annotations

import copy
import dataclasses
import json
import typing
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from edgesdk.serial import to_dict
from edgesdk.values.report import Report
from tests.unit.report.sessions import REPORTS

SCHEMA = json.loads(files("edgesdk.report").joinpath("report.schema.json").read_text("utf-8"))


def errors(data: Any) -> list[str]:
    validator = Draft202012Validator(SCHEMA, format_checker=FormatChecker())
    return [error.json_path for error in validator.iter_errors(data)]


def as_json(report: Report) -> Any:
    return json.loads(json.dumps(to_dict(report)))


def dataclasses_within(kind: Any) -> Iterator[type[Any]]:
    for inner in typing.get_args(kind):
        yield from dataclasses_within(inner)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        yield kind
        for hint in typing.get_type_hints(kind).values():
            yield from dataclasses_within(hint)


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_holds_to_it(name: str) -> None:
    assert errors(as_json(REPORTS[name])) == []


@pytest.mark.parametrize(
    "kind", sorted(set(dataclasses_within(Report)), key=lambda kind: kind.__name__)
)
def test_it_names_just_the_fields_of_the_code(kind: type[Any]) -> None:
    described = SCHEMA if kind is Report else SCHEMA["$defs"][kind.__name__]
    fields = [field.name for field in dataclasses.fields(kind)]
    assert list(described["properties"]) == described["required"]
    assert sorted(described["required"]) == sorted(fields)
    assert described["additionalProperties"] is False
    assert described["description"]


def change(path: str, value: object) -> Callable[[Any], None]:
    def apply(data: Any) -> None:
        *parents, last = path.split(".")
        for step in parents:
            data = data[int(step) if step.isdigit() else step]
        data[int(last) if last.isdigit() else last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("extra", 1, "$"),
        ("results.device.extra", 1, "$.results.device"),
        ("schema", 2, "$.schema"),
        ("outcome", "fine", "$.outcome"),
        ("exit_code", 3, "$.exit_code"),
        ("created", 5, "$.created"),
        ("plan_digest", "abc", "$.plan_digest"),
        ("speedup", 2.7, "$.speedup"),
        ("results.device.kind", "no", "$.results.device.kind"),
        ("results.runs.0.role", "fp16", "$.results.runs[0].role"),
        ("results.runs.0.latency.samples_ns", [], "$.results.runs[0].latency.samples_ns"),
        ("results.runs.0.latency.samples_ns.0", 0, "$.results.runs[0].latency.samples_ns[0]"),
        ("results.runs.0.latency.samples_ns.0", 1.5, "$.results.runs[0].latency.samples_ns[0]"),
        ("verdicts.0.status", "skipped", "$.verdicts[0].status"),
        ("verdicts.0.unit", "ms", "$.verdicts[0].unit"),
        ("verdicts.0.measured", 0, "$.verdicts[0].measured"),
        ("accuracy.mcnemar_p", 2, "$.accuracy"),
        ("precision", "int8", "$.precision"),
        ("conversion.compilation.status", "skipped", "$.conversion.compilation.status"),
        ("package.size_bytes", -1, "$.package.size_bytes"),
        ("package.signed_by", None, "$.package.signed_by"),
        ("package.sequence", -1, "$.package.sequence"),
        ("package.delta", "yes", "$.package.delta"),
        ("package.unhealthy", None, "$.package.unhealthy"),
        ("results.installed.state", "new", "$.results.installed.state"),
        ("results.installed.fallbacks", {"ood": -1}, "$.results.installed.fallbacks.ood"),
        ("verdicts.0.asked", "yes", "$.verdicts[0].asked"),
        ("calibration", None, "$.calibration"),
        ("calibration.samples", 0, "$.calibration.samples"),
        ("evaluation", "test.npz", "$.evaluation"),
    ],
)
def test_it_refuses(path: str, value: object, place: str) -> None:
    data = as_json(REPORTS["everything passed"])
    change(path, value)(data)
    assert place in errors(data)


@pytest.mark.parametrize("key", SCHEMA["required"])
def test_it_refuses_a_report_without(key: str) -> None:
    data = copy.deepcopy(as_json(REPORTS["everything passed"]))
    del data[key]
    assert errors(data) == ["$"]
