"""Facts about what would bring a total under its budget: the arithmetic, and when each applies."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.package.remedies import remedies
from edgesdk.values.artifact import OperatorPrecision, Reader, TensorSize
from edgesdk.values.overrun import Network, Overrun
from edgesdk.values.recipe import Override
from edgesdk.values.remedies import Remedy

WIDTHS = {"int8": 1, "int16": 2, "float16": 2, "float32": 4, "int64": 8}
LOOKUP = Reader("GATHER", "words", "table", 0)
LAYER = Reader("FULLY_CONNECTED", "hidden", "dense", 0)
NETWORK = Network(
    layout="NHWC",
    inputs=(("x", (1, 6)),),
    outputs=(("y", (1, 5)),),
    precision="w8a8",
    offered=("w8a8", "w8a16", "fp16"),
    keep_float=(),
    overrides=(),
    operators=(),
)


def constant(name: str, dtype: str, *shape: int, by: Reader = LOOKUP) -> TensorSize:
    return TensorSize(name, "constant", dtype, shape, WIDTHS[dtype] * math.prod(shape), (by,))


def activation(name: str, dtype: str, *shape: int) -> TensorSize:
    size_bytes = WIDTHS[dtype] * math.prod(shape)
    return TensorSize(name, "activation", dtype, shape, size_bytes, at_peak=True)


def overrun(limit_bytes: int, actual_bytes: int, *tensors: TensorSize, **parts: Any) -> Overrun:
    network = replace(NETWORK, **parts.pop("network", {}))
    what = parts.pop("what", "package")
    return Overrun(what, limit_bytes, actual_bytes, network, tensors=tensors, **parts)


def only(found: tuple[Remedy, ...], what: str) -> Remedy:
    (remedy,) = [each for each in found if each.what == what]
    return remedy


def names(found: tuple[Remedy, ...]) -> list[str]:
    return [each.what for each in found]


# The arithmetic

SHAPES = st.tuples(st.integers(1, 5000), st.integers(1, 300))
READERS = st.sampled_from([LOOKUP, LAYER, Reader("CONV_2D", "conv"), replace(LAYER, axis=1)])


@st.composite
def overruns(draw: st.DrawFn) -> Overrun:
    tensors = [
        constant(
            f"c{index}", draw(st.sampled_from(sorted(WIDTHS))), *draw(SHAPES), by=draw(READERS)
        )
        for index in range(draw(st.integers(0, 4)))
    ]
    planes = draw(st.lists(st.integers(1, 64), max_size=3))
    what = draw(st.sampled_from(["package", "installed", "peak_ram"]))
    if what == "peak_ram":
        tensors += [activation(f"a{side}", "int8", 1, side, side, 8) for side in planes]
    float_bytes = draw(st.integers(0, 10**6)) * (what != "peak_ram")
    golden_bytes = draw(st.integers(0, 10**5)) * (what != "peak_ram")
    known = sum(tensor.size_bytes for tensor in tensors) + float_bytes + golden_bytes
    actual_bytes = known + draw(st.integers(1, 10**5))
    return overrun(
        draw(st.integers(0, actual_bytes - 1)),
        actual_bytes,
        *tensors,
        what=what,
        float_bytes=float_bytes,
        golden_bytes=golden_bytes,
        golden_count=draw(st.integers(1, 8)),
        counted=draw(st.floats(0.01, 1)),
        network={
            "inputs": (("x", (1, 64, 64, 3)),),
            "precision": draw(st.sampled_from(["w8a8", "w8a16", "fp16"])),
            "keep_float": draw(st.sampled_from([(), ("words",), (".*",)])),
        },
    )


@given(overruns())
def test_nothing_saves_more_than_there_is(over: Overrun) -> None:
    for remedy in remedies(over):
        assert 0 < remedy.saves_bytes <= over.actual_bytes


@given(overruns())
def test_enough_is_what_saves_all_that_is_too_much(over: Overrun) -> None:
    for remedy in remedies(over):
        assert remedy.enough == (over.actual_bytes - remedy.saves_bytes <= over.limit_bytes)


@given(overruns())
def test_together_they_save_no_more_than_their_sum_and_no_less_than_the_best(over: Overrun) -> None:
    alone: list[int] = []
    for remedy in remedies(over):
        alone.append(remedy.saves_bytes)
        # Each is rounded down by itself.
        could = sum(alone) + len(alone) > over.over_bytes
        assert could or not remedy.enough_together
        assert remedy.enough_together or max(alone) < over.over_bytes


@given(overruns())
def test_what_is_enough_stays_so_with_more(over: Overrun) -> None:
    together = [remedy.enough_together for remedy in remedies(over)]
    assert together == sorted(together)


@given(overruns())
def test_once_it_is_enough_only_what_is_enough_alone_is_told(over: Overrun) -> None:
    found = remedies(over)
    for before, remedy in itertools.pairwise(found):
        assert remedy.enough or not before.enough_together


@given(overruns())
def test_what_saves_next_to_nothing_is_not_told(over: Overrun) -> None:
    assert all(remedy.saves_bytes * 100 >= over.over_bytes for remedy in remedies(over))


@given(st.integers(11, 50_000), st.integers(1, 64), st.data())
def test_the_rows_that_may_stay_are_the_most_that_may(rows: int, width: int, data: Any) -> None:
    size_bytes = rows * width
    over_bytes = data.draw(st.integers(1, size_bytes * 8 // 10))
    found = remedies(overrun(0, over_bytes, constant("t", "int8", rows, width)))
    remedy = only(found, "prune-rows")
    kept = int(re.findall(r"at most (\d+) of", remedy.how)[0])
    assert remedy.enough
    assert (rows - kept) * width >= over_bytes
    assert (rows - kept - 1) * width < over_bytes


@given(st.integers(16, 512), st.integers(16, 512), st.floats(0.01, 0.9))
def test_the_smaller_picture_fits(height: int, width: int, share: float) -> None:
    live = activation("a", "int8", 1, height, width, 16)
    over_bytes = max(1, int(live.size_bytes * share))
    found = remedies(
        overrun(
            live.size_bytes - over_bytes,
            live.size_bytes,
            live,
            what="peak_ram",
            network={"inputs": (("x", (1, height, width, 3)),)},
        )
    )
    remedy = only(found, "smaller-input")
    new_height, new_width = map(int, re.findall(r", (\d+) x (\d+) instead", remedy.how)[0])
    assert new_height < height
    assert remedy.enough
    assert 16 * new_height * new_width <= live.size_bytes - over_bytes


# Files


def test_the_float_model_counts_whole_and_is_no_estimate() -> None:
    (remedy,) = remedies(overrun(100, 150, float_bytes=60))
    assert (remedy.what, remedy.saves_bytes, remedy.estimated) == ("leave-out-float", 60, False)
    assert str(remedy).endswith("saves 60 B, enough by itself")


def test_a_twin_is_left_out_before_the_float_model() -> None:
    found = remedies(overrun(100, 250, float_bytes=60, twin_bytes=120, fallback="twin"))
    assert names(found) == ["leave-out-twin", "leave-out-float"]
    assert [each.enough_together for each in found] == [False, True]
    assert found[0].how == (
        "leave the twin out (no --twin); devices then have nothing to fall back to"
    )
    assert "fall back" not in found[1].how


def test_one_golden_vector_is_kept() -> None:
    (remedy,) = remedies(overrun(100, 140, golden_bytes=64, golden_count=4))
    assert (remedy.what, remedy.saves_bytes) == ("fewer-golden-vectors", 48)
    assert "golden_vectors = 1 under [recipe]" in remedy.how
    assert str(remedy).endswith("saves about 48 B, enough by itself")


def test_a_single_golden_vector_stays() -> None:
    assert remedies(overrun(100, 140, golden_bytes=64, golden_count=1)) == ()


def test_where_nothing_is_known_nothing_is_told() -> None:
    assert remedies(overrun(100, 140)) == ()


# Fewer bits


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"keep_float": ("wor.*",)}, "drop keep_float 'wor.*', which holds GATHER words back"),
        (
            {"overrides": (Override("float32", type="GATHER"),)},
            "drop the override to float32 of type 'GATHER', which holds GATHER words back",
        ),
        (
            {"overrides": (Override("w8a8"), Override("float32", "words", "GATHER"))},
            "drop the override to float32 of name 'words' and type 'GATHER', which holds",
        ),
    ],
)
def test_a_table_that_the_recipe_keeps_wide_is_told_with_the_option(
    chosen: dict[str, Any], told: str
) -> None:
    found = remedies(overrun(0, 9000, constant("t", "float32", 100, 30), network=chosen))
    remedy = only(found, "eight-bit-table")
    assert (remedy.subject, remedy.saves_bytes) == ("t", 9000)
    assert told in remedy.how


def test_an_override_that_a_later_one_undoes_is_not_to_blame() -> None:
    overrides = (Override("float32", "words"), Override("w8a8", "words"))
    table = constant("t", "float32", 100, 30)
    found = remedies(overrun(0, 9000, table, network={"overrides": overrides}))
    assert "eight-bit-table" not in names(found)


def test_a_table_in_8_bits_is_not_told_to_go_there() -> None:
    table = constant("t", "int8", 100, 30)
    found = remedies(overrun(0, 3000, table, network={"keep_float": ("words",)}))
    assert "eight-bit-table" not in names(found)


def test_a_wide_table_that_nobody_can_do_anything_about_is_left_alone() -> None:
    table = constant("t", "float32", 100, 30)
    assert "eight-bit-table" not in names(remedies(overrun(0, 3000, table)))


def test_litert_stores_gather_in_8_bits_and_not_embedding_lookup() -> None:
    table = constant("t", "float32", 9, 9, by=Reader("EMBEDDING_LOOKUP", "words", "table", 0))
    assert "export EMBEDDING_LOOKUP words as GATHER" in (
        only(remedies(overrun(0, 100, table)), "eight-bit-table").how
    )


def test_a_table_in_16_bits_is_told_the_override() -> None:
    table = constant("t", "int16", 100, 30)
    found = remedies(overrun(0, 6000, table, network={"precision": "w8a16", "offered": ()}))
    remedy = only(found, "eight-bit-table")
    assert remedy.saves_bytes == 3000
    assert "give GATHER words the precision w8a8 by an override" in remedy.how


def test_weights_in_float_are_told_with_the_reason_of_their_operator() -> None:
    weights = constant("w", "float32", 100, 30, by=Reader("LSTM", "memory"))
    lstm = OperatorPrecision(3, "LSTM", "memory", "float32", "LSTM has no INT8 form")
    found = remedies(overrun(0, 9000, weights, network={"operators": (lstm,)}))
    assert only(found, "eight-bit-weights").how == (
        "store 'w' in 8 bits instead of 32: use an operator with an INT8 form in place of LSTM "
        "memory (LSTM has no INT8 form)"
    )


def test_float_weights_of_an_operator_in_int8_are_left_alone() -> None:
    # TensorRT 8 folds the pairs over float weights itself.
    weights = constant("w", "float32", 100, 30, by=LAYER)
    hidden = OperatorPrecision(3, "FULLY_CONNECTED", "hidden", "int8")
    found = remedies(overrun(0, 9000, weights, network={"operators": (hidden,)}))
    assert names(found) == ["narrow-layer"]


# Precision


@pytest.mark.parametrize(
    ("precision", "dtype", "saves_bytes"),
    [("fp16", "float16", 1500), ("fp16", "float32", 4500)],
)
def test_weights_of_fp16_halve_with_w8a8(precision: str, dtype: str, saves_bytes: int) -> None:
    weights = constant("w", dtype, 50, 30, by=LAYER)
    found = remedies(overrun(0, 9000, weights, network={"precision": precision}))
    remedy = only(found, "precision")
    assert remedy.saves_bytes == saves_bytes
    assert remedy.how == "convert with --precision w8a8 instead of fp16"


def test_activations_of_w8a16_halve_with_w8a8_those_at_the_edge_do_not() -> None:
    found = remedies(
        overrun(
            *(0, 900),
            activation("h", "int16", 1, 100),
            activation("y", "int16", 1, 100),
            constant("w", "int8", 10, 30, by=LAYER),
            what="peak_ram",
            network={"precision": "w8a16"},
        )
    )
    assert only(found, "precision").saves_bytes == 100


def test_a_table_that_would_be_wider_in_w8a8_counts_against_it() -> None:
    table = constant("t", "float16", 10, 30, by=Reader("EMBEDDING_LOOKUP", "words", "table", 0))
    weights = constant("w", "float16", 50, 30, by=LAYER)
    found = remedies(overrun(0, 9000, table, weights, network={"precision": "fp16"}))
    assert only(found, "precision").saves_bytes == 1500 - 600


def test_what_the_recipe_keeps_stays_as_it_is_at_another_precision() -> None:
    weights = constant("w", "float32", 50, 30, by=LAYER)
    chosen = {"precision": "fp16", "keep_float": ("hidden",)}
    assert "precision" not in names(remedies(overrun(0, 9000, weights, network=chosen)))


@pytest.mark.parametrize("offered", [(), ("fp16",), ("w8a16", "fp16")])
def test_a_precision_that_the_target_lacks_is_not_told(offered: tuple[str, ...]) -> None:
    tensors = (constant("w", "int8", 50, 30, by=LAYER), constant("b", "int64", 500, by=LAYER))
    chosen = {"precision": "w8a16", "offered": offered}
    assert "precision" not in names(remedies(overrun(0, 900, *tensors, network=chosen)))


def test_8_bits_for_one_table_and_for_all_are_not_counted_twice() -> None:
    table = constant("t", "int16", 100, 30)
    found = remedies(overrun(0, 4000, table, network={"precision": "w8a16"}))
    assert names(found)[:2] == ["eight-bit-table", "precision"]
    assert [each.saves_bytes for each in found[:2]] == [3000, 3000]
    assert not found[1].enough_together


# A smaller network


def test_rows_go_in_proportion_to_what_they_take_in_the_package() -> None:
    table = constant("t", "int8", 100, 30)
    found = remedies(overrun(1000, 1500, table, counted=0.5))
    remedy = only(found, "prune-rows")
    assert remedy.how == (
        "prune the vocabulary: keep at most 66 of the 100 rows of 't', which GATHER words looks up"
    )
    assert remedy.saves_bytes == 510


def test_a_tenth_of_the_rows_stays_whatever_the_budget() -> None:
    remedy = only(remedies(overrun(0, 9000, constant("t", "int8", 100, 30))), "prune-rows")
    assert "at most 10 of the 100 rows" in remedy.how
    assert not remedy.enough


def test_rows_are_counted_along_the_axis_that_is_looked_up() -> None:
    table = constant("t", "int8", 30, 200, by=replace(LOOKUP, axis=1))
    assert "of the 200 rows" in only(remedies(overrun(0, 3000, table)), "prune-rows").how


def test_the_largest_layer_is_told_how_far_to_go() -> None:
    layers = (
        constant("small", "int8", 10, 30, by=LAYER),
        constant("w", "int8", 400, 100, by=replace(LAYER, name="wide")),
    )
    remedy = only(remedies(overrun(30_000, 50_000, *layers)), "narrow-layer")
    assert (remedy.subject, remedy.saves_bytes, remedy.enough) == ("w", 20_000, True)
    assert remedy.how == (
        "narrow FULLY_CONNECTED wide ('w', 400 output units) to at most 200 of them, or make it "
        "two layers with at most 40 units between them"
    )


def test_a_layer_that_makes_an_output_keeps_its_units() -> None:
    head = constant("w", "int8", 1000, 500, by=LAYER)
    shape = {"outputs": (("y", (1, 1000)),)}
    found = remedies(overrun(300_000, 600_000, head, network=shape))
    remedy = only(found, "factor-layer")
    assert "two layers with at most 133 units between them" in remedy.how
    assert remedy.saves_bytes == 500_000 - 133 * 1500
    assert "narrow-layer" not in names(found)


def test_a_table_that_is_a_layer_too_is_not_narrowed() -> None:
    tied = TensorSize("t", "constant", "int8", (500, 30), 15_000, (LOOKUP, LAYER))
    assert names(remedies(overrun(5000, 15_000, tied))) == ["prune-rows"]


def test_pictures_become_smaller_where_their_activations_are_the_trouble() -> None:
    found = remedies(
        overrun(
            *(60_000, 110_000),
            activation("wide", "int8", 1, 100, 100, 10),
            activation("flat", "int8", 1, 5000),
            constant("w", "int8", 50, 100, by=Reader("CONV_2D", "wide")),
            what="peak_ram",
            network={"inputs": (("image", (1, 100, 100, 3)),)},
        )
    )
    (remedy,) = found
    assert remedy.how == (
        "feed smaller pictures to 'image', 70 x 70 instead of 100 x 100 (most memory is taken by "
        "'wide')"
    )
    assert (remedy.saves_bytes, remedy.enough) == (51_000, True)


@pytest.mark.parametrize(
    ("layout", "shape", "told"),
    [
        ("NCHW", (1, 3, 80, 60), "40 x 30 instead of 80 x 60"),
        ("NCHW", (1, 80, 60, 3), "40 x 30 instead of 80 x 60"),
        ("NHWC", (1, 80, 60, 3), "40 x 30 instead of 80 x 60"),
    ],
)
def test_height_and_width_are_where_the_layout_has_them(
    layout: str, shape: tuple[int, ...], told: str
) -> None:
    plane = (1, 8, 80, 60) if layout == "NCHW" else (1, 80, 60, 8)
    live = activation("a", "int8", *plane)
    chosen = {"layout": layout, "inputs": (("x", shape),)}
    found = remedies(overrun(9600, 38_400, live, what="peak_ram", network=chosen))
    assert told in only(found, "smaller-input").how


@pytest.mark.parametrize("shape", [(1, 128), (1, 16, 64), (1, 16_000, 1, 1)])
def test_what_is_no_picture_is_not_made_smaller(shape: tuple[int, ...]) -> None:
    live = activation("a", "int8", 1, 30, 30, 8)
    chosen = {"inputs": (("x", shape),)}
    found = remedies(overrun(100, 7200, live, what="peak_ram", network=chosen))
    assert "smaller-input" not in names(found)


def test_the_package_has_no_activations_to_shrink() -> None:
    found = remedies(
        overrun(100, 7200, float_bytes=500, network={"inputs": (("x", (1, 30, 30, 3)),)})
    )
    assert names(found) == ["leave-out-float"]


def test_cheap_ones_come_first() -> None:
    found = remedies(
        overrun(
            *(0, 200_000),
            constant("t", "float32", 100, 100),
            constant("w", "int8", 100, 100, by=LAYER),
            float_bytes=100_000,
            golden_bytes=10_000,
            golden_count=2,
            network={"keep_float": ("words",)},
        )
    )
    assert names(found) == [
        "leave-out-float",
        "fewer-golden-vectors",
        "eight-bit-table",
        "prune-rows",
        "narrow-layer",
    ]
