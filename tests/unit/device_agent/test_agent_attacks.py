"""What a host that does not keep to the order of things, or meddles, does not get."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_packages import head_of_package, id_of, noise, package_of

from device_agent import archive, receiving
from device_agent.codec import canonical
from device_agent.documents import CorruptPackage
from device_agent.environment_messages import RuntimeVersion
from device_agent.failures import AgentFailure
from device_agent.installing import Installer
from device_agent.manifest import CHUNK_BYTES, Compatibility
from device_agent.package_messages import Offer, Offered
from device_agent.store import KeptTrust, Store
from device_agent.trust import Trust, TrustedKey
from device_agent.trust_messages import ChangeTrust, SignedTrust
from tests.signers import BELIEVES_OWNER as TRUST
from tests.signers import OWNER, STRANGER

HERE = Compatibility("here", (), "onnxruntime", "")
LARGE = {"model": noise(5 * CHUNK_BYTES + 100), "golden": b"vectors"}


class Host:
    """One session with a device."""

    def __init__(self, root: Path) -> None:
        self.store = Store(str(root))
        self.installer = Installer(self.store, "no program")
        if self.store.trust() is None:
            first = SignedTrust(canonical(TRUST).decode(), "")
            self.installer.change_trust(ChangeTrust((first,)))

    def offer(self, package: bytes) -> Offered:
        head = archive.head_bytes(head_of_package(package))
        return self.installer.offer(Offer(len(head)), io.BytesIO(head).read)

    def install(self, package: bytes, offered: Offered, end: int | None = None) -> None:
        sent = io.BytesIO(package[offered.resume_at : end])
        self.installer.install(offered.package_id, sent.read)

    def commit(self, package: bytes) -> None:
        self.installer.commit(id_of(package), lambda _: None)

    def put(self, package: bytes) -> None:
        self.install(package, self.offer(package))
        self.commit(package)

    def current(self) -> int:
        return self.installer.current("digits").sequence


OpenHost = Callable[[], Host]


@pytest.fixture
def open_host(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenHost]:
    found = (RuntimeVersion("onnxruntime", "onnxruntime", "1.20"),)
    monkeypatch.setattr("device_agent.runtimes.discover", lambda *_: found)
    opened: list[Host] = []

    def open_host() -> Host:
        opened.append(Host(root))
        return opened[-1]

    yield open_host
    for host in opened:
        host.store.close()


def release(sequence: int) -> bytes:
    return package_of({"model": b"model"}, OWNER, sequence=sequence, compatibility=HERE)


def large() -> bytes:
    return package_of(LARGE, OWNER, compatibility=HERE)


def fails(code: str, call: Callable[[], object]) -> None:
    with pytest.raises(AgentFailure) as caught:
        call()
    assert caught.value.code == code


def test_what_was_offered_before_the_turn_was_given_away_is_not_installed(
    open_host: OpenHost,
) -> None:
    host, other = open_host(), open_host()
    host.put(release(5))
    host.put(release(6))
    offered = host.offer(release(7))
    host.installer.roll_back("digits")  # With it the turn to install ends.
    other.put(release(9))
    fails("bad_request", lambda: host.install(release(7), offered))
    host.offer(release(9))
    fails("bad_request", lambda: host.commit(release(7)))
    assert host.current() == 9


def test_the_trial_of_a_session_that_died_is_nobody_s_to_commit(open_host: OpenHost) -> None:
    host = open_host()
    host.put(release(1))
    child = os.fork()
    if child == 0:
        dying = open_host()
        dying.install(release(2), dying.offer(release(2)))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert host.store.state().trial is not None
    host.offer(release(3))
    fails("bad_request", lambda: host.commit(release(2)))
    assert host.current() == 1


def test_an_offer_holds_for_one_installation(
    open_host: OpenHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = large()
    end = archive.chunk_offset(archive.payloads(head_of_package(package))[0], 3)
    host = open_host()
    with pytest.raises(CorruptPackage):
        host.install(package, host.offer(package), end)
    offered = host.offer(package)
    assert offered.resume_at == end

    with monkeypatch.context() as patch:
        patch.setattr(receiving, "write_file", _no_space)
        fails("disk_full", lambda: host.install(package, offered))
    # What had come is gone, and with it the place that `resume_at` told of.
    fails("bad_request", lambda: host.install(package, offered))
    host.install(package, host.offer(package))
    assert host.store.packages.is_intact(offered.package_id)


def _no_space(path: str, pieces: object) -> None:
    raise OSError(28, "No space left on device", path)


@pytest.mark.parametrize("what", ["files/model.bin", "files", ""])
def test_what_came_must_still_be_there_when_it_goes_on(
    open_host: OpenHost, root: Path, what: str
) -> None:
    package = large()
    end = archive.chunk_offset(archive.payloads(head_of_package(package))[0], 3)
    host = open_host()
    with pytest.raises(CorruptPackage):
        host.install(package, host.offer(package), end)
    offered = host.offer(package)
    (part,) = (root / "incoming").glob(f"*/{what}")
    part.unlink() if part.is_file() else shutil.rmtree(part)
    fails("storage", lambda: host.install(package, offered))
    assert not host.store.packages.is_intact(offered.package_id)


@pytest.mark.parametrize("order", [("model", "companion", "golden"), ("companion", "model")])
@pytest.mark.parametrize("number", [0, 1])
def test_an_empty_file_is_made_wherever_the_transfer_broke_off(
    open_host: OpenHost, order: tuple[str, ...], number: int
) -> None:
    sizes = {"model": 70_000, "companion": 0, "golden": 9}
    contents = {role: noise(sizes[role]) for role in order}
    package = package_of(contents, OWNER, compatibility=HERE)
    payload = archive.payloads(head_of_package(package))[number]
    host = open_host()
    with pytest.raises(CorruptPackage):
        host.install(package, host.offer(package), payload.start + payload.stored_bytes)
    host.install(package, host.offer(package))
    assert host.store.packages.is_intact(id_of(package))


def test_of_two_first_enrolments_at_once_one_holds(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = canonical(Trust(1, 1, (TrustedKey("stranger", STRANGER.public_key),))).decode()
    store = Store(str(root))
    as_it_was = store.trust

    def look() -> KeptTrust | None:
        """By the time that it has looked, somebody else has been there."""
        monkeypatch.setattr(store, "trust", as_it_was)
        Host(root).store.close()
        return None

    monkeypatch.setattr(store, "trust", look)
    late = ChangeTrust((SignedTrust(theirs, ""),), lab=True)
    fails("untrusted", lambda: Installer(store, "no program").change_trust(late))
    kept = store.trust()
    assert kept is not None and not kept.lab
    assert kept.version.document == canonical(TRUST).decode()
    store.close()
