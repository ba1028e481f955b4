"""Facts about calibrating ONNX models: the toolkit's own ranges, one pass, bounded memory."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

from edgesdk.calibration import cache
from edgesdk.calibration.entropy import FIRST_BINS
from edgesdk.calibration.estimators import PERCENTILE
from edgesdk.calibration.state import Seen, to_bytes
from edgesdk.choices import Method
from edgesdk.convert.backends import onnx_calibration
from edgesdk.convert.backends.onnx_calibration import activations, calibrate, calibrated_ranges
from edgesdk.convert.backends.onnx_exposing import expose
from edgesdk.convert.backends.onnx_qdq import CPU
from edgesdk.errors import ConversionError
from edgesdk.models.opening import open_model
from tests.onnx_networks import Array, Network, conv_network, plan_for, random_samples

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "examples" / "digits" / "digits.onnx"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def attention_network(path: Path) -> Path:
    """x (1, 16, 8) -> scaled dot product attention, residual, LayerNormalization -> y."""
    net = Network()
    x = net.input("x", (1, 16, 8))
    q, k, v = (net.node("MatMul", [x, net.weights(f"w{n}", 8, 8)], n) for n in "qkv")
    kt = net.node("Transpose", [k], "kt", perm=[0, 2, 1])
    weights = net.node("Softmax", [net.node("MatMul", [q, kt], "scores")], "weights")
    residual = net.node("Add", [x, net.node("MatMul", [weights, v], "mixed")], "residual")
    scale, shift = net.constant("scale", np.ones(8)), net.constant("shift", np.zeros(8))
    net.node("LayerNormalization", [residual, scale, shift], "y")
    return net.write(path, y=(1, 16, 8))


def growing_samples(source: Path, count: int = 6) -> list[dict[str, Array]]:
    """Each a little larger than the one before, so that histograms must grow."""
    samples = random_samples(open_model(source, None), count)
    return [{n: v * np.float32(1 + 0.05 * i) for n, v in s.items()} for i, s in enumerate(samples)]


def seen_of(source: Path, samples: list[dict[str, Array]], histograms: bool = True) -> Seen:
    model = onnx.load(str(source))
    names = activations(model)
    return calibrate(model, lambda: iter(samples), lambda _: None, names, histograms, None, "")


@dataclass(frozen=True)
class Theirs:
    """What ONNX Runtime's own calibrator found of a tensor, and the width of its bins."""

    low: float
    high: float
    width: float


def theirs(
    source: Path, batches: list[list[dict[str, Array]]], method: str, **options: Any
) -> dict[str, Theirs]:
    """Its results when it is given one batch after the other."""
    calibrator = create_calibrator(
        source,
        # Its entropy takes half a second a tensor.
        op_types_to_calibrate=["Gemm", "Softmax"] if method == "Entropy" else None,
        augmented_model_path=str(source.with_name("augmented.onnx")),
        calibrate_method=CalibrationMethod[method],
        extra_options=options,
    )
    for batch in batches:
        calibrator.collect_data(_Reader(iter(batch)))
    kept = {} if method == "MinMax" else calibrator.collector.get_histogram_dict()
    widths = {name: float(np.diff(found[1]).max()) for name, found in kept.items()}
    return {
        name: Theirs(found.lowest.item(), found.highest.item(), widths.get(name, 0.0))
        for name, found in calibrator.compute_data().items()
    }


class _Reader:
    def __init__(self, samples: Iterator[dict[str, Array]]) -> None:
        self._samples = samples

    def get_next(self) -> dict[str, Array] | None:
        return next(self._samples, None)


# The toolkit's own results


@pytest.fixture(params=["convolutions", "attention", "digits"])
def network(request: pytest.FixtureRequest, path: Path) -> Path:
    if request.param == "digits":
        path.write_bytes(DIGITS.read_bytes())
        return path
    return (conv_network if request.param == "convolutions" else attention_network)(path)


