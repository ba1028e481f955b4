"""A device in detail, and the doctor: one visit, compared with its target and its package."""

from __future__ import annotations

import importlib.util
import time
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from device_agent.clock import format_utc
from device_agent.inspection_messages import Built, Inspection, built_of
from edgesdk.devices import inventory, last_seen
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.enrol import Visited
from edgesdk.devices.inventory import Device
from edgesdk.devices.last_seen import Seen
from edgesdk.doctor.diagnosing import diagnose
from edgesdk.doctor.software import impostor_finding
from edgesdk.errors import UsageError
from edgesdk.flows.session import agent_on, find_device, lack_of_runtime
from edgesdk.package.reading import read_package
from edgesdk.targets.loading import load_target
from edgesdk.values.doctor import Diagnosis, Examined, Finding


def show_device(name: str) -> Visited:
    """Visit a device and read what it is, in detail.

    Raises:
        UnknownDevice: there is none of that name.
        DeviceError: it cannot be reached, or the agent does not start there.
    """
    device = find_device(name)
    with agent_on(device) as agent:
        visited = Visited(device, agent.environment, agent.leases(), agent.inspect())
    _keep(device, visited)
    return visited


def doctor(name: str, *, package: Path | str | None = None, installed: str = "") -> Diagnosis:
    """Visit a device once, and compare it with its target and with a package.

    Args:
        package: a package file; the one that is installed there unless given.
        installed: name of the installed package; the one that was committed last unless given.

    Raises:
        UsageError: both a file and an installed package.
        UnknownDevice: there is none of that name.
        TargetError: its descriptor is gone, or does not hold.
        PackageError: the file is missing or damaged.
        DeviceError: it cannot be reached, or the agent does not start there.
    """
    if package is not None and installed:
        raise UsageError(
            f"found both the file {package} and the installed package {installed!r}, expected one",
            hint="a device is compared with one package at a time",
        )
    device = find_device(name)
    target = load_target(device.target)
    given = None if package is None else built_of(read_package(Path(package)).manifest)
    with agent_on(device) as agent:
        examined = _examine(device, agent, installed)
    built = given or examined.inspection.package
    lack = partial(lack_of_runtime, device, examined.environment)
    findings = (*diagnose(examined, target, built, lack), *workstation_findings())
    errors = tuple(dict.fromkeys(each.id for each in findings if each.severity == "error"))
    visited = Visited(device, examined.environment, inspection=examined.inspection)
    _keep(device, visited, able=not errors, errors=errors)
    return Diagnosis(
        device=device.name,
        target=target.id,
        package=_named(built),
        virtual=device.virtual,
        able=not errors,
        findings=findings,
        environment=examined.environment,
        inspection=examined.inspection,
    )


def workstation_findings() -> tuple[Finding, ...]:
    """What is wrong with this machine's own Python, as far as devices are concerned."""
    try:
        found = version("pycoral")
    except PackageNotFoundError:
        return ()
    folders = importlib.util.find_spec("pycoral")
    places = [] if folders is None else list(folders.submodule_search_locations or ())
    if any((Path(place) / "utils" / "edgetpu.py").is_file() for place in places):
        return ()
    whose = "this workstation"
    return (impostor_finding(whose, f"pycoral {found}", id_="impostor-pycoral-here"),)


def seen_devices() -> tuple[tuple[Device, Seen | None], ...]:
    """Every enrolled device, and what it was when it was last looked at; nobody is contacted.

    Raises:
        MalformedFile: the inventory, or what was remembered, does not hold.
    """
    path = inventory.default_path()
    kept = last_seen.load(path.parent)
    return tuple((device, last_seen.of(device, kept)) for device in inventory.load(path))


def _examine(device: Device, agent: AgentSession, installed: str) -> Examined:
    before = time.time()
    found = agent.inspect(installed)
    return Examined(
        device=device.name,
        host_key_type=device.host_key.partition(" ")[0],
        virtual=device.virtual,
        environment=agent.environment,
        inspection=found,
        asked=installed,
        clock_ahead_s=clock_ahead(found, before, time.time()),
    )


def clock_ahead(found: Inspection, before: float, after: float) -> float:
    """Seconds outside of the time in which the device was asked and had answered."""
    if found.time_s > after:
        return found.time_s - after
    return min(found.time_s - before, 0.0)


def _named(built: Built | None) -> str:
    return "" if built is None else f"{built.name} {built.version}"


def _keep(
    device: Device,
    visited: Visited,
    *,
    able: bool | None = None,
    errors: tuple[str, ...] = (),
) -> None:
    """Remember a visit; what the doctor said before holds until it is asked again."""
    folder, environment = inventory.default_path().parent, visited.environment
    before = last_seen.of(device, last_seen.load(folder))
    if able is None and before is not None:
        able, errors = before.able, before.errors
    seen = Seen(
        at=format_utc(int(time.time())),
        host_key=device.host_key,
        board=environment.board or "",
        system=environment.system,
        able=able,
        errors=errors,
    )
    last_seen.keep(folder, device, seen)
