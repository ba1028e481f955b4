"""The health check: may a package on trial become the one that applications use?

It runs the model as applications will, in a process of its own, against what the package itself
asks for. What it measures is told, and is no benchmark: a second of runs, whatever else goes on.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from array import array
from typing import IO, List, Optional, Tuple

from device_agent import children
from device_agent.failures import AgentFailure
from device_agent.manifest import HealthCheck
from device_agent.model_messages import Parity
from device_agent.package_messages import Health
from device_agent.packages import Packages
from device_agent.protocol import ErrorCode, Progress
from device_agent.watchdog import FIRST_RUN_S, LOADING_S, block_silence_s, warm_up_silence_s
from device_agent.worker_messages import Compare, Load, Loaded, TimeBlock, Timed, Warm, WarmUp
from device_agent.workers import OnProgress, Worker, worker_command

_CHECKING = "checking the health"
_SPARE_S = 20.0
"""The host gives up after we have: it then hears why."""
_WARM_UP_S = 1.0
_TIMED_S = 1.0
_TIMED_RUNS = 5
_LAST_WORDS = 200
_KEPT_BYTES = 4 * _LAST_WORDS
"""A character is four bytes at most."""
_PIECE_BYTES = 64 * 1024


class HealthChecker:
    """Checks one installed package.

    Args:
        packages: where it is.
        package_id: which.
        signed: its user's command may be run.
        engines: folder for what a runtime builds.
        folders: where its runtime is imported from first.
        program: the agent's zipapp.
        tell: hears of progress.
    """

    def __init__(
        self,
        packages: Packages,
        package_id: str,
        *,
        signed: bool,
        engines: str,
        folders: Tuple[str, ...],
        program: str,
        tell: OnProgress,
    ) -> None:
        self._packages = packages
        self._package_id = package_id
        self._manifest = packages.manifest(package_id)
        self._signed = signed
        self._engines = engines
        self._folders = folders
        self._program = program
        self._tell = tell

    def check(self) -> Optional[Health]:
        """What was measured; None for a package that asks for no check, whose files are checked.

        Raises:
            AgentFailure: "unhealthy", with what was found and expected; "storage": it is damaged.
        """
        wanted = self._manifest.health
        if wanted is None:
            for file in self._manifest.files:
                self._packages.verified_path(self._package_id, file.role)
            return None
        self._tell(Progress(0, 0, _CHECKING, LOADING_S + _SPARE_S))
        with contextlib.closing(Worker("trial", worker_command(self._program))) as worker:
            parity, latencies, peak = self._run(worker)
        limit = self._manifest.limits.peak_ram_bytes
        health = Health(
            parity_mismatch_percent=_mismatch_percent(parity),
            latency_ns=_median(latencies),
            runs=len(latencies),
            peak_rss_bytes=peak,
        )
        _require(
            "golden values off, in percent",
            health.parity_mismatch_percent,
            wanted.max_parity_mismatch_percent,
        )
        _require("us median latency", health.latency_ns, wanted.max_latency_ns, 1000)
        _require("MiB peak memory", health.peak_rss_bytes, limit, 2**20)
        if wanted.command:
            self._tell(Progress(0, 0, _CHECKING, wanted.command_seconds + _SPARE_S))
            status = self._obey(wanted)
            return Health(
                health.parity_mismatch_percent,
                health.latency_ns,
                health.runs,
                health.peak_rss_bytes,
                status,
            )
        return health

    def _run(self, worker: Worker) -> Tuple[Optional[Parity], List[int], Optional[int]]:
        """Parity, latencies and peak memory, as far as the package has something to run on."""
        golden = self._path("golden")
        wanted = self._manifest.compatibility
        load = Load(
            path=self._packages.verified_path(self._package_id, "model"),
            runtime=wanted.runtime,
            runtime_min_version=wanted.runtime_min_version,
            threads=0,
            golden=golden,
            golden_inputs=self._manifest.inputs,
            engines=self._engines,
            folders=self._folders,
        )
        try:
            worker.ask(load, Loaded, b"", self._tell, LOADING_S)
            if golden is None:
                return None, [], None
            parity, _ = worker.ask(Compare(), Parity, b"", self._tell, FIRST_RUN_S)
            self._tell(Progress(0, 0, _CHECKING))
            warming = WarmUp(_WARM_UP_S)
            block = TimeBlock(_TIMED_RUNS, _TIMED_S, 2 * _TIMED_S)
            warm, _ = worker.ask(warming, Warm, b"", self._tell, warm_up_silence_s(warming))
            silence_s = block_silence_s(block, warm.slowest_ns)
            timed, payload = worker.ask(block, Timed, b"", self._tell, silence_s)
        except AgentFailure as failure:
            raise unhealthy(f"its model does not run here: {failure.message}") from failure
        samples = array("q")
        samples.frombytes(payload)
        return parity, list(samples), timed.peak_rss_bytes

    def _path(self, role: str) -> Optional[str]:
        if self._manifest.file(role) is None:
            return None
        return self._packages.verified_path(self._package_id, role)

    def _obey(self, wanted: HealthCheck) -> int:
        if not self._signed:
            raise unhealthy(
                "it has a command of its own to run here, and is not signed: who asks for that?"
            )
        status, words = run_command(
            wanted.command,
            self._packages.path(self._package_id),
            self._packages.verified_path(self._package_id, "model"),
            wanted.command_seconds,
        )
        if status != 0:
            said = f"; its last words: {words}" if words else ""
            raise unhealthy(f"its command ended with exit status {status}, expected 0{said}")
        return status


def run_command(
    argv: Tuple[str, ...], folder: str, model: str, longest_s: float
) -> Tuple[int, str]:
    """Run the user's own check; its exit status and the last of what it said.

    It finds the package's folder as its working directory and in EDGESDK_PACKAGE, the model's path
    in EDGESDK_MODEL. A negative status is the signal that ended it. While anything that it started
    holds its output, it is not done; all of that ends with it (`children.adopting`).

    Raises:
        AgentFailure: "unhealthy": it cannot be started, or takes too long.
    """
    environment = {**os.environ, "EDGESDK_PACKAGE": folder, "EDGESDK_MODEL": model}
    started = children.running(
        argv,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    end = time.monotonic() + longest_s
    try:
        with children.adopting(), started as child:
            assert child.stdout is not None
            said = _last_words(child.stdout, end)
            child.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise unhealthy(f"its command was not done after {longest_s:g} s") from error
    except (OSError, ValueError) as error:  # Not there; or a word that no program can be given.
        why = getattr(error, "strerror", None) or str(error)
        raise unhealthy(f"its command {argv[0]!r} cannot be started: {why}") from error
    return child.returncode, said.decode("utf-8", "replace").strip()[-_LAST_WORDS:]


def _last_words(stream: IO[bytes], end: float) -> bytes:
    """The end of what a command says until it is done; all of it could fill the memory.

    Args:
        end: until when, by the monotonic clock.

    Raises:
        TimeoutExpired: it is not done by then.
    """
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            left = end - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise subprocess.TimeoutExpired("the command", left)
            piece = os.read(stream.fileno(), _PIECE_BYTES)
            if not piece:
                return said
            said = (said + piece)[-_KEPT_BYTES:]


def unhealthy(why: str) -> AgentFailure:
    """The failure of a package that did not pass."""
    return AgentFailure(
        ErrorCode.UNHEALTHY,
        f"the package is not healthy on this device, and is not used: {why}",
        "the device is as it was before",
    )


def _require(what: str, found: Optional[float], most: Optional[float], unit: int = 1) -> None:
    """Refuse more than that; `unit` of what was measured are one of what people read."""
    if found is not None and most is not None and found > most:
        raise unhealthy(f"found {found / unit:.6g} {what}, expected at most {most / unit:.6g}")


def _mismatch_percent(parity: Optional[Parity]) -> Optional[float]:
    """None, too, where the package has no golden vectors for the kernels that compute here."""
    if parity is None or parity.values == 0:
        return None
    return 100.0 * parity.beyond_one_step / parity.values


def _median(samples: List[int]) -> Optional[int]:
    return sorted(samples)[len(samples) // 2] if samples else None
