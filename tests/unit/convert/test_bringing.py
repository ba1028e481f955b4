"""Facts about models that are brought to another format: what is compared, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesdk.convert import bringing
from edgesdk.convert.bringing import bring
from edgesdk.errors import ConversionError
from edgesdk.models.lowering import Lowered
from edgesdk.models.opening import open_model
from edgesdk.models.types import Model
from edgesdk.progress import Silent
from tests.onnx_networks import conv_network


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """An ONNX file that stands for a model of another format, which the tool is told to make."""
    return open_model(conv_network(tmp_path / "net.onnx"))


def samples(model: Model) -> list[dict[str, Any]]:
    (spec,) = model.inputs
    return [
        {spec.name: np.random.default_rng(seed).normal(size=spec.shape).astype(np.float32)}
        for seed in range(3)
    ]


def tool(model: Model, outputs: Sequence[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that makes `model` and says that its source gave `outputs`."""
    lowered = Lowered(model.path, "onnx", "a tool", {}, tuple((each,) for each in outputs))
    monkeypatch.setattr(bringing, "lower", lambda *_: lowered)


def outputs(model: Model) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.path)
    return [session.run(None, sample)[0] for sample in samples(model)]


def as_torch(model: Model) -> Model:
    return Model(model.path, "torch", model.sha256, model.size_bytes, model.inputs, model.outputs)


def test_a_model_that_needs_no_bringing_is_taken_as_it_is(model: Model, tmp_path: Path) -> None:
    brought = bring(model, "onnx", samples(model), tmp_path, Silent())
    assert (brought.path, brought.account) == (model.path, None)


def test_what_agrees_with_its_source_is_taken_and_the_difference_recorded(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(model, [each + 1e-6 for each in outputs(model)], monkeypatch)
    account = bring(as_torch(model), "onnx", samples(model), tmp_path, Silent()).account
    assert account is not None
    assert (account.bridge, account.probes) == ("a tool", 3)
    assert account.max_abs_error == pytest.approx(1e-6, rel=0.5)


def test_what_computes_something_else_than_its_source_is_refused(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(model, [each * 1.01 for each in outputs(model)], monkeypatch)
    with pytest.raises(ConversionError, match="a tool made a model that computes something else"):
        bring(as_torch(model), "onnx", samples(model), tmp_path, Silent())
