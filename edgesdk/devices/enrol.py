"""Meeting a device for the first time: see its host key, log in, start the agent, store it.

Nothing is trusted on first use here: the caller decides on the fingerprint.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device_agent.environment_messages import Environment
from device_agent.inspection_messages import Inspection
from device_agent.lease_messages import Lease
from edgesdk.choices import DeviceKind
from edgesdk.devices import inventory
from edgesdk.devices.advice import named
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.inventory import Address, Device
from edgesdk.devices.ssh import CONNECT_DEADLINE_S, connect
from edgesdk.devices.ssh_negotiation import end_session, host_key_line, negotiate
from edgesdk.devices.transport import Deadline
from edgesdk.errors import UsageError


@dataclass(frozen=True, slots=True)
class HostKey:
    """The public key of a host.

    Args:
        type: "ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa", ...
        base64: the key itself.
    """

    type: str
    base64: str

    @property
    def line(self) -> str:
        """As files hold it: "ssh-ed25519 AAAA..."."""
        return f"{self.type} {self.base64}"

    @property
    def fingerprint_sha256(self) -> str:
        """As OpenSSH shows it: "SHA256:..."."""
        return inventory.host_key_fingerprint(self.line)


@dataclass(frozen=True, slots=True)
class Visited:
    """An enrolled device and what its agent read there.

    Args:
        leases: whose it is at present.
        inspection: in detail; None where that was not asked for.
    """

    device: Device
    environment: Environment
    leases: tuple[Lease, ...] = ()
    inspection: Inspection | None = None


def fetch_host_key(address: Address, *, deadline_s: float = CONNECT_DEADLINE_S) -> HostKey:
    """The key that whoever answers at `address` proves to hold; no login is tried.

    Ed25519 is preferred where the host has several.

    Raises:
        DeadlineExceeded: silence.
        TransportError: the connection failed.
    """
    session = negotiate(address, "ssh-ed25519", Deadline(deadline_s))
    try:
        kind, _, encoded = host_key_line(session.get_remote_server_key()).partition(" ")
    finally:
        end_session(session)
    return HostKey(kind, encoded)


def enrol(
    path: Path,
    name: str,
    address: Address,
    target: str,
    *,
    confirm: Callable[[HostKey], bool],
    admit: Callable[[Device, AgentSession], None],
    identity_file: str | None = None,
    python: str = "python3",
    lab: bool = False,
    replace: bool = False,
    tags: tuple[str, ...] = (),
    deadline_s: float = CONNECT_DEADLINE_S,
) -> Visited:
    """Store a device in the inventory at `path`, once the agent has started there.

    That is done over the one login with which its host key is pinned.

    Args:
        confirm: shown the host key; true when it is the device's own.
        admit: shown the device before it is stored; raises to refuse it.
        lab: as that of `Device`.
        replace: let a stored device of that name go, whatever differs. What stood in for a board
            does so still.
        tags: as `Device.tags`.
        deadline_s: for the key exchange, and again for the login.

    Raises:
        HostKeyMismatch: the enrolled address answers with another key, and `replace` is false.
        UsageError: the name is enrolled otherwise, and `replace` is false; the key was not
            confirmed; or a field does not hold.
        TransportError: the connection or the login failed; nothing was stored.
        AgentError: the agent does not start there; nothing was stored.
    """
    key = fetch_host_key(address, deadline_s=deadline_s)
    device = Device(
        name=name,
        host=address.host,
        port=address.port,
        user=address.user,
        target=target,
        host_key=key.line,
        identity_file=identity_file,
        python=python,
        lab=lab,
        tags=tags,
    )
    device = dataclasses.replace(device, kind=_kind(path, device))
    if not replace:
        _require_same(path, device)
    if not confirm(key):
        raise UsageError(
            f"the host key of {address} was not confirmed; nothing was stored",
            hint="Compare it on the device: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        )
    with (
        named(device),
        connect(device, deadline_s=deadline_s) as transport,
        AgentSession.open(transport, python=python) as agent,
    ):
        admit(device, agent)
        environment = agent.environment
    inventory.add(path, device, replace=replace)
    return Visited(device, environment)


def _kind(path: Path, device: Device) -> DeviceKind:
    """What a device is: what it was when it had this name, else a board."""
    for stored in inventory.load(path):
        is_it = stored.host_key == device.host_key or stored.address == device.address
        if stored.name == device.name and is_it:
            return stored.kind
    return "board"


def _require_same(path: Path, device: Device) -> None:
    for stored in inventory.load(path):
        if stored.name == device.name:
            inventory.require_same(stored, device)
