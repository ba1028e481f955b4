"""--fallback as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesdk.cli.options import parse_fallback
from edgesdk.errors import ProjectError, UsageError
from edgesdk.project import load_project


@pytest.mark.parametrize(
    ("text", "causes"),
    [
        ("none", ()),
        ("load", ("load",)),
        ("ood, load", ("load", "ood")),
        ("load,parity,ood", ("load", "parity", "ood")),
    ],
)
def test_causes_are_read_in_one_order(text: str, causes: tuple[str, ...]) -> None:
    assert parse_fallback(text) == causes


@pytest.mark.parametrize("text", ["", "rain", "load,none", "load,load", "load,"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected none, or some of load, parity, ood"):
        parse_fallback(text)


def test_a_project_file_says_it_as_a_list(tmp_path: Path) -> None:
    path = tmp_path / "edgesdk.toml"
    path.write_text('[package]\ninclude_float = true\nfallback = ["load", "ood"]\n')
    assert load_project(path).package.fallback == ("load", "ood")
    path.write_text('[package]\nfallback = ["rain"]\n')
    with pytest.raises(ProjectError) as caught:
        load_project(path)
    assert "found 'rain', expected one of load, parity, ood" in caught.value.details[0]
