"""Facts about what is told of a model before it is converted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto

from edgesdk.convert.forecast import Limits, Subject, forecast
from edgesdk.convert.planning import choose_chain
from edgesdk.convert.sizing import FileSize
from edgesdk.convert.toolchains import ONNXRUNTIME, Toolchain
from edgesdk.errors import ModelError
from edgesdk.models.reading import read_graph
from edgesdk.package.remedies import remedies
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import (
    ComputeUnit,
    Contract,
    OperatorRule,
    OperatorRules,
    Target,
)
from edgesdk.values.forecast import Forecast, Placement, moved
from edgesdk.values.package import Budget
from edgesdk.values.recipe import Override, Recipe
from tests.onnx_networks import Converted, Network, conv_network, edited

CPU_ONLY = replace(load_target("raspberry-pi-5"), precisions=("w8a8", "w8a16", "fp16"))
MIB = 2**20


def with_npu(*types: str, **rules: Any) -> Target:
    """A target whose NPU runs these types on 8 bits."""
    found = OperatorRules(
        format="onnx",
        source="manual",
        types={each: OperatorRule() for each in types},
        dtypes=("int8", "uint8"),
        unsupported="the NPU has no such operator",
        **rules,
    )
    units = (ComputeUnit("npu", "npu", "Acme"), *CPU_ONLY.compute_units)
    return replace(CPU_ONLY, id="acme", compute_units=units, operators={"npu": found})


ALL_BUT_POOL = with_npu("Conv", "Relu", "Flatten", "Gemm")


def told(
    path: Path,
    target: Target = CPU_ONLY,
    recipe: Recipe | None = None,
    budget: Budget | None = None,
    contract: Contract | None = None,
    toolchain: Toolchain = ONNXRUNTIME,
    **shapes: tuple[int, ...],
) -> Forecast:
    graph = read_graph(path, shapes)
    chosen = recipe or Recipe()
    chain = choose_chain(graph.format, target, chosen, [toolchain])
    subject = Subject("net", graph, FileSize(path.stat().st_size))
    limits = Limits(budget or Budget(), contract or Contract(), remedies)
    return forecast(subject, target, chain, chosen, limits)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return conv_network(tmp_path / "net.onnx")


# Placement


def test_every_operator_has_its_unit_and_its_reason(path: Path) -> None:
    found = told(path, ALL_BUT_POOL)
    assert [each.unit for each in found.operators] == [*["npu"] * 4, "cpu", *["npu"] * 2]
    fallen = found.operators[4]
    assert (fallen.index, fallen.type, fallen.name, fallen.reason) == (
        *(4, "GlobalAveragePool", "pooled"),
        "the NPU has no such operator",
    )


def test_operators_say_what_they_give(path: Path) -> None:
    (output,) = told(path).operators[4].outputs
    assert str(output) == "pooled: float32[1, 8, 1, 1]"


def test_the_fraction_is_the_share_off_the_cpu(path: Path) -> None:
    found = told(path, ALL_BUT_POOL)
    assert found.accelerated_fraction == pytest.approx(6 / 7)
    assert found.basis == "rules"


def test_without_an_accelerator_all_is_on_the_cpu_and_needs_no_reason(path: Path) -> None:
    found = told(path)
    assert {(each.unit, each.reason) for each in found.operators} == {("cpu", "")}
    assert (found.basis, found.accelerated_fraction) == ("no accelerator", 0)


@pytest.mark.parametrize(
    "recipe",
    [Recipe(keep_float=("g_linear",)), Recipe(overrides=(Override("float32", "g_linear"),))],
)
def test_what_the_recipe_keeps_in_float_leaves_an_integer_unit(path: Path, recipe: Recipe) -> None:
    kept = told(path, ALL_BUT_POOL, recipe).operators[2]
    assert (kept.name, kept.unit, kept.reason) == (
        *("g_linear", "cpu"),
        "the recipe keeps it in float",
    )


def test_a_pattern_that_matches_nothing_is_told_at_once(path: Path) -> None:
    with pytest.raises(ModelError, match="keep_float 'nothing' matches no operator"):
        told(path, recipe=Recipe(keep_float=("nothing",)))


def test_the_account_says_that_nothing_was_compiled(path: Path) -> None:
    note = "nothing was compiled: the placement is told from the rules of the descriptor"
    assert note in told(path, ALL_BUT_POOL).notes
    assert note not in told(path).notes


# Contracts


def test_a_fraction_that_is_reached_holds(path: Path) -> None:
    assert told(path, ALL_BUT_POOL, contract=Contract(0.85)).holds


def test_a_fraction_that_is_not_reached_names_what_is_in_the_way(path: Path) -> None:
    found = told(path, ALL_BUT_POOL, contract=Contract(0.9))
    assert found.broken == (
        "6 of 7 operators (85.7%) are forecast on an accelerator, min_accelerated_fraction is 0.9; "
        "on the CPU: 1 GlobalAveragePool (the NPU has no such operator)",
    )


def test_a_target_without_an_accelerator_breaks_any_fraction(path: Path) -> None:
    (sentence,) = told(path, contract=Contract(0.1)).broken
    assert sentence.endswith("min_accelerated_fraction is 0.1; raspberry-pi-5 has none")


def test_a_unit_that_has_no_fallback_breaks_with_one_operator_off_it(path: Path) -> None:
    target = with_npu("Conv", "Relu", "Flatten", "Gemm", no_fallback=True)
    (sentence,) = told(path, target).broken
    assert sentence.startswith(
        "acme runs no model that is not all on its accelerator, and 1 of 7 operators"
    )


# Budgets


def wide(path: Path) -> Path:
    """A million weights, so that the forecast is all but theirs."""
    net = Network()
    net.node("MatMul", [net.input("x", (1, 1024)), net.weights("big", 1024, 1024)], "y")
    return net.write(path, y=(1, 1024))


def words(path: Path) -> Path:
    """Six words of a table (5000, 32) -> their mean -> a layer."""
    net = Network()
    net.weights("table", 5000, 32)
    found = net.node("Gather", ["table", net.input("ids", (1, 6), "int64")], "found", axis=0)
    net.dense(net.node("ReduceMean", [found], "mean", axes=[1], keepdims=0), "y", (32, 4))
    return net.write(path, y=(1, 4))


BUDGETS: list[tuple[str, Callable[[int], Budget]]] = [
    ("package", lambda size: Budget(package_bytes=size)),
    ("installed", lambda size: Budget(installed_bytes=size)),
    ("peak_ram", lambda size: Budget(peak_ram_bytes=size)),
]


@pytest.mark.parametrize(("name", "budget"), BUDGETS, ids=[name for name, _ in BUDGETS])
def test_a_budget_that_cannot_hold_names_the_largest_tensor(
    path: Path, name: str, budget: Callable[[int], Budget]
) -> None:
    (sentence,) = told(wide(path), budget=budget(MIB // 2)).broken
    assert f"the {name} budget is 512 KiB: " in sentence
    assert "too much; largest: big [1024, 1024] 1.00 MiB" in sentence


@pytest.mark.parametrize(("name", "budget"), BUDGETS, ids=[name for name, _ in BUDGETS])
def test_a_budget_that_cannot_hold_is_told_with_what_helps(
    path: Path, name: str, budget: Callable[[int], Budget]
) -> None:
    found = told(wide(path), budget=budget(MIB // 2))
    (over,) = found.over_budget
    assert (over.what, over.limit_bytes) == (name, MIB // 2)
    assert over.told_bytes > over.limit_bytes
    assert over.remedies[-1].what == "factor-layer"


def test_what_helps_a_forecast_is_what_will_help_the_conversion(path: Path) -> None:
    kept = Recipe(keep_float=("found",), golden_vectors=1)
    found = told(words(path), recipe=kept, budget=Budget(300_000, 300_000, 300_000))
    assert [over.what for over in found.over_budget] == ["package", "installed", "peak_ram"]
    for over in found.over_budget:
        table, rows, *_ = over.remedies
        assert (table.what, table.subject) == ("eight-bit-table", "table")
        assert "drop keep_float 'found', which holds Gather found back" in table.how
        assert rows.what == "prune-rows"
    assert found.over_budget[1].remedies[0].saves_bytes == 3 * 5000 * 32
    assert told(words(path), budget=Budget(300_000, 300_000, 300_000)).holds


def test_without_a_budget_nothing_is_over_it(path: Path) -> None:
    assert told(path).over_budget == ()


def test_a_quantized_model_is_not_told_to_convert_otherwise(path: Path) -> None:
    (over,) = told(Converted(words(path)).path, budget=Budget(100_000)).over_budget
    assert [each.what for each in over.remedies] == ["prune-rows"]


def test_pictures_that_take_the_memory_are_told_to_become_smaller(path: Path) -> None:
    net = Network()
    net.conv(net.conv(net.input("x", (1, 3, 256, 256)), "h", (3, 8)), "y", (8, 8))
    path = net.write(path, y=(1, 8, 256, 256))
    (over,) = told(path, budget=Budget(peak_ram_bytes=MIB)).over_budget
    (remedy,) = over.remedies
    assert remedy.what == "smaller-input"
    assert "instead of 256 x 256" in remedy.how


@pytest.mark.parametrize(("name", "budget"), BUDGETS, ids=[name for name, _ in BUDGETS])
def test_a_budget_with_room_holds_without_a_word(
    path: Path, name: str, budget: Callable[[int], Budget]
) -> None:
    found = told(wide(path), budget=budget(2 * MIB))
    assert (found.broken, found.notes) == ((), ())


def test_a_budget_within_the_doubt_is_a_note(path: Path) -> None:
    found = told(wide(path), budget=Budget(peak_ram_bytes=MIB))
    assert found.holds
    assert [note.rpartition(": ")[2] for note in found.notes] == [
        "too close to tell before the conversion"
    ]


# Sizes


@pytest.mark.parametrize(("precision", "weight_bytes"), [("w8a8", 1), ("w8a16", 1), ("fp16", 2)])
def test_weights_have_the_bits_of_the_precision(
    path: Path, precision: Any, weight_bytes: int
) -> None:
    toolchain = replace(ONNXRUNTIME, precisions=(precision,))
    found = told(wide(path), recipe=Recipe(precision=precision), toolchain=toolchain)
    assert found.model_bytes == pytest.approx(weight_bytes * MIB, rel=0.02)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_weights_of_types_that_stay_in_float_keep_four_bytes(path: Path, kind: str) -> None:
    gates = {"LSTM": 4, "GRU": 3}[kind]
    net = Network()
    x = net.input("x", (1, 1, 64))
    w, r = net.weights("w", 1, gates * 64, 64), net.weights("r", 1, gates * 64, 64)
    net.node(kind, [x, w, r], "y", hidden_size=64)
    found = told(net.write(path, y=(1, 1, 1, 64)))
    assert found.model_bytes > 2 * gates * 64 * 64 * 4


def test_weights_of_an_operator_kept_in_float_keep_four_bytes(path: Path) -> None:
    assert told(wide(path), recipe=Recipe(keep_float=("y",))).model_bytes > 4 * MIB


def test_activations_have_their_converted_width(path: Path) -> None:
    net = Network()
    x = net.input("x", (1, 1, 256, 256))
    net.node("Sigmoid", [net.node("Sigmoid", [x], "h")], "g")
    net.node("GlobalAveragePool", ["g"], "y")
    path = net.write(path, y=(1, 1, 1, 1))
    # The input stays float32 at the edge, what is between the operators has 8 bits.
    assert told(path).working_set_bytes == 5 * 256 * 256


# What is not as it should be for a conversion


def test_a_quantized_model_is_taken_as_it_is(path: Path) -> None:
    converted = Converted(path).path
    found = told(converted)
    assert (found.precision, found.model_bytes) == ("as it is", converted.stat().st_size)
    assert found.chain == "already quantized; onnxruntime >= 1.18 runs it"
    assert any("quantized already" in note for note in found.notes)


def test_the_working_set_of_a_quantized_model_is_what_its_account_says(path: Path) -> None:
    converted = Converted(path)
    assert told(converted.path).working_set_bytes == pytest.approx(
        converted.description.working_set_bytes, rel=0.02
    )


def test_an_open_input_is_told_with_the_flag_that_fixes_it(path: Path) -> None:
    net = Network()
    net.node("Relu", [net.input("x", ("N", 4))], "y")
    path = net.write(path, y=None)
    assert any("--input-shape x=1,4 (your own sizes)" in note for note in told(path).notes)
    assert told(path, x=(1, 4)).notes == ()


def test_half_precision_is_told(path: Path) -> None:
    def halve(proto: onnx.ModelProto) -> None:
        for value in (*proto.graph.input, *proto.graph.output):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16

    net = Network()
    net.node("Relu", [net.input("x", (1, 4))], "y")
    path = edited(net.write(path, y=(1, 4)), halve)
    assert told(path).broken == (
        "x: float16[1, 4] is no float32, which convert takes: export the model in float32",
    )


def test_an_operator_of_a_foreign_domain_does_not_hold(path: Path) -> None:
    def rename(proto: onnx.ModelProto) -> None:
        proto.graph.node[0].domain = "my.dom"
        proto.graph.node[0].op_type = "MyOp"
        proto.opset_import.add(domain="my.dom", version=1)

    net = Network()
    net.node("Relu", [net.input("x", (1, 4))], "y")
    (sentence,) = told(edited(net.write(path, y=(1, 4)), rename)).broken
    assert sentence == ("convert refuses MyOp of the domain my.dom, which no runtime of ours knows")


# Beside the truth


def test_operators_that_moved_are_found_by_their_index() -> None:
    forecast = [Placement(0, "Conv", "a", "npu"), Placement(2, "Relu", "b", "npu")]
    found = [Placement(2, "Relu", "b", "cpu", "unknown"), Placement(0, "Conv", "a", "npu")]
    assert [(each.forecast, each.found) for each in moved(forecast, found)] == [
        (forecast[1], found[0])
    ]
