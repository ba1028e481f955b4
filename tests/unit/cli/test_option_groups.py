"""Options that several commands take together: each reaches what it is for."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from edgesdk.cli import commands, deploy, measuring
from edgesdk.cli.groups import BudgetFlags, RecipeFlags, SpeedGates, TimingFlags
from edgesdk.targets.types import BudgetText, GateBounds
from edgesdk.values.recipe import Override, Recipe
from edgesdk.values.timing import Timing

SPEED: dict[str, Any] = {
    "max_p95": "1 ms",
    "max_preprocess_p95": "2 ms",
    "max_inference_p95": "3 ms",
    "max_postprocess_p95": "4 ms",
    "max_end_to_end_p95": "5 ms",
    "max_peak_ram": "6 MiB",
    "max_parity_mismatch": 7.0,
    "min_accelerated_fraction": 0.8,
    "max_latency_regression": 9.0,
    "baseline": "last",
}


def test_each_gate_bounds_what_it_is_named_after() -> None:
    assert SpeedGates(**SPEED).bounds(0.5) == GateBounds(
        max_accuracy_drop_points=0.5,
        max_p95="1 ms",
        max_preprocess_p95="2 ms",
        max_inference_p95="3 ms",
        max_postprocess_p95="4 ms",
        max_end_to_end_p95="5 ms",
        max_peak_ram="6 MiB",
        max_parity_mismatch_percent=7.0,
        min_accelerated_fraction=0.8,
        max_latency_regression_percent=9.0,
    )
    assert SpeedGates().bounds() == GateBounds()


def test_each_budget_limits_what_it_is_named_after() -> None:
    told = BudgetFlags("1 MiB", "2 MiB", "3 MiB", "4 MiB").text()
    assert told == BudgetText(package="1 MiB", delta="2 MiB", installed="3 MiB", peak_ram="4 MiB")


def test_the_longest_time_is_never_below_the_least() -> None:
    assert TimingFlags(2, 1.0, True).timing() == Timing(
        threads=2, min_seconds=1.0, max_seconds=60.0, operators=True
    )
    assert TimingFlags(seconds=90.0).timing().max_seconds == 90.0


def test_a_recipe_is_the_project_s_with_the_flags_on_top() -> None:
    project = Recipe(keep_float=("head",), overrides=(Override("w8a16", name="conv.*"),))
    assert RecipeFlags().on(project) == project
    flags = RecipeFlags(io="float32", keep_float=["tail"], encodings=True)
    assert flags.on(project) == dataclasses.replace(
        project, io="float32", keep_float=("tail",), encodings=True
    )


@pytest.mark.parametrize(
    ("command", "group"),
    [
        (commands.convert, RecipeFlags),
        (commands.package, BudgetFlags),
        (measuring.bench, SpeedGates),
        (measuring.bench, TimingFlags),
        *((deploy.deploy, each) for each in (RecipeFlags, BudgetFlags, SpeedGates, TimingFlags)),
    ],
)
def test_a_command_takes_each_of_them_by_its_own_name(command: object, group: Any) -> None:
    parameters = inspect.signature(command).parameters  # type: ignore[arg-type]
    for name, annotation in group.__annotations__.items():
        assert parameters[name].annotation == annotation
        assert parameters[name].default == group._field_defaults[name]
