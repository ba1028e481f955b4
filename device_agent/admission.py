"""Whether a package may be installed here, by its head alone. Pure: everything comes as a value."""

from __future__ import annotations

from typing import Optional, Tuple

from device_agent.archive import Head, package_bytes
from device_agent.clock import Clock
from device_agent.codec import canonical
from device_agent.environment_messages import RuntimeVersion
from device_agent.failures import AgentFailure
from device_agent.manifest import Manifest, is_at_least, runs_on
from device_agent.package_messages import Offer
from device_agent.protocol import ErrorCode
from device_agent.records import record
from device_agent.state import State
from device_agent.trust import (
    DELTA_NAMESPACE,
    OVERRIDE_NAMESPACE,
    PACKAGE_NAMESPACE,
    Trust,
    Untrusted,
    require_signed,
)
from device_agent.trust_messages import Override


@record(frozen=True)
class Circumstances:
    """What the device is, and whom it believes.

    Args:
        machine: as `platform.machine()` says.
        board: what the board calls itself; None where it does not.
        runtimes: that the agent's Python has.
        trust: None on a device that was never enrolled.
        lab: it may take unsigned packages when asked to.
        nonce: of this session's `Challenge`; "" where none was asked for.
    """

    machine: str
    board: Optional[str]
    runtimes: Tuple[RuntimeVersion, ...]
    clock: Clock
    trust: Optional[Trust]
    lab: bool
    nonce: str = ""


@record(frozen=True)
class Admitted:
    """It may.

    Args:
        signed_by: name of the key; "" where it is unsigned.
        expiry: "none", "valid" or "unknown".
        downgrade: only because of a signed override.
    """

    signed_by: str
    expiry: str
    downgrade: bool


def admit(head: Head, offer: Offer, state: State, device: Circumstances) -> Admitted:
    """Judge a package before any of its files travel.

    Raises:
        AgentFailure: "untrusted", "expired", "downgrade", "incompatible", "no_runtime" or
            "over_budget", whichever comes first in this order.
    """
    manifest = head.manifest
    signed_by = _signer(head, offer, device)
    expiry = _expiry(manifest, device.clock)
    downgrade = _is_downgrade(manifest, offer, state, device)
    check_device(manifest, device)
    check_limits(head)
    return Admitted(signed_by, expiry, downgrade)


def check_device(manifest: Manifest, device: Circumstances) -> None:
    """Refuse a package that was made for another device.

    Raises:
        AgentFailure: "incompatible" or "no_runtime".
    """
    wanted = manifest.compatibility
    made_for = f"the package was made for {wanted.target}: convert for this device"
    if not runs_on(device.machine, wanted.architectures):
        raise AgentFailure(
            ErrorCode.INCOMPATIBLE,
            f"found a device with {device.machine}, expected {' or '.join(wanted.architectures)}",
            made_for,
        )
    board = device.board or ""
    if wanted.boards and not any(board.startswith(name) for name in wanted.boards):
        raise AgentFailure(
            ErrorCode.INCOMPATIBLE,
            f"found the board {board or 'without a name'}, expected {' or '.join(wanted.boards)}",
            made_for,
        )
    versions = [found.version for found in device.runtimes if found.runtime == wanted.runtime]
    if not any(is_at_least(version, wanted.runtime_min_version) for version in versions):
        found = f"{wanted.runtime} {' and '.join(versions)}" if versions else "no such runtime"
        raise AgentFailure(
            ErrorCode.NO_RUNTIME,
            f"found {found}, expected {wanted.runtime} {wanted.runtime_min_version} or newer",
            "install or update it for that Python on the device, or name another Python",
        )


def check_limits(head: Head) -> None:
    """Refuse a package that takes more room than it may.

    Raises:
        AgentFailure: "over_budget".
    """
    limits, travels = head.manifest.limits, package_bytes(head)
    checked = (
        ("to install", head.manifest.raw_bytes, limits.installed_bytes),
        ("in the package", travels, limits.package_bytes if head.delta is None else None),
        ("in the delta package", travels, limits.delta_bytes if head.delta is not None else None),
    )
    for what, actual, limit in checked:
        if limit is not None and actual > limit:
            raise AgentFailure(
                ErrorCode.OVER_BUDGET, f"found {actual} bytes {what}, expected at most {limit}"
            )


