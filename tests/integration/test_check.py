"""`edgesdk check` as a user runs it: an answer before any conversion, and its exit code."""

from __future__ import annotations

import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgesdk.targets.loading import target_ids
from tests.cli import DIGITS, Cli, Done
from tests.onnx_networks import Converted, Network, conv_network
from tests.unit.convert.edgetpu_files import chain, compiled

MODEL = DIGITS / "digits.onnx"
ACME = """\
    extends = "_arm-cpu"
    name = "Acme NPU"
    vendor = "Acme"
    soc = "Acme S1"

    [[compute_units]]
    id = "npu"
    kind = "npu"
    core = "Acme NPU"

    [[compute_units]]
    id = "cpu"
    kind = "cpu"
    core = "Cortex-A55"

    [operators.npu]
    format = "onnx"
    source = "manual"
    dtypes = ["int8", "uint8"]
    unsupported = "the NPU has no such operator"

    [operators.npu.types]
    Conv = {}
    Relu = {}
    Flatten = {}
    Gemm = {}

    [sources.manual]
    title = "Acme NPU manual"
    url = "https://example.com/acme-npu.pdf"
    kind = "documentation"
    accessed = "2026-11-21"
"""

ONNX_ONLY = """
[[runtimes]]
name = "onnxruntime"
min_version = "1.18"
"""


without_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is not None, reason="with TensorFlow, TFLite is brought to ONNX"
)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def net(cli: Cli) -> Path:
    return conv_network(cli.folder / "net.onnx")


@pytest.fixture
def acme(cli: Cli) -> Path:
    path = cli.folder / "acme-npu.toml"
    path.write_text(textwrap.dedent(ACME))
    return path


def last_line(done: Done) -> str:
    return done.out.strip().splitlines()[-1]


# One target


@pytest.mark.parametrize("name", ["digits.onnx", "digits.tflite"])
def test_the_example_holds(cli: Cli, name: str) -> None:
    done = cli("check", DIGITS / name, "--target", "raspberry-pi-5")
    assert done.code == 0, done.err
    assert "float32[1, 1, 8, 8]" in done.out
    assert last_line(done) == (
        "holds: no contract and no budget is known to break; whether the toolchain takes every "
        "operator is known once it converts"
    )


def test_nothing_is_written(cli: Cli) -> None:
    cli("check", MODEL, "--target", "raspberry-pi-5")
    assert list(cli.folder.iterdir()) == []


def test_operators_that_fall_back_are_shown_with_the_reason(
    cli: Cli, net: Path, acme: Path
) -> None:
    done = cli("check", net, "--target", acme)
    assert "6 on npu, 1 on cpu" in done.out
    assert "on cpu: 4 GlobalAveragePool pooled: the NPU has no such operator" in done.out
    assert "nothing was compiled" in done.out
    assert done.code == 0


def test_the_json_names_every_operator_in_the_graphs_order(cli: Cli, net: Path, acme: Path) -> None:
    operators = cli("check", net, "-t", acme, "--json").json["operators"]
    assert [(each["index"], each["type"], each["unit"]) for each in operators] == [
        (0, "Conv", "npu"),
        (1, "Relu", "npu"),
        (2, "Conv", "npu"),
        (3, "Relu", "npu"),
        (4, "GlobalAveragePool", "cpu"),
        (5, "Flatten", "npu"),
        (6, "Gemm", "npu"),
    ]
    assert [each["reason"] for each in operators if each["reason"]] == [
        "the NPU has no such operator"
    ]


def test_every_operator_is_listed_on_demand(cli: Cli) -> None:
    done = cli("check", MODEL, "-t", "raspberry-pi-5", "--operators")
    assert "9 Relu node_relu_3 -> float32[1, 64, 4, 4] on cpu" in done.out


