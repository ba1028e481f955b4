"""A connection that breaks during a measurement: a board that restarted is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from edgesdk.devices.conversation.exchange import AGENT_DIED
from edgesdk.devices.inventory import Device
from edgesdk.errors import AgentError, DeviceError, HostKeyMismatch, TransportError
from edgesdk.flows.rebooted import reboot_named
from tests.unit.report.example import example_environment

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
DEVICE = Device("pi", "192.0.2.7", 22, "pi", "raspberry-pi-5", KEY)
BEFORE = dataclasses.replace(example_environment(), boot_id="first")


def lose(look: Callable[[Device], str], said: list[str], before: str = "first") -> None:
    environment = dataclasses.replace(BEFORE, boot_id=before)
    slept: list[float] = [0.0]
    with reboot_named(
        DEVICE, environment, said.append, look, slept.append, clock=lambda: sum(slept)
    ):
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
    with pytest.raises(TransportError) as caught:
        lose(lambda _: "first", [])
    assert caught.value.message == (
        "the connection to 192.0.2.7 is gone; pi is back and did not restart, so there is no result"
    )
    assert caught.value.hint.endswith("run the command again")


def test_a_board_that_does_not_return_is_not_waited_for_for_ever() -> None:
    looked: list[Device] = []

    def look(device: Device) -> str:
        looked.append(device)
        raise DeviceError("no route")

    with pytest.raises(TransportError, match="is gone, and pi did not return within 90 s"):
        lose(look, [])
    assert len(looked) == 45


def test_another_board_at_its_address_is_no_return() -> None:
    looked: list[Device] = []

    def look(device: Device) -> str:
        looked.append(device)
        raise HostKeyMismatch("another key")

    with pytest.raises(HostKeyMismatch):
        lose(look, [])
    assert len(looked) == 1


@pytest.mark.parametrize(
    ("answers", "waits"),
    [(["first", "second"], 1), (["first", "", "", "second"], 2), (["", "", "second"], 0)],
    ids=["at once", "it answered until it was down", "it was down"],
)
def test_an_agent_that_a_restart_ended_is_no_dead_agent(answers: list[str], waits: int) -> None:
    """A system that shuts down ends its programs while it still answers."""
    left, waited = list(answers), list[float]()

    def look(_: Device) -> str:
        if not (found := left.pop(0)):
            raise TransportError("refused")
        return found

    with (
        pytest.raises(AgentError, match="pi restarted while it was measured, and is lost"),
        reboot_named(DEVICE, BEFORE, print, look, waited.append, consequence="and is lost"),
    ):
        raise AgentError("the agent ended", code=AGENT_DIED)
    assert len(waited) == waits


def test_an_agent_that_died_on_a_board_that_did_not_restart_is_told_as_it_is() -> None:
    said: list[str] = []
    with (
        pytest.raises(AgentError, match="the agent ended") as caught,
        reboot_named(DEVICE, BEFORE, said.append, lambda _: "first", lambda _: None),
    ):
        raise AgentError("the agent ended", code=AGENT_DIED)
    assert (caught.value.code, said) == (AGENT_DIED, [])


def test_what_the_agent_refuses_is_no_loss() -> None:
    with (
        pytest.raises(AgentError, match="busy"),
        reboot_named(DEVICE, BEFORE, print, lambda _: pytest.fail("looked")),
    ):
        raise AgentError("busy", code="busy")


def test_a_board_without_a_boot_id_is_not_waited_for() -> None:
    said: list[str] = []
    with pytest.raises(TransportError):
        lose(lambda _: pytest.fail("looked"), said, before="")
    assert said == []


def test_what_is_no_lost_connection_passes() -> None:
    with pytest.raises(ZeroDivisionError), reboot_named(DEVICE, BEFORE, print):
        raise ZeroDivisionError
