"""The rule that a package carries follows from the artifact, the release and the gates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.manifest import Band, Fallback, InputStatistics, Port
from edgesdk.errors import PackageError
from edgesdk.package.building import Twin, build_package
from edgesdk.package.fallback import MARGIN, fallback_rule, twin_name, widened
from edgesdk.package.reading import read_contents, read_package
from edgesdk.targets.types import Runtime
from edgesdk.values.artifact import Artifact, ArtifactFile
from edgesdk.values.package import Budget, FallbackCause, Release
from tests.unit.package.artifacts import make_artifact

WITH_FLOAT = Release(include_float=True)
NO_GATES: dict[str, float] = {}


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    made = make_artifact(tmp_path / "artifact")
    return replace(made, plan=replace(made.plan, calibration_samples=20))


def test_a_package_without_a_twin_has_no_rule(artifact: Artifact) -> None:
    assert fallback_rule(artifact, Release(), None, NO_GATES) is None


def test_with_the_float_model_it_is_run_when_the_model_fails_or_parity_does(
    artifact: Artifact,
) -> None:
    assert fallback_rule(artifact, WITH_FLOAT, None, NO_GATES) == Fallback(
        "float", "onnxruntime", ("load", "parity"), 1.0
    )


def test_nothing_asked_for_is_no_rule(artifact: Artifact) -> None:
    assert fallback_rule(artifact, replace(WITH_FLOAT, fallback=()), None, NO_GATES) is None


def test_a_twin_goes_before_the_float_model_and_runs_on_its_own_runtime(
    artifact: Artifact,
) -> None:
    twin = replace(artifact, plan=replace(artifact.plan, runtime=Runtime("litert", "2.0")))
    rule = fallback_rule(artifact, WITH_FLOAT, twin, NO_GATES)
    assert rule is not None
    assert (rule.role, rule.runtime) == ("twin", "litert")


@pytest.mark.parametrize(
    ("runtime", "without"),
    [
        ("edgetpu", "litert"),
        ("qnn", "onnxruntime"),
        ("tensorrt", "onnxruntime"),
        ("openvino", "openvino"),
    ],
)
def test_the_float_model_runs_where_no_accelerator_is(
    artifact: Artifact, runtime: str, without: str
) -> None:
    plan = replace(artifact.plan, runtime=Runtime(runtime, "1"))  # type: ignore[arg-type]
    rule = fallback_rule(replace(artifact, plan=plan), WITH_FLOAT, None, NO_GATES)
    assert rule is not None and rule.runtime == without


def test_the_gate_of_parity_is_the_rules_bound(artifact: Artifact) -> None:
    rule = fallback_rule(artifact, WITH_FLOAT, None, {"max_parity_mismatch_percent": 0.25})
    assert rule is not None and rule.max_parity_mismatch_percent == 0.25


def test_what_calibration_saw_is_widened_by_a_share_on_either_side(artifact: Artifact) -> None:
    release = replace(WITH_FLOAT, fallback=("ood",))
    rule = fallback_rule(artifact, release, None, NO_GATES)
    assert rule is not None
    # Seen: values -2 to 2, means -1 to 1, deviations 0 to 2, roughness 0 to 3.
    assert rule.inputs == (
        InputStatistics(
            "x", 5, Band(-3.0, 3.0), Band(-1.5, 1.5), Band(0.0, 2.5), Band(0.0, 3.75), 1.0
        ),
    )


finite = st.floats(-1e9, 1e9)


@given(finite, finite)
def test_whatever_calibration_saw_stays_allowed(one: float, other: float) -> None:
    band = Band(min(one, other), max(one, other))
    seen = InputStatistics("x", 20, band, band, Band(0, abs(one)), Band(0, abs(one)))
    allowed = widened(seen)
    for before, after in (
        (seen.values, allowed.values),
        (seen.mean, allowed.mean),
        (seen.deviation, allowed.deviation),
    ):
        assert after.low <= before.low <= before.high <= after.high
    assert allowed.mean.high - band.high == pytest.approx(
        MARGIN * (band.high - band.low), rel=1e-6, abs=1e-3
    )


@pytest.mark.parametrize("cause", ["load", "parity", "ood"])
def test_a_rule_needs_something_to_fall_back_to(artifact: Artifact, cause: FallbackCause) -> None:
    with pytest.raises(PackageError, match=f"found a fallback on {cause}, and nothing to fall"):
        fallback_rule(artifact, Release(fallback=(cause,)), None, NO_GATES)


def test_too_few_samples_say_nothing_of_what_is_odd(artifact: Artifact) -> None:
    few = replace(artifact, plan=replace(artifact.plan, calibration_samples=19))
    with pytest.raises(PackageError, match="calibrated on 19 samples, expected at least 20"):
        fallback_rule(few, replace(WITH_FLOAT, fallback=("ood",)), None, NO_GATES)


def test_a_twin_of_another_network_is_refused(artifact: Artifact) -> None:
    other = replace(artifact, outputs=(Port("y", (1, 3), "float32"),))
    with pytest.raises(PackageError, match=r"the twin's outputs are y \[1, 3\], the model's y"):
        fallback_rule(artifact, Release(), other, NO_GATES)


def test_a_twin_of_two_files_is_refused(artifact: Artifact) -> None:
    files = (*artifact.files, ArtifactFile("companion", "model.weights.bin", 3, "0" * 64))
    with pytest.raises(PackageError, match=r"two files, model\.bin and model\.weights\.bin"):
        fallback_rule(artifact, Release(), replace(artifact, files=files), NO_GATES)


def test_a_package_carries_the_twins_model_under_a_name_of_its_own(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "artifact")
    twin = make_artifact(tmp_path / "twin", model=b"the twin's model")
    built = build_package(
        artifact,
        tmp_path / "artifact",
        tmp_path / "x.edgepkg",
        Release(),
        Budget(),
        NO_GATES,
        signer=None,
        twin=Twin(twin, tmp_path / "twin"),
    )
    read = read_package(tmp_path / "x.edgepkg").manifest
    assert read == built.manifest
    file = read.file("twin")
    assert file is not None and file.path == "twin.bin"
    assert read_contents(tmp_path / "x.edgepkg")["twin.bin"] == b"the twin's model"
    assert read.fallback == Fallback("twin", "onnxruntime", ("load", "parity"), 1.0)


def test_a_twin_that_has_changed_since_its_conversion_is_refused(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "artifact")
    (tmp_path / "artifact" / "model.bin").write_bytes(b"other")
    with pytest.raises(PackageError, match="has changed since the conversion"):
        build_package(
            make_artifact(tmp_path / "sound"),
            tmp_path / "sound",
            tmp_path / "x.edgepkg",
            Release(),
            Budget(),
            NO_GATES,
            signer=None,
            twin=Twin(artifact, tmp_path / "artifact"),
        )
    assert not (tmp_path / "x.edgepkg").exists()


def test_the_twins_file_keeps_its_ending(artifact: Artifact) -> None:
    assert twin_name(artifact) == "twin.bin"
