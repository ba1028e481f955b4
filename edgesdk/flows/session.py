"""From a device's name to a conversation with its agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from device_agent.manifest import runs_on
from device_agent.protocol import Environment, ErrorCode
from edgesdk.devices import inventory
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.inventory import Device
from edgesdk.devices.ssh import connect
from edgesdk.errors import AgentError
from edgesdk.targets.types import RuntimeName
from edgesdk.values.plan import ConversionPlan

_RUNTIME_PACKAGES: dict[RuntimeName, str] = {
    "litert": "ai-edge-litert",
    "onnxruntime": "onnxruntime",
}


def find_device(name: str) -> Device:
    """The enrolled device of that name.

    Raises:
        UnknownDevice: there is none.
    """
    return inventory.get(inventory.default_path(), name)


def require_ready(device: Device, environment: Environment, plan: ConversionPlan) -> None:
    """Refuse a device that cannot run what is about to be made for it, before it is made.

    Raises:
        AgentError: another architecture, or no such runtime.
    """
    if not runs_on(environment.machine, (plan.target_architecture,)):
        raise AgentError(
            f"{device.name} is a {environment.machine} machine, "
            f"{plan.target_id} is {plan.target_architecture}",
            code=ErrorCode.INCOMPATIBLE,
            hint="enrol it as the target it is (edgesdk target ls), or choose another --target",
        )
    if plan.runtime.name not in {found.runtime for found in environment.runtimes}:
        package = _RUNTIME_PACKAGES[plan.runtime.name]
        raise AgentError(
            f"{device.python} on {device.name} (Python {environment.python}) has no {package}, "
            f"which runs the converted model",
            code=ErrorCode.NO_RUNTIME,
            hint=f"pip install {package} on the device; if it is in a virtual environment there, "
            f"name its interpreter: edgesdk device add {device.name} ... --python PATH",
        )


@contextmanager
def agent_on(device: Device) -> Iterator[AgentSession]:
    """A session with the agent on a device, ended with the block.

    Raises:
        TransportError: the device cannot be reached, or is not the enrolled one.
        AgentError: the agent does not start there.
    """
    with connect(device) as transport, AgentSession.open(transport, python=device.python) as agent:
        yield agent
