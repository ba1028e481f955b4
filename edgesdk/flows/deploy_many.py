"""One model onto many devices: converted and packaged once a target, visited one by one.

OUT/TARGET/artifact, OUT/TARGET/<name>.edgepkg     what was made
OUT/DEVICE/report.json, report.html                what was measured of it there
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from edgesdk.devices import inventory
from edgesdk.devices.inventory import Device
from edgesdk.devices.selection import select
from edgesdk.errors import ArtifactError, EdgeSDKError, IncompatibleTarget
from edgesdk.flows.baseline import resolve_baseline
from edgesdk.flows.deploy import Made, Order, Visit, folder_for, make, meet, purpose, visit
from edgesdk.flows.installing import Permissions, Say
from edgesdk.flows.leasing import Claim
from edgesdk.flows.many import (
    CrowdHalted,
    Limits,
    Retry,
    Standing,
    Watch,
    not_begun,
    run_on,
)
from edgesdk.interruption import Signalled, signal_of
from edgesdk.progress import Progress, Silent
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import Target
from edgesdk.values.outcome import Outcome, problem_of
from edgesdk.values.plan import ConversionPlan
from edgesdk.values.report import Report
from edgesdk.values.timing import Timing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Manner:
    """How devices are visited.

    Args:
        wait_s: how long to wait for a device that is someone else's.
        watch: told how far each device is.
        progress_of: where a device's own progress goes, by its name.
        say_of: likewise, its talk.
    """

    limits: Limits = Limits()
    retry: Retry = Retry()
    timing: Timing = Timing()
    permissions: Permissions = Permissions()
    wait_s: float = 0.0
    watch: Watch = lambda _: None
    progress_of: Callable[[str], Progress] = lambda _: Silent()
    say_of: Callable[[str], Say] = lambda _: lambda _: None


def deploy_many(
    selection: str,
    order: Order,
    output: Path | str,
    *,
    target: str | None = None,
    manner: Manner | None = None,
    progress: Progress | None = None,
    say: Say = lambda _: None,
) -> tuple[Outcome[Report], ...]:
    """Deploy a model to every device that is selected.

    All devices of a target get the same package, whose sequence follows the highest among them.

    Args:
        order: its data are read by several devices at once, so an iterator, which can be read from
            one place only, is none for it.
        target: the only one wanted; a device of another is refused. Without one, each is what it
            is enrolled as.
        progress: of what is made here.

    Returns:
        What became of each, in the order of the inventory. A failed gate is in the exit code.

    Raises:
        UnknownDevice: the selection means none.
        TargetError: there is no such target.
        HistoryError: as for `deploy`, of the baseline.
        CrowdHalted: it was interrupted, and says what became of each.
    """
    devices = select(inventory.load(inventory.default_path()), selection)
    order = replace(order, baseline=resolve_baseline(order.baseline))
    lab = _Lab(order, folder_for(Path(output)), manner or Manner(), progress or Silent(), say)
    _refuse_folders_of_two(devices)
    wanted = None if target is None else load_target(target)
    try:
        for kind, group in _by_target(devices).items():
            lab.serve(kind, group, wanted)
    except (KeyboardInterrupt, Signalled) as error:
        raise lab.halted(devices, signal_of(error)) from None
    return tuple(lab.ended[device.name] for device in devices)


def _refuse_folders_of_two(devices: Sequence[Device]) -> None:
    targets = {load_target(device.target).id for device in devices}
    for device in devices:
        if device.name in targets:
            raise ArtifactError(
                f"the device {device.name} is called as a target is, and both have a folder of "
                "that name for results",
                hint="enrol it under another name",
            )


def _by_target(devices: Iterable[Device]) -> Mapping[str, list[Device]]:
    groups: dict[str, list[Device]] = {}
    for device in devices:
        groups.setdefault(device.target, []).append(device)
    return groups


class _Lab:
    """What has become of the devices so far."""

    def __init__(
        self, order: Order, folder: Path, manner: Manner, progress: Progress, say: Say
    ) -> None:
        self.ended: dict[str, Outcome[Report]] = {}
        self._order = order
        self._folder = folder
        self._manner = manner
        self._progress = progress
        self._say = say

    def serve(self, kind: str, group: Sequence[Device], wanted: Target | None) -> None:
        """Make what the devices of one target need, and visit those that can take it."""
        target = load_target(kind)
        if wanted is not None and wanted.id != target.id:
            self._fail(group, _not_asked_for(target, wanted))
            return
        try:
            made = make(
                self._order,
                target,
                self._folder / target.id,
                lambda plan, name: self._meet(group, plan, name),
                progress=self._progress,
                say=self._say,
            )
        except _NoneIsLeft:
            return
        except EdgeSDKError as error:
            self._fail(group, error)
            return
        self._visit([each for each in group if each.name not in self.ended], made)

    def _meet(self, group: Sequence[Device], plan: ConversionPlan, name: str) -> int:
        """The highest sequence that any of them has; those that cannot be served have ended."""
        by_name = {device.name: device for device in group}
        try:
            met = self._run(
                group,
                lambda device: meet(by_name[device], plan, name, self._claim(device)),
                silent=True,
            )
        except CrowdHalted as halted:
            self._leave_out(halted.outcomes)
            raise
        self._leave_out(met)
        found = [each.value for each in met if each.value is not None]
        if not found:
            raise _NoneIsLeft
        return max(found)

    def _leave_out(self, met: Iterable[Outcome[int]]) -> None:
        """Those that cannot be served have ended."""
        for each in met:
            if each.problem is not None:
                self.ended[each.device] = Outcome(
                    each.device, None, each.problem, each.exit_code, each.attempts, each.elapsed_s
                )

    def halted(self, devices: Sequence[Device], signal_number: int) -> CrowdHalted:
        """What became of each when it was interrupted."""
        ended = (
            self.ended.get(each.name) or not_begun(each.name, signal_number) for each in devices
        )
        return CrowdHalted(tuple(ended), signal_number)

    def _visit(self, group: Sequence[Device], made: Made) -> None:
        by_name = {device.name: device for device in group}
        manner = self._manner

        def task(name: str) -> Report:
            folder = folder_for(self._folder / name)
            folder.mkdir(parents=True, exist_ok=True)
            visited = Visit(
                by_name[name],
                made.package,
                manner.permissions,
                self._claim(name),
                manner.progress_of(name),
            )
            return visit(visited, made, folder, manner.timing)

        try:
            visited = self._run(group, task, verdict=lambda report: report.exit_code)
        except CrowdHalted as halted:
            self.ended.update({each.device: each for each in halted.outcomes})
            raise
        self.ended.update({each.device: each for each in visited})

    def _run(
        self,
        group: Sequence[Device],
        task: Callable[[str], T],
        *,
        verdict: Callable[[T], int] = lambda _: 0,
        silent: bool = False,
    ) -> tuple[Outcome[T], ...]:
        manner = self._manner

        def watch(standing: Standing) -> None:
            if not silent or standing.state in ("waiting", "failed"):
                manner.watch(standing)

        return run_on(
            group, task, limits=manner.limits, retry=manner.retry, verdict=verdict, watch=watch
        )

    def _claim(self, device: str) -> Claim:
        manner = self._manner
        return Claim(purpose(self._order.model), manner.wait_s, manner.say_of(device))

    def _fail(self, group: Sequence[Device], error: EdgeSDKError) -> None:
        for device in group:
            if device.name not in self.ended:
                problem = problem_of(error)
                self.ended[device.name] = Outcome(
                    device.name, None, problem, problem.exit_code, 0, 0.0
                )
                self._manner.watch(Standing(device.name, "failed", error.message))


class _NoneIsLeft(Exception):
    """No device of a target can be served, so that nothing need be made."""


def _not_asked_for(target: Target, wanted: Target) -> IncompatibleTarget:
    return IncompatibleTarget(
        f"the device is enrolled as {target.id}, and {wanted.id} was asked for",
        hint=f"leave --target away to convert for {target.id}, too",
    )
