"""What a package declares of pictures, and what it was converted with."""

from __future__ import annotations

import dataclasses

import pytest

from edgesdk.data.preprocessing import Postprocessing, Preprocessing
from edgesdk.errors import UsageError
from edgesdk.flows.package import stages_of
from tests.unit.report.example import example_artifact

DECLARED = Preprocessing(resize=(32, 32), source=(480, 640))
TOP = Postprocessing(top_k=3)
PLAIN = example_artifact().plan
PLAN = dataclasses.replace(PLAIN, preprocessing=DECLARED.steps())


def test_a_package_declares_what_its_model_was_converted_with() -> None:
    assert stages_of(PLAN, DECLARED, TOP) == DECLARED.stages(TOP)
    assert stages_of(PLAN, None, None) == dataclasses.replace(DECLARED, source=None).stages(
        Postprocessing()
    )
    assert stages_of(PLAIN, None, None) is None


def test_another_camera_needs_no_other_conversion() -> None:
    larger = dataclasses.replace(DECLARED, source=(720, 1280))
    found = stages_of(PLAN, larger, None)
    assert found is not None and found.source == (720, 1280)


@pytest.mark.parametrize("plan", [PLAN, PLAIN], ids=["with another", "with none"])
def test_another_preprocessing_than_it_was_converted_with_is_refused(plan: object) -> None:
    other = dataclasses.replace(DECLARED, interpolation="nearest")
    with pytest.raises(UsageError, match="converted with the preprocessing") as caught:
        stages_of(plan, other, None)  # type: ignore[arg-type]
    assert caught.value.hint is not None and caught.value.hint.startswith("convert again")


def test_a_postprocessing_alone_is_refused() -> None:
    with pytest.raises(UsageError, match="found a postprocessing and no preprocessing"):
        stages_of(PLAIN, None, TOP)
