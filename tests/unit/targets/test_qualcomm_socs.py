"""Facts about Qualcomm's SoC numbers in descriptors."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesdk.errors import TargetError
from edgesdk.targets.loading import check_descriptor, list_targets
from edgesdk.targets.qualcomm import SOCS

BOARD = """
extends = "_qualcomm-htp"
name = "Acme One"
vendor = "Acme"
soc = "Qualcomm QCS8550"

[[compute_units]]
id = "htp"
kind = "npu"
core = "Hexagon"

[[compute_units]]
id = "cpu"
kind = "cpu"
core = "Cortex-X3"

[accelerator.htp]
soc_model = {{ value = {soc_model}, source = "manual" }}
arch = {{ value = {arch}, source = "manual" }}

[sources.manual]
title = "Acme One manual"
url = "https://example.com/one.pdf"
kind = "datasheet"
accessed = "2026-11-21"
"""


def board(folder: Path, soc_model: int, arch: int) -> Path:
    path = folder / "acme-one.toml"
    path.write_text(BOARD.format(soc_model=soc_model, arch=arch), encoding="utf-8")
    return path


def problem(path: Path) -> str:
    with pytest.raises(TargetError) as caught:
        check_descriptor(path)
    (line,) = caught.value.details
    return line


def test_a_known_pair_holds(tmp_path: Path) -> None:
    assert check_descriptor(board(tmp_path, 66, 73)).accelerator.htp is not None


def test_an_unknown_number_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    line = problem(board(tmp_path, 99, 73))
    assert line.startswith("found the SoC number 99, expected one of 30 (SM8350), ")
    assert "66 (QCS8550)" in line
    assert line.endswith(" @ $.accelerator.htp")


def test_the_architecture_of_another_soc_is_refused(tmp_path: Path) -> None:
    line = problem(board(tmp_path, 43, 79))
    assert line == ("found HTP architecture 79, expected 73, that of SM8550 @ $.accelerator.htp")


def test_every_descriptor_names_its_own_soc() -> None:
    for target in list_targets():
        if target.accelerator.htp is not None:
            soc = SOCS[target.accelerator.htp.soc_model.value]
            assert soc.name.lower() == target.id
            assert soc.arch == target.accelerator.htp.arch.value


def test_an_htp_comes_first_and_nothing_falls_back() -> None:
    for target in list_targets():
        if target.accelerator.htp is not None:
            assert target.compute_units[0].id == "htp"
            assert target.compute_units[-1].id == "cpu"
            assert target.operators["htp"].no_fallback
