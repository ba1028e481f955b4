"""What many devices say together."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgesdk.cli import many
from edgesdk.flows.many import Standing, State

NEEDED = "to see a drop of {} points with 95 % confidence, {} samples are needed"


def test_what_concerns_the_data_is_said_once_for_each_gate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say = many.say_once()
    for bound, samples in ((1, 800), (1, 750), (0.5, 3000), (1, 800)):
        say(NEEDED.format(bound, samples))
    said = capsys.readouterr().err.splitlines()
    assert said == [NEEDED.format(1, 800), NEEDED.format(0.5, 3000)]


def test_the_live_table_has_a_line_for_each_device_and_those_at_work_first() -> None:
    board = many.Board()
    for index in range(50):
        state: State = "running" if index in (7, 31) else "failed" if index == 40 else "done"
        board.watch(Standing(f"board-{index}", state, "the device is leased by anna" * 5))
    lines = drawn(board, 60, 12)
    assert len(lines) <= 12 - 1 and all(len(line) <= 60 for line in lines)
    rows = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert rows[:3] == ["board-7", "board-31", "board-40"]
    assert rows[-1] == "and 44 more" and "44 done" in lines[-2]


def test_where_all_fit_none_is_left_out() -> None:
    board = many.Board()
    for index in range(7):
        board.watch(Standing(f"board-{index}", "done"))
    assert len([line for line in drawn(board, 60, 12) if "board-" in line]) == 7


def drawn(board: many.Board, width: int, height: int) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width, height=height).print(board.table(width, height))
    return text.getvalue().splitlines()
