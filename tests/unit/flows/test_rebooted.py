"""A connection that breaks during a measurement: a board that restarted is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from edgesdk.devices.inventory import Device
from edgesdk.errors import AgentError, DeviceError, TransportError
from edgesdk.flows.rebooted import reboot_named
from tests.unit.report.example import example_environment

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
DEVICE = Device("pi", "192.0.2.7", 22, "pi", "raspberry-pi-5", KEY)
BEFORE = dataclasses.replace(example_environment(), boot_id="first")


def lose(look: Callable[[Device], str], said: list[str], before: str = "first") -> None:
    environment = dataclasses.replace(BEFORE, boot_id=before)
    with reboot_named(DEVICE, environment, said.append, look, lambda _: None):
        raise TransportError("the connection to 192.0.2.7 is gone")


def test_a_board_that_restarted_is_named() -> None:
    said: list[str] = []
    answers = iter([None, None, "second"])

    def look(_: Device) -> str:
        if (found := next(answers)) is None:
            raise TransportError("refused")
        return found

    with pytest.raises(AgentError, match="pi restarted while it was measured") as caught:
        lose(look, said)
    assert (caught.value.code, caught.value.exit_code) == ("rebooted", 4)
    assert said == ["the connection to pi broke: waiting for it to return"]


def test_a_board_that_did_not_restart_lost_only_its_connection() -> None:
    with pytest.raises(TransportError, match="is gone"):
        lose(lambda _: "first", [])


def test_a_board_that_does_not_return_is_not_waited_for_for_ever() -> None:
    looked: list[Device] = []

    def look(device: Device) -> str:
        looked.append(device)
        raise DeviceError("no route")

    with pytest.raises(TransportError, match="is gone"):
        lose(look, [])
    assert len(looked) == 18


def test_a_board_without_a_boot_id_is_not_waited_for() -> None:
    said: list[str] = []
    with pytest.raises(TransportError):
        lose(lambda _: pytest.fail("looked"), said, before="")
    assert said == []


def test_what_is_no_lost_connection_passes() -> None:
    with pytest.raises(ZeroDivisionError), reboot_named(DEVICE, BEFORE, print):
        raise ZeroDivisionError
