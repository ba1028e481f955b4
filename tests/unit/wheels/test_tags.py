"""Which wheels a board takes, by what its agent says of it."""

from __future__ import annotations

import dataclasses

import pytest
from boards import PI
from packaging.tags import Tag, parse_tag, sys_tags

from device_agent.interpreter import read_interpreter
from device_agent.runtime_messages import Interpreter
from device_agent.unpacking import fits
from edgesdk.errors import NoWheels
from edgesdk.wheels.tags import board_platforms, board_tags, describe_board, marker_environment

ARMV7 = dataclasses.replace(
    PI, platform="linux-armv7l", machine="armv7l", bits=32, hard_float=True, libc_version=(2, 31)
)
PI_OS_32 = dataclasses.replace(ARMV7, platform="linux-aarch64", machine="aarch64")
SOFT = dataclasses.replace(ARMV7, hard_float=False)
ALPINE = dataclasses.replace(PI, version=(3, 11, 9), abi="cp311", libc="musl", libc_version=(1, 2))
DESK = dataclasses.replace(
    PI, version=(3, 12, 3), abi="cp312", platform="linux-x86_64", machine="x86_64"
)
JETSON_NANO = dataclasses.replace(PI, version=(3, 7, 5), abi="cp37m", libc_version=(2, 27))
UNKNOWN = dataclasses.replace(PI, libc="", libc_version=())


def takes(board: Interpreter, tag: str) -> bool:
    return not parse_tag(tag).isdisjoint(board_tags(board))


@pytest.mark.parametrize(
    ("board", "taken", "left"),
    [
        (
            PI,
            [
                "cp39-cp39-manylinux_2_31_aarch64",
                "cp39-cp39-manylinux_2_17_aarch64.manylinux2014_aarch64",
                "cp37-abi3-manylinux2014_aarch64",
                "cp39-none-manylinux_2_27_aarch64",
                "py3-none-manylinux_2_27_aarch64",
                "py2.py3-none-any",
                "cp39-cp39-linux_aarch64",
            ],
            [
                "cp39-cp39-manylinux_2_34_aarch64",
                "cp310-cp310-manylinux_2_17_aarch64",
                "cp310-abi3-manylinux_2_17_aarch64",
                "cp39-cp39-manylinux_2_17_x86_64",
                "cp39-cp39-musllinux_1_1_aarch64",
            ],
        ),
        (
            ARMV7,
            ["cp39-cp39-manylinux_2_31_armv7l", "cp39-cp39-linux_armv7l"],
            ["cp39-cp39-manylinux_2_31_aarch64", "cp39-cp39-linux_armv6l"],
        ),
        (
            PI_OS_32,
            ["cp39-cp39-manylinux_2_31_armv7l", "cp39-cp39-linux_armv7l"],
            ["cp39-cp39-manylinux_2_17_aarch64"],
        ),
        (SOFT, ["cp39-cp39-linux_armv7l"], ["cp39-cp39-manylinux_2_17_armv7l"]),
        (
            ALPINE,
            ["cp311-cp311-musllinux_1_2_aarch64", "cp311-cp311-musllinux_1_1_aarch64"],
            ["cp311-cp311-musllinux_1_3_aarch64", "cp311-cp311-manylinux_2_17_aarch64"],
        ),
        (
            DESK,
            ["cp312-cp312-manylinux1_x86_64", "cp312-cp312-manylinux_2_31_x86_64"],
            ["cp312-cp312-manylinux_2_32_x86_64", "cp312-cp312-manylinux_2_17_aarch64"],
        ),
        (
            JETSON_NANO,
            ["cp37-cp37m-manylinux_2_27_aarch64"],
            ["cp37-cp37-manylinux_2_17_aarch64", "cp37-cp37m-manylinux_2_28_aarch64"],
        ),
        (UNKNOWN, ["cp39-cp39-linux_aarch64", "py3-none-any"], ["cp39-cp39-manylinux2014_aarch64"]),
    ],
    ids=[
        *("aarch64 with glibc 2.31", "armv7l", "32 bits on a 64-bit kernel", "soft float"),
        *("musl", "x86-64", "Python 3.7", "unknown libc"),
    ],
)
def test_what_a_board_takes(board: Interpreter, taken: list[str], left: list[str]) -> None:
    assert [tag for tag in taken if not takes(board, tag)] == []
    assert [tag for tag in left if takes(board, tag)] == []


def test_the_newest_libc_comes_first_and_any_platform_last() -> None:
    tags = board_tags(PI)
    assert tags[0] == Tag("cp39", "cp39", "manylinux_2_31_aarch64")
    assert tags[-1].platform == "any"
    assert board_platforms(PI)[0] == "manylinux_2_31_aarch64"
    assert board_platforms(PI)[-3:] == (
        *("manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64"),
    )


def test_for_this_machine_they_are_what_packaging_says_of_it() -> None:
    assert set(board_tags(read_interpreter())) == set(sys_tags())


@pytest.mark.parametrize("board", [PI, PI_OS_32, ALPINE, DESK, JETSON_NANO, UNKNOWN])
def test_the_device_itself_takes_every_one_of_them(board: Interpreter) -> None:
    odd = [
        tag for tag in board_tags(board) if not fits(tag.interpreter, tag.abi, tag.platform, board)
    ]
    assert odd == []


def test_another_python_than_cpython_is_refused() -> None:
    with pytest.raises(NoWheels, match="found pypy at /usr/bin/python3, expected CPython"):
        board_tags(dataclasses.replace(PI, implementation="pypy"))


def test_a_board_in_words() -> None:
    assert describe_board(PI) == "Python 3.9.2 (cp39), aarch64, glibc 2.31"
    assert describe_board(ALPINE) == "Python 3.11.9 (cp311), aarch64, musl 1.2"


def test_markers_are_judged_by_the_board() -> None:
    found = marker_environment(PI)
    assert found["python_version"] == "3.9"
    assert found["platform_machine"] == "aarch64"
    assert found["python_full_version"] == "3.9.2"
