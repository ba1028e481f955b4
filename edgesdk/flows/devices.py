"""Enrolled devices: add, list, visit, forget; and those without hardware."""

from __future__ import annotations

import platform
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent.lease_messages import LONGEST_S, Lease
from device_agent.package_messages import Installed, Inventory
from edgesdk.devices import inventory
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.bootstrap import build_agent
from edgesdk.devices.enrol import HostKey, Visited, enrol
from edgesdk.devices.inventory import Device, parse_address
from edgesdk.devices.selection import ALL, change_tags, checked_tags
from edgesdk.errors import TargetError, UsageError
from edgesdk.files import write_durable
from edgesdk.flows import leasing
from edgesdk.flows.installing import enrol_trust
from edgesdk.flows.leasing import Claim
from edgesdk.flows.session import (
    agent_on,
    find_device,
    generic_target,
    lack_of_runtime,
    require_architecture,
)
from edgesdk.interruption import Signalled
from edgesdk.progress import Progress, Silent
from edgesdk.targets.loading import load_target
from edgesdk.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from edgesdk.choices import EmulatedKind
    from edgesdk.devices.emulation.kinds import DeviceServer

_CALLED = {
    "python": "virtual device",
    "sshd": "virtual device, served by OpenSSH,",
    "arm64": "emulated aarch64 device",
}


def add_device(
    name: str,
    address: str,
    target: str,
    *,
    confirm: Callable[[HostKey], bool],
    say: Callable[[str], None] = lambda _: None,
    identity_file: str | None = None,
    python: str = "python3",
    replace: bool = False,
    lab: bool = False,
    tags: Sequence[str] = (),
) -> Visited:
    """Enrol a device: its host key is shown to `confirm`, pinned, and the agent started there.

    A device that was never enrolled is told whom to believe from now on: the keys trusted here. A
    first key is made where there is none.

    Args:
        address: "user@host" or "user@host:port".
        target: id of the target it is, or the path of its descriptor.
        say: told that the device has no runtime for that target, which does not keep it out.
        replace: an enrolled device of that name, whatever differs.
        lab: the device may be told to take unsigned packages.
        tags: what it is chosen by, beside its name.

    Raises:
        TargetError: no such target.
        TransportError: it does not answer, or does not let us in; nothing was stored.
        AgentError: the agent does not start there, or it is not of the target's architecture;
            nothing was stored.
        UsageError: the key was not confirmed, or the name is enrolled otherwise.
    """
    kind = load_target(target)
    _refuse_reserved(name)

    def admit(device: Device, agent: AgentSession) -> None:
        require_architecture(device, agent.environment, kind.id, kind.architecture)
        enrol_trust(agent, device, say)

    visited = enrol(
        inventory.default_path(),
        name,
        parse_address(address),
        _kept(target),
        confirm=confirm,
        admit=admit,
        identity_file=identity_file,
        python=python,
        replace=replace,
        lab=lab,
        tags=checked_tags(tags),
    )
    if lack := lack_of_runtime(visited.device, visited.environment, kind.runtimes):
        say(f"warning: {lack.message}; {lack.hint}")
    return visited


def _kept(target: str) -> str:
    """The target as the inventory keeps it: a descriptor's path must hold from every folder."""
    return str(Path(target).resolve()) if target.endswith(".toml") else target


def _refuse_reserved(name: str) -> None:
    if name == ALL:
        raise UsageError(
            f"found device name {name!r}, which means all of them", hint="choose another"
        )


def tag_device(name: str, changes: Sequence[str]) -> Device:
    """Give an enrolled device tags ("+lab-a") and take others away ("-lab-b").

    Raises:
        UnknownDevice: there is none of that name.
        UsageError: a change without its sign, or one that cannot be a tag.
    """
    return change_tags(inventory.default_path(), name, changes)


def list_devices() -> tuple[Device, ...]:
    """Every enrolled device."""
    return inventory.load(inventory.default_path())


def remove_device(name: str) -> Device:
    """Forget an enrolled device.

    Raises:
        UnknownDevice: there is none of that name.
    """
    return inventory.remove(inventory.default_path(), name)


def list_installed(name: str) -> Inventory:
    """Every package on a device: current, previous, and what its guarded runner fell back to.

    Raises:
        UnknownDevice: there is none of that name.
        DeviceError: it cannot be reached, or the agent does not start there.
    """
    with agent_on(find_device(name)) as agent:
        return agent.inventory()


def rollback(
    device: str,
    *,
    package: str = "",
    wait_s: float = 0.0,
    say: Callable[[str], None] = lambda _: None,
) -> Installed:
    """Make the previous package of a device the current one again.

    Args:
        package: name of the package; the one that was installed last unless given.
        wait_s: how long to wait for a device that is someone else's.
        say: told whom it waits for.

    Raises:
        UnknownDevice: there is no such device.
        AgentError: there is no previous package, or the current one forbids to go back to it.
    """
    with agent_on(find_device(device), claim=Claim("a rollback", wait_s, say)) as agent:
        return agent.roll_back(package)


