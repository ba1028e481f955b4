"""Facts about planning: which toolchain is chosen, what is refused, what the digest covers."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesdk.convert.planning import plan_conversion
from edgesdk.convert.toolchains import LITERT, ONNXRUNTIME, Toolchain, toolchains
from edgesdk.data.preprocessing import Preprocessing
from edgesdk.data.samples import Samples
from edgesdk.errors import ExitCode, IncompatibleTarget, ModelError, ToolchainMissing, UsageError
from edgesdk.files import sha256_file
from edgesdk.models.bridges import BRIDGES
from edgesdk.models.opening import open_model
from edgesdk.models.types import Model, TensorSpec
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import (
    Accelerator,
    EdgeTpu,
    Figure,
    Runtime,
    Scheme,
    Target,
    TensorScheme,
)
from edgesdk.values.plan import ConversionPlan
from edgesdk.values.recipe import Override, Recipe
from tests.onnx_networks import conv_network

TARGET = load_target("raspberry-pi-5")
SAMPLES = Samples("data.npz", 3, "d" * 64, None, lambda: iter(()))
ONNX = Runtime("onnxruntime", "1.18")
TFLITE = Runtime("litert", "1.0")


def model(format: Any = "onnx", dtype: str = "float32") -> Model:
    spec = TensorSpec("x", (1, 2), dtype)
    return Model(Path(f"net.{format}"), format, "a" * 64, 10, (spec,), (spec,))


def plan(
    given: Model | None = None,
    target: Target = TARGET,
    recipe: Recipe | None = None,
    **keywords: Any,
) -> ConversionPlan:
    return plan_conversion(given or model(), target, SAMPLES, recipe or Recipe(), **keywords)


# The choice


@pytest.mark.parametrize(("format", "backend"), [("onnx", "onnxruntime"), ("tflite", "litert")])
def test_the_format_chooses_the_toolchain(format: str, backend: str) -> None:
    chosen = plan(model(format))
    assert (chosen.backend, chosen.runtime.name) == (backend, backend)


def test_the_plan_repeats_what_it_was_made_from() -> None:
    chosen = plan(recipe=Recipe(keep_float=("a.*",)))
    assert chosen.model_name == "net"
    assert chosen.inputs == model().inputs
    assert (chosen.target_id, chosen.target_architecture) == ("raspberry-pi-5", "aarch64")
    assert chosen.scheme == TARGET.quantization
    assert (chosen.calibration_sha256, chosen.calibration_samples) == ("d" * 64, 3)
    assert chosen.keep_float == ("a.*",)
    assert set(chosen.toolchain) == set(ONNXRUNTIME.distributions)


@pytest.mark.parametrize(
    ("format", "io", "result"),
    [("onnx", None, "float32"), ("tflite", None, "int8"), ("tflite", "float32", "float32")],
)
def test_the_dtype_of_the_edge_is_the_recipes_or_the_usual_one(
    format: str, io: Any, result: str
) -> None:
    assert plan(model(format), recipe=Recipe(io=io)).io == result


def test_the_targets_first_runtime_that_fits_is_chosen() -> None:
    third = replace(ONNXRUNTIME, name="third", runtime="litert")
    target = replace(TARGET, runtimes=(TFLITE, ONNX))
    assert plan(target=target, available=[ONNXRUNTIME, third]).backend == "third"


def test_both_built_in_toolchains_are_registered() -> None:
    assert {ONNXRUNTIME, LITERT} <= set(toolchains())


def test_two_toolchains_of_one_name_are_our_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "twice"

        def load(self) -> Toolchain:
            return ONNXRUNTIME

    monkeypatch.setattr("edgesdk.convert.toolchains.entry_points", lambda group: [Entry(), Entry()])
    with pytest.raises(RuntimeError, match="two toolchains are registered as 'twice'"):
        toolchains()


# What is refused


def test_a_target_without_a_common_runtime_is_incompatible() -> None:
    with pytest.raises(IncompatibleTarget) as caught:
        plan(target=replace(TARGET, runtimes=(TFLITE,)), available=[ONNXRUNTIME])
    assert caught.value.message == (
        "raspberry-pi-5 runs litert models, which a onnx model does not convert to"
    )
    assert caught.value.hint.startswith("choose another target (edgesdk target ls)")
    assert caught.value.exit_code == ExitCode.BAD_INPUT


def test_a_model_that_no_toolchain_reads_goes_over_a_bridge() -> None:
    chosen = plan(target=replace(TARGET, runtimes=(TFLITE,)))
    assert (chosen.model_format, chosen.working_format) == ("onnx", "tflite")
    assert (chosen.bridge, chosen.backend) == ("onnx2tf", "litert")
    assert "onnx2tf" in chosen.toolchain


def test_a_toolchain_that_reads_the_model_goes_before_a_bridge() -> None:
    chosen = plan(target=replace(TARGET, runtimes=(TFLITE, ONNX)))
    assert (chosen.bridge, chosen.backend) == ("", "onnxruntime")


def test_a_bridge_that_is_installed_goes_before_one_that_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = replace(BRIDGES["torch", "onnx"], distributions=("numpy",), optional=())
    absent = replace(BRIDGES["torch", "tflite"], distributions=("no-such-toolkit",), isolated=None)
    bridges = {("torch", "onnx"): ready, ("torch", "tflite"): absent}
    monkeypatch.setattr("edgesdk.convert.planning.BRIDGES", bridges)
    target = replace(TARGET, runtimes=(TFLITE, ONNX))
    assert plan(model("torch"), target=target).bridge == ready.tool


def test_a_program_that_a_toolchain_calls_changes_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calling = replace(LITERT, programs=("vendor-compiler",))
    monkeypatch.setenv("PATH", str(tmp_path))
    absent = plan(model("tflite"), available=[calling])
    program = tmp_path / "vendor-compiler"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    present = plan(model("tflite"), available=[calling])
    assert "vendor-compiler" not in absent.toolchain
    assert present.toolchain["vendor-compiler"].startswith("sha256:")
    assert present.digest != absent.digest


@pytest.fixture
def wrapper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script on PATH that only starts the program beside it, as vendors ship them."""
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "vendor-compiler"
    path.write_text(f"#!/bin/sh\n. {tmp_path / 'real'}\n")
    path.chmod(0o755)
    return path


