"""Facts about reading descriptors: what is inherited, what is refused, and how it is told."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.manifest import RUNTIMES
from edgesdk.errors import ExitCode, TargetError
from edgesdk.targets import loading
from edgesdk.targets.loading import check_descriptor, list_targets, load_target, merge, target_ids
from edgesdk.targets.types import Figure, RuntimeName

BOARD = """
extends = "_arm-cpu"
name = "Acme One"
vendor = "Acme"
soc = "Acme S1"

[[compute_units]]
id = "cpu"
kind = "cpu"
core = "Cortex-A53"
cores = { value = 4, source = "manual" }

[sources.manual]
title = "Acme One manual"
url = "https://example.com/one.pdf"
kind = "datasheet"
accessed = "2026-11-21"
"""


def board(folder: Path, text: str = BOARD, name: str = "acme-one") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(old: str, new: str) -> str:
    assert BOARD.count(old) == 1, old
    return BOARD.replace(old, new)


def problems(path: Path) -> list[str]:
    with pytest.raises(TargetError) as caught:
        check_descriptor(path)
    return list(caught.value.details)


@pytest.fixture
def small_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue with two families, `one` and `two`, and nothing in them."""
    for family in ("one", "two"):
        (tmp_path / family).mkdir()
    monkeypatch.setattr(loading, "catalogue", lambda: tmp_path)
    return tmp_path


# A user's own board


def test_a_target_may_name_each_runtime_that_a_package_may() -> None:
    assert get_args(RuntimeName) == RUNTIMES


def test_a_path_names_a_board_of_ones_own(tmp_path: Path) -> None:
    target = load_target(board(tmp_path))
    assert (target.id, target.name) == ("acme-one", "Acme One")


def test_a_path_may_be_given_as_text(tmp_path: Path) -> None:
    assert load_target(str(board(tmp_path))) == load_target(board(tmp_path))


def test_what_a_board_does_not_say_comes_from_the_built_in_base(tmp_path: Path) -> None:
    target = load_target(board(tmp_path))
    assert target.family == "arm-cpu"
    assert target.quantization == load_target("raspberry-pi-5").quantization


def test_a_board_tightens_one_budget_and_keeps_the_others(tmp_path: Path) -> None:
    target = load_target(board(tmp_path, BOARD + '\n[budget]\npackage = "8 MiB"\n'))
    base = load_target("generic-arm64").budget
    assert target.budget.package == "8 MiB"
    assert target.budget == replace(base, package="8 MiB")


def test_a_board_replaces_a_list_whole(tmp_path: Path) -> None:
    text = BOARD + '\n[[runtimes]]\nname = "litert"\nmin_version = "2.1"\n'
    assert [runtime.name for runtime in load_target(board(tmp_path, text)).runtimes] == ["litert"]


def test_a_base_beside_the_board_goes_before_a_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "_acme.toml").write_text('extends = "_arm-cpu"\nvendor = "Acme, by its base"\n')
    text = changed('extends = "_arm-cpu"', 'extends = "_acme"').replace('vendor = "Acme"\n', "")
    target = load_target(board(tmp_path, text))
    assert (target.vendor, target.architecture) == ("Acme, by its base", "aarch64")


def test_a_board_of_ones_own_is_not_listed(tmp_path: Path) -> None:
    board(tmp_path)
    assert "acme-one" not in target_ids()


def test_a_board_of_ones_own_may_not_take_the_id_of_a_built_in_one(tmp_path: Path) -> None:
    (problem,) = problems(board(tmp_path, name="raspberry-pi-5"))
    assert problem.startswith("'raspberry-pi-5' is the id of ")


def test_the_guides_examples_are_complete(tmp_path: Path) -> None:
    guide = Path(__file__).parents[3] / "docs" / "add-a-target.md"
    plain, accelerated = re.findall(
        r"```toml\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL
    )
    assert load_target(board(tmp_path, plain)).budget.package == "32 MiB"
    vision = load_target(board(tmp_path, accelerated, name="acme-vision"))
    assert "htp" in vision.operators
    assert vision.runtimes[0].name == "qnn"


