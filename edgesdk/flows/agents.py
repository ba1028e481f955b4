"""Runtimes of the agent's own: brought to a device without internet, listed, and taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device_agent.environment_messages import Environment
from device_agent.protocol import ErrorCode
from device_agent.runtime_messages import Interpreter, RuntimeInstalled, RuntimesHere, StoreRemoved
from edgesdk.devices import runtimes as talk
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.inventory import Device
from edgesdk.errors import AgentError, NoWheels, UsageError
from edgesdk.flows.leasing import Claim, Say
from edgesdk.flows.session import agent_on, find_device
from edgesdk.progress import Progress, Silent
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import Target
from edgesdk.values.runtime_lock import RuntimeLock
from edgesdk.wheels.locking import Chosen, choose, wheel_folder
from edgesdk.wheels.ways import (
    EDGE_TPU_LIBRARY,
    INSTALLABLE,
    installed_as,
    require_known,
    ways_for,
)


@dataclass(frozen=True, slots=True)
class RuntimeOnDevice:
    """One runtime that was brought.

    Args:
        runtime: what was asked for.
        lock: the exact wheels, with their hashes.
        kept: the choice had been made before, for a board of that kind.
        sent_bytes: what had to travel.
        receipt: what the agent says of it.
        beside: which Python's own runtime it comes before; "" where there is none.
    """

    runtime: str
    lock: RuntimeLock
    kept: bool
    sent_bytes: int
    receipt: RuntimeInstalled
    beside: str = ""


@dataclass(frozen=True, slots=True)
class AgentInstall:
    """What `agent_install` did.

    Args:
        device: its name.
        interpreter: the device's Python that the wheels were chosen for.
        runtimes: in the order in which they were asked for.
        warnings: what is lacking still, one sentence each.
    """

    device: str
    interpreter: Interpreter
    runtimes: tuple[RuntimeOnDevice, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentRuntimes:
    """What the agent has to itself on a device."""

    device: str
    found: RuntimesHere


@dataclass(frozen=True, slots=True)
class AgentUninstall:
    """What `agent_uninstall` left.

    Args:
        removed: the runtimes that are gone, by name.
        left: what the agent has to itself still; None where all of it is gone.
        store: the agent's folder, where that is gone; None where it was to stay.
    """

    device: str
    removed: tuple[str, ...]
    left: RuntimesHere | None
    store: StoreRemoved | None


def agent_install(
    device: str,
    *,
    runtimes: Sequence[str] = (),
    wheels: Path | str | None = None,
    renew: bool = False,
    progress: Progress | None = None,
    wait_s: float = 0.0,
    say: Say = lambda _: None,
) -> AgentInstall:
    """Bring runtimes to a device, which needs no internet for it and no pip.

    The wheels are chosen here for the device's Python, architecture and C library, sent, verified
    and unpacked into the agent's own folder. The device's Python itself is not touched. The agent
    uses what it has to itself before what its Python has.

    Args:
        device: its name.
        runtimes: such as "litert"; the first of the device's target that can be brought so, by
            default.
        wheels: a folder to take them from, for a workstation that has no internet either.
        renew: choose anew what has been chosen before for such a board.
        wait_s: how long to wait for a device that is someone else's.
        say: told whom it waits for.

    Raises:
        UnknownDevice: there is none of that name.
        UsageError: there is no runtime of such a name.
        WheelFolderError: `wheels` is no folder, or holds no wheel.
        NoWheels: none fit the device, or no wheels bring that runtime.
        ToolchainMissing: there is no pip here.
        AgentError: the device refuses them or does not import them; it is as it was before.
    """
    progress, enrolled = progress or Silent(), find_device(device)
    target = load_target(enrolled.target)
    wanted = tuple(dict.fromkeys(runtimes)) or (_default(target),)
    for runtime in wanted:
        ways_for(runtime)  # What cannot be brought is said before anybody waits.
    source = None if wheels is None else wheel_folder(wheels)
    claim = Claim("installing a runtime", wait_s, say)
    with agent_on(enrolled, claim=claim, progress=progress) as agent:
        board = talk.read_interpreter(agent)
        choices = [
            choose(each, board, _min_version(target, each), progress, source=source, renew=renew)
            for each in wanted
        ]
        brought = []
        for runtime, chosen in zip(wanted, choices, strict=True):
            name = installed_as(runtime)
            sent = talk.send_runtime(agent, name, chosen.lock, chosen.folder, progress)
            brought.append(_told(runtime, chosen, sent, agent.environment))
    return AgentInstall(device, board, tuple(brought), _warnings(enrolled, wanted))


def agent_runtimes(device: str) -> AgentRuntimes:
    """The runtimes that the agent has to itself on a device.

    Raises:
        UnknownDevice: there is none of that name.
        DeviceError: it cannot be reached, or the agent does not start there.
    """
    with agent_on(find_device(device)) as agent:
        return AgentRuntimes(device, talk.list_runtimes(agent))


def agent_uninstall(
    device: str,
    *,
    runtimes: Sequence[str] = (),
    everything: bool = False,
    wait_s: float = 0.0,
    say: Say = lambda _: None,
) -> AgentUninstall:
    """Take runtimes away again, or all that edgesdk ever wrote on a device.

    Args:
        runtimes: which; all of the agent's own by default.
        everything: packages, trust and the agent itself as well: applications that use a package
            of the device lose it.
        wait_s: how long to wait for a device that is someone else's.
        say: told whom it waits for.

    Raises:
        UnknownDevice: there is none of that name.
        UsageError: some runtimes and everything, or there is no runtime of such a name.
        AgentError: there is no such runtime, or another session uses the device.
    """
    if runtimes and everything:
        raise UsageError("found both runtimes and everything", hint="everything includes them")
    for runtime in runtimes:
        require_known(runtime)
    claim = Claim("removing what edgesdk brought", wait_s, say)
    with agent_on(find_device(device), claim=claim) as agent:
        before = _names_here(agent)
        if everything:
            return AgentUninstall(device, before, None, talk.remove_store(agent))
        left = talk.remove_runtimes(agent, [installed_as(each) for each in runtimes])
    staying = {each.runtime for each in left.runtimes}
    return AgentUninstall(device, tuple(each for each in before if each not in staying), left, None)


def _default(target: Target) -> str:
    for each in target.runtimes:
        if each.name in INSTALLABLE:
            return each.name
    ways_for(target.runtimes[0].name)
    raise NoWheels(f"no wheels bring a runtime of {target.id}")


def _min_version(target: Target, runtime: str) -> str:
    """The oldest that the device's target takes; "" where that runtime is none of its own."""
    return next((each.min_version for each in target.runtimes if each.name == runtime), "")


def _told(
    runtime: str, chosen: Chosen, sent: talk.Sent, environment: Environment
) -> RuntimeOnDevice:
    others = (
        f"{each.package} {each.version}"
        for each in environment.runtimes
        if each.runtime == sent.receipt.runtime and not each.source
    )
    return RuntimeOnDevice(
        runtime=runtime,
        lock=chosen.lock,
        kept=chosen.kept,
        sent_bytes=sent.sent_bytes,
        receipt=sent.receipt,
        beside=next(others, ""),
    )


def _warnings(device: Device, wanted: Sequence[str]) -> tuple[str, ...]:
    """What wheels cannot bring and the device lacks, seen after they have come."""
    if "edgetpu" not in wanted:
        return ()
    with agent_on(device) as agent:
        found = {each.runtime for each in agent.environment.runtimes}
    return () if "edgetpu" in found else (EDGE_TPU_LIBRARY,)


def _names_here(agent: AgentSession) -> tuple[str, ...]:
    """What is there to be removed; nothing is said of a list that is damaged."""
    try:
        return tuple(each.runtime for each in talk.list_runtimes(agent).runtimes)
    except AgentError as error:
        if error.code != ErrorCode.STORAGE:
            raise
        return ()
