"""From a device's name to a conversation with its agent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import get_args

from device_agent.environment_messages import Environment
from device_agent.manifest import Compatibility, is_at_least, runs_on
from device_agent.package_messages import Installed
from device_agent.protocol import ErrorCode
from edgesdk.devices import inventory
from edgesdk.devices.advice import enrolling_otherwise, named
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.inventory import Device
from edgesdk.devices.selection import select
from edgesdk.devices.ssh import connect
from edgesdk.devices.transport import Transport
from edgesdk.errors import AgentError
from edgesdk.flows.leasing import Claim, wait_for
from edgesdk.progress import Progress, Silent
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import Runtime, RuntimeName
from edgesdk.values.package import Package
from edgesdk.wheels.ways import INSTALLABLE

_VIRTUAL_ENVIRONMENT = (
    "if it is in a virtual environment there, name its interpreter: {enrolling} --python PATH"
)
_SYSTEM_PYTHON = "it is the system's Python that sees it: {enrolling} --python /usr/bin/python3"


@dataclass(frozen=True, slots=True)
class _Remedy:
    """What brings a runtime to a device; "{version}" stands for the oldest that will do.

    Args:
        needs: what has to be there.
        install: what puts it there.
        interpreter: which Python then sees it; "{enrolling}" stands for the command that enrols it.
    """

    needs: str
    install: str
    interpreter: str = _VIRTUAL_ENVIRONMENT


_REMEDIES: Mapping[RuntimeName, _Remedy] = {
    "litert": _Remedy("ai-edge-litert>={version}", "pip install 'ai-edge-litert>={version}'"),
    "onnxruntime": _Remedy("onnxruntime>={version}", "pip install 'onnxruntime>={version}'"),
    "edgetpu": _Remedy(
        "ai-edge-litert>={version} with libedgetpu",
        "pip install 'ai-edge-litert>={version}' and, from Coral's package repository, "
        "sudo apt install libedgetpu1-std",
    ),
    "qnn": _Remedy("onnxruntime-qnn>={version}", "pip install 'onnxruntime-qnn>={version}'"),
    "tensorrt": _Remedy(
        "tensorrt>={version}",
        "with JetPack's own packages, sudo apt install python3-libnvinfer",
        _SYSTEM_PYTHON,
    ),
    "openvino": _Remedy("openvino>={version}", "pip install 'openvino>={version}'"),
}
_NO_MODULE = "trtexec"
"""Package of a TensorRT without its Python module, through which engines are run."""
_GENERIC_TARGETS = {"x86_64": "generic-x86-64", "aarch64": "generic-arm64"}


def find_device(name: str) -> Device:
    """The enrolled device of that name.

    Raises:
        UnknownDevice: there is none.
    """
    return inventory.get(inventory.default_path(), name)


def find_devices(selection: str) -> tuple[Device, ...]:
    """The enrolled devices that a selection means; of a plain name, that device.

    Raises:
        UnknownDevice: there is none.
    """
    return select(inventory.load(inventory.default_path()), selection)


def require_architecture(
    device: Device, environment: Environment, target_id: str, architecture: str
) -> None:
    """Refuse a device that is not what its target is.

    Raises:
        AgentError: another architecture.
    """
    if not runs_on(environment.machine, (architecture,)):
        fitting = generic_target(environment.machine)
        fits = f"{fitting} fits it" if fitting else "enrol it as the target it is"
        raise AgentError(
            f"found {environment.machine} on {device.name}, "
            f"the target {target_id} is {architecture}",
            code=ErrorCode.INCOMPATIBLE,
            hint=f"{fits}; edgesdk target ls shows every --target",
        )


def require_described(device: Device, environment: Environment) -> None:
    """Refuse to measure a board that is not what it is enrolled as: its gates are another board's.

    Raises:
        AgentError: another architecture.
        TargetError: there is no such target.
    """
    if not device.virtual:
        target = load_target(device.target)
        require_architecture(device, environment, target.id, target.architecture)


def lack_of_runtime(
    device: Device, environment: Environment, wanted: Sequence[Runtime]
) -> AgentError | None:
    """What to say of a device that has none of the wanted runtimes; None where it has one."""
    usable = tuple(found for found in environment.runtimes if found.package != _NO_MODULE)
    for runtime in wanted:
        for found in usable:
            if found.runtime == runtime.name and is_at_least(found.version, runtime.min_version):
                return None
    remedies = tuple((_REMEDIES[each.name], each.min_version) for each in wanted)
    needs = " or ".join(each.needs.format(version=version) for each, version in remedies)
    installs = " or ".join(each.install.format(version=version) for each, version in remedies)
    enrol = enrolling_otherwise(device)
    seen = dict.fromkeys(each.interpreter.format(enrolling=enrol) for each, _ in remedies)
    return AgentError(
        f"{device.python} on {device.name} (Python {environment.python}) has no "
        f"{needs} to run converted models",
        code=ErrorCode.NO_RUNTIME,
        hint=f"{_by_us(device, wanted)}{installs} on the device; {'; '.join(seen)}",
    )


@contextmanager
def lack_explained(
    device: Device, environment: Environment, needs: Compatibility | Installed
) -> Iterator[None]:
    """Let a device's refusal for want of a runtime say what brings it there.

    Args:
        needs: the package that names the runtime.

    Raises:
        AgentError: the refusal, as `lack_of_runtime` words it; every other failure as it is.
    """
    try:
        yield
    except AgentError as error:
        name = next((each for each in get_args(RuntimeName) if each == needs.runtime), None)
        if error.code != ErrorCode.NO_RUNTIME or name is None:
            raise
        wanted = Runtime(name, needs.runtime_min_version)
        lack = lack_of_runtime(device, environment, (wanted,))
        raise lack or error from error


def _by_us(device: Device, wanted: Sequence[Runtime]) -> str:
    """The command that brings one of them without the device's internet or pip; "" without any."""
    names = [f"--runtime {each.name}" for each in wanted if each.name in INSTALLABLE]
    if not names:
        return ""
    others = "".join(f" (or {name})" for name in names[1:])
    return f"edgesdk agent install {device.name} {names[0]}{others} brings it; or "