# What is not there


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("rasberry-pi-5", "raspberry-pi-5"),
        ("raspberrypi5", "raspberry-pi-5"),
        ("Rock-5B", "rock-5b"),
        ("beagle-play", "beagleplay"),
    ],
)
def test_an_unknown_name_suggests_the_nearest_ids(name: str, meant: str) -> None:
    with pytest.raises(TargetError) as caught:
        load_target(name)
    assert meant in caught.value.hint


def test_an_unknown_name_says_how_to_list_targets() -> None:
    with pytest.raises(TargetError, match="there is no target 'nothing-like-it'") as caught:
        load_target("nothing-like-it")
    assert caught.value.hint.startswith("`edgesdk target ls`")


def test_an_unknown_target_is_the_users_input() -> None:
    assert TargetError.exit_code is ExitCode.BAD_INPUT


@pytest.mark.parametrize("name", ["_arm-cpu", "_arm-cpu-32"])
def test_a_base_is_not_a_target(name: str) -> None:
    assert name not in target_ids()
    with pytest.raises(TargetError, match="there is no target"):
        load_target(name)
    with pytest.raises(TargetError, match="is a base for other descriptors"):
        load_target(loading.catalogue() / "arm-cpu" / f"{name}.toml")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"gone\.toml cannot be read: No such file"):
        load_target(tmp_path / "gone.toml")


def test_a_file_that_is_not_toml_says_so(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="is not TOML"):
        load_target(board(tmp_path, "name = "))


def test_an_unknown_base_names_the_bases_there_are(tmp_path: Path) -> None:
    text = changed('extends = "_arm-cpu"', 'extends = "_arm"')
    with pytest.raises(TargetError, match="extends '_arm', which is not there") as caught:
        load_target(board(tmp_path, text))
    assert "_arm-cpu, _arm-cpu-32" in caught.value.hint


def test_only_a_base_can_be_extended(tmp_path: Path) -> None:
    (problem,) = problems(board(tmp_path, changed('"_arm-cpu"', '"raspberry-pi-5"')))
    assert problem.endswith("@ $.extends")


def test_a_circle_of_bases_is_refused(tmp_path: Path) -> None:
    (tmp_path / "_a.toml").write_text('extends = "_b"')
    (tmp_path / "_b.toml").write_text('extends = "_a"')
    circle = "acme-one.toml -> _a.toml -> _b.toml -> _a.toml"
    with pytest.raises(TargetError, match=circle):
        load_target(board(tmp_path, changed('extends = "_arm-cpu"', 'extends = "_a"')))


