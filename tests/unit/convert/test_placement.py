"""Where a target's rules put each operator, with the reason and the cure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgesdk.convert.contiguity import blocker, first_piece
from edgesdk.convert.int8_forms import INT8_FORMS
from edgesdk.convert.placement import LEFT, NO_COUNTERPART, ONE_SUBGRAPH, UNSUPPORTED_DTYPE, place
from edgesdk.models.graph import Graph
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import ComputeUnit, Limit, OperatorRule, OperatorRules, Target
from tests.unit.convert.graphs import Builder

UNITS = (ComputeUnit("npu", "npu", "NPU"), ComputeUnit("cpu", "cpu", "CPU"))


def rules(**keywords: object) -> OperatorRules:
    types = {"RELU": OperatorRule(), "ADD": OperatorRule()}
    return OperatorRules(
        **{"format": "tflite", "source": "test", "types": types, "dtypes": ("int8",), **keywords}  # type: ignore[arg-type]
    )


def target(*found: OperatorRules) -> Target:
    units = tuple(replace(UNITS[0], id=f"npu{index}") for index in range(len(found)))
    operators = {unit.id: each for unit, each in zip(units, found, strict=True)}
    return replace(load_target("coral-usb"), compute_units=(*units, UNITS[1]), operators=operators)


def chain(*kinds: str, dtype: str = "int8") -> Graph:
    net = Builder()
    tensor = net.input(dtype=dtype)
    for kind in kinds:
        tensor = net.operator(kind, [tensor], dtype=dtype)
    return net.graph()


def units(graph: Graph, *found: OperatorRules) -> list[str]:
    return [each.unit for each in place(graph, target(*found))]


def reasons(graph: Graph, *found: OperatorRules) -> list[str]:
    return [each.reason for each in place(graph, target(*found))]


def test_an_operator_in_the_table_goes_to_the_unit() -> None:
    assert units(chain("RELU"), rules()) == ["npu0"]


def test_an_operator_that_is_not_goes_to_the_cpu_with_the_reason() -> None:
    (placed,) = place(chain("ELU"), target(rules(unsupported="no such thing")))
    assert (placed.unit, placed.reason) == ("cpu", "no such thing")
    assert placed.cure == "train with RELU in its place"


def test_a_unit_that_takes_it_comes_before_those_behind() -> None:
    other = rules(types={"ELU": OperatorRule(), "RELU": OperatorRule()})
    assert units(chain("RELU", "ELU", "ABS"), rules(), other) == ["npu0", "npu1", "cpu"]


def test_the_reason_is_the_first_units() -> None:
    found = reasons(chain("ABS"), rules(unsupported="first"), rules(unsupported="second"))
    assert found == ["first"]


def test_a_target_without_rules_runs_everything_on_the_cpu_without_a_reason() -> None:
    (placed,) = place(chain("RELU"), target())
    assert (placed.unit, placed.reason, placed.cure) == ("cpu", "", "")


def test_placements_name_the_operators_in_order() -> None:
    found = place(chain("RELU", "ADD"), target(rules()))
    assert [(each.index, each.type, each.name) for each in found] == [
        (0, "RELU", "0_RELU"),
        (1, "ADD", "1_ADD"),
    ]


@pytest.mark.parametrize(
    ("limit", "holds"),
    [
        (Limit("rank", at_most=4), True),
        (Limit("rank", at_most=3), False),
        (Limit("rank", at_least=4), True),
        (Limit("rank", at_least=5), False),
        (Limit("rank", one_of=("4", "5")), True),
        (Limit("rank", one_of=("3",)), False),
        (Limit("static", one_of=("True",)), True),
        (Limit("attribute.axis", one_of=("3",)), True),
        (Limit("input_dtype", at_most=3), False),
    ],
    ids=str,
)
def test_limits(limit: Limit, holds: bool) -> None:
    types = {"RELU": OperatorRule(limits=(limit,))}
    assert units(chain("RELU"), rules(types=types)) == ["npu0" if holds else "cpu"]


def test_a_broken_limit_gives_its_own_reason_and_cure() -> None:
    limit = Limit("rank", at_most=3, reason="too many dimensions", cure="reshape")
    (placed,) = place(chain("RELU"), target(rules(limits=(limit,))))
    assert (placed.reason, placed.cure) == ("too many dimensions", "reshape")


def test_the_dtype_of_an_activation_must_be_one_of_the_units() -> None:
    (placed,) = place(chain("RELU", dtype="int16"), target(rules()))
    assert placed.reason == UNSUPPORTED_DTYPE
    assert placed.cure == "it works on int16; it would have to be int8"


def test_a_rule_may_have_dtypes_of_its_own() -> None:
    types = {"RELU": OperatorRule(dtypes=("int16",))}
    assert units(chain("RELU", dtype="int16"), rules(types=types)) == ["npu0"]


def test_constants_may_have_any_dtype() -> None:
    net = Builder()
    net.operator("ADD", [net.input(), net.tensor((4,), "int32", constant=True)])
    assert units(net.graph(), rules()) == ["npu0"]


def test_a_float_model_is_placed_as_what_it_becomes() -> None:
    assert units(chain("RELU", dtype="float32"), rules()) == ["npu0"]


def test_what_it_becomes_is_the_callers_to_say() -> None:
    (placed,) = place(chain("RELU", dtype="float32"), target(rules()), converted="float16")
    assert placed.cure == "it works on float16; it would have to be int8"


def test_an_operator_without_an_integer_form_stays_in_float() -> None:
    types = {"SIN": OperatorRule(), "RELU": OperatorRule()}
    graph = chain("RELU", "SIN", dtype="float32")
    assert reasons(graph, rules(types=types)) == ["", UNSUPPORTED_DTYPE]


def test_float_in_a_quantized_model_is_float() -> None:
    net = Builder()
    net.operator("RELU", [net.operator("RELU", [net.input()])], dtype="float32")
    assert units(net.graph(), rules()) == ["npu0", "cpu"]


def test_what_has_an_integer_form_is_what_the_quantizer_has() -> None:
    detours = pytest.importorskip("edgesdk.convert.backends.litert.detours")
    codes = {name: code for name, code in vars(detours._OPS).items() if isinstance(code, int)}
    assert {name for name, code in codes.items() if detours.has_int8_form(code)} == INT8_FORMS


# One piece


def piece(*kinds: str) -> list[str]:
    return units(chain(*kinds), rules(contiguous=True))


def test_after_a_break_nothing_returns() -> None:
    assert piece("RELU", "ABS", "RELU", "RELU") == ["npu0", "cpu", "cpu", "cpu"]


def test_without_contiguity_everything_does() -> None:
    assert units(chain("RELU", "ABS", "RELU"), rules()) == ["npu0", "cpu", "npu0"]


def test_leading_operators_that_are_refused_do_no_harm() -> None:
    assert piece("ABS", "ABS", "RELU", "RELU", "ABS", "RELU") == [
        *("cpu", "cpu"),
        *("npu0", "npu0"),
        *("cpu", "cpu"),
    ]


def test_what_is_cut_off_says_so_and_names_what_to_cure() -> None:
    found = place(chain("RELU", "ABS", "RELU", "RELU"), target(rules(contiguous=True)))
    assert found[3].reason == ONE_SUBGRAPH
    assert found[3].cure == "cure ABS '1_ABS' above it first"


def test_a_model_that_is_refused_throughout_has_no_piece() -> None:
    assert piece("ABS", "ELU") == ["cpu", "cpu"]


def branches() -> Graph:
    """relu0 -> abs1 -> add3; relu0 -> relu2 -> add3; the branch that is refused stands first."""
    net = Builder()
    first = net.operator("RELU", [net.input()])
    refused = net.operator("ABS", [first])
    free = net.operator("RELU", [first])
    net.operator("ADD", [refused, free])
    return net.graph()


def test_a_branch_beside_the_break_stays_wherever_it_stands_in_the_file() -> None:
    assert units(branches(), rules(contiguous=True)) == ["npu0", "cpu", "npu0", "cpu"]


def test_a_branch_behind_a_leading_refusal_waits_for_no_other() -> None:
    """The piece starts with the first operator that can go; a refused one's readers are out."""
    net = Builder()
    x = net.input()
    net.operator("RELU", [x])
    net.operator("ABS", [x])
    net.operator("RELU", [net.operators[-1].outputs[0]])
    assert units(net.graph(), rules(contiguous=True)) == ["npu0", "cpu", "cpu"]


