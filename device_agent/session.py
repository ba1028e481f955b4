"""One session with a host: takes requests, answers them, and leaves nothing behind.

When the host is gone, at any moment, the workers are killed and the process ends.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from typing import Any, Callable, Dict, Optional, Type

import device_agent
from device_agent import children
from device_agent.channel import Channel, ChannelClosed, Payload, WithPayload
from device_agent.codec import BadMessage
from device_agent.documents import CorruptPackage
from device_agent.environment import read_environment
from device_agent.failures import AgentFailure
from device_agent.leases import Leaseholder
from device_agent.model_requests import ModelRequests
from device_agent.open_models import OpenModels
from device_agent.package_requests import PackageRequests
from device_agent.protocol import (
    MESSAGES,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    ErrorCode,
    Failure,
    Goodbye,
    Hello,
    Welcome,
)
from device_agent.runtime_installing import RuntimeRequests
from device_agent.store import Store
from device_agent.trust_messages import TrustState

_FAREWELL_S = 0.5
_SILENCE_S = 90.0
"""Of a host that keeps others from installing. Its own patience is a minute."""
_LEASED_SILENCE_S = 600.0
"""Of a host that keeps others from the device; it may have data to read meanwhile."""


class Session:
    """Answers one host.

    Args:
        read_fd: requests come from here.
        write_fd: replies go here.
        root: the store's folder.
        program: the agent's zipapp, to start workers from.
    """

    def __init__(self, read_fd: int, write_fd: int, root: str, program: str) -> None:
        self._root = os.path.expanduser(root)
        self._opened_store: Optional[Store] = None
        self._host_time_s = 0
        self._lease = Leaseholder(self._store, lambda: self._host_time_s)
        self._packages = PackageRequests(
            self._root,
            self._store,
            program,
            lambda: self._host_time_s,
            self._tell,
            self._lease.require,
        )
        self._models = OpenModels(program, self._tell)
        models = ModelRequests(
            self._store,
            self._models,
            self._tell,
            self._lease.require,
            lambda: self._packages.last_seen,
        )
        runtimes = RuntimeRequests(self._store, program, self._tell, self._lease.require)
        self._answers: Dict[Type[Any], Callable[[Any, Payload], Any]] = {
            Hello: self._hello,
            **self._packages.answers(),
            **models.answers(),
            **self._lease.answers(),
            **runtimes.answers(),
        }
        self._channel = Channel(read_fd, write_fd, MESSAGES, on_end=self._host_is_gone)

    def serve(self, marker: str) -> int:
        """Answer until the host says goodbye or is gone; returns the exit status.

        Args:
            marker: the line that tells the host where our words begin.
        """
        try:
            self._channel.send_raw(b"\n" + marker.encode("ascii") + b"\n")
            while True:
                self._channel.patience_s = self._patience_s()
                request = self._channel.receive()
                if request is None or isinstance(request, Goodbye):
                    return 0
                is_done = self._answer(request)
                if is_done and getattr(request, "last", False):
                    return 0
        except ChannelClosed:
            return 0
        except BadMessage as error:
            self._channel.send(Failure(ErrorCode.PROTOCOL, str(error)))
            return 1
        except Exception:
            self._channel.send(Failure(ErrorCode.INTERNAL, traceback.format_exc()))
            raise
        finally:
            self._clean_up()

    def _answer(self, request: Any) -> bool:
        """Whether it was done; the failure is told otherwise."""
        payload, is_done = self._channel.payload(getattr(request, "payload_bytes", 0)), False
        try:
            if type(request) not in self._answers:
                raise AgentFailure(ErrorCode.BAD_REQUEST, f"found {type(request).__name__}")
            reply = self._answers[type(request)](request, payload)
            if isinstance(reply, WithPayload):
                self._channel.send(reply.message, reply.payload)
            else:
                self._channel.send(reply)
            is_done = True
        except AgentFailure as failure:
            self._channel.send(failure.to_wire())
        except CorruptPackage as error:
            self._channel.send(Failure(ErrorCode.CORRUPT_PACKAGE, str(error), "build it again"))
        payload.skip()
        return is_done

    def _hello(self, request: Hello, _: Payload) -> Welcome:
        protocol = min(PROTOCOL_MAX, request.protocol_max)
        if protocol < max(PROTOCOL_MIN, request.protocol_min):
            raise AgentFailure(
                ErrorCode.PROTOCOL,
                f"found protocols {request.protocol_min} to {request.protocol_max}, "
                f"expected one of {PROTOCOL_MIN} to {PROTOCOL_MAX}",
                "update edgesdk",
            )
        self._host_time_s = request.time_s
        try:
            trust: Optional[TrustState] = self._packages.installer().trust()
        except AgentFailure:
            trust = None  # Whoever needs the store hears it then.
        return Welcome(protocol, device_agent.VERSION, read_environment(self._root), trust)

    def _tell(self, message: Any) -> None:
        self._channel.send(message)

    def _store(self) -> Store:
        if self._opened_store is None:
            self._opened_store = Store(self._root)
        return self._opened_store

    def _patience_s(self) -> Optional[float]:
        """Longest silence of the host; None where nobody waits for the device."""
        if self._opened_store is not None and self._opened_store.is_installing:
            return _SILENCE_S
        return _LEASED_SILENCE_S if self._lease.is_held else None

    def _host_is_gone(self) -> None:
        self._models.kill_all()
        children.kill_all()
        threading.Thread(target=self._end_anyway, daemon=True).start()

    def _end_anyway(self) -> None:
        """The end of a session whose main thread is busy with something it does not get out of."""
        time.sleep(_FAREWELL_S)
        self._clean_up()
        os._exit(0)

    def _clean_up(self) -> None:
        self._models.close_all()
        children.kill_all()
        self._lease.close()
        if self._opened_store is not None:
            self._opened_store.close()
