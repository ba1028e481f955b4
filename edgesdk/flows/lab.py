"""Whether a device is one of a lab, which may take unsigned packages; changed by signature only."""

from __future__ import annotations

from dataclasses import replace

from device_agent.codec import canonical
from device_agent.trust import LAB_NAMESPACE, Trust
from device_agent.trust_messages import LabMode
from edgesdk.devices import inventory
from edgesdk.devices.inventory import Device
from edgesdk.errors import SigningError
from edgesdk.flows.installing import enrol_trust, parsed_trust
from edgesdk.flows.keys import Say, own_keys, workstation_clock
from edgesdk.flows.session import agent_on, find_device
from edgesdk.keys import ring
from edgesdk.keys.signing import open_signer


def set_lab(name: str, lab: bool, *, say: Say = lambda _: None) -> Device:
    """Let a device take unsigned packages when asked to, or never more.

    It obeys the signatures of as many of its trusted keys as a change of the trust takes. It keeps
    what it has.

    Args:
        say: told which keys could not sign.

    Raises:
        UnknownDevice: there is none of that name.
        SigningError: too few of the keys that the device believes are yours.
        AgentError: the device does not believe them.
        TransportError: it cannot be reached.
    """
    device = replace(find_device(name), lab=lab)
    with agent_on(device) as agent:
        # A new device, too, becomes one by signature.
        enrol_trust(agent, replace(device, lab=False), say)
        state = agent.trust()
        if state.lab != lab:
            wanted = canonical(LabMode(lab, agent.challenge()))
            agent.set_lab(lab, _signatures(device, parsed_trust(state.document), wanted, say))
    inventory.add(inventory.default_path(), device, replace=True)
    return device


def _signatures(device: Device, trust: Trust, message: bytes, say: Say) -> bytes:
    """By as many of this user's keys as the device wants."""
    signatures: list[bytes] = []
    for key in own_keys():
        if ring.key_state(key.public_key, trust, None, workstation_clock()) != "trusted":
            continue
        try:
            signatures.append(open_signer(key.path).sign(message, LAB_NAMESPACE))
        except SigningError as error:
            say(f"{key.name} did not sign: {error.message}")
        if len(signatures) == trust.threshold:
            return b"".join(signatures)
    names = ", ".join(key.name for key in trust.keys if not key.revoked)
    raise SigningError(
        f"{device.name} wants the signatures of {trust.threshold} of its keys ({names}), and "
        f"{len(signatures)} can sign here",
        hint="run it where those keys are; `edgesdk key ls` lists yours",
    )
