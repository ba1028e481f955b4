"""What a session says when it is spoken to wrongly, or breaks; and how workers' ends are told."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.codec import decode_message, encode_message
from device_agent.failures import AgentFailure
from device_agent.protocol import (
    MESSAGES,
    Current,
    Failure,
    Goodbye,
    Hello,
    Predict,
    RuntimeVersion,
    Welcome,
)
from device_agent.session import Session
from device_agent.worker import require_version
from device_agent.workers import describe_death


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
        return self.hear()

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
