"""What a session says when it is spoken to wrongly, or breaks; and how workers' ends are told."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_packages import head_of_package, noise, package_of
from device_store import pretend_runtimes

from device_agent.archive import HEAD_MAX_BYTES, head_bytes
from device_agent.clock import format_utc
from device_agent.codec import canonical, decode_message, encode_message
from device_agent.environment_messages import RuntimeVersion
from device_agent.failures import AgentFailure
from device_agent.model_messages import Predict
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
from device_agent.protocol import MESSAGES, Failure, Goodbye, Hello, Progress, Welcome
from device_agent.session import Session
from device_agent.state import EARLIEST_S
from device_agent.trust_messages import (
    Challenge,
    ChangeTrust,
    GetChallenge,
    GetTrust,
    SignedTrust,
    TrustState,
)
from device_agent.worker import require_version
from device_agent.worker_messages import Load, Loaded
from device_agent.workers import Worker, describe_death
from tests.signers import BELIEVES_OWNER as TRUST
from tests.signers import OWNER, STRANGER

PACKAGE = package_of({"model": noise(100_000), "golden": bytes(200)}, OWNER)


class Host:
    """The other side of a session that runs in a thread."""

    def __init__(self, root: Path) -> None:
        agent_in, self._to_agent = os.pipe()
        from_agent, agent_out = os.pipe()
        self._from_session = agent_out
        self._lines = os.fdopen(from_agent, "rb")
        self.session = Session(agent_in, agent_out, str(root), "no program")
        self.error: Exception | None = None
        self.status: int | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        assert self._lines.readline() == b"\n"
        assert self._lines.readline() == b"MARK\n"

    def _serve(self) -> None:
        try:
            self.status = self.session.serve("MARK")
        except ArithmeticError as error:
            self.error = error

    def say(self, data: bytes) -> None:
        os.write(self._to_agent, data)

    def hear(self) -> object:
        return decode_message(self._lines.readline(), MESSAGES)

    def ask(self, message: object, payload: bytes = b"") -> object:
        self.say(encode_message(message) + payload)
        self.told: list[Progress] = []
        reply = self.hear()
        while isinstance(reply, Progress):
            self.told.append(reply)
            reply = self.hear()
        return reply

    def wait(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()

    def close(self) -> None:
        os.close(self._to_agent)
        self.wait()
        self._lines.close()
        os.close(self._from_session)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(Session, "_host_is_gone", lambda _: None)  # It would end this process.
    opened = Host(tmp_path)
    yield opened
    opened.close()


def test_goodbye_ends_the_session(host: Host) -> None:
    host.say(encode_message(Goodbye()))
    host.wait()
    assert host.status == 0


@pytest.mark.parametrize(("low", "high", "agreed"), [(1, 1, 1), (1, 9, 1), (0, 1, 1)])
def test_a_protocol_is_agreed_on(host: Host, low: int, high: int, agreed: int) -> None:
    welcome = host.ask(Hello(low, high, "x"))
    assert isinstance(welcome, Welcome) and welcome.protocol == agreed


@pytest.mark.parametrize(("low", "high"), [(2, 9), (0, 0)])
def test_no_common_protocol(host: Host, low: int, high: int) -> None:
    failure = host.ask(Hello(low, high, "x"))
    assert isinstance(failure, Failure) and failure.code == "protocol"


def test_what_makes_no_sense_ends_the_session(host: Host) -> None:
    host.say(b"GET / HTTP/1.1\n")
    failure = host.hear()
    assert isinstance(failure, Failure) and failure.code == "protocol"
    host.wait()
    assert host.status == 1


def test_a_message_that_is_no_request_is_refused(host: Host) -> None:
    failure = host.ask(Failure("x", "y"))
    assert failure == Failure("bad_request", "found Failure")


def test_a_batch_of_any_size_is_not_read(host: Host) -> None:
    failure = host.ask(Predict((), 1, (), 0, 2**40))
    assert isinstance(failure, Failure) and failure.code == "bad_request"


def test_a_defect_is_sent_with_its_traceback(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(host.session._answers, Current, lambda request, payload: 1 / 0)
    failure = host.ask(Current())
    assert isinstance(failure, Failure) and failure.code == "internal"
    assert "ZeroDivisionError" in failure.message and "session.py" in failure.message
    host.wait()
    assert isinstance(host.error, ZeroDivisionError), "and the agent ends with an error"


# ---- packages ------------------------------------------------------------------------------------


def offer(host: Host, package: bytes, **options: object) -> object:
    head = head_bytes(head_of_package(package))
    return host.ask(Offer(len(head), **options), head)  # type: ignore[arg-type]


def refused(answer: object, code: str) -> Failure:
    assert isinstance(answer, Failure) and answer.code == code, answer
    return answer


@pytest.fixture
def enrolled(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A session with a device that believes the owner."""
    pretend_runtimes(monkeypatch)
    host.ask(ChangeTrust((SignedTrust(canonical(TRUST).decode(), ""),)))
    return host


