"""A lab of virtual devices over real SSH: some dead, some flaky, none stopping the others."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent.manifest import Compatibility
from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.flows.signing import ensure_signer
from edgesdk.testing.fault_proxy import FaultProxy
from tests.cli import DIGITS, Cli, this_machine
from tests.sealed import seal

HERE = Compatibility("here", (), "onnxruntime", "1.14")
CONTENT = {"model": np.random.default_rng(3).bytes(2 * 2**20), "golden": bytes(3000)}


class Lab:
    """A workstation, three virtual devices enrolled on it, and a package."""

    def __init__(self, folder: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cli = Cli(folder)
        self.stack = stack
        monkeypatch.setenv("EDGESDK_HOME", str(self.cli.home))
        self.devices: dict[str, Device] = {}
        for index in (1, 2, 3):
            virtual = stack.enter_context(VirtualDevice(folder / f"device-{index}"))
            device = virtual.as_device(f"board-{index}", this_machine())
            self.enrol(replace(device, tags=("odd",) if index % 2 else ()))
        signer = ensure_signer(lambda _: None)
        path = folder / "x.edgepkg"
        self.package = seal(path, CONTENT, signer=signer, sequence=1, compatibility=HERE)

    def enrol(self, device: Device) -> None:
        self.devices[device.name] = device
        self.cli.enrol(device)

    def behind_a_proxy(self, name: str, **faults: object) -> FaultProxy:
        """Reach a device through a line with faults from now on."""
        device = self.devices[name]
        proxy = FaultProxy(device.host, device.port, **faults)  # type: ignore[arg-type]
        self.stack.enter_context(proxy)
        self.enrol(replace(device, port=proxy.port))
        return proxy

    def push(self, selection: str) -> tuple[int, dict[str, dict[str, object]], str]:
        done = self.cli("push", self.package.path, "--device", selection, "--json")
        return done.code, {each["device"]: each for each in done.json}, done.err


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(tmp_path, stack, monkeypatch)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_a_push_to_all_and_what_is_on_each(lab: Lab) -> None:
    code, ended, err = lab.push("all")
    assert (code, sorted(ended)) == (0, ["board-1", "board-2", "board-3"]), err
    assert all(each["value"]["installed"]["sequence"] == 1 for each in ended.values())  # type: ignore[index]
    shown = lab.cli("device", "installed", "all")
    assert shown.code == 0
    assert shown.out.count("(current)") == 3
    assert "3 of 3 devices: ok" in shown.out


def test_tags_and_patterns_choose(lab: Lab) -> None:
    assert lab.cli("device", "tag", "board-2", "+even", "--json").json["tags"] == ["even"]
    assert sorted(lab.push("tag:odd")[1]) == ["board-1", "board-3"]
    assert sorted(lab.push("board-[12]")[1]) == ["board-1", "board-2"]
    assert list(lab.push("tag:even")[1]) == ["board-2"], "one of a selection is a list of one"
    unknown = lab.cli("push", lab.package.path, "--device", "tag:none")
    assert (unknown.code, "no device has the tag 'none'" in unknown.err) == (3, True)
    assert "even" in lab.cli("device", "ls").out


def test_a_dead_board_is_tried_again_and_stops_no_other(lab: Lab) -> None:
    lab.enrol(replace(lab.devices["board-2"], port=closed_port()))
    code, ended, err = lab.push("all")
    assert code == 4
    assert [ended[f"board-{index}"]["exit_code"] for index in (1, 2, 3)] == [0, 4, 0]
    assert "nothing listens on port" in str(ended["board-2"]["problem"])
    assert ended["board-2"]["attempts"] == 3
    assert "again in" in err


def test_a_flaky_board_that_hangs_up_at_first_is_reached_in_the_end(lab: Lab) -> None:
    lab.behind_a_proxy("board-1", cut_after_bytes=3000, faulty_connections=1)
    code, ended, err = lab.push("all")
    assert code == 0, err
    assert ended["board-1"]["attempts"] == 2
    assert ended["board-3"]["attempts"] == 1


def test_a_push_that_is_cut_in_the_middle_goes_on_where_it_was(lab: Lab) -> None:
    proxy = lab.behind_a_proxy("board-1", cut_after_bytes=1_500_000, faulty_connections=1)
    code, ended, err = lab.push("all")
    assert code == 0, err
    assert (ended["board-1"]["attempts"], proxy.accepted) == (2, 2)


def test_a_rollback_that_is_cut_in_the_middle_is_not_tried_again(lab: Lab) -> None:
    """What it did before the line broke is not known."""
    proxy = lab.behind_a_proxy("board-1", cut_after_bytes=50_000, faulty_connections=1)
    done = lab.cli("rollback", "--device", "board-1,board-2", "--json")
    assert done.code == 4
    first, second = done.json
    assert (first["attempts"], proxy.accepted) == (1, 1)
    assert "was lost" in first["problem"]["message"]
    assert second["problem"]["facts"]["code"] == "not_installed"


def test_a_board_that_is_leased_is_left_out(lab: Lab) -> None:
    lab.cli.environment["EDGESDK_OWNER"] = "anna@desk"
    lab.cli("device", "lease", "board-2", "--for", "1h")
    lab.cli.environment["EDGESDK_OWNER"] = "bob@bench"
    code, ended, _ = lab.push("all")
    assert code == 4
    assert [ended[f"board-{index}"]["exit_code"] for index in (1, 2, 3)] == [0, 4, 0]
    assert "leased by anna@desk" in str(ended["board-2"]["problem"])


def test_without_a_terminal_each_board_has_its_lines_and_the_table_comes_last(lab: Lab) -> None:
    lab.enrol(replace(lab.devices["board-2"], port=closed_port()))
    done = lab.cli("push", lab.package.path, "--device", "all")
    assert "board-1 done" in done.err
    assert "board-2 failed: nothing listens on port" in done.err
    assert "2 of 3 devices: ok" in done.out
    assert "next, for board-2: " in done.out


def test_the_doctor_sees_all_and_what_makes_no_sense_with_many_is_refused(lab: Lab) -> None:
    told = lab.cli("device", "doctor", "all", "--json")
    assert [each["device"] for each in told.json] == ["board-1", "board-2", "board-3"]
    assert told.code == max(each["exit_code"] for each in told.json)
    assert "3 devices" in lab.cli("device", "show", "board-*").out
    refused = lab.cli("bench", "--device", "all", "--sustained", "1s")
    assert (refused.code, "expected one device" in refused.err) == (2, True)


def test_a_single_device_is_as_ever(lab: Lab) -> None:
    done = lab.cli("push", lab.package.path, "--device", "board-1", "--json")
    assert done.json["installed"]["sequence"] == 1


def test_boards_are_leased_and_given_back_together(lab: Lab) -> None:
    lab.enrol(replace(lab.devices["board-2"], port=closed_port()))
    leased = lab.cli("device", "lease", "all", "--for", "1h", "--purpose", "a night of tests")
    assert leased.code == 4
    assert leased.out.count("yours until ") == 2
    assert "2 of 3 devices: ok" in leased.out
    given = lab.cli("device", "release", "tag:odd", "--json")
    assert [each["value"]["purpose"] for each in given.json] == ["a night of tests"] * 2
    assert "was kept by nobody" in lab.cli("device", "release", "board-1,board-3").out


def test_boards_are_tagged_together(lab: Lab) -> None:
    assert lab.cli("device", "tag", "all", "+rack-7", "-odd").code == 0
    assert sorted(lab.push("tag:rack-7")[1]) == ["board-1", "board-2", "board-3"]
    named = lab.cli("push", lab.package.path, "--device", "rack-7")
    assert (named.code, "it is a tag: tag:rack-7 means the 3 that have it" in named.err) == (
        3,
        True,
    )


@pytest.mark.parametrize("command", [("push",), ("bench", "--package")])
def test_a_package_that_cannot_be_read_is_told_once_and_no_board_is_asked(
    lab: Lab, command: tuple[str, ...]
) -> None:
    proxy = lab.behind_a_proxy("board-1")
    done = lab.cli(*command, "none.edgepkg", "--device", "all")
    assert (done.code, proxy.accepted) == (3, 0)
    assert done.err.count("none.edgepkg cannot be read") == 1


def test_data_that_cannot_be_read_are_told_once_and_no_board_is_asked(lab: Lab) -> None:
    proxy = lab.behind_a_proxy("board-1")
    model = DIGITS / "digits.onnx"
    done = lab.cli("eval", "--device", "all", "--dataset", "none.npz", "--model", model)
    assert (done.code, proxy.accepted) == (3, 0)
    assert done.err.count("none.npz cannot be read") == 1 and "board-1" not in done.err


def test_the_same_advice_is_given_once_and_commands_in_it_can_be_pasted(lab: Lab) -> None:
    port = closed_port()
    for name in ("board-1", "board-2"):
        lab.enrol(replace(lab.devices[name], port=port))
    lab.enrol(replace(lab.devices["board-3"], host_key=lab.devices["board-1"].host_key))
    done = lab.cli("device", "installed", "all")
    assert "next, for board-1, board-2: Is the SSH server" in done.out
    (advice,) = [line for line in done.out.splitlines() if "next, for board-3" in line]
    command = shlex.split(advice.rpartition("enrol it again: ")[2])
    again = lab.cli(*command[1:], "--yes")
    assert again.code == 0, again.err
    assert lab.cli("device", "installed", "board-3").code == 0
    assert lab.cli("device", "ls", "--json").json[2]["tags"] == ["odd"]


def test_what_paramiko_has_to_say_of_a_broken_line_is_not_said_beside_it(lab: Lab) -> None:
    lab.behind_a_proxy("board-1", cut_after_bytes=50_000)
    done = lab.cli("rollback", "--device", "board-1,board-2")
    assert "board-1 failed: the connection to" in done.err
    assert "paramiko" not in done.err and "Errno" not in done.err + done.out
