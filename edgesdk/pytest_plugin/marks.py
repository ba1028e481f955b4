"""What the markers of a test ask for. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgesdk import api
from edgesdk.errors import UsageError

if TYPE_CHECKING:
    from edgesdk.devices.inventory import Device
    from edgesdk.targets.types import GateBounds


@dataclass(frozen=True, slots=True)
class Asked:
    """What a test needs.

    Args:
        targets: ids of the targets it is for; any with none.
        package: the .edgepkg to install first.
        model: the float model beside it, or the artifact directory that holds it.
        dataset: labelled data, as `edgesdk eval --dataset` takes them.
        seconds: least time spent in each model.
        threads: of the runtime; 0 is one a CPU, at most 4.
        gates: bounds by their names in `GateBounds`.
    """

    targets: tuple[str, ...] = ()
    package: str | None = None
    model: str | None = None
    dataset: str | None = None
    seconds: float = 3.0
    threads: int = 0
    gates: Mapping[str, str | float] = field(default_factory=dict)

    def why_not(self, device: Device) -> str:
        """Why a device is none for this test; "" where it is one."""
        if not self.targets or device.target in self.targets:
            return ""
        return f"{device.name} is a {device.target}, the test is for {' or '.join(self.targets)}"

    def bounds(self) -> GateBounds:
        """The gates, as the project file's are."""
        bounds: dict[str, Any] = dict(self.gates)
        return api.GateBounds(**bounds)


_OPTIONS = tuple(each.name for each in dataclasses.fields(Asked) if each.name != "gates")
_KEYWORDS = ("target", *(name for name in _OPTIONS if name != "targets"))


def asked_by(markers: Sequence[tuple[Sequence[object], Mapping[str, Any]]]) -> Asked:
    """What the markers `edge` of a test ask for together, the closest one first, which wins.

    Args:
        markers: positional and keyword arguments of each.

    Raises:
        UsageError: a positional argument, or a keyword that is neither ours nor a gate.
    """
    if any(positional for positional, _ in markers):
        raise UsageError(
            "found an argument without a name in pytest.mark.edge(...)",
            hint='write pytest.mark.edge(target="raspberry-pi-5")',
        )
    given: dict[str, Any] = {}
    for _, keywords in reversed(markers):
        given.update(keywords)
    target = given.pop("target", ())
    options: dict[str, Any] = {name: given.pop(name) for name in _OPTIONS if name in given}
    options |= {name: str(options[name]) for name in ("package", "model") if name in options}
    if given:
        _require_gates(given)
    targets = (target,) if isinstance(target, str) else tuple(target)
    return Asked(targets=targets, gates=given, **options)


def _require_gates(given: Mapping[str, object]) -> None:
    gates = [each.name for each in dataclasses.fields(api.GateBounds)]
    unknown = sorted(set(given) - set(gates))
    if unknown:
        raise UsageError(
            f"found {', '.join(unknown)} in pytest.mark.edge(...), expected any of"
            f" {', '.join((*_KEYWORDS, *gates))}"
        )