def said_by(wrapper: Path, real: str) -> str:
    (wrapper.parent / "real").write_text(real)
    return replace(LITERT, programs=(wrapper.name,)).versions()[wrapper.name]


def test_the_program_behind_a_wrapper_counts_by_its_version(wrapper: Path) -> None:
    said = said_by(wrapper, "echo; echo Vendor compiler 16.0; echo more")
    assert said.startswith("sha256:") and said.endswith(" Vendor compiler 16.0")
    assert said_by(wrapper, "echo Vendor compiler 16.1") != said


@pytest.mark.parametrize(
    "real",
    ["", "echo unknown option --version; exit 1", "kill -9 $$", "while :; do :; done"],
    ids=["silent", "refuses", "crashes", "hangs"],
)
def test_a_program_that_tells_no_version_counts_by_its_file(
    wrapper: Path, real: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesdk.convert.toolchains._VERSION_DEADLINE_S", 0.5)
    assert said_by(wrapper, real) == f"sha256:{sha256_file(wrapper)[:16]}"


def test_a_file_that_does_not_start_counts_by_its_bytes(wrapper: Path) -> None:
    wrapper.write_bytes(b"no program")
    assert said_by(wrapper, "") == f"sha256:{sha256_file(wrapper)[:16]}"


def test_a_missing_toolkit_is_answered_with_the_line_that_installs_it() -> None:
    absent = replace(ONNXRUNTIME, distributions=("numpy", "no-such-toolkit"))
    with pytest.raises(ToolchainMissing) as caught:
        plan(available=[absent])
    assert caught.value.message == (
        "the onnxruntime toolchain needs no-such-toolkit, which is not installed"
    )
    assert caught.value.hint == 'install it with: pip install "edgesdk[onnx]"'
    assert caught.value.exit_code == ExitCode.TOOLCHAIN


def test_a_backend_whose_toolkit_does_not_import_is_answered_likewise() -> None:
    absent = replace(LITERT, module="no_such_module.backend")
    with pytest.raises(ToolchainMissing, match="needs no_such_module, which") as caught:
        absent.load_backend()
    assert caught.value.hint == 'install it with: pip install "edgesdk[litert]"'


def test_half_precision_is_refused() -> None:
    with pytest.raises(ModelError, match=r"x: float16\[1, 2\] of net.onnx is half precision"):
        plan(model(dtype="float16"))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_integer_inputs_are_fine(dtype: str) -> None:
    assert plan(model(dtype=dtype)).inputs[0].dtype == dtype


def test_an_edge_that_the_format_does_not_have_is_a_usage_error() -> None:
    with pytest.raises(
        UsageError, match="makes w8a8 models with float32 inputs and outputs, found int8"
    ):
        plan(recipe=Recipe(io="int8"))


def test_a_pattern_that_is_no_regular_expression_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"keep_float '\(' is not a regular expression"):
        plan(recipe=Recipe(keep_float=("(",)))


# Precisions


def test_the_targets_first_precision_is_the_usual_one() -> None:
    assert plan(model("tflite")).precision == "w8a8"


def test_a_precision_sets_the_bits_of_the_scheme_and_a_float_edge() -> None:
    chosen = plan(model("tflite"), recipe=Recipe(precision="w8a16"))
    assert (chosen.scheme.weights.bits, chosen.scheme.activations.bits) == (8, 16)
    assert chosen.io == "float32"


