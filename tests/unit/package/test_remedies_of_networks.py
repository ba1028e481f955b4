"""Facts about remedies for networks that were converted: done, each saves what was told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgesdk.convert.conversion import convert
from edgesdk.convert.planning import offered_precisions, plan_conversion
from edgesdk.convert.toolchains import toolchains
from edgesdk.data.samples import open_samples
from edgesdk.errors import BudgetExceeded
from edgesdk.models.opening import open_model
from edgesdk.package.building import build_package
from edgesdk.progress import Silent
from edgesdk.targets.loading import load_target
from edgesdk.values.artifact import Artifact
from edgesdk.values.package import Budget, Package, Release
from edgesdk.values.recipe import Override, Recipe
from edgesdk.values.remedies import Remedy
from tests.onnx_networks import Network, random_samples
from tests.unit.convert import litert_networks as tflite

ARM = load_target("raspberry-pi-5")
TARGET = replace(ARM, precisions=("w8a8", "w8a16", "fp16"))


class Made:
    """A network, converted as a recipe says, in a folder of its own."""

    def __init__(self, source: Path, recipe: Recipe | None = None, samples: int = 8) -> None:
        model = open_model(source)
        rows = random_samples(model, samples)
        arrays: dict[str, Any] = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        self.folder = source.parent
        self.output = self.folder / "p.edgepkg"
        np.savez(self.folder / "data.npz", **arrays)
        opened = open_samples(str(self.folder / "data.npz"), model.inputs)
        plan = plan_conversion(model, TARGET, opened, recipe or Recipe())
        self.directory = self.folder / "artifact"
        done = convert(model, plan, TARGET, opened, self.directory, Silent())
        self.artifact: Artifact = done.artifact

    def build(self, budget: Budget, **release: Any) -> Package:
        (toolchain,) = [each for each in toolchains() if each.name == self.artifact.plan.backend]
        return build_package(
            self.artifact,
            self.directory,
            self.output,
            Release(**release),
            budget,
            {},
            signer=None,
            offered=offered_precisions(TARGET, toolchain),
        )

    @property
    def package_bytes(self) -> int:
        return self.build(Budget()).size_bytes

    def told(self, budget: Budget, **release: Any) -> Mapping[str, Remedy]:
        with pytest.raises(BudgetExceeded) as caught:
            self.build(budget, **release)
        return {each.what: each for each in caught.value.remedies}


def lookup(folder: Path, kind: str = "GATHER", rows: int = 3000) -> Path:
    """Six words of a table (rows, 32) -> a layer of 64 -> one of 4, as TFLite."""
    folder.mkdir()
    random = np.random.default_rng(1)
    net = tflite.Network()
    words = net.input("ids", (6,), "int32")
    table = net.constant("table", random.normal(size=(rows, 32)).astype(np.float32))
    inputs = [table, words] if kind == "GATHER" else [words, table]
    options = schema.GatherOptionsT(axis=0) if kind == "GATHER" else None
    found = net.operator(kind, inputs, "found", (6, 32), options)
    y = dense(net, found, "h", (32, 64))
    return net.write(folder / "net.tflite", dense(net, y, "y", (64, 4)))


def dense(net: tflite.Network, source: int, name: str, features: tuple[int, int]) -> int:
    random = np.random.default_rng(2)
    weights = net.constant(f"{name}/w", random.normal(size=features[::-1]).astype(np.float32))
    bias = net.constant(f"{name}/b", np.zeros(features[1], np.float32))
    options = schema.FullyConnectedOptionsT()
    shape = (net.graph.tensors[source].shape[0], features[1])
    return net.operator("FULLY_CONNECTED", [source, weights, bias], name, shape, options)


def words(folder: Path, rows: int = 3000, hidden: int = 64) -> Path:
    """Six words of a table (rows, 32) -> their mean -> two layers, as ONNX."""
    folder.mkdir()
    net = Network()
    ids = net.input("ids", (1, 6), "int64")
    net.weights("table", rows, 32)
    found = net.node("Gather", ["table", ids], "found", axis=0)
    mean = net.node("ReduceMean", [found], "mean", axes=[1], keepdims=0)
    net.node("Relu", [net.dense(mean, "h", (32, hidden))], "relu")
    net.dense("relu", "y", (hidden, 4))
    return net.write(folder / "net.onnx", y=(1, 4))


def pictures(folder: Path, side: int, channels: int = 16) -> Path:
    """x (1, 3, side, side) -> two convolutions -> their mean -> a layer, as ONNX."""
    folder.mkdir()
    net = Network()
    h = net.conv(net.input("x", (1, 3, side, side)), "h", (3, channels))
    g = net.conv(h, "g", (channels, channels))
    net.node("Flatten", [net.node("GlobalAveragePool", [g], "pooled")], "flat")
    net.dense("flat", "y", (channels, 5))
    return net.write(folder / "net.onnx", y=(1, 5))


def nearly(told: int, found: int) -> bool:
    return found == pytest.approx(told, rel=0.1)


# Files


def test_without_its_float_twin_a_package_saves_what_was_told(tmp_path: Path) -> None:
    made = Made(words(tmp_path / "a"))
    with_float = made.build(Budget(), include_float=True).size_bytes
    # What a member of the archive costs beside its bytes is not counted.
    told = made.told(Budget(package_bytes=made.package_bytes + 2048), include_float=True)
    remedy = told["leave-out-float"]
    assert remedy.enough
    assert 0 <= with_float - made.package_bytes - remedy.saves_bytes < 2048  # headers


def test_with_one_golden_vector_a_package_saves_what_was_told(tmp_path: Path) -> None:
    many = Made(pictures(tmp_path / "a", 16, channels=128))
    one = Made(pictures(tmp_path / "b", 16, channels=128), Recipe(golden_vectors=1))
    assert (many.artifact.golden.count, one.artifact.golden.count) == (5, 1)
    remedy = many.told(Budget(package_bytes=many.package_bytes - 1))["fewer-golden-vectors"]
    assert remedy.enough
    assert nearly(remedy.saves_bytes, many.package_bytes - one.package_bytes)


# Tables


def test_a_table_that_the_recipe_keeps_in_float_saves_what_was_told(tmp_path: Path) -> None:
    kept = Made(words(tmp_path / "a"), Recipe(keep_float=("found",)))
    free = Made(words(tmp_path / "b"))
    remedy = kept.told(Budget(package_bytes=kept.package_bytes // 2))["eight-bit-table"]
    assert "drop keep_float 'found', which holds Gather found back" in remedy.how
    assert nearly(remedy.saves_bytes, kept.package_bytes - free.package_bytes)


def test_a_table_in_16_bits_saves_what_was_told_with_the_override(tmp_path: Path) -> None:
    wide = Made(lookup(tmp_path / "a"), Recipe(precision="w8a16"))
    cured = Recipe(precision="w8a16", overrides=(Override("w8a8", "found", "GATHER"),))
    narrow = Made(lookup(tmp_path / "b"), cured)
    remedy = wide.told(Budget(installed_bytes=150_000))["eight-bit-table"]
    assert remedy.enough
    assert remedy.saves_bytes == 3000 * 32
    saved = wide.artifact.loaded_bytes - narrow.artifact.loaded_bytes
    assert nearly(remedy.saves_bytes, saved)


def test_embedding_lookup_exported_as_gather_saves_what_was_told(tmp_path: Path) -> None:
    wide = Made(lookup(tmp_path / "a", "EMBEDDING_LOOKUP"))
    narrow = Made(lookup(tmp_path / "b"))
    remedy = wide.told(Budget(installed_bytes=200_000))["eight-bit-table"]
    assert "export EMBEDDING_LOOKUP found as GATHER" in remedy.how
    assert nearly(remedy.saves_bytes, wide.artifact.loaded_bytes - narrow.artifact.loaded_bytes)


@pytest.mark.parametrize("network", [words, lookup])
def test_a_pruned_vocabulary_keeps_the_budget(tmp_path: Path, network: Any) -> None:
    made = Made(network(tmp_path / "a"))
    limit = made.package_bytes * 6 // 10
    remedy = made.told(Budget(package_bytes=limit))["prune-rows"]
    assert remedy.enough
    rows = int(remedy.how.split("at most ")[1].split()[0])
    pruned = Made(network(tmp_path / "b", rows=rows))
    assert pruned.package_bytes == pytest.approx(limit, rel=0.05)


# Layers


def test_a_narrowed_head_keeps_the_budget(tmp_path: Path) -> None:
    made = Made(words(tmp_path / "a", rows=20, hidden=4000))
    limit = made.artifact.working_set_bytes - 60_000
    remedy = made.told(Budget(peak_ram_bytes=limit))["narrow-layer"]
    assert (remedy.subject, remedy.enough) == ("h_w_quantized", True)
    units = int(remedy.how.split("at most ")[1].split()[0])
    narrow = Made(words(tmp_path / "b", rows=20, hidden=units))
    # Its biases, their scales and what reads its output become smaller, too.
    assert narrow.artifact.working_set_bytes <= limit


def test_a_layer_that_makes_the_output_is_told_to_become_two(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    net = Network()
    net.dense(net.input("x", (1, 300)), "y", (300, 400))
    made = Made(net.write(tmp_path / "a" / "net.onnx", y=(1, 400)))
    told = made.told(Budget(installed_bytes=100_000))
    assert "factor-layer" in told
    assert not {"narrow-layer", "prune-rows"} & set(told)


# Precision


@pytest.mark.parametrize("precision", ["w8a16", "fp16"])
def test_another_precision_saves_what_was_told(tmp_path: Path, precision: Any) -> None:
    made = Made(lookup(tmp_path / "a"), Recipe(precision=precision))
    w8a8 = Made(lookup(tmp_path / "b"))
    remedy = made.told(Budget(installed_bytes=1))["precision"]
    assert remedy.how == f"convert with --precision w8a8 instead of {precision}"
    assert nearly(remedy.saves_bytes, made.artifact.loaded_bytes - w8a8.artifact.loaded_bytes)


def test_a_precision_that_the_toolchain_does_not_make_is_not_told(tmp_path: Path) -> None:
    assert "precision" not in Made(words(tmp_path / "a")).told(Budget(installed_bytes=1))


# Memory


def test_smaller_pictures_keep_the_memory_budget(tmp_path: Path) -> None:
    made = Made(pictures(tmp_path / "a", 64))
    limit = made.artifact.working_set_bytes // 2
    remedy = made.told(Budget(peak_ram_bytes=limit))["smaller-input"]
    assert remedy.enough
    assert "most memory is taken by" in remedy.how
    side = int(remedy.how.split("to 'x', ")[1].split()[0])
    smaller = Made(pictures(tmp_path / "b", side))
    assert smaller.artifact.working_set_bytes == pytest.approx(limit, rel=0.05)


def test_the_working_set_is_the_constants_and_what_is_alive_at_the_peak(tmp_path: Path) -> None:
    artifact = Made(pictures(tmp_path / "a", 16)).artifact
    counted = [each for each in artifact.tensor_sizes if each.kind == "constant" or each.at_peak]
    assert sum(each.size_bytes for each in counted) == artifact.working_set_bytes
    assert any(each.at_peak for each in counted)


def test_weights_are_not_said_to_shrink_with_the_pictures(tmp_path: Path) -> None:
    made = Made(words(tmp_path / "a"))
    assert "smaller-input" not in made.told(Budget(peak_ram_bytes=1000))