def test_pieces_are_made_from_the_first_operator_that_is_ready() -> None:
    graph = branches()
    assert first_piece(graph, [False, True, True, True]) == {1, 2, 3}
    assert first_piece(graph, [True, False, True, True]) == {0, 2}
    assert first_piece(graph, [False] * 4) == frozenset()


def test_a_circle_ends() -> None:
    graph = chain("RELU", "RELU")
    looped = replace(graph.operators[0], inputs=graph.operators[1].outputs)
    circle = replace(graph, operators=(looped, graph.operators[1]))
    assert first_piece(circle, [True, True]) == frozenset()
    assert blocker(circle, [True, True], 0) is None


# Files that are compiled already


def test_of_a_compiled_file_the_compilers_own_placement_counts() -> None:
    net = Builder()
    compiled = net.operator("edgetpu-custom-op", [net.input()], domain="custom")
    net.operator("RELU", [compiled])
    found = place(net.graph(), target(rules(contiguous=True)))
    assert [(each.unit, each.reason) for each in found] == [("npu0", ""), ("cpu", LEFT)]


# ONNX models against TFLite rules


def onnx_graph(*kinds: str) -> Graph:
    net = Builder("onnx")
    tensor = net.input((1, 4, 8, 8), "float32")
    for kind in kinds:
        weights = net.tensor((4, 4, 3, 3), "float32", constant=True)
        inputs = [tensor, weights] if kind == "Conv" else [tensor]
        tensor = net.operator(kind, inputs, (1, 4, 8, 8), "float32", version=17)
    return net.graph()


