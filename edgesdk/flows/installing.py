"""A package onto a device: trust first, then the offer, then the bytes; perhaps the commit, too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from device_agent.clock import UNKNOWN
from device_agent.codec import canonical
from device_agent.package_messages import Committed, Installed, Offered
from device_agent.protocol import ErrorCode
from device_agent.trust import OVERRIDE_NAMESPACE, Trust, Untrusted, read_trust
from device_agent.trust_messages import Override, SignedTrust
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.inventory import Device
from edgesdk.errors import AgentError, PackageError
from edgesdk.flows.keys import trust_documents
from edgesdk.flows.session import lack_explained
from edgesdk.flows.signing import ensure_signer
from edgesdk.keys.chain import Document
from edgesdk.package.reading import full_path, read_sealed
from edgesdk.progress import Progress
from edgesdk.values.package import Package

Say = Callable[[str], None]
R = TypeVar("R")
Send = Callable[[Package, Offered, Progress], R]
"""What is asked for with the bytes of a package that was offered."""

_NEEDS_FULL = (ErrorCode.BASE_MISSING, ErrorCode.DELTA_FAILED)


@dataclass(frozen=True, slots=True)
class Permissions:
    """What the user allows beyond the usual.

    Args:
        unsigned: a package without a signature, on a lab device.
        downgrade: a package that is older than what the device had, if a trusted key signs that.
        key: the key that signs it; the usual one unless given.
    """

    unsigned: bool = False
    downgrade: bool = False
    key: str | None = None


def install(
    agent: AgentSession,
    device: Device,
    package: Package,
    progress: Progress,
    *,
    permissions: Permissions,
    say: Say,
) -> Installed:
    """Put a package on trial; one that is current already is left so.

    A device that cannot use a delta gets the full package that lies beside it. One where what had
    come earlier of the package turns out damaged gets that again, once.

    Raises:
        AgentError: the device refuses it.
        PackageError: the device needs the full package, and it is not there.
    """
    enrol_trust(agent, device, say)
    with lack_explained(device, agent.environment, package.manifest.compatibility):
        return _deliver(agent.install, agent, package, progress, permissions, say)


def put(
    agent: AgentSession,
    device: Device,
    package: Package,
    progress: Progress,
    *,
    permissions: Permissions,
    say: Say,
    last: bool = False,
) -> Committed:
    """`install`, and make it the current one if it is healthy.

    Args:
        last: nothing is asked of the agent afterwards.

    Raises:
        AgentError: the device refuses it.
        Unhealthy: it did not pass; the device is as it was before.
        PackageError: the device needs the full package, and it is not there.
    """
    enrol_trust(agent, device, say)
    with lack_explained(device, agent.environment, package.manifest.compatibility):
        send = functools.partial(agent.put, last=last)
        return _deliver(send, agent, package, progress, permissions, say)


def enrol_trust(agent: AgentSession, device: Device, say: Say) -> None:
    """Tell a device whom to believe: the first time as it is, later on what is new since.

    Raises:
        AgentError: it does not take a version that it should.
    """
    state = agent.trust()
    documents = trust_documents()
    if not state.document:
        if not documents:
            ensure_signer(say)
            documents = trust_documents()
        agent.change_trust([_signed(each) for each in documents], lab=device.lab)
        return
    believed = parsed_trust(state.document)
    newer = _newer(believed, state.document, documents)
    if newer is None:
        say(_other_trust(device, believed, documents))
    elif newer:
        agent.change_trust([_signed(each) for each in newer], lab=device.lab)
    if device.lab and not state.lab:
        say(
            f"{device.name} was enrolled before, and not as a lab device; a key that it believes "
            f"makes it one: edgesdk device lab {device.name} on"
        )


def _other_trust(device: Device, believed: Trust, documents: tuple[Document, ...]) -> str:
    keys = ", ".join(key.name for key in believed.keys)
    if documents and believed.version > documents[-1].trust.version:
        return (
            f"{device.name} believes version {believed.version} of the trust ({keys}), and this "
            f"workstation has {documents[-1].trust.version}: take the newer trust folder from "
            "whoever changed it"
        )
    return (
        f"{device.name} was enrolled elsewhere and believes other keys: {keys}; let one of their "
        "owners trust yours (edgesdk key trust), or sign with one of theirs"
    )


def _newer(known: Trust, text: str, documents: tuple[Document, ...]) -> tuple[Document, ...] | None:
    """The versions that the device lacks; None where its own is none of ours."""
    if not any(each.text.decode() == text for each in documents):
        return None
    return tuple(each for each in documents if each.trust.version > known.version)


def parsed_trust(text: str) -> Trust:
    """Whom a device believes, of what it says.

    Raises:
        AgentError: it makes no sense.
    """
    try:
        return read_trust(text.encode())
    except Untrusted as error:
        raise AgentError(
            f"on the device, {error}",
            hint="remove trust.json from ~/.edgesdk there: the next push tells it anew whom to "
            "believe",
        ) from error


def _signed(document: Document) -> SignedTrust:
    return SignedTrust(document.text.decode(), document.signatures.decode())


def _deliver(
    send: Send[R],
    agent: AgentSession,
    package: Package,
    progress: Progress,
    permissions: Permissions,
    say: Say,
) -> R:
    """The package, or what the device needs instead of it."""

    def attempt(wanted: Package) -> R:
        offered = _offer(agent, wanted, permissions, say)
        return send(wanted, offered, progress)

    def attempts(wanted: Package) -> R:
        try:
            return attempt(wanted)
        except AgentError as error:
            if error.code != ErrorCode.RESUME_FAILED:
                raise
            say(f"{error.message}; sending it again")
            return attempt(wanted)

    try:
        return attempts(package)
    except AgentError as error:
        if package.head.delta is None or error.code not in _NEEDS_FULL:
            raise
        say(f"{error.message}; sending the full package instead")
        return attempts(_full(package, error))


def _offer(agent: AgentSession, package: Package, permissions: Permissions, say: Say) -> Offered:
    override = ""
    if permissions.downgrade:
        wanted = canonical(Override(package.manifest.package_id, agent.challenge()))
        signer = ensure_signer(lambda _: None, permissions.key)
        override = signer.sign(wanted, OVERRIDE_NAMESPACE).decode()
    offered = agent.offer(package, allow_unsigned=permissions.unsigned, override=override)
    if offered.expiry == UNKNOWN:
        say(
            f"whether the package has expired ({package.manifest.expires}) is unknown: the "
            "device's clock cannot be right"
        )
    return offered


def _full(package: Package, error: AgentError) -> Package:
    path = package.full or full_path(package.path)
    if not Path(path).is_file():
        raise PackageError(
            f"the device cannot use the delta {package.path} ({error.message}), and the full "
            f"package is not at {path}",
            hint="push the full package",
        ) from error
    full = read_sealed(path)
    if full.manifest.package_id != package.manifest.package_id:
        raise PackageError(
            f"{path} is not the full package of {package.path}: their ids differ",
            hint="build both again",
        ) from error
    return full
