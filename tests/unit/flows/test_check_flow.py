"""Facts about checking against every target at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesdk.errors import ConversionError, EdgeSDKError, ModelError
from edgesdk.flows import check as flow
from edgesdk.values.forecast import Refusal


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[EdgeSDKError], list[str]]:
    """Makes every lowering fail with this error; the formats that were asked for."""

    def failing(error: EdgeSDKError) -> list[str]:
        asked: list[str] = []

        def lower(_: object, to: str, *__: Any) -> None:
            asked.append(to)
            raise error

        monkeypatch.setattr(flow, "open_model", lambda *_: None)
        monkeypatch.setattr(flow, "lower", lower)
        return asked

    return failing


def test_a_lowering_that_fails_is_tried_once_for_each_format_and_not_for_each_target(
    failing: Callable[[EdgeSDKError], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "net.keras").touch()
    asked = failing(ConversionError("TensorFlow crashed", hint="do this"))
    rows = flow.check_all(tmp_path / "net.keras")
    assert sorted(asked) == ["onnx", "tflite"]
    assert len(rows) > len(asked)
    told = {(row.reason, row.hint) for row in rows if isinstance(row, Refusal)}
    assert told == {("TensorFlow crashed", "do this")}


def test_a_model_that_cannot_be_read_is_an_error_and_no_refusal(
    failing: Callable[[EdgeSDKError], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "net.keras").touch()
    failing(ModelError("found garbage"))
    with pytest.raises(ModelError, match="found garbage"):
        flow.check_all(tmp_path / "net.keras")