def test_an_open_input_is_fixed_by_the_flag(cli: Cli) -> None:
    net = Network()
    net.node("Relu", [net.input("x", ("N", 3, 8, 8))], "y")
    path = net.write(cli.folder / "open.onnx", y=None)
    before = cli("check", path, "-t", "raspberry-pi-5", "--json").json
    after = cli("check", path, "-t", "raspberry-pi-5", "--input-shape", "x=2,3,8,8", "--json").json
    assert before["inputs"][0]["shape"] == [-1, 3, 8, 8]
    assert "--input-shape x=1,3,8,8" in before["notes"][0]
    assert after["working_set_bytes"] == before["working_set_bytes"] + 2 * 2 * 3 * 8 * 8 * 4


def test_a_quantized_model_is_accepted(cli: Cli, net: Path) -> None:
    path = Converted(net).path
    done = cli("check", path, "-t", "raspberry-pi-5", "--json")
    assert done.code == 0, done.err
    assert (done.json["precision"], done.json["model_bytes"]) == ("as it is", path.stat().st_size)


# What breaks


def test_a_budget_that_cannot_hold_is_exit_code_1(cli: Cli) -> None:
    done = cli("check", MODEL, "-t", "raspberry-pi-5", "--package-budget", "50 KiB")
    assert done.code == 1
    assert "the package budget is 50.0 KiB: " in done.out
    assert "largest: residual.first.conv.weight [64, 64, 3, 3] 36.0 KiB" in done.out
    assert last_line(done).startswith("does not hold")


@pytest.mark.parametrize(("fraction", "code"), [("0.8", 0), ("0.9", 1)])
def test_a_contract_from_the_command_line(
    cli: Cli, net: Path, acme: Path, fraction: str, code: int
) -> None:
    done = cli("check", net, "-t", acme, "--min-accelerated-fraction", fraction, "--json")
    assert (done.code, len(done.json["broken"])) == (code, code)


def test_a_contract_from_the_project_file(cli: Cli, net: Path, acme: Path) -> None:
    (cli.folder / "edgesdk.toml").write_text(
        f'model = "{net.name}"\ntarget = "{acme.name}"\n'
        "[contract]\nmin_accelerated_fraction = 0.9\n"
    )
    assert cli("check").code == 1
    assert cli("check", "--min-accelerated-fraction", "0.5").code == 0


def test_a_contract_from_the_target(cli: Cli, net: Path, acme: Path) -> None:
    acme.write_text(acme.read_text() + "\n[contract]\nmin_accelerated_fraction = 0.9\n")
    assert cli("check", net, "-t", acme).code == 1


def test_a_fraction_in_a_descriptor_that_is_none_is_named(cli: Cli, net: Path, acme: Path) -> None:
    acme.write_text(acme.read_text() + "\n[contract]\nmin_accelerated_fraction = 90\n")
    done = cli("check", net, "-t", acme)
    assert done.code == 3
    assert "found 90, expected 0 to 1 @ $.contract.min_accelerated_fraction" in done.err


# Compiled already


def test_a_compiled_model_is_told_by_what_it_says_itself(cli: Cli) -> None:
    source = chain(cli.folder / "chain.tflite", ["RELU", "RELU", "ABS"])
    compiled(source, cli.folder / "compiled.tflite", [0, 1])
    told = cli("check", "compiled.tflite", "--target", "coral-usb", "--json").json
    assert told["basis"] == "compiled"
    assert [operator["unit"] for operator in told["operators"]] == ["edgetpu", "cpu"]
    assert told["cache"]["on_chip_bytes"] == 4096
    assert told["cache"]["streamed_bytes"] == 64


def test_an_uncompiled_model_is_told_by_the_rules(cli: Cli) -> None:
    chain(cli.folder / "chain.tflite", ["RELU", "RELU", "ABS"])
    told = cli("check", "chain.tflite", "--target", "coral-usb", "--json").json
    assert told["basis"] == "rules"
    assert any("nothing was compiled" in note for note in told["notes"])