def test_a_package_goes_its_whole_way_over_the_wire(enrolled: Host) -> None:
    offered = offer(enrolled, PACKAGE)
    assert isinstance(offered, Offered) and not offered.already
    rest = PACKAGE[offered.resume_at :]
    installed = enrolled.ask(Install(offered.package_id, len(rest)), rest)
    assert isinstance(installed, Installed) and installed.state == "trial"
    last = enrolled.told[-1]
    assert last.done == last.total == len(rest) and last.silence_s > 0, "files are made of it now"
    committed = enrolled.ask(Commit(offered.package_id))
    assert isinstance(committed, Committed)
    assert committed.installed == dataclasses.replace(installed, state="current")
    current = enrolled.ask(Current())
    assert current == dataclasses.replace(installed, state="current", already=True)
    assert enrolled.ask(ListInstalled()) == Inventory((current,), "digits")  # type: ignore[arg-type]
    refused(enrolled.ask(Rollback()), "no_previous")


def test_the_last_request_ends_the_session(enrolled: Host) -> None:
    offered = offer(enrolled, PACKAGE)
    assert isinstance(offered, Offered)
    rest = PACKAGE[offered.resume_at :]
    install = Install(offered.package_id, len(rest), commit=True, last=True)
    assert isinstance(enrolled.ask(install, rest), Committed)
    enrolled.wait()
    assert enrolled.status == 0


def test_the_last_request_leaves_the_session_where_it_fails(enrolled: Host) -> None:
    """The host has something else to say then: that all of it comes again, or the full package."""
    offered = offer(enrolled, PACKAGE)
    assert isinstance(offered, Offered)
    rest = bytes(len(PACKAGE) - offered.resume_at)
    install = Install(offered.package_id, len(rest), commit=True, last=True)
    refused(enrolled.ask(install, rest), "corrupt_package")
    again = offer(enrolled, PACKAGE)
    assert isinstance(again, Offered) and again.resume_at == offered.resume_at


def test_a_package_that_is_there_needs_no_payload(enrolled: Host) -> None:
    offered = offer(enrolled, PACKAGE)
    assert isinstance(offered, Offered)
    rest = PACKAGE[offered.resume_at :]
    enrolled.ask(Install(offered.package_id, len(rest)), rest)
    again = offer(enrolled, PACKAGE)
    assert again == dataclasses.replace(offered, already=True, resume_at=0)
    installed = enrolled.ask(Install(offered.package_id, 0))
    assert isinstance(installed, Installed) and installed.already


@pytest.mark.parametrize("size", [-1, 0, HEAD_MAX_BYTES + 1, 2**40])
def test_a_head_of_any_size_is_not_read(host: Host, size: int) -> None:
    failure = refused(host.ask(Offer(size)), "bad_request")
    assert failure.message == f"found a head of {size} bytes, expected 1 to {HEAD_MAX_BYTES}"


def test_what_is_no_head_is_swallowed_whole(host: Host) -> None:
    refused(host.ask(Offer(2000), bytes(2000)), "corrupt_package")
    refused(host.ask(Current()), "not_installed")


def test_what_is_behind_the_head_is_refused_and_swallowed(enrolled: Host) -> None:
    """Only the head is offered; a whole package in its place is read as far as its head."""
    answer = enrolled.ask(Offer(len(PACKAGE)), PACKAGE)
    assert isinstance(answer, Offered)
    refused(enrolled.ask(Current()), "not_installed")


def test_a_corrupt_chunk_is_said_and_the_rest_swallowed(enrolled: Host) -> None:
    offered = offer(enrolled, PACKAGE)
    assert isinstance(offered, Offered)
    rest = bytes(len(PACKAGE) - offered.resume_at)
    failure = refused(enrolled.ask(Install(offered.package_id, len(rest)), rest), "corrupt_package")
    assert failure.hint == "build it again"
    refused(enrolled.ask(Current()), "not_installed")


@pytest.mark.parametrize(
    "request_", [Install("0" * 64, 0), Commit("0" * 64), Commit("../../etc")], ids=str
)
def test_nothing_is_installed_or_committed_out_of_turn(enrolled: Host, request_: object) -> None:
    refused(enrolled.ask(request_), "bad_request")


def test_refusals_come_with_their_codes(enrolled: Host) -> None:
    strange = package_of({"model": b"x"}, STRANGER)
    refused(offer(enrolled, strange), "untrusted")
    refused(offer(enrolled, package_of({"model": b"x"}), allow_unsigned=True), "untrusted")
    late = package_of({"model": b"x"}, OWNER, expires="2020-01-01T00:00:00Z")
    refused(offer(enrolled, late), "expired")


