"""Options that belong together and that several commands take, as one value.

Annotations here are evaluated once, as in `edgesdk.cli.commands`.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter
from typing import TYPE_CHECKING, Any, NamedTuple

from edgesdk import api
from edgesdk.cli import options, output

if TYPE_CHECKING:
    from edgesdk.flows.metrics import Asked
    from edgesdk.project import Project
    from edgesdk.targets.types import BudgetText, GateBounds
    from edgesdk.values.package import Release
    from edgesdk.values.recipe import Recipe
    from edgesdk.values.timing import Timing


class RecipeFlags(NamedTuple):
    """How a model is converted."""

    io: options.Io = None
    keep_float: options.KeepFloat = None
    recipe: options.RecipeFile = None
    precision: options.Precision = None
    range_method: options.RangeMethod = None
    quantizer: options.ChosenQuantizer = None
    encodings: options.Encodings = False

    def on(self, project: "Recipe") -> "Recipe":
        """The recipe file, or the project's recipe without one, with the flags on top."""
        return options.recipe(
            project,
            self.recipe,
            io=self.io,
            keep_float=self.keep_float,
            precision=self.precision,
            range_method=self.range_method,
            quantizer=self.quantizer,
            encodings=self.encodings,
        )


class ReleaseFlags(NamedTuple):
    """What a package says of itself, and asks of devices."""

    name: options.PackageName = None
    version: options.PackageVersion = None
    sequence: options.Sequence = None
    include_float: options.IncludeFloat = False
    min_sequence: options.MinSequence = None
    expires: options.Expires = None
    board: options.Boards = None
    health_latency: options.MaxLatency = None
    health_command: options.HealthCommand = None
    fallback: options.Fallback = None

    def on(self, project: "Release") -> "Release":
        """The project's release with the flags on top."""
        return api.Release(
            name=self.name or project.name,
            version=self.version or project.version,
            sequence=project.sequence if self.sequence is None else self.sequence,
            min_sequence=project.min_sequence if self.min_sequence is None else self.min_sequence,
            expires=self.expires or project.expires,
            boards=tuple(self.board or project.boards),
            include_float=self.include_float or project.include_float,
            max_latency=self.health_latency or project.max_latency,
            health_command=self._command(project),
            fallback=(
                project.fallback if self.fallback is None else options.parse_fallback(self.fallback)
            ),
        )

    def _command(self, project: "Release") -> tuple[str, ...]:
        if self.health_command is None:
            return project.health_command
        return options.parse_command(self.health_command)


class BudgetFlags(NamedTuple):
    """What a package may take."""

    package_budget: options.PackageBudget = None
    delta_budget: options.DeltaBudget = None
    installed_budget: options.InstalledBudget = None
    ram_budget: options.RamBudget = None

    def text(self) -> "BudgetText":
        """As it is written in project files."""
        return api.BudgetText(
            self.package_budget, self.installed_budget, self.ram_budget, self.delta_budget
        )


class SpeedGates(NamedTuple):
    """What a model that is timed on a device must keep, and the run it is held against."""

    max_p95: options.MaxP95 = None
    max_preprocess_p95: options.MaxPreprocess = None
    max_inference_p95: options.MaxInference = None
    max_postprocess_p95: options.MaxPostprocess = None
    max_end_to_end_p95: options.MaxEndToEnd = None
    max_peak_ram: options.MaxPeakRam = None
    max_parity_mismatch: options.MaxParityMismatch = None
    min_accelerated_fraction: options.MinAcceleratedFraction = None
    max_latency_regression: options.MaxLatencyRegression = None
    baseline: options.Baseline = None

    def bounds(
        self,
        max_accuracy_drop: float | None = None,
        max_metric_drop: Mapping[str, float] | None = None,
    ) -> "GateBounds":
        """As it is written in project files, with those gates that are not of speed."""
        return api.GateBounds(
            max_accuracy_drop_points=max_accuracy_drop,
            max_metric_drop=max_metric_drop,
            max_p95=self.max_p95,
            max_preprocess_p95=self.max_preprocess_p95,
            max_inference_p95=self.max_inference_p95,
            max_postprocess_p95=self.max_postprocess_p95,
            max_end_to_end_p95=self.max_end_to_end_p95,
            max_peak_ram=self.max_peak_ram,
            max_parity_mismatch_percent=self.max_parity_mismatch,
            min_accelerated_fraction=self.min_accelerated_fraction,
            max_latency_regression_percent=self.max_latency_regression,
        )


class MetricFlags(NamedTuple):
    """What is measured of the outputs beyond top-1, and how much of it may be lost."""

    metric: options.Metrics = None
    truth: options.Truth = None
    decode: options.Decode = None
    max_metric_drop: options.MetricDrops = None

    def on(self, project: "Project") -> "Asked":
        """The metrics of the flags, or the project's without any: the two do not mix."""
        if self.metric:
            return api.Asked(tuple(self.metric), self.truth, self.decode)
        return api.Asked(
            project.metrics, self.truth or project.truth, self.decode or project.decode
        )

    def gates(self, project: "Project") -> "GateBounds":
        """The project's gates; what the flags leave out of its metrics goes with its bound."""
        import dataclasses  # edgesdk --help does without

        gates = options.contracted(project)
        bounds = gates.max_metric_drop or {}
        if not self.metric or self.max_metric_drop:  # Bounds by flags take the place of all.
            return gates
        if left := sorted(set(bounds) - set(self.metric)):
            output.say(
                f"the gate of the project file on {', '.join(left)} is left out: --metric takes the"
                " place of the metrics there"
            )
        kept = {name: bound for name, bound in bounds.items() if name not in left}
        return dataclasses.replace(gates, max_metric_drop=kept)

    def drops(self, asked: "Asked") -> dict[str, float] | None:
        """The most that each metric may lose, by its name; None without such a gate."""
        return options.parse_drops(self.max_metric_drop, asked.names)


class TimingFlags(NamedTuple):
    """How long to measure."""

    threads: options.Threads = 0
    seconds: options.Seconds = 3.0
    per_operator: options.PerOperator = False

    def timing(self) -> "Timing":
        """The most is never less than the least that was asked for."""
        return api.Timing(
            threads=self.threads,
            min_seconds=self.seconds,
            max_seconds=max(60.0, self.seconds),
            operators=self.per_operator,
        )


_GROUPS = (RecipeFlags, ReleaseFlags, BudgetFlags, SpeedGates, MetricFlags, TimingFlags)


def spelt_out(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of each group in the place of the group, as typer wants them."""
    signature = inspect.signature(command)
    groups = {
        name: each.annotation
        for name, each in signature.parameters.items()
        if each.annotation in _GROUPS
    }

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field: given.pop(field) for field in group._fields})
        command(**given)

    called.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[flat for each in signature.parameters.values() for flat in _flat(each)]
    )
    return called


def _flat(parameter: Parameter) -> Iterator[Parameter]:
    group = parameter.annotation
    if group not in _GROUPS:
        yield parameter
        return
    for name, annotation in group.__annotations__.items():
        yield Parameter(
            name, parameter.kind, default=group._field_defaults[name], annotation=annotation
        )
