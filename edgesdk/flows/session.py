"""From a device's name to a conversation with its agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgesdk.devices import inventory
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.inventory import Device
from edgesdk.devices.ssh import connect


def find_device(name: str) -> Device:
    """The enrolled device of that name.

    Raises:
        UnknownDevice: there is none.
    """
    return inventory.get(inventory.default_path(), name)


@contextmanager
def agent_on(device: Device) -> Iterator[AgentSession]:
    """A session with the agent on a device, ended with the block.

    Raises:
        TransportError: the device cannot be reached, or is not the enrolled one.
        AgentError: the agent does not start there.
    """
    with connect(device) as transport, AgentSession.open(transport, python=device.python) as agent:
        yield agent
