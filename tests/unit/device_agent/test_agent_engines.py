"""Engines kept on the device: found by what they were built from, by and for, and only whole."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.failures import AgentFailure
from device_agent.runtimes import RuntimeFailed
from device_agent.runtimes.engine_builder import builder_options
from device_agent.runtimes.engines import (
    KEPT,
    EngineKey,
    find_engine,
    keep_engine,
    read_engine,
    room_for_building,
    sha256_of,
    write_engine,
)

KEY = EngineKey("10.3.0", "8.7", "Orin", "a" * 64, ("STRONGLY_TYPED",))
ENGINE = b"an engine\nof two lines"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "device" / "engines")


def keep(folder: str, key: EngineKey = KEY, engine: bytes = ENGINE) -> str:
    built = room_for_building(folder, key)
    write_engine(built, key, engine)
    return keep_engine(built, folder, key)


def test_a_kept_engine_is_found(folder: str) -> None:
    path = keep(folder)
    assert find_engine(folder, KEY) == path
    assert bytes(read_engine(path, KEY) or b"") == ENGINE
    assert os.listdir(folder) == [KEY.file_name]


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, tensorrt="10.4.0"),
        replace(KEY, architecture="7.2"),
        replace(KEY, device="Xavier"),
        replace(KEY, model_sha256="b" * 64),
        replace(KEY, options=("EXPLICIT_BATCH", "INT8")),
    ],
    ids=["release", "architecture", "device", "model", "options"],
)
def test_an_engine_for_anything_else_is_not(folder: str, other: EngineKey) -> None:
    path = keep(folder)
    assert find_engine(folder, other) == ""
    os.rename(path, os.path.join(folder, other.file_name))
    assert find_engine(folder, other) == "", "a name says nothing"


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"more",
        lambda content: content[:-1] + b"X",
        lambda content: b"X" + content[1:],
        lambda content: content.replace(b"Orin", b"Oryn"),
        lambda content: b"",
        lambda content: content[: -len(ENGINE)],
    ],
    ids=["cut short", "longer", "changed", "magic", "another key", "empty", "no engine"],
)
def test_a_damaged_engine_is_not_found(folder: str, damage) -> None:  # type: ignore[no-untyped-def]
    path = Path(keep(folder))
    path.write_bytes(damage(path.read_bytes()))
    assert find_engine(folder, KEY) == ""
    assert find_engine(folder, KEY) == "" == find_engine("/nowhere/at/all", KEY)
    keep(folder)
    assert find_engine(folder, KEY) == str(path), "built anew"


def test_what_an_ended_build_left_behind_goes(folder: str) -> None:
    Path(room_for_building(folder, KEY)).write_bytes(b"half an engine")
    other = replace(KEY, device="Xavier")
    assert not os.path.exists(room_for_building(folder, other))
    assert os.listdir(folder) == []


def test_the_least_used_engines_go(folder: str) -> None:
    keys = [replace(KEY, device=str(index)) for index in range(KEPT)]
    for age, key in enumerate(keys):
        os.utime(keep(folder, key), (1000 - age, 1000 - age))
    assert find_engine(folder, keys[-1]), "which uses it"
    keep(folder)
    assert [find_engine(folder, key) != "" for key in keys] == [True] * (KEPT - 2) + [False, True]


def test_a_new_engine_stays_even_where_the_clock_runs_wrong(folder: str) -> None:
    for index in range(KEPT + 1):
        os.utime(keep(folder, replace(KEY, device=str(index))), (2**33, 2**33))
    assert os.path.exists(keep(folder))
    assert len(os.listdir(folder)) == KEPT


def test_a_folder_that_is_a_link_is_refused(folder: str, tmp_path: Path) -> None:
    (tmp_path / "device").mkdir()
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", folder)
    with pytest.raises(AgentFailure) as caught:
        room_for_building(folder, KEY)
    assert caught.value.code == "storage"


def test_a_model_that_cannot_be_read() -> None:
    with pytest.raises(RuntimeFailed, match="No such file"):
        sha256_of("/nowhere/model.onnx")


QDQ, FLOAT = frozenset({"Conv", "QuantizeLinear"}), frozenset({"Conv"})


@pytest.mark.parametrize(
    ("release", "operators", "options"),
    [
        ("8.5.2.2", QDQ, ("EXPLICIT_BATCH", "INT8")),
        ("8.6.1", FLOAT, ("EXPLICIT_BATCH",)),
        ("10.3.0", QDQ, ("STRONGLY_TYPED",)),
        ("10.13.2.6", FLOAT, ("STRONGLY_TYPED",)),
        ("11.1.0.106", QDQ, ("STRONGLY_TYPED",)),
    ],
)
def test_what_a_release_is_told(
    release: str, operators: frozenset[str], options: tuple[str, ...]
) -> None:
    assert builder_options(release, operators) == options