def test_min_max_is_the_toolkits(network: Path) -> None:
    samples = growing_samples(network)
    ours = seen_of(network, samples, histograms=False)
    found = theirs(network, [samples], "MinMax")
    assert found.keys() == ours.tensors.keys()
    for name, each in found.items():
        # It adds in another order: so many digits are left of the larger end.
        rounding = 1e-5 * max(abs(each.low), abs(each.high))
        assert ours.tensors[name].bounds == pytest.approx((each.low, each.high), abs=rounding), name


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
def test_percentiles_are_the_toolkits_within_a_bin(
    network: Path, symmetric: bool, at_once: bool
) -> None:
    samples = growing_samples(network)
    seen = seen_of(network, samples)
    ours = seen.ranges("percentile", dict.fromkeys(seen.tensors, 8), symmetric)
    batches = [samples] if at_once else [[sample] for sample in samples]
    found = theirs(network, batches, "Percentile", symmetric=symmetric, percentile=PERCENTILE)
    assert ours.keys() == found.keys()
    for name, each in found.items():
        histogram = seen.tensors[name].histogram
        assert histogram is not None
        width = 1.01 * max(each.width, histogram.width)
        assert ours[name].low == pytest.approx(each.low, abs=width), name
        assert ours[name].high == pytest.approx(each.high, abs=width), name


@pytest.mark.parametrize("build", [conv_network, attention_network])
def test_entropy_is_the_toolkits_within_a_bin(path: Path, build: Callable[[Path], Path]) -> None:
    """Given sample by sample, as then the first one sets the width of its bins, too."""
    network = build(path)
    samples = growing_samples(network, 4)
    seen = seen_of(network, samples)
    ours = seen.ranges("entropy", dict.fromkeys(seen.tensors, 8), False)
    found = theirs(network, [[sample] for sample in samples], "Entropy", num_bins=FIRST_BINS)
    assert len(found) == 2
    for name, each in found.items():
        assert ours[name].low == pytest.approx(each.low, abs=1.01 * each.width), name
        assert ours[name].high == pytest.approx(each.high, abs=1.01 * each.width), name


# Which activations


def test_every_float_activation_is_calibrated_and_no_constant(path: Path) -> None:
    names = activations(onnx.load(str(conv_network(path))))
    assert names == ("x", "h_linear", "h", "g_linear", "g", "pooled", "flat", "y")


def test_what_only_a_relu_reads_takes_its_range(path: Path) -> None:
    model = onnx.load(str(conv_network(path)))
    names = activations(model)
    assert onnx_calibration.superseded(model, CPU, (), names) == {"h_linear": "h", "g_linear": "g"}
    assert onnx_calibration.superseded(model, CPU, ("h",), names) == {"g_linear": "g"}


def test_of_two_activations_in_a_row_only_the_first_ones_input_is_not_looked_at(path: Path) -> None:
    net = Network()
    net.conv(net.input("x", (1, 3, 8, 8)), "h", (3, 4))
    net.node("Clip", ["h", net.constant("low", 0.1), net.constant("high", 1.0)], "y")
    model = onnx.load(str(net.write(path, y=(1, 4, 8, 8))))
    assert onnx_calibration.superseded(model, CPU, (), activations(model)) == {"h_linear": "h"}


# What is wrong with data


def test_not_a_number_names_activation_and_sample(path: Path) -> None:
    samples = random_samples(open_model(conv_network(path), None), 4)
    samples[2]["x"][0, 0, 0, 0] = np.nan
    with pytest.raises(ConversionError, match=r"activation 'x' .* on calibration sample 3"):
        seen_of(path, samples)


def test_masks_do_not_widen_ranges(path: Path) -> None:
    net = Network()
    mask = net.constant("mask", np.array([0, -np.inf], np.float32))
    net.node("Softmax", [net.node("Add", [net.input("x", (1, 2)), mask], "masked")], "y")
    seen = seen_of(net.write(path, y=(1, 2)), [{"x": np.array([[1, 2]], np.float32)}])
    assert seen.tensors["masked"].bounds == (1, 1)


def test_no_samples_are_an_error(path: Path) -> None:
    with pytest.raises(ConversionError, match="no calibration samples, expected at least one"):
        seen_of(conv_network(path), [])


def test_what_a_sample_holds_besides_inputs_is_not_fed(path: Path) -> None:
    (sample,) = random_samples(open_model(conv_network(path), None), 1)
    assert seen_of(path, [{**sample, "label": np.array(3)}]).samples == 1


# Memory


