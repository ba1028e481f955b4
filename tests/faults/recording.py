"""What became of each row of the fault matrix: kept in outcomes.json, shown in docs/reliability.md.

A run with --write-reliability replaces what is kept of the tests that it ran, and keeps the rest:
the slow suite and the emulated device have runs of their own. Nothing is written otherwise, and
`test_document.py` holds the document against the tests.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import re
import subprocess
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.matrix import AS_BEFORE, ROWS, SECTIONS

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "reliability.md"
OUTCOMES = Path(__file__).with_name("outcomes.json")

DEVICES = {
    "native_bench": "virtual",
    "openssh_bench": "OpenSSH",
    "aarch64_bench": "aarch64",
    "emulated_bench": "emulated arm64",
}
HERE = "no device"
"""Where a test needs none, or brings its own."""

PASSED, FAILED, LIMIT, NOT_RUN = "passed", "failed", "known limit", "not run"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one test, over all its parameters, on one kind of device.

    Args:
        test: its file and name.
        where: the kind of device.
        title: what it does.
        expect: what has to happen.
        cases: how many of its cases ended how.
        why: of those that failed, did not run, or show a known limit.
        machine: that ran it.
    """

    row: int
    test: str
    where: str
    title: str
    expect: str
    cases: Mapping[str, int]
    why: tuple[str, ...]
    machine: str


class Recorder:
    """A plug-in that listens to the tests.

    Args:
        writes: what it heard, when all is over.
    """

    def __init__(self, writes: bool) -> None:
        self._writes = writes
        self._heard: dict[tuple[str, str], Outcome] = {}
        self._known: set[str] = set()
        self._machine = ""

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        self._known.add(item.nodeid.partition("[")[0])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        marker = item.get_closest_marker("fault")
        if self._writes and marker is not None and (ended := _ended(report)):
            self._hear(item, marker.kwargs, *ended)
        return report

    def pytest_sessionfinish(self) -> None:
        if self._writes and self._heard:
            kept = {(each.test, each.where): each for each in load() if self._is_there(each)}
            save([*{**kept, **self._heard}.values()])

    def _is_there(self, outcome: Outcome) -> bool:
        """Whether its test still is, as far as this run can know."""
        files = {test.partition("::")[0] for test in self._known}
        return outcome.test in self._known or outcome.test.partition("::")[0] not in files

    def _hear(self, item: pytest.Item, fault: Mapping[str, Any], how: str, why: str) -> None:
        self._machine = self._machine or machine()
        test, where = item.nodeid.partition("[")[0], _where(item)
        before = self._heard.get((test, where))
        cases = dict(before.cases) if before else {}
        cases[how] = cases.get(how, 0) + 1
        reasons = before.why if before else ()
        self._heard[test, where] = Outcome(
            row=fault["row"],
            test=test,
            where=where,
            title=fault["title"],
            expect=fault.get("expect", AS_BEFORE),
            cases=cases,
            why=(*reasons, why) if why and why not in reasons else reasons,
            machine=self._machine,
        )


def _ended(report: pytest.TestReport) -> tuple[str, str] | None:
    """How a test ended and why, once it is known."""
    if hasattr(report, "wasxfail"):
        return (LIMIT, report.wasxfail.removeprefix("reason: ")) if report.skipped else None
    if report.skipped:
        assert isinstance(report.longrepr, tuple)
        return NOT_RUN, report.longrepr[2].removeprefix("Skipped: ")
    if report.failed:
        return FAILED, f"in {report.when}"
    return (PASSED, "") if report.when == "call" else None


def _where(item: pytest.Item) -> str:
    assert isinstance(item, pytest.Function)
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    kinds = [kind for name, kind in parameters.items() if name in ("bench", "virtual_bench")]
    names = [f"{kind}_bench" for kind in kinds] or item.fixturenames
    return next((DEVICES[name] for name in names if name in DEVICES), HERE)


def machine() -> str:
    """The machine that runs the tests, in one line."""
    version = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr
    release = re.findall(r"[0-9.]+", platform.release()) or ["?"]
    ssh = re.split(r"[ ,]", version)[0] or "no OpenSSH"
    return (
        f"{time.strftime('%Y-%m-%d')}, {platform.system()} {release[0]} on "
        f"{platform.machine()}, Python {platform.python_version()}, {ssh}"
    )


