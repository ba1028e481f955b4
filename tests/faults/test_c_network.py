"""Rows 19 to 23: the way to the device."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edgesdk import api
from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import HostKeyMismatch, TransportError
from edgesdk.testing.fault_proxy import FaultProxy
from tests.cli import this_machine
from tests.faults.bench import DEVICE, Bench, lost, until
from tests.faults.matrix import fault
from tests.faults.releases import Releases
from tests.faults.test_a_interruption import RESUMES, received, resume_at, where

RATE = 1_500_000
"""Bytes in a second: so that what the device has taken is about what was sent."""
STALL_S = 10.0
RTT_S = 0.5


@fault(
    19,
    "the connection is reset at random bytes of what goes to the device, and comes back",
    RESUMES,
)
def test_the_connection_drops(old: Bench, releases: Releases, seed: Path) -> None:
    """At 5 places on the way there and 3 on the way back, anywhere from the first byte on."""
    new, chance = releases(2), random.Random(19)
    with old.through(FaultProxy(*where(old))) as whole:
        old.takes(new)
    cuts = [{"cut_after_bytes": chance.randrange(whole.moved_bytes - 2000)} for _ in range(5)]
    cuts += [
        {"cut_after_bytes_down": chance.randrange(whole.moved_bytes_down - 2000)} for _ in range(3)
    ]
    resumed = 0
    for cut in cuts:
        old.has(seed)
        with old.through(FaultProxy(*where(old), bytes_per_second=RATE, **cut)):
            error = lost(lambda: old.push(new))
            assert isinstance(error, TransportError), error
        old.await_silence()
        assert old.runs() == "1.0"
        resumed += received(old) > 0
    assert resumed >= 1
    old.is_as_before("1.0")
    old.takes(new)


@fault(20, "nothing moves for 10 s in the middle of the package", "the push waits and succeeds")
def test_the_connection_stalls(old: Bench, releases: Releases) -> None:
    proxy = FaultProxy(*where(old), stall_after_bytes=200_000, stall_s=STALL_S)
    began = time.monotonic()
    with old.through(proxy):
        old.takes(releases(2))
    assert time.monotonic() - began > STALL_S


@pytest.mark.slow
@fault(
    20,
    "nothing moves any more in the middle of the package, and neither side hears of an end",
    "the host gives up within 60 s of silence and the agent within 90 s, until when the device is "
    "busy; a retry then goes on behind the last verified chunk",
)
def test_the_connection_falls_silent(old_virtual: Bench, releases: Releases) -> None:
    old, new = old_virtual, releases(2)
    with old.through(FaultProxy(*where(old), bytes_per_second=250_000)) as proxy:
        freeze = threading.Thread(
            target=lambda: (until(lambda: received(old) > 150_000, "half of it"), proxy.freeze())
        )
        freeze.start()
        began = time.monotonic()
        old.fails(lambda: old.push(new), TransportError)
        assert time.monotonic() - began < 90
        freeze.join()
        old.cli.enrol(old.device)  # another way, while the broken one stands
        assert old.refuses(new).code == "busy"
        until(lambda: not old.processes(), "the agent to give up", 120)
        assert resume_at(old, new) > 100_000
        old.takes(new)


@fault(21, "each byte takes 250 ms, there and back", "the push succeeds")
def test_a_far_device(old: Bench, releases: Releases) -> None:
    with old.through(FaultProxy(*where(old), latency_s=RTT_S / 2)):
        began = time.monotonic()
        old.push(releases(2))
        assert time.monotonic() - began < 60
    old.is_as_before("2.0")


@fault(22, "sshd with MaxStartups 2:50:4, and 8 logins at once", "all succeed, some after a retry")
def test_a_crowded_sshd(
    openssh_bench: Bench, sshd_device_with: Callable[[str], Device], tmp_path: Path
) -> None:
    for name in ("host_key", "client_key", "authorized_keys"):
        (tmp_path / name).unlink()
        (tmp_path / f"{name}.pub").unlink(missing_ok=True)
    crowded = sshd_device_with("MaxStartups 2:50:4")
    python = openssh_bench.device.python
    openssh_bench.cli.enrol(replace(crowded, name=DEVICE, python=python, target=this_machine()))
    with ThreadPoolExecutor(8) as pool:
        visits = list(pool.map(lambda _: api.show_device(DEVICE), range(8)))
    assert len(visits) == 8


@fault(22, "the first three connections are reset before a word", "the push succeeds")
def test_resets_before_the_greeting(old_virtual: Bench, releases: Releases) -> None:
    proxy = FaultProxy(*where(old_virtual), cut_after_bytes=0, faulty_connections=3)
    with old_virtual.through(proxy):
        old_virtual.takes(releases(2))
    assert proxy.accepted == 4


@fault(
    23,
    "another device answers at the enrolled address, and would let us in",
    "refused before the login, both fingerprints are shown; nothing is written there; the right "
    "device is pushed to afterwards",
)
def test_another_device(old: Bench, releases: Releases, tmp_path: Path) -> None:
    with VirtualDevice(tmp_path / "other") as other:
        address = other.address
        with old.through(FaultProxy(address.host, address.port)):
            error = old.fails(lambda: old.push(releases(2)), HostKeyMismatch)
            done = old.cli("push", releases(2).path, "--device", DEVICE)
        assert done.code == error.exit_code == 4
        assert len(error.details) == 2
        assert other.logins == 0
        assert list(other.home.iterdir()) == []
    old.is_as_before("1.0")
    old.takes(releases(2))