# What a descriptor may not hold


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('soc = "Acme S1"', "", "required key missing @ $.soc"),
        ('soc = "Acme S1"', "soc = 1", "found 1, expected str @ $.soc"),
        ('soc = "Acme S1"', 'soc = "S1"\nsock = "S1"', "unknown key sock @ $"),
        (
            'soc = "Acme S1"',
            'soc = "S1"\narchitecture = "mips"',
            "found 'mips', expected one of aarch64, armv7l, x86_64 @ $.architecture",
        ),
        (
            'soc = "Acme S1"',
            'soc = "S1"\nid = "acme"',
            "the file's name is the id, remove the key @ $.id",
        ),
        (
            '"manual" }',
            '"leaflet" }',
            "found 'leaflet', expected a key of [sources] (manual)"
            " @ $.compute_units[0].cores.source",
        ),
        ('"manual" }', '"leaflet" }', "no figure names this source @ $.sources.manual"),
        (
            '{ value = 4, source = "manual" }',
            "4",
            "found 4, expected a table @ $.compute_units[0].cores",
        ),
        (
            "value = 4",
            "value = 0",
            "found 0, expected more than 0 @ $.compute_units[0].cores.value",
        ),
        (
            "value = 4",
            "value = 4.0",
            "found 4.0, expected int @ $.compute_units[0].cores.value",
        ),
        (
            ', source = "manual"',
            "",
            "required key missing @ $.compute_units[0].cores.source",
        ),
        (
            'core = "Cortex-A53"',
            'core = "Cortex-A53"\nfeatures = "asimd"',
            "found 'asimd', expected a list @ $.compute_units[0].features",
        ),
        (
            'core = "Cortex-A53"',
            'core = "Cortex-A53"\nfeatures = ["asimd"]',
            "features need a features_source @ $.compute_units[0]",
        ),
        (
            'core = "Cortex-A53"',
            'core = "Cortex-A53"\nfeatures_source = "rumour"',
            "found 'rumour', expected a key of [sources] (manual)"
            " @ $.compute_units[0].features_source",
        ),
        (
            'kind = "cpu"',
            'kind = "dsp"',
            "found 'dsp', expected one of cpu, gpu, npu @ $.compute_units[0].kind",
        ),
        (
            'kind = "datasheet"',
            'kind = "hearsay"',
            "found 'hearsay', expected one of datasheet, documentation, device-tree, measured"
            " @ $.sources.manual.kind",
        ),
        (
            '"2026-11-21"',
            '"21.11.2026"',
            "found '21.11.2026', expected a date such as '2026-11-20' @ $.sources.manual.accessed",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_path(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert problem in problems(board(tmp_path, changed(old, new)))


@pytest.mark.parametrize(
    ("addition", "problem"),
    [
        (
            '[budget]\npackage = "16 MIPS"',
            "found '16 MIPS', expected a size such as '512 KiB' or '4 MB' @ $.budget.package",
        ),
        (
            '[budget]\ninstalled = "much"',
            "found 'much', expected a size such as '512 KiB' or '4 MB' @ $.budget.installed",
        ),
        (
            '[budget]\ndelta = "half"',
            "found 'half', expected a size such as '512 KiB' or '4 MB' @ $.budget.delta",
        ),
        (
            '[budget]\npeak_ram = "10 ms"',
            "found '10 ms', expected a size such as '512 KiB' or '4 MB' @ $.budget.peak_ram",
        ),
        (
            '[gates]\nmax_peak_ram = "10 ms"',
            "found '10 ms', expected a size such as '512 KiB' or '4 MB' @ $.gates.max_peak_ram",
        ),
        (
            '[gates]\nmax_p95 = "4 MB"',
            "found '4 MB', expected a duration such as '10 ms' or '2 s' @ $.gates.max_p95",
        ),
        (
            "[gates]\nmax_accuracy_drop_points = -1.0",
            "found -1.0, expected 0 or more @ $.gates.max_accuracy_drop_points",
        ),
        (
            "[gates]\nmax_parity_mismatch_percent = nan",
            "found nan, expected a finite number @ $.gates.max_parity_mismatch_percent",
        ),
        (
            '[agent]\nmin_python = "three"',
            "found 'three', expected a version such as '1.18' @ $.agent.min_python",
        ),
        (
            '[[runtimes]]\nname = "litert"\nmin_version = "v2"',
            "found 'v2', expected a version such as '1.18' @ $.runtimes[0].min_version",
        ),
        (
            '[[runtimes]]\nname = "tflite"\nmin_version = "2.0"',
            "found 'tflite', expected one of litert, onnxruntime, edgetpu, qnn, tensorrt, openvino "
            "@ $.runtimes[0].name",
        ),
        (
            2 * '[[runtimes]]\nname = "litert"\nmin_version = "2.0"\n',
            "'litert' is there more than once @ $.runtimes",
        ),
        (
            '[[compute_units]]\nid = "cpu"\nkind = "cpu"\ncore = "Cortex-A7"',
            "'cpu' is there more than once @ $.compute_units",
        ),
        (
            "[quantization.weights]\nbits = 5",
            "found 5, expected one of 4, 8, 16 @ $.quantization.weights.bits",
        ),
    ],
)
def test_a_wrong_addition_is_named_with_its_path(
    tmp_path: Path, addition: str, problem: str
) -> None:
    assert problems(board(tmp_path, f"{BOARD}\n{addition}\n")) == [problem]


def test_a_target_needs_a_runtime(tmp_path: Path) -> None:
    text = changed('soc = "Acme S1"', 'soc = "S1"\nruntimes = []')
    assert problems(board(tmp_path, text)) == ["found none, expected at least one @ $.runtimes"]


def test_an_id_has_lower_case_letters_digits_and_hyphens(tmp_path: Path) -> None:
    (problem,) = problems(board(tmp_path, name="Acme_One"))
    assert problem.startswith("found 'Acme_One', expected lower-case letters")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = (
        changed('soc = "Acme S1"', 'colour = "red"')
        .replace('"manual" }', '"leaflet" }')
        .replace("value = 4", 'value = "4"')
    ) + '\n[budget]\npackage = "lots"\n'
    assert [problem.rpartition(" @ ")[2] for problem in problems(board(tmp_path, text))] == [
        "$.soc",
        "$.compute_units[0].cores.value",
        "$",
        "$.compute_units[0].cores.source",
        "$.sources.manual",
        "$.budget.package",
    ]


# The catalogue as a whole


def test_one_id_in_two_families_is_refused(small_catalogue: Path) -> None:
    for family in ("one", "two"):
        (small_catalogue / family / "twin.toml").write_text("")
    with pytest.raises(TargetError, match="one id must have one descriptor") as caught:
        target_ids()
    (line,) = caught.value.details
    assert "one/twin.toml" in line and "two/twin.toml" in line


def test_a_family_is_named_after_its_folder(small_catalogue: Path) -> None:
    path = board(small_catalogue / "one", 'family = "other"\n' + changed('"_arm-cpu"', '"_base"'))
    (small_catalogue / "one" / "_base.toml").write_text("")
    assert "found 'other', expected 'one', its folder @ $.family" in problems(path)


def test_a_broken_descriptor_does_not_hide_among_the_others(small_catalogue: Path) -> None:
    board(small_catalogue / "one", 'name = "nothing else"')
    with pytest.raises(TargetError, match=r"acme-one\.toml does not hold"):
        list_targets()


# Merging

keys = st.sampled_from("abc")
leaves = st.sampled_from([0, 1, "text", None, [1, 2]])
tables = st.dictionaries(keys, leaves)
trees = st.dictionaries(keys, leaves | st.dictionaries(keys, leaves | tables))


@given(trees)
def test_merging_with_nothing_changes_nothing(tree: dict[str, Any]) -> None:
    assert merge({}, tree) == merge(tree, {}) == merge(tree, tree) == tree


@given(trees, trees)
def test_merging_keeps_every_leaf_of_the_override(
    base: dict[str, Any], over: dict[str, Any]
) -> None:
    assert merge(merge(base, over), over) == merge(base, over)
    for key, value in over.items():
        if not isinstance(value, dict):
            assert merge(base, over)[key] == value


@given(trees, trees)
def test_merging_keeps_what_the_override_does_not_name(
    base: dict[str, Any], over: dict[str, Any]
) -> None:
    merged = merge(base, over)
    assert merged.keys() == base.keys() | over.keys()
    assert all(merged[key] == base[key] for key in base.keys() - over.keys())


@given(trees, trees)
def test_merging_leaves_its_arguments_alone(base: dict[str, Any], over: dict[str, Any]) -> None:
    before = repr((base, over))
    merge(base, over)
    assert repr((base, over)) == before


def test_the_figure_of_a_board_of_ones_own_keeps_its_source(tmp_path: Path) -> None:
    (cpu,) = load_target(board(tmp_path)).compute_units
    assert cpu.cores == Figure(4, "manual")
