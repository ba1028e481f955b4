"""Facts about conversion with OpenVINO and NNCF, one for each way it can go wrong silently."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesdk.calibration.accumulator import Accumulator, Histogram
from edgesdk.calibration.estimators import estimate
from edgesdk.convert.backends import onnxruntime as onnx_backend
from edgesdk.convert.keeping import KEPT
from edgesdk.errors import ConversionError, ModelError
from edgesdk.models.opening import open_model
from edgesdk.targets.types import Scheme, TensorScheme
from edgesdk.values.recipe import Override
from tests.onnx_networks import (
    ASYMMETRIC,
    PER_CHANNEL,
    Array,
    Network,
    conv_network,
    plan_for,
    random_samples,
    run,
    sha256,
)

backend = pytest.importorskip(
    "edgesdk.convert.backends.openvino",
    reason="needs openvino and nncf",
    exc_type=ModuleNotFoundError,
)

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "examples" / "digits" / "digits.onnx"
HALF = {"precision": "fp16"}


def _has(feature: str) -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and feature in cpuinfo.read_text().split()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


class Converted:
    """A network after prepare and convert, with the plan and the samples it was made with."""

    def __init__(
        self,
        source: Path,
        samples: Sequence[Mapping[str, Array]] | None = None,
        folder: str = "out",
        input_shapes: Mapping[str, tuple[int, ...]] | None = None,
        **plan: Any,
    ) -> None:
        self.model = open_model(source, input_shapes)
        self.samples = random_samples(self.model) if samples is None else list(samples)
        settled = {"calibration_sha256": sha256(self.samples), "backend": "openvino"}
        settled["calibration_samples"] = len(self.samples)
        self.plan = plan_for(self.model, **{**settled, **plan})
        self.folder = source.with_name(folder)
        self.folder.mkdir()
        self.float_path = self.folder / "float.reference"
        self.path = self.folder / "model.xml"
        self.advanced = 0
        backend.prepare(source, self.plan, self.float_path)
        backend.convert(self.float_path, self.plan, self._stream, self.path, self._advance)
        self.description = backend.describe(self.path)

    def _stream(self) -> Iterator[Mapping[str, Array]]:
        yield from self.samples

    def _advance(self, count: int) -> None:
        self.advanced += count

    def operators(self) -> dict[str, str]:
        """Name to precision, without what computes nothing."""
        found = self.description.operators
        return {each.name: each.precision for each in found if each.precision != "-"}

    def reasons(self) -> dict[str, str]:
        return {each.name: each.reason for each in self.description.operators if each.reason}

    def outputs(self, sample: Mapping[str, Array]) -> list[Array]:
        inputs = [sample[spec.name] for spec in self.plan.inputs]
        return list(next(backend.run(self.path, "cpu", [inputs])))

    def sqnr_db(self) -> float:
        """Of all outputs together, against the source model, over the samples."""
        signal = noise = 0.0
        for sample in self.samples:
            wanted = run(self.float_path, sample)
            found = self.outputs(sample)
            for spec, values in zip(self.plan.outputs, found, strict=True):
                exact = wanted[spec.name].astype(np.float64)
                signal += float((exact**2).sum())
                noise += float(((exact - values) ** 2).sum())
        return float(10 * np.log10(signal / noise)) if noise else 200.0

    def digests(self) -> list[str]:
        files = (self.path, self.path.with_suffix(".bin"))
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def erf_network(path: Path) -> Path:
    """x -> Conv, Relu h -> Erf e -> Conv, Relu y."""
    net = Network()
    h = net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 4))
    net.conv(net.node("Erf", [h], "e"), "y", (4, 4))
    return net.write(path, y=(1, 4, 8, 8))


# What becomes INT8


def test_every_operator_of_a_convolutional_network_becomes_int8(path: Path) -> None:
    assert set(Converted(conv_network(path)).operators().values()) == {"int8"}


def test_the_result_stays_close_to_the_float_model(path: Path) -> None:
    assert Converted(conv_network(path)).sqnr_db() > 30


def test_an_operator_without_int8_kernel_is_reported_with_a_reason(path: Path) -> None:
    converted = Converted(erf_network(path))
    assert converted.operators()["e"] == "float32"
    assert converted.reasons() == {
        "e": "OpenVINO has no INT8 kernel that takes Erf as it stands here"
    }


def test_with_symmetric_activations_every_operator_becomes_int8_too(path: Path) -> None:
    symmetric = Scheme(PER_CHANNEL, TensorScheme(8, True, "per-tensor"))
    converted = Converted(conv_network(path), scheme=symmetric)
    assert set(converted.operators().values()) == {"int8"}


def test_an_attention_that_is_float_inside_is_not_called_int8(path: Path) -> None:
    net = Network()
    x = net.input("x", (1, 8, 16))
    q, k, v = (net.node("MatMul", [x, net.weights(f"w{n}", 16, 16)], n) for n in "qkv")
    scores = net.node("MatMul", [q, net.node("Transpose", [k], "kt", perm=[0, 2, 1])], "scores")
    net.node("MatMul", [net.node("Softmax", [scores], "a", axis=-1), v], "y")
    operators = Converted(net.write(path, y=(1, 8, 16))).operators()
    assert {name for name, precision in operators.items() if precision == "int8"} == {"q", "k", "v"}


def test_operators_are_counted_as_executed_and_in_order(path: Path) -> None:
    operators = Converted(erf_network(path)).description.operators
    assert [each.index for each in operators] == list(range(len(operators)))
    computing = [(each.type, each.name) for each in operators if each.precision != "-"]
    assert computing == [("Convolution", "h_linear"), ("Erf", "e"), ("Convolution", "y_linear")]


def test_constants_are_counted_as_stored_and_activations_as_executed(path: Path) -> None:
    description = Converted(conv_network(path)).description
    weights = [s for s in description.tensor_sizes if s.kind == "constant" and s.dtype == "int8"]
    assert sorted(size.shape for size in weights) == [(5, 8), (8, 3, 3, 3), (8, 8, 3, 3)]
    assert any(s.kind == "activation" and s.dtype == "uint8" for s in description.tensor_sizes)
    constants = sum(s.size_bytes for s in description.tensor_sizes if s.kind == "constant")
    everything = sum(s.size_bytes for s in description.tensor_sizes)
    assert constants < description.working_set_bytes < everything


# The edge


def test_ports_keep_name_shape_dtype_and_order(path: Path) -> None:
    net = Network()
    b, a = net.input("b", (1, 3, 8, 8)), net.input("a", (1, 3, 8, 8))
    net.node("Add", [net.conv(b, "z", (3, 4)), net.conv(a, "g", (3, 4))], "s")
    net.conv("s", "y", (4, 4))
    found = Converted(net.write(path, z=(1, 4, 8, 8), y=(1, 4, 8, 8))).description
    assert [port.name for port in found.inputs] == ["b", "a"]
    assert [port.name for port in found.outputs] == ["z", "y"]
    ports = (*found.inputs, *found.outputs)
    assert {(port.dtype, port.scale, port.zero_point) for port in ports} == {
        ("float32", None, None)
    }
    assert {port.shape for port in found.outputs} == {(1, 4, 8, 8)}


def test_integer_inputs_stay_integers(path: Path) -> None:
    net = Network()
    tokens = net.node(
        "Gather", [net.weights("table", 4, 16), net.input("ids", (1, 8), "int64")], "t"
    )
    net.node("MatMul", [tokens, net.weights("w", 16, 4)], "y")
    converted = Converted(net.write(path, y=(1, 8, 4)))
    assert [port.dtype for port in converted.description.inputs] == ["int64"]
    assert converted.operators()["y"] == "int8"


def test_open_dimensions_are_fixed_as_planned(path: Path) -> None:
    net = Network()
    net.conv(net.input("x", ("n", 3, 8, 8)), "y", (3, 4))
    source = net.write(path, y=("n", 4, 8, 8))
    found = Converted(source, input_shapes={"x": (2, 3, 8, 8)}).description
    assert found.inputs[0].shape == (2, 3, 8, 8)
    assert found.outputs[0].shape == (2, 4, 8, 8)


# The recipe


def test_an_operator_kept_in_float_stays_there_and_says_why(path: Path) -> None:
    converted = Converted(conv_network(path), keep_float=("g_linear",))
    assert converted.operators()["g_linear"] == "float32"
    assert converted.operators()["h_linear"] == "int8"
    assert converted.reasons()["g_linear"] == KEPT


def test_what_ends_in_an_output_is_kept_by_its_onnx_name(path: Path) -> None:
    # OpenVINO calls it by the name of the output.
    net = Network()
    h = net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 4))
    weights = [net.weights("w", 4, 4, 1, 1), net.weights("b", 4)]
    net.node("Conv", [h, *weights], "y", name="last")
    converted = Converted(net.write(path, y=(1, 4, 8, 8)), keep_float=("last",))
    assert sorted(converted.operators().values()) == ["float32", "int8"]
    assert KEPT in converted.reasons().values()


def test_a_name_that_begins_like_a_kept_one_is_not_kept(path: Path) -> None:
    net = Network()
    first = net.conv(net.input("x", (1, 3, 8, 8)), "a", (3, 4))
    weights = [net.weights("w", 4, 4, 1, 1), net.weights("b", 4)]
    net.node("Conv", [first, *weights], "y", name="a_linear/b")
    converted = Converted(net.write(path, y=(1, 4, 8, 8)), keep_float=("a_linear",))
    assert converted.operators()["a_linear"] == "float32"
    assert sorted(converted.operators().values()) == ["float32", "int8"]


def test_an_override_takes_all_operators_of_a_type(path: Path) -> None:
    converted = Converted(conv_network(path), overrides=(Override("float32", type="Conv"),))
    assert {name for name, reason in converted.reasons().items() if reason == KEPT} == {
        "h_linear",
        "g_linear",
    }


def test_a_pattern_that_matches_nothing_is_refused(path: Path) -> None:
    with pytest.raises(ModelError, match="keep_float 'nothing' matches no operator"):
        Converted(conv_network(path), keep_float=("nothing",))


def test_an_operator_that_is_part_of_an_int8_kernel_cannot_be_kept(path: Path) -> None:
    with pytest.raises(ConversionError) as refused:
        Converted(erf_network(path), keep_float=("y",))
    assert refused.value.message == (
        "y cannot be kept in float: OpenVINO computes it in one kernel with y_linear, which is INT8"
    )


def test_a_relu_that_a_quantizer_does_the_work_of_cannot_be_kept(path: Path) -> None:
    # The range of the quantizer behind it begins at zero, so that OpenVINO leaves the ReLU out.
    with pytest.raises(ConversionError) as refused:
        Converted(conv_network(path), keep_float=("h",))
    assert refused.value.message == (
        "h cannot be kept in float: OpenVINO computes it in one kernel with h_linear, which is INT8"
    )


def test_a_relu_behind_a_float_convolution_can_be_kept_with_it(path: Path) -> None:
    converted = Converted(conv_network(path), keep_float=("h", "h_linear"))
    assert converted.reasons() == {"h_linear": KEPT}


def test_a_residual_sum_can_be_kept_in_float(path: Path) -> None:
    net = Network()
    h = net.conv(net.input("x", (1, 4, 8, 8)), "h", (4, 4))
    linear = net.node("Conv", [h, net.weights("w", 4, 4, 1, 1), net.weights("b", 4)], "linear")
    net.conv(net.node("Add", [linear, h], "sum"), "y", (4, 4))
    converted = Converted(net.write(path, y=(1, 4, 8, 8)), keep_float=("sum",))
    assert converted.reasons() == {"sum": KEPT}


def test_an_operator_that_is_folded_away_cannot_be_kept(path: Path) -> None:
    net = Network()
    h = net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 4))
    reshaped = net.node("Reshape", [h, net.constant("same", [1, 4, 8, 8], "int64")], "r")
    twice = net.node("Reshape", [reshaped, net.constant("flat", [1, 256], "int64")], "f")
    net.dense(twice, "y", (256, 4))
    with pytest.raises(ModelError, match="OpenVINO folds r into other operators"):
        Converted(net.write(path, y=(1, 4)), keep_float=("r",))


def test_an_override_to_another_width_is_refused(path: Path) -> None:
    with pytest.raises(ConversionError, match="found an override to fp16, expected w8a8 or float"):
        Converted(conv_network(path), overrides=(Override("fp16", type="Conv"),))


def ranges(converted: Converted) -> dict[str, tuple[float, float]]:
    """Quantizer to the range it covers, of those with one range for the whole tensor."""
    from edgesdk.convert.backends.openvino.toolkit import read

    found = {}
    for node in read(converted.path).get_ops():
        if node.get_type_name() == "FakeQuantize":
            low, high = (node.input_value(port).get_node().data for port in (1, 2))
            if low.size == 1:
                found[node.get_friendly_name()] = (float(low.item()), float(high.item()))
    return found


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy", "mse"])
def test_ranges_are_those_of_our_own_methods_over_all_samples(path: Path, method: Any) -> None:
    samples = random_samples(open_model(conv_network(path)), 50)
    cubes = [{"x": sample["x"] ** 3} for sample in samples]
    seen = Accumulator(Histogram())
    for sample in cubes:
        seen.add(sample["x"])
    wanted = estimate(seen, method, 8, symmetric=False)
    low, high = ranges(Converted(path, cubes, range_method=method))["x/fq_output_0"]
    # NNCF moves the ends a little, so that zero is one of the levels.
    assert (low, high) == pytest.approx((wanted.low, wanted.high), rel=0.02)


def test_symmetric_activations_have_zero_in_the_middle(path: Path) -> None:
    scheme = Scheme(PER_CHANNEL, TensorScheme(8, True, "per-tensor"))
    samples = [{"x": sample["x"] + 3} for sample in random_samples(open_model(conv_network(path)))]
    symmetric = ranges(Converted(path, samples, "symmetric", scheme=scheme))["x/fq_output_0"]
    mixed = ranges(Converted(path, samples, "mixed"))["x/fq_output_0"]
    assert symmetric[0] == pytest.approx(-symmetric[1], rel=0.01)
    assert mixed[0] > -mixed[1] / 2


def test_weights_have_one_scale_where_the_scheme_says_so(path: Path) -> None:
    scheme = Scheme(TensorScheme(8, True, "per-tensor"), ASYMMETRIC)
    constants = Converted(conv_network(path), scheme=scheme).description.tensor_sizes
    assert not any(size.shape == (8, 1, 1, 1) for size in constants)
    assert any(
        size.shape == (8, 1, 1, 1)
        for size in Converted(path, folder="channels").description.tensor_sizes
    )


# Half precision


def test_half_precision_halves_the_file_and_computes_in_float32_here(path: Path) -> None:
    shutil.copy(DIGITS, path)
    converted = Converted(path, **HALF)
    weights = converted.path.with_suffix(".bin").stat().st_size
    assert weights < 0.52 * converted.float_path.stat().st_size
    assert set(converted.operators().values()) == {"float32"}
    assert set(converted.reasons().values()) == {
        "weights are stored in float16, this CPU widens them and computes in float32"
    }
    assert converted.sqnr_db() > 55


def test_half_precision_keeps_float32_ports_and_needs_no_samples(path: Path) -> None:
    converted = Converted(conv_network(path), **HALF)
    ports = (*converted.description.inputs, *converted.description.outputs)
    assert {port.dtype for port in ports} == {"float32"}
    assert converted.advanced == 0


def test_single_operators_have_no_precision_of_their_own_in_half_precision(path: Path) -> None:
    with pytest.raises(ConversionError, match="found operators with another precision"):
        Converted(conv_network(path), keep_float=("g_linear",), **HALF)


def test_another_precision_is_refused(path: Path) -> None:
    with pytest.raises(ConversionError, match="found the precision w8a16, expected w8a8 or fp16"):
        Converted(conv_network(path), precision="w8a16")


# Errors against the float model


def test_quantized_activations_and_outputs_are_compared_worst_first(path: Path) -> None:
    converted = Converted(conv_network(path))
    errors = backend.compare(converted.float_path, converted.path, converted.samples)
    assert {error.name for error in errors} == {"h", "g", "pooled", "y"}
    assert all(error.sqnr_db is not None and error.sqnr_db > 25 for error in errors)
    assert list(errors) == sorted(errors, key=lambda error: error.badness())


def test_the_error_of_an_output_is_that_of_what_runs(path: Path) -> None:
    converted = Converted(conv_network(path))
    errors = backend.compare(converted.float_path, converted.path, converted.samples)
    (found,) = (error.sqnr_db for error in errors if error.name == "y")
    assert found == pytest.approx(converted.sqnr_db(), abs=1.5)


def test_in_half_precision_every_activation_is_compared(path: Path) -> None:
    converted = Converted(conv_network(path), **HALF)
    errors = backend.compare(converted.float_path, converted.path, converted.samples)
    assert {error.name for error in errors} >= {"h_linear", "h", "g", "pooled", "y"}


# Repeatable, quiet, small


def test_the_same_conversion_gives_the_same_bytes(path: Path) -> None:
    # OpenVINO numbers what has no name on and on, as long as the process lives.
    source = erf_network(path)
    assert Converted(source, folder="a").digests() == Converted(source, folder="b").digests()
    assert Converted(source, folder="c", **HALF).digests() == (
        Converted(source, folder="d", **HALF).digests()
    )


def test_the_same_conversion_gives_the_same_account(path: Path) -> None:
    # OpenVINO numbers what it makes of one operator, and what it puts in while it loads, too.
    net = Network()
    tokens = net.node("Gather", [net.weights("t", 4, 16), net.input("ids", (1, 8), "int64")], "x")
    scale, bias = net.constant("s", np.ones(16)), net.constant("b", np.zeros(16))
    normal = net.node("LayerNormalization", [tokens, scale, bias], "normal")
    net.node("MatMul", [normal, net.weights("w", 16, 4)], "y")
    source = net.write(path, y=(1, 8, 4))
    first, second = (Converted(source, folder=folder).description for folder in "ab")
    assert first == second


def test_progress_advances_once_a_sample(path: Path) -> None:
    assert Converted(conv_network(path)).advanced == 8


def test_nothing_is_said_on_the_terminal(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Converted(conv_network(path))
    assert capfd.readouterr() == ("", "")


def test_memory_does_not_grow_with_the_number_of_samples(path: Path) -> None:
    # Bias correction looks at every fifth sample; its channel means must not pile up.
    net = Network()
    wide = net.conv(net.input("x", (1, 3, 1, 1)), "h", (3, 1024), kernel=1)
    net.conv(net.conv(wide, "g", (1024, 8), kernel=1), "y", (8, 1024), kernel=1)
    model = open_model(net.write(path, y=(1, 1024, 1, 1)))
    sample = random_samples(model, 1)[0]
    few, many = (_peak_bytes(model, path, sample, count) for count in (50, 450))
    # NNCF's progress bar, which is not shown, notes the time of each of the last 1000 samples.
    assert many - few < 400_000


def _peak_bytes(model: Any, path: Path, sample: Mapping[str, Array], count: int) -> int:
    plan = plan_for(model, backend="openvino", calibration_samples=count)
    output = path.with_name(f"{count}.xml")
    onnx_backend.prepare(path, plan, path.with_suffix(".reference"))

    def stream() -> Iterator[Mapping[str, Array]]:
        return (sample for _ in range(count))

    tracemalloc.start()
    try:
        backend.convert(path.with_suffix(".reference"), plan, stream, output, lambda _: None)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


KERNELS_PROGRAM = """
import sys
import numpy as np
from device_agent import runtimes
model = runtimes.load("openvino", sys.argv[1], threads=1)
np.save(sys.argv[3], model.run([np.load(sys.argv[2])])[0])
"""


@pytest.mark.skipif(not _has("avx_vnni"), reason="this CPU has no AVX-VNNI")
def test_the_kernels_of_a_small_cpu_with_vnni_give_the_same_outputs(path: Path) -> None:
    # OpenVINO's, as they run on an N100; the parity gate compares with what a workstation computed.
    converted = Converted(conv_network(path))
    sample, found = path.with_name("x.npy"), path.with_name("y.npy")
    np.save(sample, converted.samples[0]["x"])
    subprocess.run(
        [sys.executable, "-c", KERNELS_PROGRAM, converted.path, sample, found],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2_VNNI"},
        cwd=ROOT,
        timeout=120,
        check=True,
    )
    (wanted,) = converted.outputs(converted.samples[0])
    assert np.load(found) == pytest.approx(wanted, abs=1e-4)


def largest_weight(path: Path) -> int:
    import openvino

    constants = [
        node.data
        for node in openvino.Core().read_model(path).get_ordered_ops()
        if node.get_type_name() == "Constant" and node.get_element_type() == openvino.Type.i8
    ]
    return max(int(np.abs(data.astype(np.int16)).max()) for data in constants if data.size > 1)


@pytest.mark.parametrize(
    ("features", "largest"),
    [(("avx2", "avx_vnni"), 127), (("amx_int8",), 127), (("avx2",), 64), (("avx512f",), 64)],
)
def test_weights_give_up_a_bit_where_the_cpus_sums_would_saturate(
    path: Path, features: tuple[str, ...], largest: int
) -> None:
    converted = Converted(conv_network(path), cpu_features=features)
    assert largest - 2 <= largest_weight(converted.path) <= largest


TELEMETRY_PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.onnx_networks import conv_network, plan_for, random_samples
from edgesdk.models.opening import open_model
import socket
def refuse(*_, **__):
    raise SystemExit("something was looked up or sent")
socket.getaddrinfo = socket.socket.connect = refuse
from edgesdk.convert.backends import openvino as backend
path = conv_network(Path("net.onnx"))
model = open_model(path)
plan = plan_for(model, backend="openvino")
backend.prepare(path, plan, Path("float.reference"))
samples = random_samples(model)
backend.convert(Path("float.reference"), plan, lambda: iter(samples), Path("model.xml"), print)
from nncf.telemetry import telemetry
print(type(telemetry).__name__, "openvino_telemetry" in sys.modules and "loaded")
"""


