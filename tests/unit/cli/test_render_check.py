"""Facts about how a forecast is shown, alone and beside what a conversion found."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from edgesdk.cli import render_check
from edgesdk.values.artifact import Artifact, Compilation
from edgesdk.values.forecast import Placement
from tests.unit.report.example import example_artifact

ON = Placement(0, "CONV_2D", "stem", "edgetpu")
OFF = Placement(1, "ARG_MAX", "top", "cpu", "Operation not supported", "take it off the model")


def shown(artifact: Artifact) -> str:
    text = io.StringIO()
    render_check.placement(Console(file=text, width=200), artifact)
    return text.getvalue()


def artifact(*forecast: Placement, **compilation: object) -> Artifact:
    fields = {"status": "compiled", "compiler": "edgetpu_compiler", "version": "16.0"} | compilation
    return replace(
        example_artifact(),
        forecast=forecast,
        compilation=Compilation(**fields),  # type: ignore[arg-type]
    )


def test_without_an_accelerator_nothing_is_said() -> None:
    assert shown(example_artifact()) == ""


def test_a_compiler_that_agrees() -> None:
    text = shown(artifact(ON, OFF, placements=(ON, OFF)))
    assert "forecast by the rules of raspberry-pi-5: 1 on edgetpu, 1 on cpu" in text
    assert "compiled by edgetpu_compiler 16.0: 1 on edgetpu, 1 on cpu; all as forecast" in text
    assert "on cpu: 1 ARG_MAX top: Operation not supported; take it off the model" in text


def test_an_operator_that_the_compiler_puts_elsewhere_is_named() -> None:
    found = replace(ON, unit="cpu", reason="Operation version not supported")
    text = shown(artifact(ON, placements=(found,)))
    assert "1 on cpu; 1 not as forecast" in text
    assert (
        "0 CONV_2D stem: forecast on edgetpu, found on cpu (Operation version not supported)"
        in text
    )


def test_a_compiler_that_does_not_say() -> None:
    assert "accepted by edgetpu_compiler 16.0: it does not say where the operators go" in shown(
        artifact(ON, status="accepted")
    )


def test_what_is_not_compiled_is_said_plainly() -> None:
    text = shown(artifact(ON, OFF, status="not compiled", reason="there is no compiler here"))
    assert "not compiled: there is no compiler here" in text
    assert "all as forecast" not in text
    assert "ARG_MAX top: Operation not supported" in text