@pytest.mark.parametrize("precision", ["w4a8", "w4a16"])
def test_sub_byte_weights_are_refused_where_the_target_has_none(precision: Any) -> None:
    message = f"found the precision {precision}, expected one that raspberry-pi-5 offers with "
    with pytest.raises(UsageError, match=message + "litert: w8a8, w8a16, fp16"):
        plan(model("tflite"), recipe=Recipe(precision=precision))


def test_a_precision_that_the_toolchain_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="offers with onnxruntime: w8a8"):
        plan(recipe=Recipe(precision="w8a16"))


def test_an_overrides_precision_is_checked_likewise() -> None:
    with pytest.raises(UsageError, match="found the precision w8a16"):
        plan(recipe=Recipe(overrides=(Override("w8a16", type="Conv"),)))


def test_an_int8_edge_goes_with_w8a8_only() -> None:
    with pytest.raises(
        UsageError, match="w8a16 models with float32 inputs and outputs, found int8"
    ):
        plan(model("tflite"), recipe=Recipe(precision="w8a16", io="int8"))


def test_an_override_must_name_something() -> None:
    with pytest.raises(UsageError, match="an override to float32 names no operators"):
        plan(recipe=Recipe(overrides=(Override("float32"),)))


def test_an_overrides_pattern_is_checked() -> None:
    with pytest.raises(UsageError, match=r"an override's name '\(' is not a regular expression"):
        plan(recipe=Recipe(overrides=(Override("float32", name="("),)))


def test_a_quantizer_that_the_toolchain_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="the onnxruntime toolchain has none to choose from"):
        plan(recipe=Recipe(quantizer="aimet-onnx"))


def test_encodings_that_no_toolchain_would_write_are_refused() -> None:
    with pytest.raises(UsageError, match="which the onnxruntime toolchain does not write"):
        plan(recipe=Recipe(encodings=True))


@pytest.mark.parametrize("count", [0, 9])
def test_golden_vectors_are_one_to_eight(count: int) -> None:
    with pytest.raises(UsageError, match=f"found golden_vectors {count}, expected 1 to 8"):
        plan(recipe=Recipe(golden_vectors=count))


# The digest

OTHER: dict[str, Any] = {
    "model_name": "other",
    "model_format": "tflite",
    "model_sha256": "b" * 64,
    "inputs": (TensorSpec("x", (2, 2), "float32"),),
    "outputs": (),
    "target_id": "rock-5b",
    "target_architecture": "x86_64",
    "working_format": "tflite",
    "bridge": "onnx2tf",
    "backend": "litert",
    "quantizer": "aimet-onnx",
    "runtime": TFLITE,
    "cpu_features": ("avx2",),
    "accelerator": Accelerator(edgetpu=EdgeTpu(Figure(1, "sheet"))),
    "precision": "w8a16",
    "scheme": Scheme(TensorScheme(8, True, "per-tensor"), TARGET.quantization.activations),
    "io": "int8",
    "keep_float": ("a",),
    "overrides": (Override("w8a16", type="Conv"),),
    "range_method": "mse",
    "encodings": True,
    "rules_sha256": "f" * 64,
    "calibration_sha256": "e" * 64,
    "calibration_samples": 4,
    "toolchain": {"onnx": "0"},
    "golden_vectors": 1,
    "preprocessing": Preprocessing(resize=(2, 2)).steps(),
}


@pytest.mark.parametrize("name", [field.name for field in fields(ConversionPlan)])
def test_the_digest_changes_with_every_field(name: str) -> None:
    chosen = plan()
    assert replace(chosen, **{name: OTHER[name]}).digest != chosen.digest


def test_the_digest_does_not_change_with_the_models_folder(tmp_path: Path) -> None:
    path = conv_network(tmp_path / "net.onnx")
    (tmp_path / "sub").mkdir()
    copy = shutil.copy(path, tmp_path / "sub" / "net.onnx")
    assert plan(open_model(path)).digest == plan(open_model(copy)).digest


def test_the_digest_does_not_change_with_the_datas_name() -> None:
    renamed = replace(SAMPLES, origin="other.npz", labels=np.zeros(3, np.int64))
    assert plan_conversion(model(), TARGET, renamed, Recipe()).digest == plan().digest


def test_a_preprocessing_of_pictures_is_for_models_of_one_input() -> None:
    one = model()
    two = replace(one, inputs=(*one.inputs, *one.inputs))
    declared = Preprocessing(resize=(2, 2)).steps()
    with pytest.raises(UsageError, match="for a model of 2 inputs"):
        plan_conversion(two, TARGET, SAMPLES, Recipe(), preprocessing=declared)
