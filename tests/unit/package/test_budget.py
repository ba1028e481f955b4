"""Facts about size budgets: which is in force, what breaks it, and what the refusal says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.errors import BudgetExceeded, ExitCode, UsageError
from edgesdk.package.budget import resolve_budget
from edgesdk.package.building import build_package
from edgesdk.targets.types import BudgetText
from edgesdk.values.artifact import Artifact
from edgesdk.values.package import Budget, Release
from tests.unit.package.artifacts import make_artifact


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return make_artifact(tmp_path / "artifact")


def refused(tmp_path: Path, artifact: Artifact, budget: Budget, **release: Any) -> BudgetExceeded:
    with pytest.raises(BudgetExceeded) as caught:
        build_package(
            artifact, tmp_path / "artifact", tmp_path / "p.edgepkg", Release(**release), budget, {}
        )
    return caught.value


def built_bytes(tmp_path: Path, artifact: Artifact) -> int:
    output = tmp_path / "free.edgepkg"
    return build_package(
        artifact, tmp_path / "artifact", output, Release(), Budget(), {}
    ).size_bytes


# What is in force

SIZES = st.none() | st.integers(0, 10**12)


@given(st.lists(st.tuples(SIZES, SIZES, SIZES), max_size=4))
def test_the_last_layer_that_says_something_is_in_force(
    layers: list[tuple[int | None, int | None, int | None]],
) -> None:
    texts = [BudgetText(*(None if n is None else f"{n} B" for n in layer)) for layer in layers]
    budget = resolve_budget(*texts)
    for column, field in enumerate(fields(Budget)):
        given_here = [layer[column] for layer in layers if layer[column] is not None]
        assert getattr(budget, field.name) == (given_here[-1] if given_here else None)


def test_without_any_layer_there_is_no_budget() -> None:
    assert resolve_budget() == Budget(None, None, None)


def test_what_is_no_size_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="found 'much', expected a size"):
        resolve_budget(BudgetText(package="much"))


# What is refused


def test_the_package_budget_counts_the_file_as_it_travels(
    tmp_path: Path, artifact: Artifact
) -> None:
    size_bytes = built_bytes(tmp_path, artifact)
    error = refused(tmp_path, artifact, Budget(package_bytes=size_bytes - 1))
    assert (error.what, error.limit_bytes, error.actual_bytes) == (
        "package",
        size_bytes - 1,
        size_bytes,
    )


def test_the_installed_budget_counts_the_files_as_they_lie(
    tmp_path: Path, artifact: Artifact
) -> None:
    error = refused(tmp_path, artifact, Budget(installed_bytes=142_999))
    assert (error.what, error.limit_bytes, error.actual_bytes) == ("installed", 142_999, 143_000)
    assert error.message == (
        "the installed files take 140 KiB (143000 bytes), the installed budget is 140 KiB "
        "(142999 bytes)"
    )


def test_the_ram_budget_is_held_against_the_working_set(tmp_path: Path, artifact: Artifact) -> None:
    error = refused(tmp_path, artifact, Budget(peak_ram_bytes=3507))
    assert (error.what, error.limit_bytes, error.actual_bytes) == ("peak_ram", 3507, 3508)
    assert error.message == (
        "the model's weights and live activations alone take 3.43 KiB (3508 bytes), the peak_ram "
        "budget is 3.42 KiB (3507 bytes)"
    )


def test_a_budget_that_is_met_exactly_is_kept(tmp_path: Path, artifact: Artifact) -> None:
    # The budgets stand in the manifest, whose size they change: as many digits, the same size.
    loose = Budget(None, 143_000, 3508)
    output = tmp_path / "p.edgepkg"
    package = build_package(artifact, tmp_path / "artifact", output, Release(), loose, {})
    exact = Budget(package.size_bytes, 143_000, 3508)
    again = build_package(artifact, tmp_path / "artifact", output, Release(), exact, {})
    assert again.size_bytes == package.size_bytes


def test_the_largest_files_come_first_and_then_the_constants(
    tmp_path: Path, artifact: Artifact
) -> None:
    error = refused(tmp_path, artifact, Budget(package_bytes=1))
    assert [line.split(":")[0] for line in error.details] == [
        "golden.bin (golden)",
        "model.bin (model)",
        "constant weights",
        "constant bias",
    ]
    assert error.details[1] == "model.bin (model): 2.93 KiB in the package, 2.93 KiB installed"
    assert error.details[2] == "constant weights: 1.95 KiB (int8[2, 1000])"


def test_tensors_are_listed_for_the_ram(tmp_path: Path, artifact: Artifact) -> None:
    error = refused(tmp_path, artifact, Budget(peak_ram_bytes=1))
    assert [line.split(":")[0] for line in error.details] == [
        "constant weights",
        "activation hidden",
        "constant bias",
    ]


def test_the_float_model_is_the_first_thing_to_leave_out(
    tmp_path: Path, artifact: Artifact
) -> None:
    error = refused(tmp_path, artifact, Budget(installed_bytes=1), include_float=True)
    assert error.hint == "leave the float model out, shrink the network, or raise the budget"
    assert refused(tmp_path, artifact, Budget(installed_bytes=1)).hint == (
        "shrink the network, or raise the budget"
    )


def test_a_broken_budget_is_bad_input(tmp_path: Path, artifact: Artifact) -> None:
    error = refused(tmp_path, artifact, Budget(package_bytes=0))
    assert error.exit_code == ExitCode.BAD_INPUT


@pytest.mark.parametrize("budget", [Budget(1), Budget(None, 1), Budget(None, None, 1)])
def test_a_refused_package_is_not_written(
    tmp_path: Path, artifact: Artifact, budget: Budget
) -> None:
    refused(tmp_path, artifact, budget)
    assert {path.name for path in tmp_path.iterdir()} == {"artifact"}


@pytest.mark.parametrize("budget", [Budget(1), Budget(None, 1), Budget(None, None, 1)])
def test_an_older_package_at_the_path_stays(
    tmp_path: Path, artifact: Artifact, budget: Budget
) -> None:
    (tmp_path / "p.edgepkg").write_bytes(b"older")
    refused(tmp_path, artifact, budget)
    assert (tmp_path / "p.edgepkg").read_bytes() == b"older"
    assert {path.name for path in tmp_path.iterdir()} == {"artifact", "p.edgepkg"}
