"""Measure what is installed on a device: latency (`bench`), accuracy (`evaluate`)."""

from __future__ import annotations

from pathlib import Path

from device_agent.protocol import Installed
from edgesdk.convert.conversion import read_artifact
from edgesdk.data.samples import Samples, check_labels, open_samples
from edgesdk.devices.agent import AgentSession
from edgesdk.flows.session import agent_on, find_device
from edgesdk.models.opening import open_model
from edgesdk.models.types import Model
from edgesdk.package.building import read_package
from edgesdk.progress import Progress, Silent
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import GateBounds
from edgesdk.validate.build import find
from edgesdk.validate.gates import resolve_gates
from edgesdk.validate.visit import validate
from edgesdk.values.report import Findings
from edgesdk.values.results import MeasuredDevice
from edgesdk.values.timing import Timing


def bench(
    device: str,
    *,
    package: Path | str | None = None,
    model: Path | str | None = None,
    gates: tuple[GateBounds, ...] = (),
    timing: Timing | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Measure the latency of a package on a device.

    Args:
        package: install this one first; the device's current one unless given.
        model: the float model to time beside it, or an artifact directory that holds it.
        gates: on top of the target's, the last one winning.

    Raises:
        EdgeSDKError: the device cannot be reached, or has nothing to run.
    """
    float_model = None if model is None else _float_model(Path(model))
    return _measure(
        device, package, float_model, None, gates, timing or Timing(), progress or Silent()
    )


def evaluate(
    device: str,
    dataset: str,
    model: Path | str,
    *,
    package: Path | str | None = None,
    gates: tuple[GateBounds, ...] = (),
    progress: Progress | None = None,
) -> Findings:
    """Measure on a device how much accuracy a package loses against its float model.

    Args:
        dataset: `FILE.npz`, `FILE.npz#SPLIT` or `module:function`, with labels.
        model: the float model, or an artifact directory that holds it; it runs on the device,
            too, on the same samples.
        package: as for `bench`.
        gates: as for `bench`.

    Raises:
        EdgeSDKError: the data do not fit, or the device cannot be reached.
    """
    float_model = _float_model(Path(model))
    samples = open_samples(dataset, float_model.inputs)
    check_labels(samples, float_model.outputs)
    return _measure(device, package, float_model, samples, gates, None, progress or Silent())


def _float_model(path: Path) -> Model:
    if path.is_dir():
        return open_model(path / read_artifact(path).file("float").path)
    return open_model(path)


def _measure(
    device: str,
    package: Path | str | None,
    float_model: Model | None,
    samples: Samples | None,
    gates: tuple[GateBounds, ...],
    timing: Timing | None,
    progress: Progress,
) -> Findings:
    enrolled = find_device(device)
    target = load_target(enrolled.target)
    bounds = resolve_gates(target.gates, *gates)
    with agent_on(enrolled) as agent:
        results = validate(
            agent,
            MeasuredDevice(enrolled.name, enrolled.virtual, agent.environment),
            _installed(agent, package, progress),
            float_model=None if float_model is None else float_model.path,
            dataset=samples,
            timing=timing,
            progress=progress,
        )
    return find(results, target, bounds)


def _installed(agent: AgentSession, package: Path | str | None, progress: Progress) -> Installed:
    if package is None:
        return agent.current()
    return agent.install(read_package(Path(package)).path, progress)