def test_nothing_is_written_at_home_or_sent(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "EDGESDK_CACHE": str(tmp_path / "cache")}
    for name in ("CI", "NNCF_CI", "NNCF_DEV", "TF_BUILD", "JENKINS_URL", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", TELEMETRY_PROGRAM.format(root=str(ROOT))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "MagicMock" in done.stdout
    assert list(home.rglob("*")) == []


# What it refuses


def test_an_operator_that_openvino_does_not_know_is_named(path: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    net = Network()
    net.input("x", (1, 3))
    net.graph.node.append(helper.make_node("Foo", ["x"], ["y"], name="foo", domain="com.example"))
    proto = net.model({"y": (1, 3)})
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(proto, str(path))
    with pytest.raises(ConversionError) as refused:
        backend.convert(path, plan_for_anything(path), lambda: iter(()), tmp_path / "m.xml", print)
    assert refused.value.message == (
        "OpenVINO does not convert this model: Model wasn't fully converted. Summary: -- No "
        "conversion rule found for operations: com.example.Foo"
    )


def plan_for_anything(path: Path) -> Any:
    return plan_for(open_model(conv_network(path.with_name("any.onnx"))), backend="openvino")


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_a_float_model_that_gives_nan_is_refused(path: Path, method: str) -> None:
    net = Network()
    h = net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 4))
    root = net.node("Sqrt", [net.node("Sub", [h, net.constant("two", 2.0)], "d")], "root")
    net.conv(root, "y", (4, 4))
    with pytest.raises(ConversionError, match="is not a number on a calibration sample"):
        Converted(net.write(path, y=(1, 4, 8, 8)), range_method=method)