def lease_device(
    name: str,
    seconds: int,
    *,
    purpose: str = "",
    wait_s: float = 0.0,
    say: Callable[[str], None] = lambda _: None,
) -> Lease:
    """Keep a device to yourself, without staying connected.

    Args:
        seconds: how long; again before it is over makes it longer, or shorter.
        purpose: what for, as others are told.
        wait_s: how long to wait for a device that is someone else's.
        say: told whom it waits for, and whose expired lease was found there.

    Raises:
        UsageError: for no time, or for more than a week.
        UnknownDevice: there is none of that name.
        AgentError: with code "busy": it is someone else's.
    """
    if not 1 <= seconds <= LONGEST_S:
        raise UsageError(
            f"found a lease of {seconds} s, expected 1 s to {LONGEST_S // 86400} days",
            hint="leasing it again before it is over makes it longer",
        )
    with agent_on(find_device(name)) as agent:
        leased = leasing.keep(agent, seconds, Claim(purpose, wait_s, say))
    if leased.note:
        say(leased.note)
    return leased.lease


def release_device(name: str, *, force: bool = False) -> Lease | None:
    """Give back what `lease_device` kept; None where nothing was kept.

    Args:
        force: be it someone else's. What a session uses ends with that session only.

    Raises:
        UnknownDevice: there is none of that name.
        AgentError: with code "busy": it is someone else's.
    """
    with agent_on(find_device(name)) as agent:
        return leasing.give_back(agent, force=force)


def save_agent(path: Path | str) -> Path:
    """Write the agent as one file, for a device that no SSH reaches: see `device_agent.local`.

    Returns:
        The path.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durable(path, build_agent().zipapp)
    return path


def emulate(
    command: Sequence[str],
    *,
    name: str,
    kind: EmulatedKind = "python",
    target: str | None,
    port: int,
    disk: str | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None],
) -> int:
    """Run a device without hardware, enrolled under `name`, until interrupted or `command` ends.

    Args:
        command: run while the device is up; empty serves until interrupted.
        kind: an SSH server in this process, this machine's OpenSSH, or an emulated arm64 Debian.
        target: what to enrol it as; the generic target of its processor unless given.
        disk: size of its disk, such as "2 GiB"; for "arm64" only.
        progress: shown while the arm64 Debian is made, the first time.

    Returns:
        The command's exit code, or 0.

    Raises:
        TargetError: there is no generic target for this machine.
        UsageError: `name` is enrolled and is a real device, or `disk` goes with another kind.
        ToolchainMissing: what serves that kind is not installed.
        DeviceError: it does not start, or what it computes could not be believed.
    """
    enrolled_as = _kept(target) if target else _generic_target(kind)
    load_target(enrolled_as)
    path = inventory.default_path()
    if any(known.name == name and not known.virtual for known in inventory.load(path)):
        raise UsageError(f"{name} is enrolled as a real device", hint="choose another --name")
    _end_once()
    with _server(kind, port, disk, progress or Silent()) as server:
        device = server.as_device(name, enrolled_as)
        inventory.add(path, device, replace=True)
        say(
            f"{_CALLED[kind]} {name} ({enrolled_as}) answers at {device.address}; it is not a board"
        )
        try:
            return _run(command) if command else _serve(server, say)
        finally:
            inventory.remove(path, name)


def _server(
    kind: EmulatedKind, port: int, disk: str | None, progress: Progress
) -> DeviceServer[object]:
    # Each needs something that the others do not.
    if disk is not None and kind != "arm64":
        raise UsageError(
            f"--disk is for --kind arm64: a device of kind {kind} uses this machine's disk"
        )
    if kind == "arm64":
        from edgesdk.devices.emulation.arm64 import DISK_BYTES, LEAST_DISK_BYTES, Arm64Device

        size = DISK_BYTES if disk is None else parse_bytes(disk)
        if size < LEAST_DISK_BYTES:
            raise UsageError(
                f"found --disk {disk}, expected {format_bytes(LEAST_DISK_BYTES)} or more: the "
                "Debian itself takes most of that"
            )
        return Arm64Device(progress, port=port, disk_bytes=size)
    if kind == "sshd":
        from edgesdk.devices.emulation.sshd import SshdDevice

        return SshdDevice(port=port)
    from edgesdk.devices.virtual import VirtualDevice

    return VirtualDevice(port=port)


def _run(command: Sequence[str]) -> int:
    """The command's exit code, as a shell gives it.

    Ctrl-C in a terminal reaches the command by itself, and it shall end as it likes; a polite kill
    is passed on.
    """
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        raise UsageError(f"{command[0]} cannot be started: {error.strerror}") from error
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    code = child.wait()
    return code if code >= 0 else 128 - code


def _serve(server: DeviceServer[object], say: Callable[[str], None]) -> int:
    """Until Ctrl-C or a polite kill, which both end a server as they should."""
    with suppress(Signalled):
        say("Ctrl-C stops it")
        server.serve_forever()
    return 0


def _end_once() -> None:
    """Take the first signal that comes and no other: those that clean up shall get to their end.

    That takes a few seconds at most. Terminals and service managers send a second one sooner.
    """

    def end(signal_number: int, _: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise Signalled(signal_number)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, end)


def _generic_target(kind: EmulatedKind) -> str:
    machine = "aarch64" if kind == "arm64" else platform.machine()
    fitting = generic_target(machine)
    if fitting is None:
        raise TargetError(
            f"there is no generic target for this machine ({machine})", hint="give --target"
        )
    return fitting
