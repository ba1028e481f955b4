"""docs/reliability.md says what the tests are, and was written by them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.faults import recording
from tests.faults.matrix import AS_BEFORE, ROWS

FILES = sorted(Path(__file__).parent.glob("test_[a-z]_*.py"))
REWRITE = 'run: python -m pytest tests/faults tests/slow -m "not aarch64" --write-reliability'


@pytest.fixture(autouse=True)
def not_while_it_is_written(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("write_reliability", False):
        pytest.skip("it is written when this run has ended")


def marked() -> dict[str, tuple[int, str, str]]:
    """Row, title and expectation of each test of this folder, by its file and name."""
    found = {}
    for path in FILES:
        module = importlib.import_module(f"tests.faults.{path.stem}")
        for name, function in vars(module).items():
            for mark in getattr(function, "pytestmark", []) if name.startswith("test_") else []:
                if mark.name == "fault":
                    fault = {"expect": AS_BEFORE, **mark.kwargs}
                    test = f"tests/faults/{path.name}::{name}"
                    found[test] = (fault["row"], fault["title"], fault["expect"])
    return found


def test_every_row_has_a_test_here_or_in_the_slow_suite() -> None:
    assert {row for row, *_ in marked().values()} == set(ROWS) - {10, 11}


def test_the_document_is_of_these_tests() -> None:
    recorded = {
        each.test: (each.row, each.title, each.expect)
        for each in recording.load()
        if each.test.startswith("tests/faults/")
    }
    assert recorded == marked(), REWRITE


def test_the_document_is_as_the_tests_wrote_it() -> None:
    assert recording.DOCUMENT.read_text() == recording.render(recording.load()), REWRITE


def test_nothing_in_the_document_failed() -> None:
    assert [each.test for each in recording.load() if recording.FAILED in each.cases] == []
