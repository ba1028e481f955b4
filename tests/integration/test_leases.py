"""Two users and one board, over real SSH, each a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.flows.leasing import Claim
from edgesdk.flows.session import agent_on
from tests.cli import Cli, Done, this_machine

ANNA, BOB = "anna@desk", "bob@bench"

_USES = """\
import sys
from pathlib import Path
from edgesdk.devices import inventory
from edgesdk.flows.leasing import Claim
from edgesdk.flows.session import agent_on, find_device
with agent_on(find_device("board"), claim=Claim("a long measurement")):
    print("has it", flush=True)
    sys.stdin.read()
"""


class User:
    """Somebody with a workstation of their own, on which the board is enrolled."""

    def __init__(self, name: str, folder: Path, device: Device) -> None:
        folder.mkdir()
        self.cli = Cli(folder)
        self.cli.environment["EDGESDK_OWNER"] = name
        self.cli.enrol(device)

    def __call__(self, *arguments: str) -> Done:
        return self.cli(*arguments)


@pytest.fixture(params=["virtual", "openssh"])
def board(request: pytest.FixtureRequest) -> Device:
    if request.param == "virtual":
        device: VirtualDevice = request.getfixturevalue("virtual_device")
        return device.as_device("board", this_machine())
    served: Callable[[str], Device] = request.getfixturevalue("sshd_device_with")
    return replace(served(""), name="board", target=this_machine(), python=sys.executable)


@pytest.fixture
def anna(board: Device, tmp_path: Path) -> User:
    return User(ANNA, tmp_path / "anna", board)


@pytest.fixture
def bob(board: Device, tmp_path: Path) -> User:
    return User(BOB, tmp_path / "bob", board)


@pytest.fixture
def in_use_by_anna(anna: User) -> Iterator[Callable[[], None]]:
    """Anna's process measures; the callable ends it."""
    with subprocess.Popen(
        [sys.executable, "-c", _USES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=anna.cli.environment,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "has it\n"

        yield process.stdin.close
        process.kill()


def test_a_board_that_one_user_keeps_refuses_another_until_it_is_given_back(
    anna: User, bob: User
) -> None:
    assert (
        anna("device", "lease", "board", "--for", "2h", "--purpose", "a night of tests").code == 0
    )
    refused = bob("bench", "--device", "board")
    assert refused.code == 4
    assert (
        "next: wait for it: --wait 10m; or take it away: edgesdk device release board --force"
        in (refused.err)
    )
    assert "leased by anna@desk (process " in refused.err
    assert ") for a night of tests since 20" in refused.err
    assert " (2 h left)" in refused.err or "min left)" in refused.err
    assert bob("device", "lease", "board", "--for", "1 m").code == 4
    held = bob("device", "release", "board")
    assert held.code == 4
    assert "is kept by anna@desk" in held.err and "--wait" not in held.err
    assert "next: take it away: edgesdk device release board --force" in held.err
    shown = bob("device", "show", "board")
    assert "anna@desk" in shown.out and "a night of tests" in shown.out
    assert anna("device", "release", "board").code == 0
    assert "kept by nobody" in bob("device", "release", "board").out


def test_force_takes_it_away(anna: User, bob: User) -> None:
    anna("device", "lease", "board", "--for", "2h")
    given = bob("device", "release", "board", "--force", "--json")
    assert (given.code, given.json["device"], given.json["released"]["owner"]) == (0, "board", ANNA)
    nothing = bob("device", "release", "board", "--json")
    assert (nothing.code, nothing.json) == (0, {"device": "board", "released": None})
    assert bob("device", "lease", "board", "--for", "30 m", "--json").json["owner"] == BOB


def test_while_one_measures_another_is_refused_and_may_wait(
    in_use_by_anna: Callable[[], None], bob: User
) -> None:
    refused = bob("rollback", "--device", "board")
    assert refused.code == 4
    assert "leased by anna@desk" in refused.err and "for a long measurement" in refused.err
    waiting = bob.cli.start("rollback", "--device", "board", "--wait", "60 s")
    assert waiting.stderr is not None
    assert waiting.stderr.readline() == "visiting board\n"
    assert "waiting for it" in waiting.stderr.readline()
    in_use_by_anna()
    _, err = waiting.communicate(timeout=60)
    assert "leased" not in err and "edgesdk push" in err, "its turn came: there is no package"


def test_waiting_has_an_end(in_use_by_anna: Callable[[], None], bob: User) -> None:
    began_s = time.monotonic()
    refused = bob("rollback", "--device", "board", "--wait", "1 s")
    assert refused.code == 4
    assert "leased by anna@desk" in refused.err
    assert time.monotonic() - began_s < 30


def test_of_two_processes_of_one_user_one_waits(
    in_use_by_anna: Callable[[], None], anna: User
) -> None:
    assert "leased by anna@desk" in anna("rollback", "--device", "board").err


def test_a_user_whose_process_was_killed_holds_nothing(
    virtual_device: VirtualDevice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    device = virtual_device.as_device("board", this_machine())
    anna = User(ANNA, tmp_path / "anna", device)
    with subprocess.Popen(
        [sys.executable, "-c", _USES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=anna.cli.environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    monkeypatch.setenv("EDGESDK_OWNER", BOB)
    with agent_on(device, claim=Claim("tests", wait_s=20)) as agent:
        assert [each.owner for each in agent.leases()] == [BOB]


def test_a_lease_may_be_waited_for(in_use_by_anna: Callable[[], None], bob: User) -> None:
    waiting = bob.cli.start("device", "lease", "board", "--for", "1h", "--wait", "60 s")
    assert waiting.stderr is not None
    assert waiting.stderr.readline() == "visiting board\n"
    assert "waiting for it" in waiting.stderr.readline()
    in_use_by_anna()
    out, _ = waiting.communicate(timeout=60)
    assert "board is yours until " in out
