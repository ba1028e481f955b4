from __future__ import annotations

import dataclasses
import platform
from pathlib import Path
from typing import Any

import pytest

from edgesdk.devices import inventory
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.enrol import HostKey, enrol, fetch_host_key
from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import AgentError, AuthenticationFailed, UsageError

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILJm5T2tCoqvnzMvFjoTKvtcOHZpMj7gvPJQXpd9eiX2"

pytestmark = pytest.mark.usefixtures("no_thread_outlives_its_test")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "devices.json"


def _yes(_: HostKey) -> bool:
    return True


def _any(_: Device, __: AgentSession) -> None:
    """Whatever it is, it is welcome."""


def _enrol(path: Path, device: VirtualDevice, *, lab: bool = True, replace: bool = False) -> Device:
    return enrol(
        path,
        "board",
        device.address,
        "raspberry-pi-5",
        confirm=_yes,
        admit=_any,
        identity_file=str(device.identity_file),
        lab=lab,
        replace=replace,
    ).device


def as_board(device: VirtualDevice) -> Device:
    return dataclasses.replace(device.as_device("board", "raspberry-pi-5"), kind="board")


def test_the_host_key_is_seen_without_a_login(virtual_device: VirtualDevice) -> None:
    assert fetch_host_key(virtual_device.address).line == virtual_device.host_key
    assert virtual_device.logins == 0


def test_the_host_key_of_openssh(sshd_device: Device) -> None:
    key = fetch_host_key(sshd_device.address)
    assert key.line == sshd_device.host_key
    assert key.fingerprint_sha256 == inventory.host_key_fingerprint(sshd_device.host_key)


def test_a_confirmed_device_is_stored(path: Path, virtual_device: VirtualDevice) -> None:
    enrolled = _enrol(path, virtual_device)
    assert enrolled == as_board(virtual_device)
    assert inventory.load(path) == (enrolled,)


@pytest.mark.parametrize("lab", [False, True])
def test_a_device_of_a_lab_is_stored_as_such(
    path: Path, virtual_device: VirtualDevice, lab: bool
) -> None:
    assert _enrol(path, virtual_device, lab=lab).lab is lab
    assert inventory.load(path)[0].lab is lab


def test_a_key_that_is_not_confirmed_is_not_stored(
    path: Path, virtual_device: VirtualDevice
) -> None:
    shown = []

    def no(key: HostKey) -> bool:
        shown.append(key.fingerprint_sha256)
        return False

    with pytest.raises(UsageError, match="not confirmed"):
        enrol(path, "board", virtual_device.address, "raspberry-pi-5", confirm=no, admit=_any)
    assert shown == [inventory.host_key_fingerprint(virtual_device.host_key)]
    assert virtual_device.logins == 0
    assert inventory.load(path) == ()


def test_a_device_that_does_not_let_us_in_is_not_stored(
    path: Path, virtual_device: VirtualDevice, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("no key")
    with pytest.raises(AuthenticationFailed):
        enrol(
            path,
            "board",
            virtual_device.address,
            "raspberry-pi-5",
            confirm=_yes,
            admit=_any,
            identity_file=str(tmp_path / "key"),
        )
    assert inventory.load(path) == ()


def test_what_the_device_is_decides_before_it_is_stored(
    path: Path, virtual_device: VirtualDevice
) -> None:
    seen: list[str] = []

    def refuse(device: Device, agent: AgentSession) -> None:
        assert inventory.load(path) == ()
        seen.extend((device.name, agent.environment.machine))
        raise AgentError("not this one")

    with pytest.raises(AgentError, match="not this one"):
        enrol(
            path,
            "board",
            virtual_device.address,
            "raspberry-pi-5",
            confirm=_yes,
            admit=refuse,
            identity_file=str(virtual_device.identity_file),
        )
    assert seen == ["board", platform.machine()]
    assert inventory.load(path) == ()
    assert virtual_device.logins == 1


def test_enrolling_twice_is_fine(path: Path, virtual_device: VirtualDevice) -> None:
    assert _enrol(path, virtual_device) == _enrol(path, virtual_device)


def test_a_name_keeps_its_device_unless_replaced(
    path: Path, virtual_device: VirtualDevice, session_virtual_device: VirtualDevice
) -> None:
    first = _enrol(path, virtual_device)
    before = session_virtual_device.logins
    with pytest.raises(UsageError, match="with another address, identity, host key"):
        _enrol(path, session_virtual_device)
    assert session_virtual_device.logins == before
    assert inventory.load(path) == (first,)
    second = _enrol(path, session_virtual_device, replace=True)
    assert inventory.load(path) == (second,)


@pytest.mark.parametrize("changed", [{}, {"host": "localhost"}, {"host_key": OTHER_KEY}])
def test_what_stands_in_for_a_board_does_so_still_when_it_is_enrolled_again(
    path: Path, virtual_device: VirtualDevice, changed: dict[str, Any]
) -> None:
    was = virtual_device.as_device("board", "raspberry-pi-5")
    inventory.add(path, dataclasses.replace(was, **changed))
    assert _enrol(path, virtual_device, replace=True).kind == was.kind == "python"
    assert inventory.load(path) == (was,)


def test_a_board_that_takes_the_name_of_a_stand_in_is_a_board(
    path: Path, virtual_device: VirtualDevice, session_virtual_device: VirtualDevice
) -> None:
    inventory.add(path, session_virtual_device.as_device("board", "raspberry-pi-5"))
    assert _enrol(path, virtual_device, replace=True).kind == "board"