def test_an_onnx_operator_is_placed_as_its_tflite_counterpart() -> None:
    types = {"CONV_2D": OperatorRule(), "RELU": OperatorRule()}
    found = place(onnx_graph("Conv", "Relu"), target(rules(types=types)))
    assert [(each.type, each.unit) for each in found] == [("Conv", "npu0"), ("Relu", "npu0")]


def test_what_has_no_counterpart_says_that_it_must_be_converted_first() -> None:
    assert reasons(onnx_graph("Relu", "Einsum"), rules()) == ["", NO_COUNTERPART]


def test_what_the_conversion_folds_away_is_no_break() -> None:
    graph = onnx_graph("Relu", "Dropout", "Relu")
    assert units(graph, rules(contiguous=True)) == ["npu0"] * 3


def test_versions_of_onnx_operators_are_not_held_against_tflites() -> None:
    types = {"RELU": OperatorRule(limits=(Limit("version", at_most=2),))}
    assert units(onnx_graph("Relu"), rules(types=types)) == ["npu0"]


def depthwise(channels: int, group: int) -> str:
    net = Builder("onnx")
    weights = net.tensor((4, channels // group, 3, 3), "float32", constant=True)
    inputs = [net.input((1, channels, 8, 8), "float32"), weights]
    net.operator("Conv", inputs, (1, 4, 8, 8), "float32", attributes={"group": group})
    types = {"DEPTHWISE_CONV_2D": OperatorRule()}
    return units(net.graph(), rules(types=types))[0]


def test_a_convolution_with_a_group_for_each_channel_is_depthwise() -> None:
    assert depthwise(4, 4) == "npu0"


def test_any_other_group_has_no_counterpart() -> None:
    assert depthwise(4, 2) == "cpu"


def test_between_q_and_dq_an_operator_is_integer() -> None:
    net = Builder("onnx")
    scale = net.tensor((), "float32", constant=True)
    shape = (1, 4, 8, 8)
    stored = net.operator("QuantizeLinear", [net.input(shape, "float32"), scale], shape, "int8")
    real = net.operator("DequantizeLinear", [stored, scale], shape, "float32")
    relu = net.operator("Relu", [real], shape, "float32")
    net.operator("QuantizeLinear", [relu, scale], shape, "int8")
    quantized = OperatorRule(dtypes=("int8", "float32"))
    types = dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), quantized)
    found = rules(format="onnx", types={**types, "Relu": OperatorRule()})
    assert units(net.graph(), found) == ["npu0"] * 4


def test_beside_q_and_dq_an_operator_stays_in_float() -> None:
    net = Builder("onnx")
    shape = (1, 4, 8, 8)
    scale = net.tensor((), "float32", constant=True)
    relu = net.operator("Relu", [net.input(shape, "float32")], shape, "float32")
    again = net.operator("Relu", [relu], shape, "float32")
    net.operator("QuantizeLinear", [again, scale], shape, "int8")
    found = rules(format="onnx", types={"Relu": OperatorRule()})
    assert units(net.graph(), found)[0] == "cpu"