def peak_bytes(source: Path, count: int) -> int:
    model = onnx.load(str(source))
    names = activations(model)
    random = np.random.default_rng(0)

    def samples() -> Iterator[dict[str, Array]]:
        for _ in range(count):
            yield {"x": random.normal(size=(1, 3, 8, 8)).astype(np.float32)}

    tracemalloc.start()
    try:
        calibrate(model, samples, lambda _: None, names, True, None, "")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_depend_on_the_number_of_samples(path: Path) -> None:
    conv_network(path)
    peak_bytes(path, 2)
    activations_bytes = 4 * (3 * 64 + 4 * 8 * 64)
    grown = peak_bytes(path, 200) - peak_bytes(path, 8)
    # How many samples are under way at once varies a little; kept, 192 more would be all of them.
    assert grown < 192 * activations_bytes / 4


@pytest.mark.parametrize(
    ("cores", "sample_bytes", "workers"),
    [(2, 2**20, 2), (16, 2**20, 16), (16, 2**26, 7), (16, 2**29, 1), (16, 2**40, 1), (1, 1, 1)],
)
def test_large_activations_are_computed_for_fewer_samples_at_a_time(
    cores: int, sample_bytes: int, workers: int
) -> None:
    assert onnx_calibration._workers(cores, sample_bytes) == workers


