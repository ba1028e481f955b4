"""What the markers of a test ask for. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
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

    def require_known(self) -> None:
        """Refuse a target that there is not, which no device would ever be.

        Raises:
            TargetError: one of them.
        """
        for target in self.targets:
            api.load_target(target)

    def bounds(self) -> GateBounds:
        """The gates, as the project file's are."""
        bounds: dict[str, Any] = dict(self.gates)
        return api.GateBounds(**bounds)


_OPTIONS = tuple(each.name for each in dataclasses.fields(Asked) if each.name != "gates")
_OF_METRICS = "max_metric_drop"
_OF_ACCURACY = ("max_accuracy_drop_points",)
_OF_BOTH = ("max_parity_mismatch_percent",)
_LEAST_S = 0.1
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
    targets = (target,) if isinstance(target, str) else target
    if not isinstance(targets, (tuple, list)) or not all(isinstance(t, str) for t in targets):
        raise _wrong("target", target, "the id of a target, or several")
    _require_options(options)
    return Asked(targets=tuple(targets), gates=given, **options)


def require_measured(own: Sequence[Mapping[str, object]], fixtures: Collection[str]) -> None:
    """Refuse a gate that nothing the test uses can judge: it would pass unseen.

    Args:
        own: keywords of the test's own markers; those of a class may be for another test.
        fixtures: names of those that the test uses.

    Raises:
        UsageError: naming the gate and the fixture that judges it.
    """
    if not {"edge_measurement", "edge_accuracy"} & {*fixtures}:
        return
    gates = {name for keywords in own for name in keywords} - {*_KEYWORDS, *_OF_BOTH}
    for gate in sorted(gates):
        judge = "edge_accuracy" if gate in _OF_ACCURACY else "edge_measurement"
        if judge not in fixtures:
            raise UsageError(
                f"found {gate} in the test's marker, which the fixture {judge} judges, and the"
                " test does not use it"
            )


def _require_options(options: Mapping[str, Any]) -> None:
    seconds, threads = options.get("seconds", _LEAST_S), options.get("threads", 0)
    if not _is_number(seconds) or seconds < _LEAST_S:
        raise _wrong("seconds", seconds, f"a number, {_LEAST_S} or more")
    if not isinstance(threads, int) or threads < 0:
        raise _wrong("threads", threads, "a whole number, 0 or more")


def _require_gates(given: Mapping[str, object]) -> None:
    gates = {each.name: str(each.type) for each in dataclasses.fields(api.GateBounds)}
    del gates[_OF_METRICS]  # No fixture measures other metrics.
    unknown = sorted(set(given) - set(gates))
    if unknown:
        raise UsageError(
            f"found {', '.join(unknown)} in pytest.mark.edge(...), expected any of"
            f" {', '.join((*_KEYWORDS, *gates))}"
        )
    for name, bound in given.items():
        if "str" in gates[name] and not isinstance(bound, str):
            raise _wrong(name, bound, "a text with its unit, such as '10 ms' or '64 MiB'")
        if "float" in gates[name] and not _is_number(bound):
            raise _wrong(name, bound, "a number")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _wrong(name: str, found: object, expected: str) -> UsageError:
    return UsageError(f"found {name}={found!r} in pytest.mark.edge(...), expected {expected}")
