"""Tables at the widths of terminals, and where there is none: nothing is torn in the middle."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from edgesdk.cli import render_doctor, render_lab, render_runs
from edgesdk.cli.tables import NAMES, SENTENCES, Column, Listing
from edgesdk.devices.inventory import Device
from edgesdk.devices.last_seen import Seen
from edgesdk.values.outcome import Outcome, Problem
from edgesdk.values.run import RunHead
from edgesdk.values.sweep import Made, Measured, Swept

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
BUSY = (
    "the device is leased by anna@workstation-7 (process 4711) for a night of tests since "
    "2026-11-26T08:16:40Z until 2026-11-26T10:16:40Z (1.5 h left)"
)
WIDTHS = [60, 80, 120]
LEFT_OUT = "no room for: "


def runs(console: Console) -> None:
    render_runs.runs(
        console,
        [
            RunHead(
                number=number,
                sha256="3fa9c2d1" * 8,
                created="2026-11-26T14:58:03+00:00",
                command="deploy",
                device=f"raspberry-pi-5-bench-{number}",
                kind="python",
                target="raspberry-pi-5",
                package="mobilenet-v2",
                version="2026.11.26",
                package_id="0" * 64,
                data_sha256="0" * 64,
                outcome="fail",
                stamp="doubtful",
                p50_ns=12_345_678.0,
                drop_points=-0.25,
                steady_p90_ns=13_000_000.0,
                gave_way_s=None,
                baseline=number == 7,
            )
            for number in (7, 1012)
        ],
        {},
    )


def outcomes(console: Console) -> None:
    busy = Problem("AgentError", BUSY, "wait for it: --wait 10m", (), 4)
    render_lab.outcomes(
        console,
        [
            Outcome("raspberry-pi-5-bench-1", "p50 12.3 ms, accuracy drop", None, 0, 1, 12.5),
            Outcome("rubik-2", None, busy, 4, 3, 103.25),
        ],
        str,
    )


def sweep(console: Console) -> None:
    made = Made("x.edgepkg", "0" * 64, 4_000_000, 1_100_000, 1_200_000, 31.5, 0.97)
    measured = Measured("raspberry-pi-5-bench-1", True, "fail", 1, 12_345_678.0, 1.25, None)
    lost = Problem("ModelError", "found 3 dynamic axes, expected none: images[batch]", "", (), 3)
    render_lab.sweep(
        console,
        [
            Swept("models/mobilenet-v2.onnx", "raspberry-pi-5", made, None, (measured,), 1, 60.0),
            Swept("models/other.onnx", "jetson-orin-nano-super", None, lost, (), 3, 1.0),
        ],
    )


def devices(console: Console) -> None:
    able = Seen("2026-11-26T14:58:03Z", KEY, "a board", "Linux", False, ("cores", "package-room"))
    device = Device(
        *("raspberry-pi-5-bench-1", "bench-1.lab.example", 2222, "pi", "raspberry-pi-5", KEY),
        tags=("lab-a", "shelf-2", "pi5"),
    )
    render_doctor.listed(console, [(device, able), (device, None)])


TABLES = {each.__name__: each for each in (runs, outcomes, sweep, devices)}
WHOLE = {
    "runs": ["7-3fa9c2d1", "1012-3fa9c2d1", "raspberry-pi-5-bench-7", "12.3 ms"],
    "outcomes": ["raspberry-pi-5-bench-1", "rubik-2", "exit 4", "anna@workstation-7"],
    "sweep": ["mobilenet-v2.onnx", "raspberry-pi-5", "jetson-orin-nano-super", "1.05 MiB"],
    "devices": ["raspberry-pi-5-bench-1", "shelf-2", "package-room"],
}
OF_COLUMNS = {
    "tries": ["3"],
    "time": ["12.5 s", "103.2 s"],
    "made": ["2026-11-26 14:58Z"],
    "drop": ["-0.25"],
    "SQNR": ["31.5 dB"],
    "package": [],
    "address": ["pi@bench-1.lab.example:2222"],
}
"""What is in one piece wherever its column is shown."""


def printed(table: Callable[[Console], None], width: int, *, terminal: bool = True) -> list[str]:
    text = io.StringIO()
    console = Console(
        file=text, width=width, force_terminal=terminal, color_system=None, highlight=False
    )
    table(console)
    assert console.width == width
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.getvalue().splitlines()]


def in_the_table(lines: list[str]) -> list[str]:
    return [line for line in lines if line[:1] in "┏┃┡│└"]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", TABLES)
def test_names_and_numbers_are_in_one_piece(name: str, width: int) -> None:
    lines = printed(TABLES[name], width)
    for text in WHOLE[name]:
        assert any(text in line for line in lines), "\n".join(lines)
    heads = lines[1]
    for title, texts in OF_COLUMNS.items():
        if f" {title} " in heads:
            assert all(any(text in line for line in lines) for text in texts), "\n".join(lines)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    table = in_the_table(printed(TABLES[name], width))
    assert table and all(len(line) <= width for line in table), "\n".join(table)
    assert len({len(line) for line in table}) == 1, "no row is torn"


@pytest.mark.parametrize("name", TABLES)
def test_at_60_columns_names_are_whole_or_cut_with_a_sign_of_it(name: str) -> None:
    table = "\n".join(in_the_table(printed(TABLES[name], 60)))
    for text in WHOLE[name]:
        words = [text, *(text[:cut] + "…" for cut in range(3, len(text)))]
        assert any(word in table for word in words), table


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_what_there_is_no_room_for_is_said(name: str, width: int) -> None:
    lines = printed(TABLES[name], width)
    everything = printed(TABLES[name], 400)[1]
    titles = [each.strip() for each in everything.strip("┃").split("┃")]
    said = [line.removeprefix(LEFT_OUT) for line in lines if line.startswith(LEFT_OUT)]
    shown = [each.strip() for each in lines[1].strip("┃").split("┃")]
    assert sorted([*shown, *", ".join(said).split(", ")]) == sorted([*titles, *[""] * (not said)])


def test_sentences_are_folded_between_words() -> None:
    lines = in_the_table(printed(outcomes, 80))
    told = " ".join(line.split("│")[3].strip() for line in lines if line.startswith("│"))
    assert BUSY in " ".join(told.split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_where_there_is_no_terminal_each_row_is_one_whole_line(name: str, width: int) -> None:
    lines = printed(TABLES[name], width, terminal=False)
    assert not any(line.startswith(LEFT_OUT) or "…" in line for line in lines)
    rows = [line for line in lines if line.startswith("│")]
    assert len(rows) == {"sweep": 3}.get(name, 2), "\n".join(lines)
    for text in WHOLE[name]:
        assert any(text in line for line in rows)


def test_a_number_stays_with_its_unit() -> None:
    for width in range(20, 60):
        listing = Listing(Column("what", fold=SENTENCES))
        listing.add("fail, p50 12.3 ms, accuracy drop 1.25 points, in 3 s")
        text = "\n".join(printed(listing.show, width))
        assert all(each in text for each in ("12.3 ms,", "1.25 points,", "3 s")), text


@pytest.mark.parametrize(("fold", "shown"), [(NAMES, "…"), (SENTENCES, "x")])
def test_a_long_word_of_a_sentence_is_broken_and_a_name_is_cut(fold: int, shown: str) -> None:
    listing = Listing(Column("what", fold=fold))
    listing.add("a" * 60 + "x")
    assert shown in "\n".join(printed(listing.show, 40))


def test_what_a_device_says_is_not_markup() -> None:
    listing = Listing(Column("device"), Column("what", fold=SENTENCES))
    listing.add("a", "[red]images[batch]\x1b[2J")
    assert any(
        "[red]images[batch]\N{REPLACEMENT CHARACTER}[2J" in x for x in printed(listing.show, 80)
    )


def test_a_table_without_rows_has_its_head() -> None:
    assert "device" in printed(Listing(Column("device")).show, 80)[1]
