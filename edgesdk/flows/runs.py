"""Runs: keep a measurement, list what is kept, show it, forget it, hold one against another."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

from edgesdk.errors import HistoryError, MalformedFile, ToolchainMissing, UsageError
from edgesdk.files import write_durable
from edgesdk.flows.installing import Say
from edgesdk.flows.report import write_html
from edgesdk.history.exporting import Form, comma_separated, json_lines
from edgesdk.history.store import History, Wanted, default_path
from edgesdk.report.endurance_page import render_endurance
from edgesdk.serial import from_dict
from edgesdk.validate.comparing import ComparisonGates, Side, compare_runs
from edgesdk.values.comparison import Comparison
from edgesdk.values.endurance import Endurance
from edgesdk.values.report import DataSummary, Findings, Report
from edgesdk.values.run import Command, Measured, RunHead, StoredRun, seen

BASELINE = "baseline"
_DAYS = re.compile(r"([0-9]{1,5})d")


def keep(
    command: Command,
    findings: Findings | Endurance,
    *,
    target: str,
    data: DataSummary | None,
    say: Say,
) -> RunHead | None:
    """Keep a measurement; one that cannot be kept is still a measurement, so that is only said.

    Returns:
        What it is called from now on; None where it could not be kept.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    if isinstance(findings, Report):
        created = findings.created
    try:
        head = history().add(Measured(command, created, target, data, findings))
    except HistoryError as error:
        say(f"warning: this run is not kept: {error.message}")
        return None
    say(f"kept as run {head.id}: edgesdk runs show {head.number}")
    return head


def list_runs(
    *,
    device: str | None = None,
    target: str | None = None,
    package: str | None = None,
    since: str | None = None,
    limit: int | None = None,
) -> tuple[RunHead, ...]:
    """The runs that are kept, oldest first.

    Args:
        since: a date or time, ISO 8601 and UTC unless it says otherwise, or "7d": seven days ago.
        limit: the latest so many.

    Raises:
        UsageError: `since` is none of these.
        HistoryError: the history cannot be read.
    """
    moment = None if since is None else parse_since(since, datetime.now(UTC))
    return history().heads(Wanted(device, target, package, moment, limit))


def parse_since(text: str, now: datetime) -> str:
    """A moment as runs are dated: UTC, ISO 8601, whole seconds.

    Raises:
        UsageError: neither "7d" nor a date.
    """
    if match := _DAYS.fullmatch(text):
        moment = now - timedelta(days=int(match[1]))
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise UsageError(
                f"found --since {text}, expected a date such as 2026-11-26, or 7d"
            ) from error
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def find_run(run: str) -> StoredRun:
    """A run by its number, its id, the beginning of its digest, "last" or "last~1".

    Raises:
        HistoryError: there is none, or more than one.
    """
    store = history()
    return store.load(store.find(run))


def show_run(run: str, *, html: Path | str | None = None) -> Findings | Endurance:
    """What was measured in a run, whole.

    Args:
        run: as for `find_run`.
        html: write the HTML form to this file; runs of `deploy` and `bench --sustained` have one.

    Raises:
        HistoryError: no such run.
        MalformedFile: another version of edgesdk kept it, whose reports are shaped otherwise.
        UsageError: the run has no HTML form.
    """
    stored = find_run(run)
    findings = read_findings(stored)
    if html is None:
        return findings
    if isinstance(findings, Endurance):
        write_durable(Path(html), render_endurance(findings).encode())
    elif isinstance(findings, Report):
        write_html(findings, Path(html))
    else:
        raise UsageError(
            f"run {stored.head.id} is of {stored.head.command}, and only those of deploy and of"
            " bench --sustained have an HTML form",
            hint=f"edgesdk runs show {stored.head.number} --json gives all of it",
        )
    return findings


def read_findings(stored: StoredRun) -> Findings | Endurance:
    """The report in a run.

    Raises:
        MalformedFile: it is not shaped as this version's are.
    """
    kinds: Mapping[Command, type[Findings | Endurance]]
    kinds = {"deploy": Report, "sustained": Endurance}
    kind = kinds.get(stored.head.command, Findings)
    try:
        return from_dict(kind, stored.document, origin=f"run {stored.head.id}")
    except MalformedFile as error:
        raise MalformedFile(
            f"run {stored.head.id} was kept by another version of edgesdk, whose reports are shaped"
            " otherwise",
            details=error.details,
            hint=f"edgesdk runs show {stored.head.number} --json gives all of it",
        ) from error


def remove_runs(runs: Sequence[str]) -> tuple[RunHead, ...]:
    """Forget runs; all or none.

    Raises:
        HistoryError: one of them is not there; none is forgotten.
    """
    store = history()
    try:
        heads = tuple(dict.fromkeys(store.find(run) for run in runs))  # One may be called twice.
    except HistoryError as error:
        if len(runs) == 1:
            raise
        raise HistoryError(f"{error.message}: none is forgotten", hint=error.hint) from error
    store.remove(heads)
    return heads


