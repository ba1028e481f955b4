"""Everything that does not fit between a device, its target and its package."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from device_agent.inspection_messages import Built
from edgesdk.doctor.accelerators import accelerator_findings
from edgesdk.doctor.hardware import hardware_findings
from edgesdk.doctor.lock import lock_findings
from edgesdk.doctor.software import software_findings
from edgesdk.doctor.upkeep import upkeep_findings
from edgesdk.errors import AgentError
from edgesdk.targets.types import Runtime, Target
from edgesdk.values.doctor import Examined, Finding, Severity

Lack = Callable[[Sequence[Runtime]], AgentError | None]
"""What to say of the device where it has none of these runtimes."""

_ORDER: tuple[Severity, ...] = ("error", "warning", "note")


def diagnose(
    examined: Examined, target: Target, built: Built | None, lack: Lack
) -> tuple[Finding, ...]:
    """Compare; errors come first.

    Args:
        built: the package that is on the device, or shall be; None where there is none.
        lack: see `edgesdk.flows.session.lack_of_runtime`.
    """
    found = [
        *hardware_findings(examined, target),
        *software_findings(examined, target, lack(target.runtimes)),
        *accelerator_findings(examined, target),
        *(() if built is None else lock_findings(examined, target, built, lack)),
        *upkeep_findings(examined, built),
    ]
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.severity)))
