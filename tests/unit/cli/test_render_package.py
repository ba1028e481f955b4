"""Facts about how a package is shown."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from rich.console import Console

from device_agent.manifest import Fallback
from edgesdk.cli import render
from tests.unit.report.example import example_package


def shown(**provenance: str) -> str:
    return shown_with(provenance=provenance)


def shown_with(**changes: Any) -> str:
    """What is shown of the example package with these fields of its manifest."""
    package, text = example_package(), io.StringIO()
    head = replace(package.head, manifest=replace(package.manifest, **changes))
    render.package(Console(file=text, width=200), replace(package, head=head))
    return text.getvalue()


def test_a_package_says_its_precision_and_that_it_is_not_compiled() -> None:
    text = shown(precision="w8a8", compilation="not compiled")
    assert "  made      w8a8; compilation: not compiled\n" in text


def test_a_package_names_its_compiler_quantizer_and_bridge() -> None:
    text = shown(
        precision="w8a16",
        compilation="compiled by onnxruntime-qnn 2.7.0",
        quantizer="aimet-onnx",
        bridge="torch.onnx",
    )
    assert (
        "w8a16; compilation: compiled by onnxruntime-qnn 2.7.0; quantizer: aimet-onnx; "
        "bridge: torch.onnx\n" in text
    )


def test_a_package_says_when_what_runs_in_its_models_place() -> None:
    text = shown_with(fallback=Fallback("float", "litert", ("load", "ood")))
    assert "  fallback  float on litert, for load, ood\n" in text


def test_a_package_that_does_not_say_shows_no_such_line() -> None:
    assert "  made " not in shown()