def accept_run(run: str) -> RunHead:
    """Make a run the baseline that later runs of its package on its device are held against.

    Raises:
        HistoryError: no such run, or none that bench and deploy could be held against.
    """
    store = history()
    head = store.find(run)
    if reason := _unacceptable(head):
        raise HistoryError(
            f"run {head.id} cannot be a baseline: {reason}",
            hint="edgesdk bench or deploy measures one that can",
        )
    return store.accept(head)


def find_baseline(run: str) -> RunHead:
    """A run that a measurement of latency can be held against.

    Raises:
        HistoryError: there is none of that name, or it is none.
    """
    head = history().find(run)
    if reason := _unacceptable(head):
        raise HistoryError(
            f"run {head.id} cannot be a baseline: {reason}",
            hint="edgesdk runs ls lists those that bench and deploy kept",
        )
    return head


def _unacceptable(head: RunHead) -> str:
    if head.command == "sustained":
        return "it ran without a pause, and what is held against a baseline runs in turns"
    if head.stamp == "invalid":
        return f"its latency is invalid (edgesdk runs show {head.number} says why)"
    return "" if head.p50_ns is not None else "it timed no model"


def compare(
    run_a: str,
    run_b: str,
    *,
    max_latency_regression_percent: float | None = None,
    max_accuracy_regression_points: float | None = None,
) -> Comparison:
    """Hold a later run against an earlier one.

    Args:
        run_a: the earlier, as for `find_run`; or "baseline", the accepted run of run_b's package
            on its device.
        run_b: the later.
        max_latency_regression_percent: fail if run_b is shown to be slower by more.
        max_accuracy_regression_points: fail if run_b is shown to have lost more.

    Raises:
        HistoryError: no such run, or no baseline.
        UsageError: both are the same run.
        MalformedFile: a run lacks what is compared.
    """
    store = history()
    later = store.find(run_b)
    earlier = _baseline(store, later) if run_a == BASELINE else store.find(run_a)
    if earlier.number == later.number:
        raise UsageError(
            f"found run {later.id} on both sides, expected two runs",
            hint="edgesdk runs ls lists them; last~1 is the one before the last",
        )
    return compare_runs(
        (earlier, later),
        side_of(store, earlier),
        side_of(store, later),
        ComparisonGates(max_latency_regression_percent, max_accuracy_regression_points),
    )


def _baseline(store: History, later: RunHead) -> RunHead:
    return require_baseline(store, later.device, later.package)


def require_baseline(store: History, device: str, package: str) -> RunHead:
    """The accepted run of a package on a device.

    Raises:
        HistoryError: there is none.
    """
    found = store.baseline(device, package)
    if found is None:
        raise HistoryError(
            f"no run is accepted as the baseline of {package} on {device}",
            hint="edgesdk runs accept RUN makes one the baseline",
        )
    return found


def side_of(store: History, head: RunHead) -> Side:
    """A kept run, as comparing wants it.

    Raises:
        MalformedFile: it lacks what is compared.
    """
    called = f"run {head.id}"
    same = store.heads(Wanted(device=head.device, package=head.package))
    medians = tuple(each.p50_ns for each in same if _is_repeat(each, head) and each.p50_ns)
    results = seen(store.load(head).document, called)
    return Side(called, head.data_sha256, results, medians)


def _is_repeat(one: RunHead, other: RunHead) -> bool:
    """Another measurement of the very same, by the same way of measuring."""
    unbroken = [head.command == "sustained" for head in (one, other)]
    return (
        one.package_id == other.package_id
        and one.kind == other.kind
        and unbroken[0] is unbroken[1]
        and one.stamp != "invalid"
    )


def export_runs(
    form: Form,
    output: str,
    *,
    runs: Sequence[str] = (),
    device: str | None = None,
    target: str | None = None,
    package: str | None = None,
    since: str | None = None,
) -> Exported:
    """Write runs for other programs.

    Args:
        output: the file, or for "mlflow" the tracking URI, such as "sqlite:///mlflow.db".
        runs: these, as for `find_run`; all that the rest leaves unless given.

    Raises:
        HistoryError: no such run.
        ToolchainMissing: MLflow's library is not installed.
    """
    store = history()
    heads = (
        tuple(store.find(run) for run in runs)
        if runs
        else list_runs(device=device, target=target, package=package, since=since)
    )
    loaded = (store.load(head) for head in heads)
    if form == "mlflow":
        sent, there = _mlflow().send(loaded, output)
        return Exported(output, sent, there)
    lines = json_lines(loaded) if form == "jsonl" else comma_separated(loaded)
    write_durable(Path(output), "".join(lines).encode())
    return Exported(output, len(heads), 0)


@dataclass(frozen=True, slots=True)
class Exported:
    """Where to, how many, and how many were there already and left as they are."""

    output: str
    runs: int
    skipped: int


def _mlflow() -> ModuleType:
    """Ours that speaks to MLflow, which is imported with it."""
    try:
        return importlib.import_module("edgesdk.history.mlflow_store")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "mlflow":
            raise
        raise ToolchainMissing(
            "the export to MLflow needs mlflow, which is not installed",
            hint='install it with: pip install "edgesdk[mlflow]"; jsonl and csv need nothing',
        ) from error


def history() -> History:
    """This user's."""
    return History(default_path())
