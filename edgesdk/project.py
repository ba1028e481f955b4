"""The project file `edgesdk.toml`: what would otherwise be repeated on every command line.

Paths in it are relative to the folder it lies in. A flag on the command line wins over it, and it
wins over the target's defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from edgesdk.data.preprocessing import Postprocessing, Preprocessing
from edgesdk.errors import MalformedFile, ProjectError
from edgesdk.serial import from_dict, read_toml
from edgesdk.targets.checks import policy_problems
from edgesdk.targets.types import BudgetText, Contract, GateBounds
from edgesdk.values.package import Release
from edgesdk.values.recipe import Recipe

T = TypeVar("T")

PROJECT_FILE = "edgesdk.toml"


@dataclass(frozen=True, slots=True)
class Project:
    """The settings of one project.

    Args:
        model: the float model file.
        target: a target id, or the path of a descriptor.
        device: an enrolled device.
        calibration: data to set the ranges with.
        dataset: labelled data to measure accuracy with.
        output: the folder for results.
        input_shapes: fixed shapes for dynamic inputs.
        preprocessing: what makes inputs of pictures.
        postprocessing: what makes the answer of the model's outputs.
        metrics: beyond top-1, as `--metric` has them.
        truth: what they judge by, an `.npz` beside the dataset.
        decode: "module:function" that makes of one sample's outputs what "map" or "wer" judges.
    """

    model: str | None = None
    target: str | None = None
    device: str | None = None
    calibration: str | None = None
    dataset: str | None = None
    output: str | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    postprocessing: Postprocessing | None = None
    metrics: tuple[str, ...] = ()
    truth: str | None = None
    decode: str | None = None
    recipe: Recipe = Recipe()
    package: Release = Release()
    budget: BudgetText = BudgetText()
    gates: GateBounds = GateBounds()
    contract: Contract = Contract()


def load_project(path: Path | None) -> Project:
    """Read a project file; with None, `edgesdk.toml` of the current folder if there is one.

    Raises:
        ProjectError: it does not hold; every problem is listed.
    """
    if path is None:
        path = Path(PROJECT_FILE)
        if not path.is_file():
            return Project()
    try:
        tree = read_toml(path)
        project = from_dict(Project, tree, origin=str(path))
    except MalformedFile as error:
        raise ProjectError(error.message, details=error.details, hint=error.hint) from error
    problems = tuple(policy_problems(tree))
    if problems:
        raise ProjectError(f"{path} does not hold", details=problems)
    return _anchored(project, path.parent)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file, which holds what `[recipe]` of a project file does.

    Raises:
        ProjectError: it does not hold; every problem is listed.
    """
    return _table(Recipe, path)


def load_preprocessing(path: Path) -> Preprocessing:
    """Read a preprocessing file, which holds what `[preprocessing]` of a project file does.

    Raises:
        ProjectError: it does not hold; every problem is listed.
    """
    return _table(Preprocessing, path)


def _table(kind: type[T], path: Path) -> T:
    try:
        return from_dict(kind, read_toml(path), origin=str(path))
    except MalformedFile as error:
        raise ProjectError(error.message, details=error.details, hint=error.hint) from error


def _anchored(project: Project, folder: Path) -> Project:
    def at(value: str | None) -> str | None:
        return None if value is None else str(folder / value)

    def data_at(value: str | None) -> str | None:
        if value is None or value.partition("#")[0].endswith(".npz") or ":" not in value:
            return at(value)
        return value

    target = project.target
    return replace(
        project,
        model=at(project.model),
        target=at(target) if target is not None and target.endswith(".toml") else target,
        calibration=data_at(project.calibration),
        dataset=data_at(project.dataset),
        output=at(project.output),
        truth=at(project.truth),
    )
