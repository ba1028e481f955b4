"""Budgets as a user meets them: flags, project file and target; the refusal; nothing sent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesdk import api
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import BudgetExceeded
from tests.cli import CALIBRATION, DIGITS, Cli, Done, this_machine
from tests.onnx_networks import Network

KIB = 1024
PROJECT = """\
[recipe]
keep_float = ["found"]

[budget]
package = "{package}"
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def device(cli: Cli, virtual_device: VirtualDevice) -> Iterator[VirtualDevice]:
    cli.enrol(virtual_device.as_device("bench", this_machine()))
    yield virtual_device


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with a table of 640 KB, its data, and its artifacts: "kept" with it in float."""
    cli = Cli(tmp_path_factory.mktemp("made"))
    net = Network()
    net.weights("table", 5000, 32)
    found = net.node("Gather", ["table", net.input("ids", (1, 6), "int64")], "found", axis=0)
    net.dense(net.node("ReduceMean", [found], "mean", axes=[1], keepdims=0), "y", (32, 4))
    ids = np.random.default_rng(1).integers(0, 5000, (8, 1, 6))
    np.savez(cli.folder / "data.npz", ids=ids)
    net.write(cli.folder / "words.onnx", y=(1, 4))
    convert(cli, "free")
    convert(cli, "kept", "--keep-float", "found")
    return cli.folder


@pytest.fixture
def words(cli: Cli, made: Path) -> Path:
    """The network, in the folder that the command runs in."""
    shutil.copytree(made, cli.folder, dirs_exist_ok=True)
    return cli.folder / "words.onnx"


def convert(cli: Cli, artifact: str, *more: str) -> None:
    done = cli(
        *("convert", "words.onnx", "--target", "raspberry-pi-5", "--calibration", "data.npz"),
        *("-o", artifact, *more),
    )
    assert done.code == 0, done.err


def package(cli: Cli, artifact: str, *more: str | Path) -> Done:
    return cli("package", artifact, "-o", "words.edgepkg", "--unsigned", *more)


def over(done: Done) -> Any:
    assert done.code == 3, done.err
    return done.json["error"]


# The refusal


def test_a_refusal_leaves_nothing_behind(cli: Cli, words: Path) -> None:
    """No package, and no first key that was made for it."""
    free = ("package", "free", "-o", "words.edgepkg")
    refused = cli(*free, "--package-budget", "100 KiB", "--json")
    assert over(refused)["budget"] == "package"
    assert not (cli.folder / "words.edgepkg").exists()
    assert json.loads(cli("key", "ls", "--json").out)["keys"] == []
    assert "made default" not in refused.err
    kept = cli(*free)
    assert kept.code == 0 and "you had no key to sign with: made default" in kept.err


def test_it_says_by_how_much_what_costs_it_and_what_would_help(cli: Cli, words: Path) -> None:
    done = package(cli, "kept", "--package-budget", "200 KiB", "--include-float")
    assert done.code == 3
    sentence, *lines = done.err.strip().splitlines()
    assert "the package budget is 200 KiB (204800 bytes): " in sentence
    assert sentence.endswith("KiB too much")
    costs = [line for line in lines if line.startswith("  - ") and "to save" not in line]
    assert any("float.reference (float)" in line for line in costs)
    assert any("constant table: 625 KiB (float32[5000, 32])" in line for line in costs)
    savings = [line for line in lines if line.startswith("  - to save: ")]
    assert "leave the float model out (no --include-float" in savings[0]
    assert "drop keep_float 'found', which holds Gather found back" in savings[1]
    assert savings[1].endswith("enough with those above")
    assert lines[-1] == (
        "next: do what is enough, or raise the budget (--package-budget, or [budget] in "
        "edgesdk.toml)"
    )


def test_programs_get_the_numbers(cli: Cli, words: Path) -> None:
    error = over(package(cli, "kept", "--package-budget", "400 KiB", "--json"))
    assert (error["type"], error["budget"], error["limit_bytes"]) == (
        "BudgetExceeded",
        "package",
        400 * KIB,
    )
    remedy = error["remedies"][0]
    assert (remedy["what"], remedy["subject"]) == ("eight-bit-table", "table")
    assert error["actual_bytes"] - remedy["saves_bytes"] <= error["limit_bytes"]
    assert (remedy["enough"], remedy["enough_together"], remedy["estimated"]) == (True, True, True)


def test_the_remedy_brings_it_under(cli: Cli, words: Path) -> None:
    assert package(cli, "kept", "--package-budget", "400 KiB").code == 3
    assert not (cli.folder / "words.edgepkg").exists()
    assert package(cli, "free", "--package-budget", "400 KiB").code == 0


def test_fewer_golden_vectors_are_a_choice_of_the_project(cli: Cli, words: Path) -> None:
    (cli.folder / "edgesdk.toml").write_text("[recipe]\ngolden_vectors = 1\n")
    convert(cli, "free")
    artifact = json.loads((cli.folder / "free" / "artifact.json").read_text())
    assert artifact["golden"]["count"] == 1


# What is in force


@pytest.mark.parametrize(
    ("target", "project", "flag", "limit_kib"),
    [
        ("80 KiB", None, None, 80),
        ("80 KiB", "60 KiB", None, 60),
        ("80 KiB", "60 KiB", "40 KiB", 40),
        ("40 KiB", "60 KiB", None, 60),
    ],
)
def test_a_flag_wins_over_the_project_and_the_project_over_the_target(
    cli: Cli, words: Path, target: str, project: str | None, flag: str | None, limit_kib: int
) -> None:
    board = f'extends = "_arm-cpu"\nname = "Acme"\nvendor = "Acme"\nsoc = "S1"\n\
[[compute_units]]\nid = "cpu"\nkind = "cpu"\ncore = "any"\n[budget]\npackage = "{target}"\n'
    (cli.folder / "acme.toml").write_text(board)
    if project is not None:
        (cli.folder / "edgesdk.toml").write_text(PROJECT.format(package=project))
    more = ["--package-budget", flag] if flag else []
    error = over(package(cli, "free", "--target", "acme.toml", "--json", *more))
    assert (error["budget"], error["limit_bytes"]) == ("package", limit_kib * KIB)


def test_an_update_has_a_budget_of_its_own(cli: Cli, words: Path) -> None:
    assert package(cli, "free").code == 0
    (cli.folder / "words.edgepkg").rename(cli.folder / "old.edgepkg")
    # The model stays, its golden vectors do not.
    (cli.folder / "edgesdk.toml").write_text("[recipe]\ngolden_vectors = 1\n")
    convert(cli, "free")
    error = over(package(cli, "free", "--base", "old.edgepkg", "--delta-budget", "1 KiB", "--json"))
    assert (error["budget"], error["limit_bytes"]) == ("delta", KIB)
    assert {path.name for path in cli.folder.glob("*.edgepkg")} == {"old.edgepkg"}


def test_the_four_budgets_of_a_target_are_shown(cli: Cli) -> None:
    assert "budgets: package 64 MiB, delta 32 MiB, installed 128 MiB, peak RAM 512 MiB" in (
        cli("target", "show", "raspberry-pi-5").out
    )


def test_a_new_project_file_names_all_four(cli: Cli) -> None:
    cli("init")
    text = (cli.folder / "edgesdk.toml").read_text()
    assert all(f"# {key} = " in text for key in ("package", "delta", "installed", "peak_ram"))


# Before any push


def test_what_is_over_its_budget_is_not_sent(cli: Cli, device: VirtualDevice) -> None:
    done = cli(
        *("deploy", DIGITS / "digits.onnx", "--device", "bench", "--calibration", CALIBRATION),
        *("-o", "out", "--package-budget", "50 KiB", "--seconds", "0.2"),
    )
    assert done.code == 3, done.err
    assert "the package budget is 50.0 KiB (51200 bytes)" in done.err
    assert [path.name for path in (cli.folder / "out").iterdir()] == ["artifact"]
    assert json.loads(cli("key", "ls", "--json").out)["keys"] == []
    assert not [
        path for path in device.home.rglob("*") if path.name in ("model.onnx", "golden.npz")
    ]


# Before any conversion


def test_check_tells_the_same_remedies(cli: Cli, words: Path) -> None:
    (cli.folder / "edgesdk.toml").write_text(PROJECT.format(package="400 KiB"))
    done = cli("check", words, "-t", "raspberry-pi-5")
    assert done.code == 1
    assert "to save package: store 'table' in 8 bits instead of 32: drop keep_float" in done.out
    (told,) = cli("check", words, "-t", "raspberry-pi-5", "--json").json["over_budget"]
    real = over(package(cli, "kept", "--json"))
    assert (told["what"], told["limit_bytes"]) == (real["budget"], real["limit_bytes"])
    assert told["told_bytes"] == pytest.approx(real["actual_bytes"], rel=0.1)
    for foretold, found in zip(told["remedies"], real["remedies"], strict=True):
        assert foretold["what"] == found["what"]
        assert foretold["saves_bytes"] == pytest.approx(found["saves_bytes"], rel=0.1)


def test_a_precision_of_the_targets_with_fewer_bits_is_told(tmp_path: Path) -> None:
    artifact = api.convert(
        DIGITS / "digits.tflite",
        "raspberry-pi-5",
        CALIBRATION,
        tmp_path / "artifact",
        recipe=api.Recipe(precision="w8a16"),
    ).artifact
    budget = api.BudgetText(peak_ram=f"{artifact.working_set_bytes - 1} B")
    with pytest.raises(BudgetExceeded) as caught:
        api.package(
            tmp_path / "artifact",
            tmp_path / "p.edgepkg",
            budget=(budget,),
            signing=api.Signing(unsigned=True),
        )
    (remedy,) = [each for each in caught.value.remedies if each.what == "precision"]
    assert remedy.how == "convert with --precision w8a8 instead of w8a16"