def _signer(head: Head, offer: Offer, device: Circumstances) -> str:
    """Name of the key that signed the package, and its delta if it is one; "" if unsigned."""
    if not head.signatures:
        _refuse_unsigned(offer, device)
        return ""
    if device.trust is None:
        raise AgentFailure(
            ErrorCode.UNTRUSTED,
            "found a signed package on a device that was not told whom to believe",
            "tell it: trust-local TRUST.json, on the device; or push to it over SSH once",
        )
    try:
        key = require_signed(
            device.trust, canonical(head.manifest), head.signatures, PACKAGE_NAMESPACE, device.clock
        )
        if head.delta is not None:
            require_signed(
                device.trust,
                canonical(head.delta),
                head.delta_signatures,
                DELTA_NAMESPACE,
                device.clock,
            )
    except Untrusted as error:
        raise _untrusted(error) from error
    return key.name


def _refuse_unsigned(offer: Offer, device: Circumstances) -> None:
    if not device.lab:
        raise AgentFailure(
            ErrorCode.UNTRUSTED,
            "found a package without a signature, and this device is not enrolled as a lab device",
            "sign it: edgesdk package ... --key NAME; or make the device one of a lab: "
            "edgesdk device lab DEVICE on",
        )
    if not offer.allow_unsigned:
        raise AgentFailure(
            ErrorCode.UNTRUSTED,
            "found a package without a signature",
            "sign it (edgesdk package ... --key NAME), or on a lab device allow it: "
            "--allow-unsigned",
        )


def _expiry(manifest: Manifest, clock: Clock) -> str:
    if manifest.expires is None:
        return "none"
    judged = clock.judge(manifest.expires)
    if judged == "expired":
        raise AgentFailure(
            ErrorCode.EXPIRED,
            f"the package expired on {manifest.expires}",
            "push a newer one; if the device's clock is wrong, set it",
        )
    return judged


def _is_downgrade(manifest: Manifest, offer: Offer, state: State, device: Circumstances) -> bool:
    """Whether it is one that a signed override allows.

    Two packages of one sequence would follow one another in either order, so an old one could be
    brought back; only on a lab device, where the same thing is tried again and again, may they.
    """
    slot = state.slot(manifest.name)
    if slot is None or manifest.package_id == slot.current:
        return False
    lowest = max(slot.sequence + (0 if device.lab else 1), slot.min_sequence)
    again = manifest.package_id == slot.previous
    if manifest.sequence >= (max(slot.sequence, slot.min_sequence) if again else lowest):
        return False
    if not offer.override:
        raise AgentFailure(
            ErrorCode.DOWNGRADE,
            f"found sequence {manifest.sequence} of {manifest.name}, expected at least {lowest}: "
            f"the device has had another package with {slot.sequence}",
            f"build it with --sequence {lowest}, go back with edgesdk rollback, or push with "
            "--downgrade and a trusted key",
        )
    _require_override(manifest, offer, device)
    return True


def _require_override(manifest: Manifest, offer: Offer, device: Circumstances) -> None:
    if not device.nonce or device.trust is None:
        raise AgentFailure(ErrorCode.UNTRUSTED, "found an override without a challenge")
    wanted = canonical(Override(manifest.package_id, device.nonce))
    try:
        require_signed(
            device.trust,
            wanted,
            offer.override.encode("utf-8", "replace"),
            OVERRIDE_NAMESPACE,
            device.clock,
        )
    except Untrusted as error:
        raise _untrusted(error) from error


def _untrusted(error: Untrusted) -> AgentFailure:
    return AgentFailure(
        ErrorCode.UNTRUSTED,
        str(error),
        "sign it with a trusted key, or let an owner of the device trust that key: "
        "edgesdk key trust",
    )
