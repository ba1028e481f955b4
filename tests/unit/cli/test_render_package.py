"""Facts about how a package is shown."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from device_agent.manifest import Fallback, Lock
from device_agent.package_messages import Committed, Damaged, Health, Installed, Inventory
from edgesdk.choices import DeviceKind
from edgesdk.cli import render
from edgesdk.data.preprocessing import Postprocessing, Preprocessing
from edgesdk.values.package import Check, Package, Verification
from tests.unit.report.example import OTHER_SHA, example_delta, example_package


def printed(package: Package) -> str:
    text = io.StringIO()
    render.package(Console(file=text, width=200), package)
    return text.getvalue()


def changed(package: Package, **changes: Any) -> Package:
    head = replace(package.head, manifest=replace(package.manifest, **changes))
    return replace(package, head=head)


def shown(**provenance: str) -> str:
    return printed(changed(example_package(), provenance=provenance))


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


def test_a_package_says_what_it_was_compiled_for() -> None:
    lock = Lock(("cpu",), "onnxruntime-qnn", "2.7.0", htp_arch=68, htp_soc_model=93)
    text = printed(changed(example_package(), lock=lock))
    assert "  lock      golden outputs of cpu; Hexagon v68; SoC model 93\n" in text


def test_a_package_says_when_what_runs_in_its_models_place() -> None:
    text = printed(
        changed(example_package(), fallback=Fallback("float", "litert", ("load", "ood")))
    )
    assert "  fallback  float on litert, for load, ood\n" in text


def test_a_package_says_what_it_does_to_pictures() -> None:
    declared = Preprocessing(shorter_side=256, crop=(224, 224), source=(480, 640))
    stages = declared.stages(Postprocessing(softmax=True, top_k=5))
    assert (
        "  pictures  pictures of 480 x 640, shorter side to 256, bilinear, middle 224 x 224,"
        f" softmax, top 5, preprocessing {declared.steps().digest[:12]}\n"
    ) in printed(changed(example_package(), stages=stages))


def test_a_package_that_does_not_say_shows_no_such_line() -> None:
    assert "  made " not in shown()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "  sequence  7\n"),
        ({"min_sequence": 5}, "  sequence  7, going back to no less than 5\n"),
        ({"expires": "2027-06-30T00:00:00Z"}, "  expires   2027-06-30T00:00:00Z\n"),
    ],
)
def test_a_package_says_where_it_stands(changes: dict[str, Any], line: str) -> None:
    assert line in printed(changed(example_package(), **changes))


def test_a_package_names_the_boards_it_is_for() -> None:
    compatibility = replace(example_package().manifest.compatibility, boards=("Pi 4", "Pi 5"))
    assert "  boards    Pi 4, Pi 5\n" in printed(
        changed(example_package(), compatibility=compatibility)
    )
    assert "boards" not in printed(example_package())


def test_who_signed_is_not_said_before_it_is_checked() -> None:
    assert "  signed    yes: edgesdk verify tells by whom\n" in printed(example_package())
    unsigned = replace(example_package(), head=replace(example_package().head, signatures=b""))
    assert "  signed    no\n" in printed(unsigned)


def test_a_delta_says_how_each_file_travels_and_where_the_full_package_is() -> None:
    delta = replace(example_package(example_delta()), full=Path("resnet8.full.edgepkg"))
    text = printed(delta)
    assert f"  delta     against {OTHER_SHA}\n" in text
    assert "            model.tflite: tensors-delta, 20.0 KiB\n" in text
    assert "            golden.npz: same\n" in text
    assert "  full      resnet8.full.edgepkg, for devices without that package\n" in text
    assert "delta" not in printed(example_package())


# ---- on a device ---------------------------------------------------------------------------------

INSTALLED = Installed(
    "ab" * 32, "digits", "1.2", "pi", "litert", "2.0", 90_000, False, "current", 7
)


def said(show: Callable[..., None], value: object) -> str:
    text = io.StringIO()
    show(Console(file=text, width=200), value)
    return text.getvalue()


def test_a_push_says_who_signed_and_what_the_health_check_saw() -> None:
    health = Health(0.25, 7_010_000, 9, 50 * 2**20, 0)
    signed = replace(INSTALLED, signed_by="anna")
    text = said(render.committed, Committed(signed, False, "cd" * 32, health))
    assert "digits 1.2 installed (87.9 KiB) and is the current package\n" in text
    assert "  signed   by anna\n" in text
    assert (
        "  health   golden values 0.25 % off, median latency 7.01 ms of 9 runs, peak memory "
        "50.0 MiB, its command passed\n" in text
    )
    assert f"  previous {'cd' * 32} (edgesdk rollback goes back to it)\n" in text


@pytest.mark.parametrize(
    ("kind", "told"),
    [("board", ""), ("sshd", " (virtual device)"), ("arm64", " (emulated device)")],
)
def test_the_health_of_no_board_is_told_as_such(kind: DeviceKind, told: str) -> None:
    done = Committed(INSTALLED, False, "", Health(0.25))
    text = said(lambda console, it: render.committed(console, it, kind), done)
    assert f"  health   golden values 0.25 % off{told}\n" in text


def test_a_push_of_what_was_there_says_so_and_that_nobody_signed() -> None:
    text = said(render.committed, Committed(replace(INSTALLED, already=True), True, ""))
    assert "digits 1.2 was already installed" in text
    assert "  signed   NOT SIGNED\n" in text
    assert "health" not in text and "previous" not in text


def test_a_health_check_with_nothing_to_run_on_is_told_as_such() -> None:
    text = said(render.committed, Committed(INSTALLED, False, "", Health()))
    assert "  health   its model loads; nothing else could be checked\n" in text


def test_an_inventory_tells_what_stands_how_who_signed_and_what_fell_back() -> None:
    old = replace(INSTALLED, version="1.1", state="previous", sequence=6, signed_by="anna")
    unused = replace(INSTALLED, version="0.9", state="", sequence=1, fallbacks={"ood": 3, "a": 1})
    text = said(render.inventory, Inventory((INSTALLED, old, unused), "digits"))
    rows = [
        " ".join(line.replace("│", " ").split()) for line in text.splitlines() if "digits" in line
    ]
    assert rows == [
        "digits 1.2 7 current NOT SIGNED 87.9 KiB none",
        "digits 1.1 6 previous by anna 87.9 KiB none",
        "digits 0.9 1 not used NOT SIGNED 87.9 KiB a: 1, ood: 3",
    ]


def test_an_inventory_tells_of_what_is_damaged() -> None:
    lost = tuple(Damaged("0" * 64, state, "gone") for state in ("current", "previous", ""))
    text = said(render.inventory, Inventory((INSTALLED,), "digits", lost))
    assert text.splitlines()[:3] == [
        "gone; it is the current one: push it again, or edgesdk rollback",
        "gone; it is the previous one, which there is no going back to",
        "gone; nothing needs it, and the next push removes it",
    ]
    assert "digits" in text


def test_an_empty_device_says_what_to_do() -> None:
    assert "edgesdk push FILE" in said(render.inventory, Inventory((), ""))


def test_a_verification_lists_its_checks() -> None:
    checks = (Check("bytes", "all 5 are as the manifest says"), Check("expiry", "none"))
    text = said(render.verified, Verification(example_package(), checks))
    assert text.splitlines() == [
        "resnet8.edgepkg: resnet8 0.1.0 can be believed",
        "  bytes            all 5 are as the manifest says",
        "  expiry           none",
        f"  id               {example_package().manifest.package_id}",
    ]


def test_what_nobody_signed_is_not_said_to_be_believed() -> None:
    sealed = example_package()
    unsigned = replace(sealed, head=replace(sealed.head, signatures=b""))
    text = said(render.verified, Verification(unsigned, ()))
    assert text.splitlines()[0] == (
        "resnet8.edgepkg: resnet8 0.1.0 is whole, and NOT SIGNED by anybody"
    )


@pytest.mark.parametrize(("by", "expected"), [("anna", "by anna"), ("", "NOT SIGNED")])
def test_a_rollback_says_who_signed_what_it_went_back_to(by: str, expected: str) -> None:
    text = said(render.installed, replace(INSTALLED, signed_by=by))
    assert text.splitlines()[-1] == f"  signed   {expected}"
