"""Every command is also a Python function of the same name."""

from __future__ import annotations

import inspect

import pytest

import device_agent
import edgesdk
from edgesdk import api
from edgesdk.cli.main import app

COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_function(name: str) -> None:
    function = getattr(api, name)
    assert inspect.isfunction(function)
    assert function.__doc__


@pytest.mark.parametrize("name", dir(api))
def test_every_listed_name_is_there(name: str) -> None:
    assert getattr(api, name).__name__ == name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = api.nothing


def test_agent_and_workstation_carry_one_version() -> None:
    assert edgesdk.__version__ == device_agent.VERSION
