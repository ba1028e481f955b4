"""The models that a session has open: a worker process each, and what is asked of it."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, Optional, Tuple, Type, TypeVar

from device_agent.failures import AgentFailure
from device_agent.protocol import ErrorCode
from device_agent.sensors import Sensors
from device_agent.watchdog import FIRST_RUN_S
from device_agent.workers import Worker, worker_command

R = TypeVar("R")
Tell = Callable[[Any], None]


class OpenModels:
    """One worker a model, by the key its host gave it.

    Args:
        program: the agent's zipapp, to start workers from.
        tell: hears of progress.
    """

    def __init__(self, program: str, tell: Tell) -> None:
        self._program = program
        self._tell = tell
        self._workers: Dict[str, Worker] = {}
        self._packages: Dict[str, Optional[str]] = {}

    def start(self, key: str, package_id: Optional[str]) -> None:
        """A worker for that key, without a model yet; the one it had is closed."""
        self.close(key)
        self._workers[key] = Worker(key, worker_command(self._program))
        self._packages[key] = package_id

    def ask(
        self,
        key: str,
        request: Any,
        expected: Type[R],
        payload: bytes = b"",
        silence_s: float = FIRST_RUN_S,
    ) -> Tuple[R, bytes]:
        """Ask a model's worker; one that has died, or says nothing for too long, is forgotten."""
        self.require_open(key)
        try:
            return self._workers[key].ask(request, expected, payload, self._tell, silence_s)
        except AgentFailure as failure:
            if failure.code in ErrorCode.WORKER_GONE:
                self.close(key)
            raise

    def ask_timed(
        self, key: str, request: Any, expected: Type[R], silence_s: float
    ) -> Tuple[R, bytes]:
        return self.ask(key, request, expected, silence_s=silence_s)

    def sensors(self) -> Sensors:
        pids = [os.getpid(), *(worker.pid for worker in self._workers.values())]
        return Sensors(lambda: pids)

    def require_open(self, key: str) -> None:
        if key not in self._workers:
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"no model is open as {key!r}")

    def require_opened_from(self, key: str, package_id: str) -> None:
        self.require_open(key)
        if self._packages[key] != package_id:
            raise AgentFailure(
                ErrorCode.BAD_REQUEST, f"model {key!r} was not opened from package {package_id}"
            )

    def close(self, key: str) -> None:
        if key in self._workers:
            self._workers.pop(key).close()
            del self._packages[key]

    def package_of(self, key: str) -> Optional[str]:
        """Id of the package it was opened from; None where it was staged."""
        return self._packages[key]

    def kill_all(self) -> None:
        """At once, from any thread."""
        for worker in list(self._workers.values()):
            worker.kill()

    def close_all(self) -> None:
        """When the session ends. Twice is fine."""
        for worker in list(self._workers.values()):
            worker.close()
