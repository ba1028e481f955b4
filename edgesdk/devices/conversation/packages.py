"""What is asked of the agent about packages: from an offer to what is on the device."""

from __future__ import annotations

from device_agent.archive import head_bytes
from device_agent.inspection_messages import Inspection
from device_agent.package_messages import (
    Commit,
    Committed,
    Current,
    Install,
    Installed,
    Inventory,
    ListInstalled,
    Offer,
    Offered,
    Rollback,
)
from device_agent.protocol import Inspect
from edgesdk.devices.conversation.bars import OnProgress, named_bar
from edgesdk.devices.conversation.connection import Connection
from edgesdk.devices.conversation.pieces import in_pieces, opened
from edgesdk.errors import PackageError
from edgesdk.progress import Progress as ProgressDisplay
from edgesdk.values.package import Package


class PackageRequests(Connection):
    """Installing packages, and what is installed."""

    def offer(
        self, package: Package, *, allow_unsigned: bool = False, override: str = ""
    ) -> Offered:
        """Ask whether a package may be installed, by its head alone; nothing is written.

        Args:
            allow_unsigned: the user said so.
            override: armored signature of a `trust_messages.Override`.

        Raises:
            AgentError: with code "base_missing" where the device needs the full package.
        """
        early, self._offered = self._offered, None
        is_same = early is not None and early.package_id == package.manifest.package_id
        if early is not None and is_same and not (allow_unsigned or override):
            return early
        head = head_bytes(package.head)
        return self._ask(Offer(len(head), allow_unsigned, override), Offered, pieces=[head])

    def install(self, package: Package, offered: Offered, progress: ProgressDisplay) -> Installed:
        """Send what the device lacks of a package it has just been offered, and put it on trial.

        Raises:
            PackageError: the file is unreadable.
        """
        with named_bar(progress) as on_progress:
            self._send(package, offered, on_progress)
            return self._exchange(self._patience_s).hear(Installed, on_progress)

    def put(
        self, package: Package, offered: Offered, progress: ProgressDisplay, *, last: bool = False
    ) -> Committed:
        """`install` and then `commit`, without a pause between the two.

        Args:
            last: nothing is asked of the agent afterwards: where it succeeds, the session ends.

        Raises:
            PackageError: the file is unreadable.
            Unhealthy: it did not pass; the device is as it was before.
        """
        with named_bar(progress) as on_progress:
            self._send(package, offered, on_progress, commit=True, last=last)
            return self._exchange(self._patience_s).hear(Committed, on_progress)

    def commit(self, package_id: str, progress: ProgressDisplay) -> Committed:
        """Have the package on trial checked, and made the current one.

        Raises:
            Unhealthy: it did not pass; the device is as it was before.
        """
        with named_bar(progress) as on_progress:
            return self._exchange(self._patience_s).ask(Commit(package_id), Committed, on_progress)

    def roll_back(self, name: str) -> Installed:
        """Make the previous package of that name the current one; of the last committed for ""."""
        return self._ask(Rollback(name), Installed)

    def current(self, name: str = "") -> Installed:
        """The device's current package of that name; of the one that was committed last for "".

        Raises:
            AgentError: with code "not_installed" where there is none.
        """
        return self._ask(Current(name), Installed)

    def inventory(self) -> Inventory:
        """Every package on the device."""
        return self._ask(ListInstalled(), Inventory)

    def inspect(self, package: str = "") -> Inspection:
        """The device in detail, and what its current package of that name was made with."""
        return self._ask(Inspect(package), Inspection)

    def _send(
        self,
        package: Package,
        offered: Offered,
        on_progress: OnProgress,
        *,
        commit: bool = False,
        last: bool = False,
    ) -> None:
        """What the device lacks of a package."""
        exchange = self._exchange(self._patience_s)
        if offered.already:
            exchange.tell(Install(offered.package_id, 0, commit, last))
            return
        with opened(package.path, PackageError) as stream:
            size = stream.seek(0, 2) - offered.resume_at
            stream.seek(offered.resume_at)
            request = Install(offered.package_id, size, commit, last)
            exchange.tell(request, on_progress, in_pieces(stream))
