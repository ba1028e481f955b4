"""A compiled Edge TPU file: real placement and cache use, and nothing worse than an error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edgesdk.convert.backends.edgetpu.reading import placements, read_compiled
from edgesdk.convert.placement import LEFT, ONE_SUBGRAPH
from edgesdk.errors import ModelError
from edgesdk.models.reading import read_graph
from tests.unit.convert.edgetpu_files import (
    CACHED,
    EXECUTION_ONLY,
    PARAMETER_CACHING,
    STAND_ALONE,
    chain,
    compiled,
    executable,
    options,
    package,
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return chain(tmp_path / "source.tflite", ["RELU", "TANH", "ABS", "RELU"])


def read(source: Path, custom: bytes) -> tuple[int, int]:
    cache = read_compiled(compiled(source, source.with_name("c.tflite"), [0, 1], custom)).cache(0)
    return cache.on_chip_bytes, cache.streamed_bytes


def test_parameters_of_the_caching_executable_stay_on_chip(source: Path) -> None:
    pair = (executable(EXECUTION_ONLY, 0), executable(PARAMETER_CACHING, 640))
    assert read(source, options(package(*pair))) == (640, 0)


def test_parameters_that_come_with_the_execution_are_streamed(source: Path) -> None:
    pair = (executable(EXECUTION_ONLY, 128), executable(PARAMETER_CACHING, 640))
    assert read(source, options(package(*pair))) == (640, 128)


def test_a_stand_alone_executable_streams_all_it_has(source: Path) -> None:
    assert read(source, options(package(executable(STAND_ALONE, 320)))) == (0, 320)


def test_the_oldest_runtime_and_the_chip_are_read(source: Path) -> None:
    custom = options(package(executable(STAND_ALONE, 0), min_runtime_version=13))
    found = read_compiled(compiled(source, source.with_name("c.tflite"), [0], custom))
    assert found.min_runtime_version == 13
    assert [piece.chip for piece in found.pieces] == ["beagle"]


def test_operators_that_the_file_still_has_are_on_the_cpu(source: Path) -> None:
    result = compiled(source, source.with_name("c.tflite"), [0, 1])
    placed = placements(read_graph(source), read_graph(result))
    assert [each.unit for each in placed] == ["edgetpu", "edgetpu", "cpu", "cpu"]
    assert [each.reason for each in placed] == ["", "", LEFT, LEFT]


def test_only_what_is_behind_something_left_is_told_that_one_piece_is_the_limit(
    tmp_path: Path,
) -> None:
    source = chain(tmp_path / "source.tflite", ["RELU", "ABS", "ABS"])
    result = compiled(source, tmp_path / "c.tflite", [0])
    statuses = {"ABS": ("Operation not supported", ONE_SUBGRAPH)}
    placed = placements(read_graph(source), read_graph(result), statuses)
    assert [each.reason for each in placed[1:]] == [
        "Operation not supported",
        f"Operation not supported or {ONE_SUBGRAPH}",
    ]


def test_a_file_in_which_nothing_is_mapped_has_no_pieces(source: Path) -> None:
    found = read_compiled(source)
    assert (found.pieces, found.min_runtime_version) == ((), 0)


def test_a_file_of_another_model_is_refused(source: Path, tmp_path: Path) -> None:
    other = chain(tmp_path / "other.tflite", ["RELU", "TANH", "LOGISTIC"])
    with pytest.raises(ModelError, match="compiled from another one"):
        placements(read_graph(source), read_graph(other))


@pytest.mark.parametrize(
    "custom",
    [b"", b"no package", b"DWN1", b"\xff\xff\xff\x7fDWN1" + bytes(40), CACHED[:90], CACHED[:400]],
    ids=["empty", "none", "no root", "root far away", "half a package", "no executables"],
)
def test_a_broken_package_is_an_error(source: Path, custom: bytes) -> None:
    result = compiled(source, source.with_name("c.tflite"), [0], custom)
    with pytest.raises(ModelError, match="is broken"):
        read_compiled(result)


def test_flipped_bytes_are_an_error_or_another_package(source: Path) -> None:
    whole = compiled(source, source.with_name("c.tflite"), [0, 1]).read_bytes()
    path = source.with_name("flipped.tflite")
    dice = random.Random(1)
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(dice.choice((1, 3, 20))):
            content[dice.randrange(len(content))] = dice.choice((0, 255, 128, dice.randrange(256)))
        path.write_bytes(bytes(content))
        try:
            read_compiled(path)
        except ModelError:
            refused += 1
    assert 0 < refused < 300