def test_no_samples_are_refused(path: Path) -> None:
    with pytest.raises(ConversionError, match=r"OpenVINO does not convert this model: .*empty"):
        Converted(conv_network(path), samples=[], calibration_samples=8)


@pytest.mark.parametrize("error", [KeyError("ours"), OSError(28, "No space left on device")])
def test_what_our_own_code_raises_while_nncf_quantizes_travels(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from edgesdk.convert.backends.openvino import statistics

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(statistics, "estimate", broken)
    with pytest.raises(type(error)):
        Converted(conv_network(path))


def test_a_bug_in_what_reads_the_samples_travels(path: Path) -> None:
    def broken() -> Iterator[Mapping[str, Array]]:
        raise KeyError("ours")
        yield {}

    with pytest.raises(KeyError, match="ours"):
        backend.convert(
            conv_network(path), plan_for_anything(path), broken, path.with_name("m.xml"), print
        )


def test_one_thread_computes_all_that_a_conversion_depends_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    compile_model, threads = openvino.Core.compile_model, []

    def counted(self: Any, model: Any, device_name: Any = None, config: Any = None) -> Any:
        threads.append((config or {}).get("INFERENCE_NUM_THREADS"))
        return compile_model(self, model, device_name, config)

    monkeypatch.setattr(openvino.Core, "compile_model", counted)
    converted = Converted(conv_network(path))
    backend.compare(converted.float_path, converted.path, converted.samples)
    assert len(threads) > 3
    assert set(threads) == {1}
