"""Options that belong together and that several commands take, as one value.

Annotations here are evaluated once, as in `edgesdk.cli.commands`.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from inspect import Parameter
from typing import TYPE_CHECKING, Any, NamedTuple

from edgesdk import api
from edgesdk.cli import options

if TYPE_CHECKING:
    from edgesdk.values.package import Release


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


class StageGates(NamedTuple):
    """Budgets of time for the stages of a run."""

    max_preprocess_p95: options.MaxPreprocess = None
    max_inference_p95: options.MaxInference = None
    max_postprocess_p95: options.MaxPostprocess = None
    max_end_to_end_p95: options.MaxEndToEnd = None


_GROUPS = (ReleaseFlags, StageGates)


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
