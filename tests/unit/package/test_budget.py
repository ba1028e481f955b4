"""Facts about size budgets: which is in force, what breaks it, and what the refusal says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.manifest import Limits
from edgesdk.errors import BudgetExceeded, ExitCode, UsageError
from edgesdk.package.budget import resolve_budget
from edgesdk.package.building import build_package
from edgesdk.targets.types import BudgetText
from edgesdk.values.artifact import Artifact
from edgesdk.values.package import Budget, Package, Release
from tests.unit.package.artifacts import make_artifact


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return make_artifact(tmp_path / "artifact")


def build(
    tmp_path: Path,
    artifact: Artifact,
    budget: Budget,
    output: str = "p.edgepkg",
    base: Package | None = None,
    **release: Any,
) -> Package:
    return build_package(
        artifact,
        tmp_path / "artifact",
        tmp_path / output,
        Release(**release),
        budget,
        {},
        signer=None,
        base=base,
    )


def refused(tmp_path: Path, artifact: Artifact, budget: Budget, **release: Any) -> BudgetExceeded:
    with pytest.raises(BudgetExceeded) as caught:
        build(tmp_path, artifact, budget, **release)
    return caught.value


def built_bytes(tmp_path: Path, artifact: Artifact) -> int:
    return build(tmp_path, artifact, Budget(), "free.edgepkg").size_bytes


# What is in force

SIZES = st.none() | st.integers(0, 10**12)


@given(st.lists(st.tuples(SIZES, SIZES, SIZES, SIZES), max_size=4))
def test_the_last_layer_that_says_something_is_in_force(
    layers: list[tuple[int | None, ...]],
) -> None:
    texts = [BudgetText(*(None if n is None else f"{n} B" for n in layer)) for layer in layers]
    budget = resolve_budget(*texts)
    for column, field in enumerate(fields(Budget)):
        given_here = [layer[column] for layer in layers if layer[column] is not None]
        assert getattr(budget, field.name) == (given_here[-1] if given_here else None)


def test_without_any_layer_there_is_no_budget() -> None:
    assert resolve_budget() == Budget(None, None, None, None)


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
        "(142999 bytes): 1 B too much"
    )


def test_the_ram_budget_is_held_against_the_working_set(tmp_path: Path, artifact: Artifact) -> None:
    error = refused(tmp_path, artifact, Budget(peak_ram_bytes=3507))
    assert (error.what, error.limit_bytes, error.actual_bytes) == ("peak_ram", 3507, 3508)
    assert error.message == (
        "the model's weights and live activations alone take 3.43 KiB (3508 bytes), the peak_ram "
        "budget is 3.42 KiB (3507 bytes): 1 B too much"
    )


def test_a_budget_that_is_met_exactly_is_kept(tmp_path: Path, artifact: Artifact) -> None:
    # The budgets stand in the manifest, whose size they change: as many digits, the same size.
    loose = Budget(None, 143_000, 3508)
    # The first number of as many digits as the size, so that the size stays what it is.
    loose = Budget(10 ** (len(str(built_bytes(tmp_path, artifact))) - 1) * 9, 143_000, 3508)
    package = build(tmp_path, artifact, loose)
    exact = Budget(package.size_bytes, 143_000, 3508)
    again = build(tmp_path, artifact, exact)
    assert again.size_bytes == package.size_bytes


def test_the_largest_files_come_first_and_then_the_constants(
    tmp_path: Path, artifact: Artifact
) -> None:
    error = refused(tmp_path, artifact, Budget(package_bytes=1))
    assert [line.split(":")[0] for line in error.largest] == [
        "golden.bin (golden)",
        "model.bin (model)",
        "constant weights",
        "constant bias",
    ]
    assert error.largest[1] == "model.bin (model): 2.93 KiB in the package, 2.93 KiB installed"
    assert error.largest[2] == "constant weights: 1.95 KiB (int8[2, 1000])"


def test_tensors_are_listed_for_the_ram(tmp_path: Path, artifact: Artifact) -> None:
    error = refused(tmp_path, artifact, Budget(peak_ram_bytes=1))
    assert [line.split(":")[0] for line in error.largest] == [
        "constant weights",
        "activation hidden",
        "constant bias",
    ]


def test_the_float_model_is_the_first_thing_to_leave_out(
    tmp_path: Path, artifact: Artifact
) -> None:
    error = refused(tmp_path, artifact, Budget(installed_bytes=144_000), include_float=True)
    assert [(each.what, each.saves_bytes, each.enough) for each in error.remedies] == [
        ("leave-out-float", 9000, True)
    ]
    assert error.hint == (
        "do what is enough, or raise the budget (--installed-budget, or [budget] in edgesdk.toml)"
    )


def test_a_float_model_that_is_not_in_it_is_not_left_out(
    tmp_path: Path, artifact: Artifact
) -> None:
    error = refused(tmp_path, artifact, Budget(installed_bytes=1))
    assert error.remedies == ()
    assert error.hint == (
        "use a smaller network, or raise the budget (--installed-budget, or [budget] in "
        "edgesdk.toml)"
    )


def test_what_helps_is_told_after_the_largest(tmp_path: Path, artifact: Artifact) -> None:
    error = refused(tmp_path, artifact, Budget(installed_bytes=150_000), include_float=True)
    assert error.details == (*error.largest, *(f"to save: {each}" for each in error.remedies))
    assert error.details[-1] == (
        "to save: leave the float model out (no --include-float, no include_float under "
        "[package]); devices then have nothing to fall back to: saves 8.79 KiB, enough by itself"
    )


def test_programs_get_the_numbers(tmp_path: Path, artifact: Artifact) -> None:
    error = refused(tmp_path, artifact, Budget(installed_bytes=150_000), include_float=True)
    assert error.facts() == {
        "budget": "installed",
        "limit_bytes": 150_000,
        "actual_bytes": 152_000,
        "remedies": error.remedies,
    }


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


# Deltas


def release_of(folder: Path, golden: int) -> Artifact:
    """A release whose model is always the same, with golden vectors of its own."""
    folder.mkdir()
    model = np.random.default_rng(1).bytes(200_000)
    return make_artifact(
        folder / "artifact", model=model, golden=np.random.default_rng(golden).bytes(5000)
    )


@pytest.fixture
def base(tmp_path: Path) -> Package:
    return build(tmp_path / "old", release_of(tmp_path / "old", golden=2), Budget())


@pytest.fixture
def update(tmp_path: Path) -> Artifact:
    return release_of(tmp_path / "new", golden=3)


def test_a_delta_has_a_budget_of_its_own(tmp_path: Path, base: Package, update: Artifact) -> None:
    made = build(tmp_path / "new", update, Budget(), base=base)
    limit = Budget(delta_bytes=made.size_bytes - 1)
    with pytest.raises(BudgetExceeded) as caught:
        build(tmp_path / "new", update, limit, "again.edgepkg", base=base)
    assert (caught.value.what, caught.value.actual_bytes) == ("delta", made.size_bytes)
    assert caught.value.message.startswith("the delta package takes ")
    assert "what does not change does not travel" in caught.value.hint


def test_what_a_delta_spends_is_told_file_by_file(
    tmp_path: Path, base: Package, update: Artifact
) -> None:
    with pytest.raises(BudgetExceeded) as caught:
        build(tmp_path / "new", update, Budget(delta_bytes=1), base=base)
    assert caught.value.largest == (
        "golden.bin (golden): 4.88 KiB in the delta, 4.88 KiB in the full package",
        "model.bin (model): 0 B in the delta, 195 KiB in the full package",
    )


def test_without_a_delta_its_budget_does_not_count(tmp_path: Path, artifact: Artifact) -> None:
    build(tmp_path, artifact, Budget(delta_bytes=1))


def test_the_full_package_is_held_to_its_budget_beside_a_delta(
    tmp_path: Path, base: Package, update: Artifact
) -> None:
    with pytest.raises(BudgetExceeded) as caught:
        build(tmp_path / "new", update, Budget(package_bytes=200_000), base=base)
    assert caught.value.what == "package"
    assert caught.value.message.endswith("; devices without the delta's base take it")


def test_neither_file_of_a_refused_delta_is_written(
    tmp_path: Path, base: Package, update: Artifact
) -> None:
    with pytest.raises(BudgetExceeded):
        build(tmp_path / "new", update, Budget(delta_bytes=1), base=base)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"artifact"}


def test_the_device_gets_every_limit(tmp_path: Path, artifact: Artifact) -> None:
    budget = Budget(1 << 20, 1 << 21, 1 << 22, 1 << 19)
    limits = build(tmp_path, artifact, budget).manifest.limits
    assert limits == Limits(1 << 20, 1 << 19, 1 << 21, 1 << 22)
