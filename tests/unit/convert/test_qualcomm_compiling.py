"""Facts about context binaries: what is in one, and every way in which there may be none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from device_agent.runtimes.tensors import step_size
from edgesdk.convert.backends.qualcomm.context import MadeFor, made_for, read_context
from edgesdk.convert.backends.qualcomm.trace import Refused, read_log
from edgesdk.errors import ConversionError, ExitCode
from edgesdk.flows.convert import convert
from edgesdk.targets.loading import list_targets
from tests.unit.convert.qualcomm_networks import (
    Quantized,
    backend,
    compiling,
    conv_network,
    erf_network,
    hardmax_network,
)

HTP_TARGETS = [target for target in list_targets() if target.accelerator.htp]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def job(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let the compiler's process be another program; its arguments are the compiler's."""
    monkeypatch.setattr(compiling, "_JOB", [sys.executable, "-c", program])


def failure(quantized: Quantized) -> ConversionError:
    """How compiling fails; afterwards the folder is as it was."""
    before = sorted(path.name for path in quantized.folder.iterdir())
    with pytest.raises(ConversionError) as caught:
        quantized.compile()
    assert sorted(path.name for path in quantized.folder.iterdir()) == before
    return caught.value


# What comes out


def test_the_result_is_one_context_and_its_binary(path: Path) -> None:
    quantized = Quantized(conv_network(path))
    compiled = quantized.compile()
    assert compiled.model is not None
    assert compiled.companion is not None
    assert {node.op_type for node in onnx.load(str(compiled.model)).graph.node} == {"EPContext"}
    assert read_context(compiled.model).binary == compiled.companion.name
    assert (compiled.model.name, compiled.companion.name) == (
        "model_ctx.onnx",
        "model_ctx_qnn.bin",
    )


@pytest.mark.parametrize("target", HTP_TARGETS, ids=lambda target: target.id)
def test_the_binary_is_for_the_descriptors_soc(path: Path, target: object) -> None:
    quantized = Quantized(conv_network(path), target.id)  # type: ignore[attr-defined]
    htp = quantized.plan.accelerator.htp
    assert htp is not None
    companion = quantized.compile().companion
    assert companion is not None
    found = made_for(companion)
    assert isinstance(found, MadeFor)
    assert found.arch == htp.arch.value
    assert found.soc.lower() == target.id  # type: ignore[attr-defined]


def test_every_operator_is_on_the_htp(path: Path) -> None:
    account = Quantized(conv_network(path)).compile().account
    assert (account.status, account.compiler) == ("compiled", "onnxruntime-qnn")
    assert {placement.unit for placement in account.placements} == {"htp"}
    assert {"Conv", "Gemm", "GlobalAveragePool"} <= {each.type for each in account.placements}


def test_compiling_twice_gives_the_same_bytes(path: Path) -> None:
    quantized = Quantized(conv_network(path))
    first = quantized.compile().companion
    assert first is not None
    before = first.read_bytes()
    quantized.compile()
    assert first.read_bytes() == before


@pytest.mark.parametrize("target", ["qcs6490", "qcs8550"])
def test_the_emulated_binary_agrees_with_the_cpu_within_one_step(path: Path, target: str) -> None:
    quantized = Quantized(conv_network(path), target)
    quantized.compile()
    htp = np.stack([outputs[0] for outputs in quantized.outputs("htp", 8)])
    cpu = np.stack([outputs[0] for outputs in quantized.outputs("cpu", 8)])
    assert np.abs(htp - cpu).max() <= step_size(cpu) * (1 + 1e-4)
    assert htp.std() > step_size(cpu)


def test_golden_outputs_are_the_compiled_models(path: Path) -> None:
    """The INT8 file may say what it wants: what ships is run."""
    quantized = Quantized(conv_network(path))
    quantized.compile()
    wanted = quantized.outputs("htp", 1)
    quantized.path.write_bytes(b"no model")
    np.testing.assert_array_equal(quantized.outputs("htp", 1)[0][0], wanted[0][0])


def test_golden_outputs_are_made_for_the_htp_first() -> None:
    assert backend.kernels()[-1] == "cpu"


# What the HTP does not take


