"""What is asked of the agent about whose the device is."""

from __future__ import annotations

from device_agent.lease_messages import (
    Lease,
    Leased,
    Leases,
    ListLeases,
    Released,
    ReleaseLease,
    TakeLease,
)
from edgesdk.devices.conversation.connection import Connection


class LeaseRequests(Connection):
    """Leases: one user at a time."""

    def take_lease(self, request: TakeLease) -> Leased:
        """Have the device to ourselves, for this session or beyond it.

        Raises:
            AgentError: with code "busy" where it is someone else's, saying whose.
        """
        return self._ask(request, Leased)

    def release_lease(self, owner: str, *, force: bool) -> Lease | None:
        """Give back the lease that was kept; None where none was.

        Raises:
            AgentError: with code "busy" where it is someone else's, unless `force`.
        """
        return self._ask(ReleaseLease(owner, force), Released).lease

    def leases(self) -> tuple[Lease, ...]:
        """Whose the device is at present."""
        return self._ask(ListLeases(), Leases).leases