def generic_target(machine: str) -> str | None:
    """Id of the target that any machine of this kind is.

    Args:
        machine: as `platform.machine()` says.
    """
    fitting = (id_ for kind, id_ in _GENERIC_TARGETS.items() if runs_on(machine, (kind,)))
    return next(fitting, None)


@contextmanager
def agent_on(
    device: Device,
    *,
    claim: Claim | None = None,
    offering: Callable[[], Package] | None = None,
    progress: Progress | None = None,
) -> Iterator[AgentSession]:
    """A session with the agent on a device, ended with the block.

    Args:
        claim: have the device to ourselves meanwhile.
        offering: gives the package that will be offered first.
        progress: told that the device is being reached, which takes 20 s where it is switched off.

    Raises:
        TransportError: the device cannot be reached, or is not the enrolled one.
        AgentError: the agent does not start there; with code "busy": it is someone else's.
    """
    with named(device), ExitStack() as opened:
        with (progress or Silent()).task(f"reaching {device.name}", 0):
            transport = opened.enter_context(connect(device))
            agent = opened.enter_context(_claimed(transport, device, claim, offering))
        yield agent


def _claimed(
    transport: Transport,
    device: Device,
    claim: Claim | None,
    offering: Callable[[], Package] | None,
) -> AgentSession:
    if claim is None:
        return AgentSession.open(transport, python=device.python, offering=offering)
    if not claim.wait_s:
        agent = AgentSession.open(
            transport, python=device.python, offering=offering, leasing=claim.request()
        )
        if agent.leased is not None:
            claim.note(agent.leased)
        return agent
    agent = AgentSession.open(transport, python=device.python)
    try:
        claim.note(wait_for(agent, claim))
    except BaseException:
        agent.close()
        raise
    return agent
