"""Messages of whom a device believes, and what is signed to change it (`device_agent.protocol`)."""

from __future__ import annotations

from typing import Tuple

from device_agent.records import record


@record(frozen=True)
class TrustState:
    """Whom the device believes.

    Args:
        document: canonical JSON of its trust; "" where it has none.
        lab: it may take unsigned packages when asked to.
    """

    document: str
    lab: bool


@record(frozen=True)
class SignedTrust:
    """One version of the trust.

    Args:
        document: canonical JSON of a `device_agent.trust.Trust`.
        signatures: armored signatures of it.
    """

    document: str
    signatures: str


@record(frozen=True)
class GetTrust:
    """Whom does the device believe? Reply: `TrustState`."""


@record(frozen=True)
class ChangeTrust:
    """Take over newer versions of the trust, each signed by the one before. Reply: `TrustState`.

    On a device without trust, which was never enrolled, the last version counts as its first.

    Args:
        lab: of a device without trust: it may take unsigned packages when asked to.
    """

    versions: Tuple[SignedTrust, ...]
    lab: bool = False


@record(frozen=True)
class GetChallenge:
    """A number for this session, for the next `Override` or `LabMode`. Reply: `Challenge`."""


@record(frozen=True)
class Challenge:
    """The number, as hex."""

    nonce: str


@record(frozen=True)
class Override:
    """Not a message: what is signed to allow one downgrade, once.

    Args:
        package_id: of the package that may be installed although its sequence is too low.
        nonce: of the device's `Challenge`, so that it holds on this device in this session only.
    """

    package_id: str
    nonce: str


@record(frozen=True)
class SetLab:
    """Become a device of a lab, which may take unsigned packages, or stop being one.

    Reply: `TrustState`.

    Args:
        signatures: armored signatures of a `LabMode`, by `threshold` keys of the device's trust.
    """

    lab: bool
    signatures: str


@record(frozen=True)
class LabMode:
    """Not a message: what is signed to change the lab mode of one device, once.

    Args:
        nonce: of the device's `Challenge`, so that it holds on this device in this session only.
    """

    lab: bool
    nonce: str


TRUST_MESSAGES = (GetTrust, ChangeTrust, TrustState, GetChallenge, Challenge, SetLab)
