"""Facts about quantization by aimet-onnx; run where it is installed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("aimet_onnx", reason="aimet-onnx is not installed", exc_type=ImportError)

from aimet_onnx.quantsim import encodings_to_onnx_qdq

from edgesdk.convert.backends.qualcomm import quantizing_aimet
from edgesdk.errors import ConversionError
from edgesdk.targets.types import Scheme
from edgesdk.values.recipe import Override
from tests.onnx_networks import ASYMMETRIC, PER_CHANNEL, run
from tests.unit.convert.qualcomm_networks import Quantized, conv_network, plan


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def entries(quantized: Quantized) -> dict[str, dict[str, object]]:
    tree = json.loads((quantized.folder / "encodings.json").read_text())
    return {entry["name"]: entry for entry in tree["encodings"]}


def sqnr_db(quantized: Quantized) -> float:
    pairs = [
        (run(quantized.float_path, sample)["y"], run(quantized.path, sample)["y"])
        for sample in quantized.samples
    ]
    wanted, found = (np.stack(each).astype(np.float64) for each in zip(*pairs, strict=True))
    return float(10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_model_of_one_precision_runs_whole_on_the_htp(path: Path, bits: int) -> None:
    scheme = Scheme(PER_CHANNEL, replace(ASYMMETRIC, bits=bits))
    precision = "w8a16" if bits == 16 else "w8a8"
    quantized = Quantized(
        conv_network(path), quantizer="aimet-onnx", precision=precision, scheme=scheme
    )
    assert quantized.compile().account.status == "compiled"
    assert quantized.precisions()["Conv"] == {f"int{bits}"}
    assert sqnr_db(quantized) > 25


@pytest.mark.parametrize("method", sorted(quantizing_aimet.SCHEMES))
def test_range_methods_are_aimets(path: Path, method: str) -> None:
    quantized = Quantized(conv_network(path), quantizer="aimet-onnx", range_method=method)
    assert sqnr_db(quantized) > 15


def test_every_sample_is_seen(path: Path) -> None:
    quantized = Quantized(conv_network(path), quantizer="aimet-onnx", encodings=True)
    largest = max(float(np.abs(sample["x"]).max()) for sample in quantized.samples)
    image = entries(quantized)["x"]
    scale, zero = float(str(image["y_scale"])), int(str(image["y_zero_point"]))
    reach = scale * max(zero, 255 - zero)
    assert reach == pytest.approx(largest, abs=scale)


def test_quantizing_twice_gives_the_same_model(path: Path) -> None:
    first = Quantized(conv_network(path), quantizer="aimet-onnx").path.read_bytes()
    path.parent.joinpath("artifact").rename(path.parent / "first")
    assert Quantized(path, quantizer="aimet-onnx").path.read_bytes() == first


def test_the_encodings_of_onnx_runtimes_quantizer_are_ones_that_aimet_reads(path: Path) -> None:
    """AIMET makes of them a model that computes what ours does."""
    quantized = Quantized(conv_network(path), encodings=True)
    again = path.with_name("again.onnx")
    model = encodings_to_onnx_qdq(
        onnx.load(str(quantized.float_path)), str(quantized.folder / "encodings.json")
    )
    onnx.save(model, str(again))
    for sample in quantized.samples:
        wanted, found = run(quantized.path, sample)["y"], run(again, sample)["y"]
        step = float(str(entries(quantized)["y"]["y_scale"]))
        assert np.abs(wanted - found).max() <= step * 1.001


def test_both_quantizers_write_the_same_kind_of_entries(path: Path) -> None:
    ours = entries(Quantized(conv_network(path), encodings=True))
    path.parent.joinpath("artifact").rename(path.parent / "ours")
    theirs = entries(Quantized(path, quantizer="aimet-onnx", encodings=True))
    assert {"x", "h_w", "h_b", "y_w", "y"} <= ours.keys() & theirs.keys()
    for name in ("x", "h_w", "h_b"):
        assert ours[name].keys() == theirs[name].keys()
        assert ours[name]["output_dtype"] == theirs[name]["output_dtype"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"overrides": (Override("w8a16", type="Gemm"),)}, "overrides or keep_float"),
        ({"keep_float": ("g_linear",)}, "overrides or keep_float"),
        ({"range_method": "entropy"}, "the method entropy"),
        ({"range_method": "percentile"}, "the method percentile"),
    ],
)
def test_what_aimet_does_not_make_is_refused_with_the_way_out(
    path: Path, change: dict[str, object], found: str
) -> None:
    source = conv_network(path)
    with pytest.raises(ConversionError, match=found) as caught:
        quantizing_aimet.require_possible(plan(source, **change))
    assert caught.value.hint == 'set quantizer = "onnxruntime" in the recipe'


def test_a_failure_is_one_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizing_aimet, "DEADLINE_S", 0.05)
    with pytest.raises(ConversionError, match=r"aimet-onnx did not finish within 0\.05 s"):
        Quantized(conv_network(path), quantizer="aimet-onnx")
