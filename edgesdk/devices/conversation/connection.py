"""A connection to the agent on a device, over which every subject asks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, TypeVar

from device_agent.codec import encode_message
from device_agent.lease_messages import Leased
from device_agent.package_messages import Offered
from device_agent.protocol import Goodbye, Welcome
from edgesdk.devices.conversation.bars import OnProgress, named_bar
from edgesdk.devices.conversation.exchange import EXIT_S, Exchange
from edgesdk.devices.transport import Closing, Process
from edgesdk.errors import TransportError
from edgesdk.progress import Progress as ProgressDisplay

PATIENCE_S = 60.0
"""Longest silence of an agent that is at work."""

LOADING_S = 300.0  # A large model on a slow card; nothing can be reported meanwhile.

R = TypeVar("R")


class Connection(Closing):
    """An agent that runs, and what it said when it was greeted.

    Args:
        process: the running agent, its greeting exchanged.
        welcome: what it said then.
        patience_s: longest silence.
        offered: its answer to an offer that came with the greeting.
        leased: its answer to the wish for a lease that came with it.

    Attributes:
        environment: the device, as the agent read it.
        leased: the lease that came with the greeting, if one was asked for.
    """

    def __init__(
        self,
        process: Process,
        welcome: Welcome,
        patience_s: float,
        offered: Offered | None = None,
        leased: Leased | None = None,
    ) -> None:
        self.environment = welcome.environment
        self.leased = leased
        self._trust = welcome.trust
        self._offered = offered
        self._process = process
        self._patience_s = patience_s

    def converse(
        self,
        request: Any,
        expected: type[R],
        progress: ProgressDisplay,
        *,
        pieces: Iterable[bytes] = (),
        silence_s: float | None = None,
    ) -> R:
        """One request and its reply, for those who speak a part of the protocol of their own.

        Args:
            pieces: the request's payload.
            silence_s: longest silence of the agent; the session's patience by default.
        """
        exchange = self._exchange(silence_s or self._patience_s)
        with named_bar(progress) as on_progress:
            return exchange.ask(request, expected, on_progress, pieces)

    def close(self) -> None:
        """End the session: the agent ends itself and removes what was staged."""
        with contextlib.suppress(TransportError):
            self._process.write(encode_message(Goodbye()), EXIT_S)
            self._process.close_stdin()
            self._process.wait(EXIT_S)
        self._process.close()

    def _ask(
        self,
        request: Any,
        expected: type[R],
        on_progress: OnProgress = lambda _: None,
        pieces: Iterable[bytes] = (),
    ) -> R:
        return self._exchange(self._patience_s).ask(request, expected, on_progress, pieces)

    def _exchange(self, silence_s: float) -> Exchange:
        return Exchange(self._process, silence_s)
