"""Facts about how the doctor's word is shown, to people and to pipes."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from device_agent.inspection_messages import Unread
from edgesdk.cli import render_doctor
from edgesdk.values.doctor import Diagnosis, Finding
from tests.unit.doctor.examined_boards import examined

CLOCK = Finding("clock", "warning", "the clock is wrong", "-90 s", "within 60 s", "set it")
STORE = Finding("store", "error", "nothing can be kept", "[read-only]", "writable", "mount it")
SWAP = Finding("swap", "note", "there is no swap", "none", "some")


def diagnosis(
    root: Path, *findings: Finding, package: str = "", virtual: bool = False
) -> Diagnosis:
    found = examined("raspberry-pi-5", root)
    able = all(each.severity != "error" for each in findings)
    return Diagnosis(
        *("bench-3", "raspberry-pi-5", package, virtual, able, findings),
        *(found.environment, found.inspection),
    )


def shown(told: Diagnosis, *, terminal: bool = False) -> str:
    text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    console = Console(file=text, width=200, force_terminal=terminal, color_system=None)
    render_doctor.diagnosis(console, told)
    text.flush()
    text.seek(0)
    return text.read()


def test_a_device_without_a_finding(tmp_path: Path) -> None:
    assert shown(diagnosis(tmp_path)) == "ok: bench-3 can do what its target raspberry-pi-5 asks\n"


def test_findings_with_what_to_do_and_the_verdict_last(tmp_path: Path) -> None:
    told = shown(diagnosis(tmp_path, STORE, CLOCK, SWAP, package="digits 1.0"))
    assert told.splitlines() == [
        "error: nothing can be kept (store)",
        "    found [read-only]; expected writable",
        "    mount it",
        "warning: the clock is wrong (clock)",
        "    found -90 s; expected within 60 s",
        "    set it",
        "note: there is no swap (swap)",
        "error: bench-3 cannot do what its target raspberry-pi-5 and package digits 1.0 ask: "
        "1 error, 1 warning, 1 note",
    ]


def test_warnings_do_not_keep_a_device_from_its_work(tmp_path: Path) -> None:
    told = shown(diagnosis(tmp_path, CLOCK, SWAP, SWAP)).splitlines()[-1]
    assert told == ("ok: bench-3 can do what its target raspberry-pi-5 asks (1 warning, 2 notes)")


def test_a_virtual_device_is_called_one(tmp_path: Path) -> None:
    told = shown(diagnosis(tmp_path, virtual=True))
    assert told.startswith("ok: bench-3 (virtual: its hardware was not compared) can do")


def test_people_see_signs(tmp_path: Path) -> None:
    told = shown(diagnosis(tmp_path, STORE, CLOCK, SWAP), terminal=True)
    starts = [line[0] for line in told.splitlines() if not line.startswith(" ")]
    assert starts == ["✗", "!", "-", "✗"]
    assert shown(diagnosis(tmp_path / "b"), terminal=True).startswith("✓ bench-3 can do")


def test_what_could_not_be_read_is_said(tmp_path: Path) -> None:
    found = examined("coral-dev-board-mini", tmp_path)
    inspection = replace(found.inspection, unread=(Unread("power mode", "there is no /x"),))
    text = io.StringIO()
    render_doctor.details(Console(file=text, width=200), found.environment, inspection)
    told = text.getvalue()
    assert "  not readable: power mode: there is no /x" in told
    assert "  cores      4x Cortex-A35" in told
    assert "runtime version 14, package 15.0" in told
    assert "/dev/bus/usb/001/003 of group root, usable by pi" in told
    assert "(ext4, eMMC)" in told