def test_the_number_of_samples_at_a_time_does_not_change_the_result(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = growing_samples(conv_network(path), 12)
    found = []
    for cores in (1, 2, 7):
        monkeypatch.setattr(onnx_calibration, "_cores", lambda cores=cores: cores)
        found.append(to_bytes(seen_of(path, samples)))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("build", [conv_network, attention_network])
def test_the_number_of_threads_does_not_change_an_activation(
    path: Path, build: Callable[[Path], Path]
) -> None:
    sample = growing_samples(build(path))[0]
    model = onnx.load(str(path))
    one, four = (expose(model, activations(model), threads).run(sample) for threads in (1, 4))
    assert all(np.array_equal(one[name], four[name]) for name in one)


# Between runs


class Calibrations:
    """Runs one calibration again and again, with one cache."""

    def __init__(self, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(source.parent / "cache"))
        self.model = onnx.load(str(conv_network(source)))
        self.opened = open_model(source, None)
        self.samples = growing_samples(source)
        self.passes = 0
        self.advanced = 0

    def run(self, method: Method, **plan: Any) -> dict[str, Any]:
        settled = plan_for(self.opened, range_method=method, **plan)
        return calibrated_ranges(self.model, settled, self._pass, self._advance, CPU, ())

    def _pass(self) -> Iterator[dict[str, Array]]:
        self.passes += 1
        yield from self.samples

    def _advance(self, count: int) -> None:
        self.advanced += count


@pytest.fixture
def calibrations(path: Path, monkeypatch: pytest.MonkeyPatch) -> Calibrations:
    return Calibrations(path, monkeypatch)


def test_the_same_again_does_not_run_the_model(calibrations: Calibrations) -> None:
    first = calibrations.run("percentile")
    assert calibrations.run("percentile") == first
    assert calibrations.passes == 1
    assert calibrations.advanced == 2 * len(calibrations.samples)


def test_another_method_does_not_run_the_model(calibrations: Calibrations) -> None:
    methods: tuple[Method, ...] = ("percentile", "entropy", "mse", "minmax")
    ranges = [calibrations.run(method) for method in methods]
    assert calibrations.passes == 1
    assert len({str(found) for found in ranges}) == len(methods)


def test_bounds_alone_do_not_do_for_another_method(calibrations: Calibrations) -> None:
    calibrations.run("minmax")
    calibrations.run("minmax")
    assert calibrations.passes == 1
    calibrations.run("entropy")
    assert calibrations.passes == 2


@pytest.mark.parametrize(
    "change", [{"calibration_sha256": "1" * 64}, {"toolchain": {"onnxruntime": "9"}}]
)
def test_other_samples_or_versions_run_the_model(
    calibrations: Calibrations, change: dict[str, Any]
) -> None:
    calibrations.run("minmax")
    calibrations.run("minmax", **change)
    assert calibrations.passes == 2


def test_another_cpu_runs_the_model(
    calibrations: Calibrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrations.run("minmax")
    monkeypatch.setattr(onnx_calibration, "_cpu", lambda: "another")
    calibrations.run("minmax")
    assert calibrations.passes == 2


def test_a_cpu_is_known_by_its_instruction_sets_and_not_by_its_load(tmp_path: Path) -> None:
    def cpu(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return onnx_calibration._cpu(tmp_path / name)

    old = cpu("old", "model name\t: A\ncpu MHz\t: 800.0\nflags\t\t: avx2\n")
    assert old == cpu("busy", "model name\t: A\ncpu MHz\t: 3000.0\nflags\t\t: avx2\n")
    assert old != cpu("new", "model name\t: A\ncpu MHz\t: 800.0\nflags\t\t: avx2 avx512f\n")


def test_a_system_that_tells_nothing_of_its_cpu_has_one(tmp_path: Path) -> None:
    assert onnx_calibration._cpu(tmp_path / "none").startswith(platform.machine())


def test_another_model_runs(calibrations: Calibrations) -> None:
    calibrations.run("minmax")
    (bias,) = [t for t in calibrations.model.graph.initializer if t.name == "y_b"]
    bias.CopyFrom(onnx.numpy_helper.from_array(np.ones(5, np.float32), "y_b"))
    calibrations.run("minmax")
    assert calibrations.passes == 2


def test_a_damaged_cache_runs_the_model_and_is_replaced(calibrations: Calibrations) -> None:
    first = calibrations.run("minmax")
    folder = cache.folder()
    assert folder is not None
    (kept,) = folder.iterdir()
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    assert calibrations.run("minmax") == first
    assert calibrations.run("minmax") == first
    assert calibrations.passes == 2


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    calibrations: Calibrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = calibrations.run("minmax")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert calibrations.run("minmax") == first
    assert calibrations.passes == 2


def test_a_failed_calibration_is_not_kept(calibrations: Calibrations) -> None:
    calibrations.samples[3]["x"][:] = np.nan
    with pytest.raises(ConversionError):
        calibrations.run("minmax")
    folder = cache.folder()
    assert folder is not None and not folder.exists()


CHILD = """
import sys, time
import numpy as np, onnx
from pathlib import Path
from edgesdk.convert.backends import onnx_calibration
from edgesdk.convert.backends.onnx_calibration import activations, calibrate

source, directory = Path(sys.argv[1]), Path(sys.argv[2])
onnx_calibration.CHECKPOINT_S = 0
onnx_calibration._SAVING_SHARE = 0
onnx_calibration._cores = lambda: 1
model = onnx.load(str(source))

def samples():
    yield from (dict(row) for row in np.load(sys.argv[3])["rows"][:4, None] for row in [{"x": row}])
    print("stuck", flush=True)
    time.sleep(60)

calibrate(model, samples, lambda _: None, activations(model), True, directory, "k")
"""


def killed_after_four_samples(source: Path, samples: list[dict[str, Array]]) -> Path:
    """The cache of a calibration that was killed while it waited for its fifth sample."""
    directory, rows = source.with_name("cache"), source.with_name("rows.npz")
    np.savez(rows, rows=np.stack([sample["x"][0] for sample in samples]))
    command = [sys.executable, "-c", CHILD, str(source), str(directory), str(rows)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"stuck\n"
        child.kill()
        assert child.wait() == -signal.SIGKILL
    return directory


def test_a_killed_calibration_goes_on_where_it_was_and_ends_bit_for_bit_the_same(
    path: Path,
) -> None:
    samples = growing_samples(conv_network(path), 8)
    directory = killed_after_four_samples(path, samples)
    interrupted = cache.load(directory, "k", histograms=True)
    assert interrupted is not None and not interrupted.complete
    done = interrupted.samples
    assert done == 3  # the fourth was still being run on
    poisoned = [{"x": np.full_like(sample["x"], np.nan)} for sample in samples[:done]]
    model = onnx.load(str(path))
    advanced: list[int] = []
    resumed = calibrate(
        model,
        lambda: iter([*poisoned, *samples[done:]]),
        advanced.append,
        activations(model),
        True,
        directory,
        "k",
    )
    assert to_bytes(resumed) == to_bytes(seen_of(path, samples))
    assert sum(advanced) == len(samples)


def test_progress_is_kept_at_most_so_often(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = growing_samples(conv_network(path))
    saved: list[bool] = []
    keep: Callable[..., None] = lambda _, __, seen: saved.append(seen.complete)  # noqa: E731
    monkeypatch.setattr(cache, "save", keep)
    seen_of(path, samples)
    assert saved == [True]
