"""What is asked of the agent about whom the device believes."""

from __future__ import annotations

from collections.abc import Sequence

from device_agent.trust_messages import (
    Challenge,
    ChangeTrust,
    GetChallenge,
    GetTrust,
    SetLab,
    SignedTrust,
    TrustState,
)
from edgesdk.devices.conversation.connection import Connection


class TrustRequests(Connection):
    """The device's trust, and the numbers that what changes it must hold."""

    def trust(self) -> TrustState:
        """Whom the device believes."""
        if self._trust is None:
            self._trust = self._ask(GetTrust(), TrustState)
        return self._trust

    def change_trust(self, versions: Sequence[SignedTrust], *, lab: bool) -> TrustState:
        """Hand over newer versions of the trust, or the first.

        Args:
            lab: of a device without trust: it may take unsigned packages when asked to.
        """
        self._offered = None  # It was judged by the trust before.
        self._trust = self._ask(ChangeTrust(tuple(versions), lab), TrustState)
        return self._trust

    def set_lab(self, lab: bool, signatures: bytes) -> TrustState:
        """Let the device take unsigned packages when asked to, or never more.

        Args:
            signatures: armored, of a `trust_messages.LabMode`.
        """
        self._offered = None  # It was judged before.
        self._trust = self._ask(SetLab(lab, signatures.decode()), TrustState)
        return self._trust

    def challenge(self) -> str:
        """The number that the next `Override` or `LabMode` of `trust_messages` must hold."""
        return self._ask(GetChallenge(), Challenge).nonce
