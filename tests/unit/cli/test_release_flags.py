"""The options of a release: the same for every command that makes a package."""

from __future__ import annotations

import inspect

import pytest

from edgesdk.cli import commands, deploy
from edgesdk.cli.groups import ReleaseFlags
from edgesdk.values.package import Release

PROJECT = Release(
    name="digits",
    version="7",
    sequence=3,
    min_sequence=2,
    expires="2099-01-01",
    boards=("Raspberry Pi 5",),
    include_float=True,
    max_latency="20 ms",
    health_command=("./check", "-v"),
    fallback=("load",),
)


def test_without_a_flag_a_release_is_the_project_s() -> None:
    assert ReleaseFlags().on(PROJECT) == PROJECT


def test_flags_lie_on_top_of_the_project() -> None:
    flags = ReleaseFlags(
        name="faces",
        version="8",
        sequence=0,
        min_sequence=0,
        expires="2098-01-01",
        board=["Jetson"],
        health_latency="30 ms",
        health_command="./other --name 'a b'",
        fallback="none",
    )
    assert flags.on(PROJECT) == Release(
        name="faces",
        version="8",
        sequence=0,
        min_sequence=0,
        expires="2098-01-01",
        boards=("Jetson",),
        include_float=True,
        max_latency="30 ms",
        health_command=("./other", "--name", "a b"),
        fallback=(),
    )
    assert ReleaseFlags(include_float=True).on(Release()).include_float


@pytest.mark.parametrize("command", [commands.package, deploy.deploy])
def test_a_command_takes_each_of_them_by_its_own_name(command: object) -> None:
    parameters = inspect.signature(command).parameters  # type: ignore[arg-type]
    assert "release" not in parameters
    for name, annotation in ReleaseFlags.__annotations__.items():
        assert parameters[name].annotation == annotation
        assert parameters[name].default == ReleaseFlags._field_defaults[name]