def test_a_refused_operator_is_named_with_the_compilers_reason(path: Path) -> None:
    error = failure(Quantized(hardmax_network(path)))
    assert error.message == "the HTP of qcs8550 does not take 1 operator of the model (Hardmax)"
    (detail,) = error.details
    assert detail.startswith("Hardmax m: Operators of type `Hardmax` are not supported by QNN EP")
    assert "edgesdk target ls" in error.hint


def test_the_reason_is_told_where_nothing_could_be_compiled(path: Path) -> None:
    (detail,) = failure(Quantized(erf_network(path))).details
    assert detail.startswith("Erf y: Operators of type `Erf` are not supported by QNN EP")


def test_float_is_refused_where_the_htp_has_no_half_precision(path: Path) -> None:
    error = failure(Quantized(conv_network(path), "qcs6490", keep_float=("g_linear",)))
    assert "Conv g_linear: Failed to add node." in error.details
    assert error.hint.startswith("quantize what the recipe keeps in float")


def test_a_log_gives_the_refused_operators() -> None:
    said = (
        "[V:onnxruntime:, x.cc:1 LogNodeSupport] Validation FAILED for 3 nodes in "
        "OrtNodeUnit (LRN) :\n"
        "\tOperator type: DequantizeLinear Node name: DequantizeLinear_token_8 Node index: 15\n"
        "\tOperator type: LRN Node name: norm 1_token_1 Node index: 9\n"
        "\tREASON : Failed to add node.\n\nmore\n"
    )
    assert read_log(said) == (Refused("LRN", "norm 1", "Failed to add node."),)


# A compiler that misbehaves


def test_a_crash_names_the_signal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quantized = Quantized(conv_network(path))
    job(monkeypatch, "import os, signal; print('about to', flush=True); os.kill(os.getpid(), 11)")
    error = failure(quantized)
    assert error.message == "Qualcomm's compiler crashed (SIGSEGV)"
    assert error.details == ("about to",)


def test_a_hang_ends_at_the_deadline(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quantized = Quantized(conv_network(path))
    monkeypatch.setattr(compiling, "DEADLINE_S", 0.5)
    job(monkeypatch, "import time; time.sleep(60)")
    message = "Qualcomm's compiler did not finish within 0.5 s and was stopped"
    assert failure(quantized).message == message


@pytest.mark.parametrize(
    "program",
    [
        "print('all is well')",
        "import sys; open(sys.argv[2], 'w').write('garbage')",
        "import os, sys; open(sys.argv[2], 'wb').write(os.urandom(999)); open('x.bin', 'w')",
        # The model itself as the result: every operator was left to the CPU.
        "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])",
    ],
)
def test_garbage_is_not_taken_for_a_result(
    path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    quantized = Quantized(conv_network(path))
    job(monkeypatch, program)
    message = "Qualcomm's compiler ended without an error and without a whole context binary"
    assert failure(quantized).message == message


def test_a_binary_for_another_soc_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quantized = Quantized(conv_network(path))
    module = "edgesdk.convert.backends.qualcomm.compile_job"
    job(
        monkeypatch, f"import sys; from {module} import main; main(*sys.argv[1:3], '57', '75', '4')"
    )
    error = failure(quantized)
    assert error.message == (
        "Qualcomm's compiler made a binary for SM8650 (v75), expected QCS8550 (v73)"
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for the INT8 model and hardly more."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_as_such(path: Path, small_disk: Path) -> None:
    quantized = Quantized(conv_network(path))
    with pytest.raises(ConversionError, match="the disk is full") as caught:
        compiling.compile(quantized.path, quantized.plan, small_disk)
    assert "free some space" in caught.value.hint
    assert list(small_disk.iterdir()) == []


def test_a_failed_compilation_leaves_the_cache_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [{"x": np.full((1, 3, 8, 8), value, np.float32)} for value in (-1.0, 1.0, 2.0)]
    output = path.with_name("out")
    source = conv_network(path)
    done = convert(source, "qcs8550", samples, output)
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    assert any(name.endswith(".bin") for name in before)
    job(monkeypatch, "import os; os.abort()")
    with pytest.raises(ConversionError, match="crashed") as caught:
        convert(source, "sm8650", samples, output)
    assert caught.value.exit_code is ExitCode.TOOLCHAIN
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before
    assert convert(source, "qcs8550", samples, output).cached
    assert not done.cached
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["net.onnx", "out"]
