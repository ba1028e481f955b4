"""Rows 1 to 9: something dies in the middle."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from device_agent.archive import payloads
from edgesdk import api
from edgesdk.testing.fault_proxy import FaultProxy
from edgesdk.values.package import Package
from tests.faults.bench import DEVICE, Bench, lost, until
from tests.faults.matrix import fault
from tests.faults.releases import NAME, Releases

RECEIVED = r"incoming/[0-9a-f]{64}/files/"
MOVED_IN = r"/store/[0-9a-f]{64}$"
STATE = r"/\.edgesdk/state\.json$"
LINK = rf"/models/{NAME}$"
UNUSED = r"/unused$"

RESUMES = (
    "the old version still runs; a typed error; nothing outside of the store; a retry goes on "
    "behind the last verified chunk and succeeds"
)
REVERTS = "the trial is over at the next start and the old version still runs; a retry succeeds"
TOLD_NOBODY = "the new version runs; a typed error, as nobody was told; a retry: already committed"
FINISHES = (
    "one of the two versions runs, whole; the next start finishes what the state says; rolling "
    "back again succeeds"
)
LOSES_NOTHING = "the current and the previous version are whole; the next push removes the rest"


# ---- 1: the host -------------------------------------------------------------------------------


@fault(1, "`edgesdk push` gets SIGKILL while the package travels over a slow line", RESUMES)
def test_the_host_is_killed(old: Bench, releases: Releases) -> None:
    new = releases(2)
    with old.through(FaultProxy(*where(old), bytes_per_second=250_000)):
        push = old.cli.start("push", new.path, "--device", DEVICE)
        until(lambda: received(old) > 150_000, "half of the package")
        push.kill()
        push.communicate()
        assert push.returncode == -signal.SIGKILL
    goes_on_behind(old, new, 150_000)


@fault(1, "the process of sshd that serves the push gets SIGKILL", RESUMES)
def test_the_session_of_sshd_is_killed(old_openssh: Bench, releases: Releases) -> None:
    old, new = old_openssh, releases(2)
    with old.through(FaultProxy(*where(old), bytes_per_second=250_000)):
        push = old.cli.start("push", new.path, "--device", DEVICE)
        until(lambda: received(old) > 150_000, "half of the package")
        (agent,) = (pid for pid, what in old.processes().items() if what == "serve")
        os.kill(parent(agent), signal.SIGKILL)
        _, said = push.communicate()
        assert push.returncode == 4
        assert "was lost" in said
    goes_on_behind(old, new, 150_000)


# ---- 2 to 7: the agent, while it installs ------------------------------------------------------


@fault(2, "SIGKILL before the first, the third and the last chunk is written", RESUMES)
@pytest.mark.parametrize("chunk", [1, 3, -1], ids=["first", "third", "last"])
def test_the_agent_is_killed_while_it_receives(old: Bench, releases: Releases, chunk: int) -> None:
    new = releases(2)
    starts = [
        payload.start + sum(payload.sizes[:index])
        for payload in payloads(new.head)
        for index in range(len(payload.sizes))
    ]
    number = chunk if chunk > 0 else len(starts)
    old.order("die", "append", RECEIVED, number=number)
    died(old, new)
    old.is_as_before("1.0")
    assert resume_at(old, new) == starts[number - 1]
    old.takes(new)


@fault(3, "SIGKILL just before the package's folder gets its name")
def test_the_agent_is_killed_before_the_rename(old: Bench, releases: Releases) -> None:
    old.order("die", "rename", MOVED_IN)
    died(old, releases(2))
    old.is_as_before("1.0")
    old.takes(releases(2))


@fault(4, "SIGKILL just after the package's folder got its name")
def test_the_agent_is_killed_after_the_rename(old: Bench, releases: Releases) -> None:
    old.order("die", "rename", MOVED_IN, moment="after")
    died(old, releases(2))
    old.is_as_before("1.0")
    old.takes(releases(2))


@fault(5, "SIGKILL just after the state names the package on trial", REVERTS)
def test_the_agent_is_killed_on_trial(old: Bench, releases: Releases) -> None:
    old.order("die", "rename", STATE, moment="after")
    died(old, releases(2))
    old.is_as_before("1.0")
    old.takes(releases(2))


@fault(6, "SIGKILL for the agent while a worker checks the model", REVERTS)
def test_the_agent_is_killed_during_the_health_check(old: Bench, releases: Releases) -> None:
    old.order("die", "spawn", "worker", moment="after")
    died(old, releases(2))
    old.is_as_before("1.0")
    old.takes(releases(2))


@fault(6, "SIGKILL for the worker that checks the model")
def test_the_health_check_is_killed(old: Bench, releases: Releases) -> None:
    old.order("die", "write", '"type":"Loaded"', role="worker")
    error = old.refuses(releases(2))
    assert old.struck()
    assert error.code == "unhealthy"
    old.is_as_before("1.0")
    old.takes(releases(2))


@fault(7, "SIGKILL when the commit is durable, just before the host is told", TOLD_NOBODY)
def test_the_agent_is_killed_before_it_says_committed(old: Bench, releases: Releases) -> None:
    old.order("die", "write", '"type":"Committed"')
    died(old, releases(2))
    old.is_as_before("2.0")
    assert old.push(releases(2)).already


@fault(7, "SIGKILL between the new state and the link that follows it", TOLD_NOBODY)
def test_the_agent_is_killed_between_state_and_link(old: Bench, releases: Releases) -> None:
    old.order("die", "rename", STATE, number=2, moment="after")
    died(old, releases(2))
    old.await_silence()
    assert old.runs() == "1.0", "until the agent starts again, the link is the old one"
    assert old.push(releases(2)).already
    old.is_as_before("2.0")


# ---- 8 and 9: after that -----------------------------------------------------------------------


@fault(8, "SIGKILL before and after the state changes, before and after the link does", FINISHES)
@pytest.mark.parametrize(
    ("path", "moment", "then", "back"),
    [
        pytest.param(STATE, "before", "2.0", "1.0", id="before the state"),
        pytest.param(STATE, "after", "1.0", "2.0", id="after the state"),
        pytest.param(LINK, "before", "1.0", "2.0", id="before the link"),
        pytest.param(LINK, "after", "1.0", "2.0", id="after the link"),
    ],
)
def test_the_agent_is_killed_during_a_rollback(
    old: Bench, releases: Releases, path: str, moment: str, then: str, back: str
) -> None:
    old.push(releases(2))
    old.order("die", "rename", path, moment=moment)
    lost(lambda: api.rollback(DEVICE))
    assert old.struck()
    old.await_silence()
    assert old.runs() in ("1.0", "2.0")
    old.installed()
    old.is_as_before(then)
    assert api.rollback(DEVICE).version == back
    assert old.runs() == back


@fault(9, "SIGKILL before and after a package is set aside, and while it is removed", LOSES_NOTHING)
@pytest.mark.parametrize(
    ("call", "path", "moment"),
    [
        ("rename", UNUSED, "before"),
        ("rename", UNUSED, "after"),
        ("unlink", r"/unused/", "after"),
        ("rmdir", UNUSED, "before"),
    ],
    ids=["before", "after", "first file gone", "files gone"],
)
def test_the_agent_is_killed_while_it_cleans_up(
    old: Bench, releases: Releases, call: str, path: str, moment: str
) -> None:
    old.push(releases(2))
    old.order("die", call, path, moment=moment)
    died(old, releases(3))
    old.is_as_before("3.0")
    assert api.rollback(DEVICE).version == "2.0"
    old.is_as_before("2.0")
    old.takes(releases(4))
    standing = {each.state: each.version for each in old.installed().packages}
    assert standing == {"current": "4.0", "previous": "2.0"}


# ---- parts -------------------------------------------------------------------------------------


def where(bench: Bench) -> tuple[str, int]:
    return bench.device.host, bench.device.port


def received(bench: Bench) -> int:
    """Bytes of a transfer under way."""
    return sum(path.stat().st_size for path in (bench.store / "incoming").rglob("*.*"))


def goes_on_behind(bench: Bench, package: Package, raw_bytes: int) -> None:
    """The device is as before, and wants no more of the package than it has to."""
    bench.is_as_before("1.0")
    chunk = 64 * 1024
    assert resume_at(bench, package) > (raw_bytes - chunk) * 0.8, "chunks are compressed"
    bench.takes(package)


def resume_at(bench: Bench, package: Package) -> int:
    """Where the device wants the package's bytes from."""
    with bench.session() as agent:
        return agent.offer(package).resume_at


def parent(pid: int) -> int:
    """The process that started it: sshd's for the session, where the shell has become the agent."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def died(bench: Bench, package: Package) -> None:
    """A push in which the agent dies."""
    error = lost(lambda: bench.push(package))
    assert bench.struck(), "the fault did not strike"
    assert "ended in the middle of its work" in error.message