def test_a_quantized_model_of_another_format_than_the_targets_is_refused(cli: Cli) -> None:
    chain(cli.folder / "chain.tflite", ["RELU"])
    done = cli("check", "chain.tflite", "--target", "qcs8550")
    assert done.code == 3
    assert "chain is a quantized tflite model, qcs8550 takes onnx" in done.err


# All targets


def test_there_is_one_row_for_every_target(cli: Cli) -> None:
    rows = cli("check", DIGITS / "digits.tflite", "--all-targets", "--json").json
    assert [row["target_id"] for row in rows] == list(target_ids())


@without_tensorflow
def test_a_target_that_the_model_cannot_go_to_is_a_row_that_says_so(cli: Cli) -> None:
    path = DIGITS / "digits.tflite"
    done = cli("check", path, "--all-targets")
    refused = [row for row in cli("check", path, "--all-targets", "--json").json if "reason" in row]
    assert done.code == 0, done.err
    assert refused
    for row in refused:
        assert row["target_id"] in done.out
        assert row["reason"] in done.out
        assert "bringing a tflite model to onnx needs tensorflow" in row["reason"]


def test_a_budget_that_breaks_on_any_target_is_exit_code_1(cli: Cli) -> None:
    done = cli("check", MODEL, "--all-targets", "--package-budget", "50 KiB", "--json")
    assert done.code == 1
    assert any(row.get("broken") for row in done.json)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("no.onnx", "-t", "raspberry-pi-5"), 3, "expected a model file"),
        (("broken.onnx", "-t", "raspberry-pi-5"), 3, "broken.onnx"),
        (("broken.tflite", "-t", "raspberry-pi-5"), 3, "broken.tflite"),
        (("net.keras", "-t", "raspberry-pi-5"), 3, "net.keras"),
        ((MODEL, "-t", "rasberry-pi-5"), 3, "did you mean raspberry-pi-5"),
        pytest.param(
            (DIGITS / "digits.tflite", "-t", "./acme-npu.toml"),
            5,
            "bringing a tflite model to onnx needs tensorflow",
            marks=without_tensorflow,
        ),
        ((MODEL,), 2, "--target is missing"),
        ((MODEL, "-t", "raspberry-pi-5", "--all-targets"), 2, "expected one of them"),
        ((MODEL, "-t", "raspberry-pi-5", "--keep-float", "none"), 3, "matches no operator"),
        ((MODEL, "-t", "raspberry-pi-5", "--precision", "w4a8"), 2, "w4a8"),
        ((MODEL, "-t", "raspberry-pi-5", "--min-accelerated-fraction", "9"), 2, "or equal to 1"),
    ],
)
def test_bad_input_is_one_sentence_and_its_exit_code(
    cli: Cli, acme: Path, arguments: tuple[str | Path, ...], code: int, words: str
) -> None:
    acme.write_text(acme.read_text() + ONNX_ONLY)
    (cli.folder / "broken.onnx").write_bytes(MODEL.read_bytes()[:1000])
    (cli.folder / "broken.tflite").write_bytes((DIGITS / "digits.tflite").read_bytes()[:1000])
    (cli.folder / "net.keras").write_bytes(b"")
    done = cli("check", *arguments)
    assert done.code == code, done.err
    assert words in done.err
    assert "Traceback" not in done.err
    assert done.err.count("error:") == 1


def test_a_large_model_takes_seconds(cli: Cli) -> None:
    """Most of a tenth of a gigabyte; the deadline is the whole process's, on a slow machine."""
    net = Network()
    x = net.input("x", (1, 2048))
    for index in range(5):
        weights = np.zeros((2048, 2048), np.float32)
        net.graph.initializer.append(onnx.numpy_helper.from_array(weights, f"w{index}"))
        x = net.node("MatMul", [x, f"w{index}"], f"h{index}")
    path = net.write(cli.folder / "large.onnx", h4=(1, 2048))
    done = cli("check", path, "-t", "raspberry-pi-5", "--json")
    assert done.code == 0, done.err
    assert done.json["model_bytes"] > 5 * 2048 * 2048