def test_a_session_that_ends_ends_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "_host_is_gone", lambda _: None)
    pretend_runtimes(monkeypatch)
    first = Host(tmp_path)
    first.ask(ChangeTrust((SignedTrust(canonical(TRUST).decode(), ""),)))
    offered = offer(first, PACKAGE)
    assert isinstance(offered, Offered)
    rest = PACKAGE[offered.resume_at :]
    first.ask(Install(offered.package_id, len(rest)), rest)
    first.close()
    second = Host(tmp_path)
    refused(second.ask(Current()), "not_installed")
    again = offer(second, PACKAGE)
    assert isinstance(again, Offered) and again.already, "but nothing need travel again"
    second.close()


def test_one_session_installs_at_a_time(enrolled: Host, tmp_path: Path) -> None:
    other = Host(tmp_path)
    offer(enrolled, PACKAGE)
    refused(offer(other, PACKAGE), "busy")
    enrolled.say(encode_message(Goodbye()))
    enrolled.wait()
    assert isinstance(offer(other, PACKAGE), Offered)
    other.close()


def test_whom_a_device_believes_is_asked_and_changed(host: Host) -> None:
    assert host.ask(GetTrust()) == TrustState("", False)
    document = canonical(TRUST).decode()
    changed = host.ask(ChangeTrust((SignedTrust(document, ""),), lab=True))
    assert changed == TrustState(document, True) == host.ask(GetTrust())
    refused(host.ask(ChangeTrust((SignedTrust("{}", ""),))), "untrusted")


def test_a_challenge_is_a_number_for_once(host: Host) -> None:
    first, second = host.ask(GetChallenge()), host.ask(GetChallenge())
    assert isinstance(first, Challenge) and isinstance(second, Challenge)
    assert len(bytes.fromhex(first.nonce)) == 16
    assert first != second


def test_the_host_s_clock_counts(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_runtimes(monkeypatch)
    monkeypatch.setattr("time.time", lambda: 0.0)
    host.ask(Hello(1, 1, "x", EARLIEST_S + 10**7))
    host.ask(ChangeTrust((SignedTrust(canonical(TRUST).decode(), ""),)))
    expires = format_utc(EARLIEST_S + 10**6)
    refused(offer(host, package_of({"model": b"x"}, OWNER, expires=expires)), "expired")


# ---- workers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGKILL, "was ended by SIGKILL"),
        (-signal.SIGILL, "was ended by SIGILL"),
        (-signal.SIGSEGV, "was ended by SIGSEGV"),
        (-63, "was ended by signal 63"),
        (1, "ended with exit status 1"),
        (None, "stopped making sense"),
    ],
)
def test_the_end_of_a_worker_is_told(code: int | None, words: str) -> None:
    failure = describe_death("int8", code, "bad_alloc")
    assert failure.code == "worker_died"
    assert failure.message == (
        f"the process running model 'int8' {words}; its last words: bad_alloc"
    )


def test_the_end_of_a_worker_says_what_it_was_at() -> None:
    failure = describe_death("int8", -signal.SIGSEGV, "", "loading")
    assert failure.message == "the process running model 'int8' was ended by SIGSEGV in loading"


def refused_memory(program: str) -> None:
    worker = Worker("int8", [sys.executable, "-c", f"import os, sys; {program}"])
    try:
        with pytest.raises(AgentFailure, match="refused its model's process the memory") as caught:
            worker.ask(Load("model", "onnxruntime", "", 1, None, ()), Loaded, silence_s=60)
    finally:
        worker.close()
    assert caught.value.code == "out_of_memory"


def test_a_runtime_in_cpp_that_gets_no_memory_is_named() -> None:
    refused_memory("os.write(2, b'  what():  std::bad_alloc\\n'); os.abort()")


def test_a_worker_that_gets_no_memory_says_so() -> None:
    """A real refusal: no system gives a process 64 TiB under a limit of 4 GiB."""
    refused_memory(
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32));"
        " from device_agent import runtimes, worker;"
        " runtimes.prepare = lambda *_: bytearray(2**46); sys.exit(worker.main())"
    )


def test_a_worker_may_end_without_a_word() -> None:
    assert describe_death("int8", -9, "").message.endswith("SIGKILL")


@pytest.mark.parametrize(
    ("found", "minimum", "enough"),
    [
        ("2.3.0", "2.3", True),
        ("2.10.0", "2.9.1", True),
        ("2.3", "2.3.0", True),
        ("2.5.0.post1", "2.5.0", True),
        ("1.14.0", "", True),
        ("2.3.0", "2.3.1", False),
        ("2.9", "2.10", False),
        ("unknown", "1.0", False),
        ("unknown", "", True),
    ],
)
def test_versions(found: str, minimum: str, enough: bool) -> None:
    version = RuntimeVersion("litert", "tflite-runtime", found)
    if enough:
        require_version(version, minimum)
    else:
        with pytest.raises(AgentFailure, match=f"found tflite-runtime {found}, expected"):
            require_version(version, minimum)
