"""Facts about every built-in descriptor; a new one is tested the day it is added."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from edgesdk.serial import from_dict, to_dict
from edgesdk.targets.loading import catalogue, list_targets, load_target, target_ids
from edgesdk.targets.types import Figure, Target
from edgesdk.units import MIB, parse_bytes

TARGETS = [pytest.param(target, id=target.id) for target in list_targets()]
every_target = pytest.mark.parametrize("target", TARGETS)


def figures(target: Target) -> Iterator[Figure]:
    for unit in target.compute_units:
        yield from filter(None, (unit.cores, unit.clock_hz))
    yield from filter(None, (target.memory.ram_bytes,))


def test_there_are_fourteen_arm_boards_or_more() -> None:
    boards = [name for name in target_ids() if not name.startswith("generic-")]
    assert len([name for name in boards if load_target(name).family == "arm-cpu"]) >= 14


def test_ids_and_targets_are_listed_in_the_same_order() -> None:
    assert target_ids() == tuple(target.id for target in list_targets())
    assert list(target_ids()) == sorted(target_ids())


def test_every_file_in_the_catalogue_is_a_target_or_a_base() -> None:
    files = {path.stem for path in catalogue().rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("_")} == set(target_ids())


@every_target
def test_the_file_is_named_after_the_id_and_lies_in_its_family(target: Target) -> None:
    assert (catalogue() / target.family / f"{target.id}.toml").is_file()


@every_target
def test_it_survives_the_way_to_json_and_back(target: Target) -> None:
    assert from_dict(Target, to_dict(target), origin=target.id) == target


@every_target
def test_every_figure_names_a_source_that_is_there(target: Target) -> None:
    assert {figure.source for figure in figures(target)} <= set(target.sources)


@every_target
def test_every_source_can_be_looked_up(target: Target) -> None:
    for source in target.sources.values():
        assert urlsplit(source.url).scheme == "https", source.url


@every_target
def test_weights_are_int8_symmetric_per_channel(target: Target) -> None:
    weights = target.quantization.weights
    assert (weights.bits, weights.symmetric, weights.granularity) == (8, True, "per-channel")


@every_target
def test_activations_are_int8_per_tensor_and_symmetric_for_tensorrt_only(target: Target) -> None:
    activations = target.quantization.activations
    on_tensorrt = [runtime.name for runtime in target.runtimes] == ["tensorrt"]
    assert (activations.bits, activations.symmetric) == (8, on_tensorrt)
    assert activations.granularity == "per-tensor"


@every_target
def test_every_unit_with_rules_is_one_of_its_units_and_the_cpu_has_none(target: Target) -> None:
    units = {unit.id: unit.kind for unit in target.compute_units}
    assert {units[id_] for id_ in target.operators} <= {"npu", "gpu"}


@every_target
def test_the_accelerator_comes_before_the_cpu(target: Target) -> None:
    kinds = [unit.kind == "cpu" for unit in target.compute_units]
    assert kinds == sorted(kinds)


def test_the_catalogue_has_at_least_30_targets_in_five_families() -> None:
    targets = [load_target(name) for name in target_ids()]
    assert len(targets) >= 30
    assert {target.family for target in targets} == {
        *("arm-cpu", "coral", "jetson", "qualcomm", "x86-cpu"),
    }


@every_target
def test_it_has_every_size_budget(target: Target) -> None:
    budget = target.budget
    assert None not in (budget.package, budget.delta, budget.installed, budget.peak_ram)


@every_target
def test_a_delta_has_half_of_what_a_package_has(target: Target) -> None:
    assert target.budget.package is not None and target.budget.delta is not None
    assert 2 * parse_bytes(target.budget.delta) == parse_bytes(target.budget.package)


@every_target
def test_it_bounds_accuracy_and_parity_but_never_latency(target: Target) -> None:
    assert target.gates.max_accuracy_drop_points is not None
    assert target.gates.max_parity_mismatch_percent is not None
    assert target.gates.max_p95 is None


@every_target
def test_the_memory_budget_leaves_half_of_the_board_to_others(target: Target) -> None:
    ram = target.memory.ram_bytes
    assert target.budget.peak_ram is not None
    if ram is not None:
        assert parse_bytes(target.budget.peak_ram) <= ram.value / 2


@pytest.mark.parametrize("name", [name for name in target_ids() if name.startswith("generic-")])
def test_a_generic_target_has_no_hardware_figures(name: str) -> None:
    target = load_target(name)
    assert (list(figures(target)), target.memory.ram_bytes, dict(target.sources)) == ([], None, {})


def test_a_raspberry_pi_5_has_four_cortex_a76_at_2400_mhz_with_dot_products() -> None:
    (cpu,) = load_target("raspberry-pi-5").compute_units
    assert cpu.core == "Cortex-A76"
    assert (cpu.cores, cpu.clock_hz) == (Figure(4, "soc"), Figure(2_400_000_000, "clocks"))
    assert "asimddp" in cpu.features


def test_of_a_cpu_with_unlike_cores_the_fastest_come_first() -> None:
    cores = [unit.core for unit in load_target("rock-5b").compute_units]
    assert cores == ["Cortex-A76", "Cortex-A55"]


def test_the_smallest_board_has_the_tighter_budget() -> None:
    small, usual = load_target("raspberry-pi-zero-2-w"), load_target("raspberry-pi-5")
    assert small.memory.ram_bytes == Figure(512 * MIB, "models")
    assert (small.budget.package, usual.budget.package) == ("16 MiB", "64 MiB")
    assert small.gates == usual.gates


def test_a_32_bit_board_runs_litert_only() -> None:
    target = load_target("beaglebone-black")
    assert target.architecture == "armv7l"
    assert [runtime.name for runtime in target.runtimes] == ["litert"]
