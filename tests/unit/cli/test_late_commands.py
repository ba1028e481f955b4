"""Facts about the list of commands: it is made without importing them, and says what they say."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from edgesdk.cli import late, main


@pytest.mark.parametrize("name", main._COMMANDS)
def test_the_list_shows_the_first_line_of_each_commands_docstring(name: str) -> None:
    place, summary = main._COMMANDS[name]
    assert (inspect.getdoc(late.find(place)) or "").splitlines()[0] == summary


@pytest.mark.parametrize("name", main._GROUPS)
def test_the_list_shows_each_groups_own_help(name: str) -> None:
    place, summary = main._GROUPS[name]
    assert late.find(place).info.help == summary


def test_help_imports_no_command() -> None:
    code = (
        "import sys\nfrom edgesdk.cli.main import run\nrun(['--help'])\n"
        "print(*(name for name in sys.modules if name.startswith('edgesdk.cli.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stderr.split()) == {
        f"edgesdk.cli.{name}" for name in ("late", "main", "output")
    }
