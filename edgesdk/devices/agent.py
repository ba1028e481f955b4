"""A conversation with the agent on a device, over any transport.

It speaks the protocol of `device_agent.protocol` and knows nothing of what is measured or why.
Every wait is bounded: the agent may be silent for so long, and each word of progress counts anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

import edgesdk
from device_agent.archive import head_bytes
from device_agent.codec import BadMessage, decode_message, encode_message
from device_agent.documents import is_file_name
from device_agent.inspection_messages import Inspection
from device_agent.lease_messages import (
    Lease,
    Leased,
    Leases,
    ListLeases,
    Released,
    ReleaseLease,
    TakeLease,
)
from device_agent.measuring_messages import Sustain, Sustained, Window
from device_agent.output_messages import OUTPUTS_MAX_BYTES, Infer, Inferred
from device_agent.profile_messages import ModelPlacement, Profile, Profiled, ReadPlacement
from device_agent.protocol import (
    MESSAGES,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    Bench,
    Benched,
    Challenge,
    ChangeTrust,
    CheckParity,
    Commit,
    Committed,
    Current,
    ErrorCode,
    Failure,
    GetChallenge,
    GetTrust,
    Goodbye,
    Hello,
    Inspect,
    Install,
    Installed,
    Inventory,
    ListInstalled,
    Offer,
    Offered,
    Opened,
    OpenModel,
    Parity,
    Predict,
    Predicted,
    Progress,
    Rollback,
    SetLab,
    SignedTrust,
    Stage,
    Staged,
    TrustState,
    Welcome,
)
from device_agent.stage_messages import BenchStages, PredictPictures, StagesBenched
from edgesdk.devices.bootstrap import build_agent
from edgesdk.devices.outputs import unpack_outputs
from edgesdk.devices.pictures import picture_batches
from edgesdk.devices.transport import CommandEnded, Deadline, Process, Transport
from edgesdk.errors import (
    AgentError,
    DeadlineExceeded,
    EdgeSDKError,
    ModelError,
    PackageError,
    TransportError,
    Unhealthy,
)
from edgesdk.progress import Advance
from edgesdk.progress import Progress as ProgressDisplay
from edgesdk.text import plain
from edgesdk.units import KIB, MIB
from edgesdk.values.package import Package

FOLDER = "~/.edgesdk"
PATIENCE_S = 60.0
"""Longest silence of an agent that is at work."""

_LOADING_S = 300.0  # A large model on a slow card; nothing can be reported meanwhile.
_START_S = 30.0
_EXIT_S = 2.0
_LINE_BYTES = 64 * MIB
_NOISE_LINE_BYTES = 1 * MIB
_PIECE_BYTES = 256 * KIB
_BATCH_BYTES = 1 * MIB
_BATCH_SAMPLES = 256
_ANSWER_BYTES = 8 * MIB
_SHELL_FOUND_NO_COMMAND = 127
AGENT_DIED = "agent_died"
"""Code of the error when the agent ended in the middle of its work."""

_UNDERSTOOD = {**MESSAGES, Inspection.__name__: Inspection}
"""The agent has no use for this class before it is asked."""

R = TypeVar("R")
OnProgress = Callable[[Progress], None]


class AgentSession:
    """An open session; use `open`, and as a context manager.

    Every method raises `AgentError` when the agent reports a failure or dies, `TransportError` when
    the connection is lost, and `DeadlineExceeded` when the agent falls silent.

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
            _bootstrap(process, python, marker, agent.zipapp, first_words)
            exchange = _Exchange(process, patience_s)
            welcome = exchange.hear(Welcome)
            leased = None if leasing is None else exchange.hear(Leased)
            offered = None if offering is None else _answer_to_offer(exchange)
        except BaseException:
            process.close()
            raise
        return cls(process, welcome, patience_s, offered, leased)

    def offer(
        self, package: Package, *, allow_unsigned: bool = False, override: str = ""
    ) -> Offered:
        """Ask whether a package may be installed, by its head alone; nothing is written.

        Args:
            allow_unsigned: the user said so.
            override: armored signature of a `protocol.Override`.

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
        with _named_bar(progress) as on_progress:
            self._send(package, offered, on_progress, commit=False)
            return self._exchange(self._patience_s).hear(Installed, on_progress)

    def put(self, package: Package, offered: Offered, progress: ProgressDisplay) -> Committed:
        """`install` and then `commit`, without a pause between the two.

        Raises:
            PackageError: the file is unreadable.
            Unhealthy: it did not pass; the device is as it was before.
        """
        with _named_bar(progress) as on_progress:
            self._send(package, offered, on_progress, commit=True)
            return self._exchange(_LOADING_S).hear(Committed, on_progress)

    def commit(self, package_id: str, progress: ProgressDisplay) -> Committed:
        """Have the package on trial checked, and made the current one.

        Raises:
            Unhealthy: it did not pass; the device is as it was before.
        """
        with _named_bar(progress) as on_progress:
            return self._exchange(_LOADING_S).ask(Commit(package_id), Committed, on_progress)

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
            signatures: armored, of a `protocol.LabMode`.
        """
        self._offered = None  # It was judged before.
        self._trust = self._ask(SetLab(lab, signatures.decode()), TrustState)
        return self._trust

    def challenge(self) -> str:
        """The number that the next `protocol.Override` or `protocol.LabMode` must hold."""
        return self._ask(GetChallenge(), Challenge).nonce

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

    def stage(self, path: Path, progress: ProgressDisplay) -> str:
        """Send a model file for this session only; its name for `OpenModel.staged`.

        Raises:
            ModelError: the file is unreadable.
        """
        with _opened(path, ModelError) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
            stream.seek(0)
            name = digest + path.suffix if is_file_name(digest + path.suffix) else digest
            with progress.task(f"sending {path.name}", size) as advance:
                pieces = _counted(_pieces(stream), advance)
                return self._ask(Stage(name, digest, size), Staged, pieces=pieces).name

    def open_model(self, request: OpenModel, progress: ProgressDisplay) -> Opened:
        """Load a model in a process of its own; what the device builds for it first is shown."""
        with _named_bar(progress) as on_progress:
            return self._exchange(_LOADING_S).ask(request, Opened, on_progress)

    def bench(self, request: Bench, progress: ProgressDisplay) -> Benched:
        """Time the opened models in turns."""
        turns = len(request.keys) * (request.blocks + 1)
        a_block_s = request.max_seconds / max(request.blocks, 1)  # The agent refuses less than 1.
        longest_s = max(request.max_warm_up_seconds, a_block_s)
        with _bar(progress, "measuring latency", turns) as on_progress:
            exchange = self._exchange(longest_s + self._patience_s)
            return exchange.ask(request, Benched, on_progress)

    def sustain(
        self, request: Sustain, progress: ProgressDisplay
    ) -> tuple[Sustained, tuple[Window, ...]]:
        """Run an opened model without a pause; its windows, as they come, are the progress."""
        longest_s = max(request.max_warm_up_seconds, request.window_seconds)
        exchange = self._exchange(longest_s + self._patience_s)
        exchange.tell(request)
        windows: list[Window] = []
        with progress.task("running without a pause", math.ceil(request.seconds)) as advance:
            shown = 0
            while isinstance(reply := exchange.hear(object), Window):
                windows.append(reply)
                done = min(request.seconds, (reply.ended_ns - windows[0].began_ns) / 1e9)
                advance(int(done) - shown)
                shown = int(done)
        return _expect(Sustained, reply), tuple(windows)

    def predict(
        self,
        keys: Sequence[str],
        samples: Iterable[Mapping[str, npt.NDArray[Any]]],
        count: int,
        output: int,
        progress: ProgressDisplay,
    ) -> Mapping[str, tuple[int, ...]]:
        """Top-1 class of every sample by every model, sent in batches of bounded size.

        Args:
            keys: the opened models.
            samples: each maps input names to arrays, in the order of the models' inputs.
            count: how many there are, for the progress.
            output: index of the output whose largest element counts.
        """
        found: dict[str, list[int]] = {key: [] for key in keys}
        with progress.task("running the samples", count) as advance:
            for batch in _batches(samples):
                for key, top1 in self._predict(tuple(keys), batch, output).items():
                    found[key].extend(top1)
                advance(batch.count)
        return {key: tuple(top1) for key, top1 in found.items()}

    def bench_stages(self, request: BenchStages, progress: ProgressDisplay) -> StagesBenched:
        """Time an opened model from picture to answer, in turns of its own."""
        a_block_s = request.max_seconds / max(request.blocks, 1)
        longest_s = max(request.max_warm_up_seconds, a_block_s)
        with _bar(progress, "measuring the stages", request.blocks) as on_progress:
            exchange = self._exchange(longest_s + self._patience_s)
            return exchange.ask(request, StagesBenched, on_progress)

    def predict_pictures(
        self,
        keys: Sequence[str],
        package_id: str,
        pictures: Iterable[npt.NDArray[np.uint8]],
        count: int,
        progress: ProgressDisplay,
    ) -> Mapping[str, tuple[int, ...]]:
        """Top-1 class of every picture by every model's first output, prepared on the device.

        Args:
            keys: the opened models.
            package_id: whose declared preprocessing.
            pictures: decoded RGB, each uint8 of shape (height, width, 3).
            count: how many there are, for the progress.
        """
        found: dict[str, list[int]] = {key: [] for key in keys}
        with progress.task("running the pictures", count) as advance:
            for batch in picture_batches(pictures):
                request = PredictPictures(
                    tuple(keys), package_id, batch.sizes, 0, len(batch.payload)
                )
                reply = self._ask(request, Predicted, pieces=[batch.payload])
                for key, top1 in _by_key(reply, tuple(keys), len(batch.sizes)).items():
                    found[key].extend(top1)
                advance(len(batch.sizes))
        return {key: tuple(top1) for key, top1 in found.items()}

    def infer(
        self,
        keys: Sequence[str],
        samples: Iterable[Mapping[str, npt.NDArray[Any]]],
        count: int,
        progress: ProgressDisplay,
    ) -> Iterator[Mapping[str, tuple[npt.NDArray[Any], ...]]]:
        """Every model's outputs for every sample, in order; quantized ones as real numbers.

        The first sample travels alone and tells how many at once keep the answers small.

        Args:
            keys: the opened models.
            samples: as of `predict`.
            count: likewise.
        """
        with progress.task("collecting the outputs", count) as advance:
            remaining, most, left = iter(samples), 1, True
            while left:
                left = False
                for batch in _batches(itertools.islice(remaining, most)):
                    inferred, payload = self._infer(tuple(keys), batch)
                    yield from unpack_outputs(inferred, payload, keys, batch.count)
                    advance(batch.count)
                    each = max(1, len(payload) // batch.count)
                    most = max(1, min(_BATCH_SAMPLES, _ANSWER_BYTES // each))
                    left = True

    def check_parity(self, request: CheckParity) -> Parity:
        """Run a model's golden vectors."""
        return self._ask(request, Parity)

    def placement(self, request: ReadPlacement) -> ModelPlacement:
        """What computes each operator of an opened model."""
        return self._ask(request, ModelPlacement)

    def profile(self, request: Profile, progress: ProgressDisplay) -> Profiled:
        """Time each operator of an opened model, loaded once more for it."""
        with _bar(progress, "timing each operator", 0) as on_progress:
            exchange = self._exchange(_LOADING_S + request.max_seconds)
            return exchange.ask(request, Profiled, on_progress)

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
        with _named_bar(progress) as on_progress:
            return exchange.ask(request, expected, on_progress, pieces)

    def close(self) -> None:
        """End the session: the agent ends itself and removes what was staged."""
        with contextlib.suppress(TransportError):
            self._process.write(encode_message(Goodbye()), _EXIT_S)
            self._process.close_stdin()
            self._process.wait(_EXIT_S)
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send(
        self, package: Package, offered: Offered, on_progress: OnProgress, *, commit: bool
    ) -> None:
        """What the device lacks of a package."""
        exchange = self._exchange(self._patience_s)
        if offered.already:
            exchange.tell(Install(offered.package_id, 0, commit))
            return
        with _opened(package.path, PackageError) as stream:
            size = stream.seek(0, 2) - offered.resume_at
            stream.seek(offered.resume_at)
            request = Install(offered.package_id, size, commit)
            exchange.tell(request, on_progress, _pieces(stream))

    def _infer(self, keys: tuple[str, ...], batch: _Batch) -> tuple[Inferred, bytes]:
        request = Infer(keys, batch.count, batch.dtypes, len(batch.payload))
        exchange = self._exchange(self._patience_s)
        inferred = exchange.ask(request, Inferred, pieces=[batch.payload])
        if not 0 <= inferred.payload_bytes <= OUTPUTS_MAX_BYTES:
            raise AgentError(
                f"the agent announced outputs of {inferred.payload_bytes} bytes, expected at most "
                f"{OUTPUTS_MAX_BYTES}",
                code=ErrorCode.PROTOCOL,
            )
        return inferred, exchange.hear_payload(inferred.payload_bytes)

    def _predict(self, keys: tuple[str, ...], batch: _Batch, output: int) -> dict[str, Any]:
        request = Predict(keys, batch.count, batch.dtypes, output, len(batch.payload))
        reply = self._ask(request, Predicted, pieces=[batch.payload])
        return _by_key(reply, keys, batch.count)

    def _ask(
        self,
        request: Any,
        expected: type[R],
        on_progress: OnProgress = lambda _: None,
        pieces: Iterable[bytes] = (),
    ) -> R:
        return self._exchange(self._patience_s).ask(request, expected, on_progress, pieces)

    def _exchange(self, silence_s: float) -> _Exchange:
        return _Exchange(self._process, silence_s)


class _Exchange:
    """One request and its reply."""

    def __init__(self, process: Process, silence_s: float) -> None:
        self._process = process
        self._silence_s = silence_s

    def ask(
        self,
        request: Any,
        expected: type[R],
        on_progress: OnProgress = lambda _: None,
        pieces: Iterable[bytes] = (),
    ) -> R:
        self.tell(request, on_progress, pieces)
        return self.hear(expected, on_progress)

    def tell(
        self,
        request: Any,
        on_progress: OnProgress = lambda _: None,
        pieces: Iterable[bytes] = (),
    ) -> None:
        """A request and its payload, without waiting for the reply."""
        try:
            self._send(encode_message(request), pieces, on_progress)
        except CommandEnded as error:
            self._hear_last_words()
            raise _agent_died(self._process, error) from error

    def hear(self, expected: type[R], on_progress: OnProgress = lambda _: None) -> R:
        """The reply to what has been asked."""
        try:
            while isinstance(reply := self._receive(self._silence_s), Progress):
                on_progress(reply)
        except CommandEnded as error:
            self._hear_last_words()
            raise _agent_died(self._process, error) from error
        return _expect(expected, reply)

    def hear_payload(self, size: int) -> bytes:
        """What follows a reply; every piece of it may take the whole patience."""
        pieces, left = [], size
        try:
            while left:
                pieces.append(self._process.read_exactly(min(left, _PIECE_BYTES), self._silence_s))
                left -= len(pieces[-1])
        except CommandEnded as error:
            raise _agent_died(self._process, error) from error
        return b"".join(pieces)

    def _send(self, line: bytes, pieces: Iterable[bytes], on_progress: OnProgress) -> None:
        self._process.write(line, self._silence_s)
        for piece in pieces:
            # A refusal comes early; without looking, all the rest would still be sent. Looking
            # after the last piece would mistake the answer for one.
            while (early := self._arrived()) is not None:
                on_progress(early)
            self._process.write(piece, self._silence_s)

    def _arrived(self) -> Progress | None:
        try:
            message = self._receive(0)
        except DeadlineExceeded:
            return None
        except AgentError:
            self._process.close()  # It still waits for the rest of the payload.
            raise
        if not isinstance(message, Progress):
            raise AgentError(
                f"the agent answered {type(message).__name__} before it had everything",
                code=ErrorCode.PROTOCOL,
            )
        return message

    def _hear_last_words(self) -> None:
        """Raise the failure that an agent sent before it ended, if it did."""
        with contextlib.suppress(TransportError):
            while True:
                self._receive(0)

    def _receive(self, silence_s: float) -> Any:
        line = self._process.read_line(_LINE_BYTES, silence_s)
        try:
            message = decode_message(line, _UNDERSTOOD)
        except BadMessage as error:
            raise AgentError(
                f"the agent makes no sense: {error}", code=ErrorCode.PROTOCOL
            ) from error
        if isinstance(message, Failure):
            raise _failed(message)
        return message


def _by_key(reply: Predicted, keys: tuple[str, ...], count: int) -> dict[str, Any]:
    top1 = {entry.key: entry.top1 for entry in reply.predictions}
    if set(top1) != set(keys) or any(len(found) != count for found in top1.values()):
        raise AgentError(
            f"the agent predicted {[len(found) for found in top1.values()]} samples, "
            f"expected {count} for each of {', '.join(keys)}",
            code=ErrorCode.PROTOCOL,
        )
    return top1


def _expect(expected: type[R], reply: Any) -> R:
    if not isinstance(reply, expected):
        raise AgentError(
            f"the agent answered with {type(reply).__name__}, expected {expected.__name__}",
            code=ErrorCode.PROTOCOL,
        )
    return reply


def _answer_to_offer(exchange: _Exchange) -> Offered | None:
    """None where it was refused: the device may lack the trust that it is about to be told."""
    try:
        return exchange.hear(Offered)
    except AgentError:
        return None


def _failed(failure: Failure) -> AgentError:
    if failure.code == ErrorCode.INTERNAL:
        return AgentError(
            "the agent on the device failed; this is a defect of edgesdk",
            code=failure.code,
            hint="please report it with the lines above",
            details=failure.message.splitlines(),
        )
    kind = Unhealthy if failure.code == ErrorCode.UNHEALTHY else AgentError
    return kind(failure.message, code=failure.code, hint=failure.hint)


def _agent_died(process: Process, error: CommandEnded) -> AgentError:
    try:
        code = process.wait(_EXIT_S)
        # An SSH channel tells no exit status of what a signal has ended, nor which signal.
        how = "killed by a signal" if code < 0 else f"with exit status {code}"
    except DeadlineExceeded:
        how = "its output"
    return AgentError(
        f"the agent on the device ended in the middle of its work ({how})",
        code=AGENT_DIED,
        hint="the device may be out of memory, or someone ended it: try again",
        details=error.details,
    )


def _bootstrap(process: Process, python: str, marker: str, zipapp: bytes, hello: bytes) -> None:
    """Bring the process to the point where it is the agent.

    Args:
        hello: what the agent is told first; it waits there while the agent starts.

    Raises:
        AgentError: there is no such Python, it is too old, or it does not start the agent.
    """
    deadline = Deadline(_START_S)
    try:
        word = _after_marker(process, marker, deadline)
        if word == "NEED":
            process.write(zipapp + hello, deadline.left_s())
            word = _after_marker(process, marker, deadline)
        elif word == "HAVE":
            process.write(hello, deadline.left_s())
            word = _after_marker(process, marker, deadline)
    except CommandEnded as error:
        raise _did_not_start(process, python, error) from error
    if word.startswith("OLD "):
        raise AgentError(
            f"{python} on the device is Python {word[4:]}, expected 3.7 or newer",
            hint="name another one: edgesdk device add ... --python PATH",
        )
    if word:
        raise AgentError(f"the agent did not start on the device: it said {word!r}")


def _after_marker(process: Process, marker: str, deadline: Deadline) -> str:
    """What follows the next marker on its line; noise from login scripts is skipped."""
    while True:
        line = process.read_line(_NOISE_LINE_BYTES, deadline.left_s()).decode("utf-8", "replace")
        word, _, rest = line.strip().partition(" ")
        if word == marker:
            return rest


def _did_not_start(process: Process, python: str, error: CommandEnded) -> AgentError:
    try:
        code = process.wait(_EXIT_S)
    except DeadlineExceeded:
        return AgentError("the agent did not start on the device", details=error.details)
    if code == _SHELL_FOUND_NO_COMMAND:
        return AgentError(
            f"the device has no {python}",
            hint="install Python 3.7 or newer there, or name it: edgesdk device add ... "
            "--python PATH",
            details=error.details,
        )
    return AgentError(
        f"{python} on the device did not start the agent (exit status {code})",
        hint="check that it is Python 3.7 or newer",
        details=error.details,
    )


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some samples, ready for the wire."""

    count: int
    dtypes: tuple[str, ...]
    payload: bytes


def _batches(samples: Iterable[Mapping[str, npt.NDArray[Any]]]) -> Iterator[_Batch]:
    """Samples in order, as few to a batch as keeps it small; at least one."""
    packed: list[bytes] = []
    dtypes: tuple[str, ...] = ()
    for sample in samples:
        arrays = [np.asarray(array) for array in sample.values()]
        found, one = tuple(array.dtype.name for array in arrays), b"".join(map(_packed, arrays))
        full = len(packed) == _BATCH_SAMPLES or sum(map(len, packed)) + len(one) > _BATCH_BYTES
        if packed and (full or found != dtypes):
            yield _Batch(len(packed), dtypes, b"".join(packed))
            packed = []
        packed.append(one)
        dtypes = found
    if packed:
        yield _Batch(len(packed), dtypes, b"".join(packed))


def _packed(array: npt.NDArray[Any]) -> bytes:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def _opened(path: Path, kind: type[EdgeSDKError]) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise kind(f"{path} cannot be read: {error.strerror}") from error


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(_PIECE_BYTES):
        yield piece


def _counted(pieces: Iterable[bytes], advance: Advance) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        advance(len(piece))


@contextlib.contextmanager
def _bar(progress: ProgressDisplay, description: str, total: int) -> Iterator[OnProgress]:
    """Shows what the agent reports; complete when the block ends without an error."""
    done = 0
    with progress.task(description, total) as advance:

        def show(report: Progress) -> None:
            nonlocal done
            advance(report.done - done)
            done = report.done

        yield show
        advance(max(total - done, 0))  # A total of 0 is one nobody knows.


@contextlib.contextmanager
def _named_bar(progress: ProgressDisplay) -> Iterator[OnProgress]:
    """A bar with the agent's own words and total, from its first report on; without one, none."""
    with contextlib.ExitStack() as bars:
        what: str | None = None
        tell: OnProgress = lambda _: None  # noqa: E731

        def show(report: Progress) -> None:
            nonlocal what, tell
            if report.what != what:
                bars.close()
                what = report.what
                tell = bars.enter_context(_bar(progress, plain(what), report.total))
            tell(report)

        yield show
