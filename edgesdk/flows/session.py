"""From a device's name to a conversation with its agent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from device_agent.manifest import is_at_least, runs_on
from device_agent.protocol import Environment, ErrorCode
from edgesdk.devices import inventory
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.inventory import Device
from edgesdk.devices.ssh import connect
from edgesdk.errors import AgentError
from edgesdk.targets.types import Runtime, RuntimeName
from edgesdk.values.plan import ConversionPlan

_RUNTIME_PACKAGES: dict[RuntimeName, str] = {
    "litert": "ai-edge-litert",
    "onnxruntime": "onnxruntime",
    "edgetpu": "ai-edge-litert",
    "qnn": "onnxruntime-qnn",
    "tensorrt": "tensorrt",
    "openvino": "openvino",
}
_GENERIC_TARGETS = {"x86_64": "generic-x86-64", "aarch64": "generic-arm64"}


def find_device(name: str) -> Device:
    """The enrolled device of that name.

    Raises:
        UnknownDevice: there is none.
    """
    return inventory.get(inventory.default_path(), name)


def require_ready(device: Device, environment: Environment, plan: ConversionPlan) -> None:
    """Refuse a device that cannot run what is about to be made for it, before it is made.

    Raises:
        AgentError: another architecture, no such runtime, or too old a one.
    """
    require_architecture(device, environment, plan.target_id, plan.target_architecture)
    if lack := lack_of_runtime(device, environment, (plan.runtime,)):
        raise lack


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


def lack_of_runtime(
    device: Device, environment: Environment, wanted: Sequence[Runtime]
) -> AgentError | None:
    """What to say of a device that has none of the wanted runtimes; None where it has one."""
    for runtime in wanted:
        for found in environment.runtimes:
            if found.runtime == runtime.name and is_at_least(found.version, runtime.min_version):
                return None
    packages = [f"{_RUNTIME_PACKAGES[each.name]}>={each.min_version}" for each in wanted]
    installs = " or ".join(f"pip install '{package}'" for package in packages)
    return AgentError(
        f"{device.python} on {device.name} (Python {environment.python}) has no "
        f"{' or '.join(packages)} to run converted models",
        code=ErrorCode.NO_RUNTIME,
        hint=f"{installs} on the device; "
        "if it is in a virtual environment there, name its interpreter: "
        f"edgesdk device add {device.name} ... --python PATH --replace",
    )


def generic_target(machine: str) -> str | None:
    """Id of the target that any machine of this kind is.

    Args:
        machine: as `platform.machine()` says.
    """
    fitting = (id_ for kind, id_ in _GENERIC_TARGETS.items() if runs_on(machine, (kind,)))
    return next(fitting, None)


@contextmanager
def agent_on(device: Device) -> Iterator[AgentSession]:
    """A session with the agent on a device, ended with the block.

    Raises:
        TransportError: the device cannot be reached, or is not the enrolled one.
        AgentError: the agent does not start there.
    """
    with connect(device) as transport, AgentSession.open(transport, python=device.python) as agent:
        yield agent
