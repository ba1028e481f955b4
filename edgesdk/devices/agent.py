"""A conversation with the agent on a device, over any transport.

It speaks the protocol of `device_agent.protocol` and knows nothing of what is measured or why.
Every wait is bounded: the agent may be silent for so long, and each word of progress counts anew.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Self

import edgesdk
from device_agent.archive import head_bytes
from device_agent.codec import encode_message
from device_agent.lease_messages import Leased, TakeLease
from device_agent.package_messages import Offer, Offered
from device_agent.protocol import PROTOCOL_MAX, PROTOCOL_MIN, Hello, Welcome
from edgesdk.devices.bootstrap import build_agent
from edgesdk.devices.conversation.connection import PATIENCE_S
from edgesdk.devices.conversation.exchange import Exchange
from edgesdk.devices.conversation.leases import LeaseRequests
from edgesdk.devices.conversation.models import ModelRequests
from edgesdk.devices.conversation.packages import PackageRequests
from edgesdk.devices.conversation.samples import SampleRequests
from edgesdk.devices.conversation.starting import bring_up
from edgesdk.devices.conversation.trust import TrustRequests
from edgesdk.devices.transport import Transport
from edgesdk.errors import AgentError
from edgesdk.values.package import Package

FOLDER = "~/.edgesdk"


class AgentSession(PackageRequests, TrustRequests, LeaseRequests, ModelRequests, SampleRequests):
    """An open session; use `open`, and as a context manager.

    Every method raises `AgentError` when the agent reports a failure or dies, `TransportError` when
    the connection is lost, and `DeadlineExceeded` when the agent falls silent.
    """

    @classmethod
    def open(
        cls,
        transport: Transport,
        *,
        python: str = "python3",
        folder: str = FOLDER,
        patience_s: float = PATIENCE_S,
        offering: Callable[[], Package] | None = None,
        leasing: TakeLease | None = None,
    ) -> Self:
        """Start the agent on a device, sending it there first if the device does not have it.

        Args:
            python: the device's interpreter, 3.7 or newer.
            folder: of the agent's store on the device; "~" is its user's home.
            patience_s: longest silence of the agent in this session.
            offering: gives a package that will be offered, so that this needs no round trip of its
                own; what it raises ends the session.
            leasing: asked for first of all, without a round trip of its own; `leased` is the
                answer, and a refusal ends the session.
        """
        agent, marker = build_agent(), f"edgesdk-{secrets.token_hex(8)}"
        process = transport.start(agent.command(python, marker, folder))
        try:
            hello = Hello(PROTOCOL_MIN, PROTOCOL_MAX, edgesdk.__version__, int(time.time()))
            first_words = encode_message(hello)
            if leasing is not None:
                first_words += encode_message(leasing)
            if offering is not None:
                head = head_bytes(offering().head)
                first_words += encode_message(Offer(len(head))) + head
            bring_up(process, python, marker, agent.zipapp, first_words)
            exchange = Exchange(process, patience_s)
            welcome = exchange.hear(Welcome)
            leased = None if leasing is None else exchange.hear(Leased)
            offered = None if offering is None else _answer_to_offer(exchange)
        except BaseException:
            process.close()
            raise
        return cls(process, welcome, patience_s, offered, leased)


def _answer_to_offer(exchange: Exchange) -> Offered | None:
    """None where it was refused: the device may lack the trust that it is about to be told."""
    try:
        return exchange.hear(Offered)
    except AgentError:
        return None