# ---- kept and shown ----------------------------------------------------------------------------


def load() -> list[Outcome]:
    """What is kept."""
    if not OUTCOMES.exists():
        return []
    rows = json.loads(OUTCOMES.read_text())
    return [Outcome(**{**row, "why": tuple(row["why"])}) for row in rows]


def save(outcomes: Iterable[Outcome]) -> None:
    """Keep it, and write the document."""
    ordered = sorted(outcomes, key=lambda each: (each.row, each.test, each.where))
    rows = [dataclasses.asdict(each) for each in ordered]
    OUTCOMES.write_text(json.dumps(rows, indent=1) + "\n")
    DOCUMENT.write_text(render(ordered))


def render(outcomes: Iterable[Outcome]) -> str:
    """The document."""
    found = list(outcomes)
    lines = [_HEAD.format(as_before=AS_BEFORE)]
    lines += [f"- {each}" for each in sorted({outcome.machine for outcome in found})]
    for section, rows in SECTIONS.items():
        lines += ["", f"## {section}", "", "| | Fault | What is done | Expected | Outcome |"]
        lines += ["|---|---|---|---|---|"]
        for row in rows:
            lines += _table([each for each in found if each.row == row], row)
    return "\n".join([*lines, "", _FOOT])


def _table(outcomes: list[Outcome], row: int) -> Iterable[str]:
    """The lines of a row: one a test."""
    tests = dict.fromkeys(each.test for each in outcomes)
    if not tests:
        yield f"| {row} | {ROWS[row]} | | | **not run** here: it is of the slow suite |"
    name = f"{row} | {ROWS[row]}"
    for test in tests:
        of_it = [each for each in outcomes if each.test == test]
        expect = "as usual" if of_it[0].expect == AS_BEFORE else of_it[0].expect
        result = "; ".join(_cell(each) for each in of_it)
        yield f"| {name} | {of_it[0].title} | {expect} | {result} |"
        name = " | "


def _cell(outcome: Outcome) -> str:
    parts = []
    for how, count in sorted(outcome.cases.items(), key=lambda pair: pair[0] != PASSED):
        times = f" ({count} cases)" if count > 1 else ""
        why = f": {'; '.join(outcome.why)}" if how != PASSED and outcome.why else ""
        parts.append((how if how == PASSED else f"**{how}**") + times + why)
    prefix = "" if outcome.where == HERE else f"{outcome.where}: "
    return prefix + ", ".join(parts)


_HEAD = """\
# Reliability

What an update survives, as found by tests that really do it. This page is written by them:

    python -m pytest tests/faults tests/slow -m "not aarch64" --write-reliability
    python -m pytest tests/faults -m aarch64 --write-reliability

"As usual" is: {as_before}.

Devices are the virtual one (an SSH server in Python), OpenSSH's own server on the same machine, and
"aarch64": the virtual one, whose agent and runtime are those of an arm64 Debian and run under
qemu-user. Packages are signed ones of the example network. The agent is the one that ships: where
it dies at a point, the device's Python counts the calls that the agent makes of the system, and
kills it with SIGKILL at the one that was named. "Cases" are the parameters of a test.

Run on:
"""

_FOOT = """\
## What is not covered

- **Real boards.** No flash, no SD card, no brown-out, no bootloader. The power cuts (rows 10 and
  11) are of an emulated machine with a disk that forgets what was not flushed.
- **The device's clock** (row 40) is set for the agent's process, not for the machine.
- **Files changed by the device's own user.** Everything installed is verified each time before it
  is loaded; the runtimes then open it by its path. Who can write to the store, which only its owner
  and root can, can change a file between the two (row 33). The agent does not defend a user against
  themselves.
- **The kernel's out-of-memory killer.** Row 16 exhausts the address space of the process that
  applies a delta, and kills it as the kernel would; the machine itself does not run out of memory.
- **Names and sizes of file systems** other than ext4, overlay and tmpfs; quotas; network file
  systems.
- **Several workstations with different clocks and keys at once.**
"""
