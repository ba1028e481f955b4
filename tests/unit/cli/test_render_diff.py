"""Facts about how a difference is shown."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from edgesdk.cli import render_diff
from edgesdk.values.difference import Difference, Explanation, TensorChange

CHANGE = TensorChange("conv/weight", "conv", "int8", (8, 4), 0.5, 3, 1500, "rescaled")
REST = TensorChange("", "", "", (), None, None, 500, "bytes")


def shown(*changes: TensorChange, all_tensors: bool = False) -> str:
    explanation = Explanation("tensors-delta", 2000, 8000, changes)
    text = io.StringIO()
    found = Difference("old.onnx", "new.onnx", {"model": explanation} if changes else {})
    render_diff.difference(Console(file=text, width=160), found, all_tensors)
    return text.getvalue()


def test_the_ratio_to_the_full_file_is_told() -> None:
    text = shown(CHANGE, REST)
    assert "from old.onnx to new.onnx" in text
    assert "1.95 KiB, 0.250 of the 7.81 KiB that the full file takes" in text


def test_a_tensor_has_what_changed_and_what_it_costs() -> None:
    (line,) = (line for line in shown(CHANGE, REST).splitlines() if "conv/weight" in line)
    cells = [cell.strip() for cell in line.split("│")[1:-1]]
    assert cells == [
        *("conv/weight", "conv", "int8[8, 4]", "50.0%", "3", "rescaled", "1.46 KiB", "75.0%"),
    ]


def test_what_is_no_tensor_has_a_line_too() -> None:
    assert "(all that is no tensor)" in shown(CHANGE, REST)


def test_only_the_most_expensive_are_listed_unless_all_are_asked_for() -> None:
    many = [replace(CHANGE, name=f"t{place}") for place in range(30)]
    assert "and 10 more that cost" in shown(*many)
    assert "t29" not in shown(*many)
    assert "t29" in shown(*many, all_tensors=True)


def test_names_with_brackets_are_shown_as_they_are() -> None:
    assert "a[0]" in shown(replace(CHANGE, name="a[0]"))


def test_files_with_nothing_in_common_say_so() -> None:
    assert "no file of the one has its like in the other" in shown()
