"""From one model to verdicts on many devices: made once a target, measured on each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from edgesdk.devices.virtual import VirtualDevice
from tests.cli import CALIBRATION, DIGITS, Cli, Done, this_machine


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """Two boards of this machine's kind, and one that is enrolled as another's."""
    cli = Cli(tmp_path)
    with ExitStack() as stack:
        for index in (1, 2, 3):
            virtual = stack.enter_context(VirtualDevice(tmp_path / f"device-{index}"))
            target = "raspberry-pi-5" if index == 3 else this_machine()
            device = virtual.as_device(f"board-{index}", target)
            cli.enrol(replace(device, tags=("here",) if index < 3 else ()))
        yield cli


def deploy(cli: Cli, selection: str, *more: str) -> Done:
    return cli(
        *("deploy", DIGITS / "digits.onnx", "--device", selection, "--calibration", CALIBRATION),
        *("-o", "out", "--seconds", "0.2", "--json", *more),
    )


def test_it_is_made_once_and_judged_on_each(cli: Cli) -> None:
    done = deploy(cli, "tag:here")
    assert done.code == 0, done.err
    reports = [each["value"] for each in done.json]
    assert [each["results"]["device"]["name"] for each in reports] == ["board-1", "board-2"]
    assert len({each["package"]["id"] for each in reports}) == 1
    out = cli.folder / "out"
    assert json.loads((out / "board-2" / "report.json").read_text()) == reports[1]
    assert sorted(path.name for path in out.iterdir()) == ["board-1", "board-2", this_machine()]
    again = deploy(cli, "tag:here")
    assert {each["value"]["package"]["sequence"] for each in again.json} == {2}


def test_a_board_of_another_target_is_refused_and_one_that_is_not_what_it_says(cli: Cli) -> None:
    done = deploy(cli, "all", "--target", this_machine())
    assert done.code == 3
    assert [each["exit_code"] for each in done.json] == [0, 0, 3]
    told = done.json[2]["problem"]["message"]
    assert told == f"the device is enrolled as raspberry-pi-5, and {this_machine()} was asked for"
    alone = deploy(cli, "board-3,board-3")
    assert alone.code == 4
    assert "the target raspberry-pi-5 is" in alone.json[0]["problem"]["message"]
    assert not (cli.folder / "out" / "raspberry-pi-5").exists(), "nothing was made for nobody"


def test_a_board_that_is_leased_is_left_out_before_anything_is_made(cli: Cli) -> None:
    cli.environment["EDGESDK_OWNER"] = "anna@desk"
    cli("device", "lease", "board-1", "--for", "1h")
    cli.environment["EDGESDK_OWNER"] = "bob@bench"
    done = deploy(cli, "tag:here")
    assert [each["exit_code"] for each in done.json] == [4, 0]
    assert "leased by anna@desk" in done.json[0]["problem"]["message"]


def test_a_model_that_cannot_be_made_is_the_problem_of_each(cli: Cli) -> None:
    done = cli(
        *("deploy", cli.folder / "none.onnx", "--device", "tag:here"),
        *("--calibration", CALIBRATION, "-o", "out", "--json"),
    )
    assert done.code == 3
    assert [each["problem"]["type"] for each in done.json] == ["ModelError", "ModelError"]
