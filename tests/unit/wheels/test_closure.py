"""What a set of wheels lacks on a board, and what the board needs none of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from boards import PI
from packaging.version import Version

from edgesdk.errors import NoWheels
from edgesdk.wheels.closure import Wheel, close, read_wheel
from edgesdk.wheels.tags import marker_environment
from tests.wheel_files import wheel_bytes

BOARD = marker_environment(PI)


def wheel(name: str, version: str, *requires: str) -> Wheel:
    return Wheel(Path(f"{name}.whl"), name, Version(version), requires, 1)


def closed(wheels: Iterable[Wheel], *wanted: str) -> tuple[list[str], list[str]]:
    """Names of what is needed, and what is unmet."""
    found = close(wanted or ("runtime",), wheels, BOARD)
    return [each.name for each in found.needed], list(found.unmet)


def test_dependencies_are_followed() -> None:
    wheels = [wheel("numpy", "2.0"), wheel("runtime", "1", "middle"), wheel("middle", "1", "numpy")]
    assert closed(wheels) == (["runtime", "middle", "numpy"], [])


def test_what_only_this_machine_needs_is_left_out() -> None:
    wheels = [wheel("runtime", "1", "tomli; python_version >= '3.10'"), wheel("tomli", "2")]
    assert closed(wheels) == (["runtime"], [])


def test_what_only_the_board_needs_is_missed() -> None:
    wheels = [wheel("runtime", "1", "typing-extensions>=4; python_version < '3.10'")]
    assert closed(wheels) == (["runtime"], ["typing-extensions>=4"])


def test_what_only_the_boards_machine_needs_is_missed() -> None:
    wheels = [wheel("runtime", "1", "neon; platform_machine == 'aarch64'")]
    assert closed(wheels) == (["runtime"], ["neon"])


def test_a_version_that_only_the_board_wants_is_missed() -> None:
    wheels = [wheel("runtime", "1", "numpy<2; python_version == '3.9'"), wheel("numpy", "2.0")]
    assert closed(wheels) == (["runtime"], ["numpy<2"])


def test_an_extra_is_followed_where_it_is_wanted() -> None:
    wheels = [wheel("runtime", "1", "fast; extra == 'speed'"), wheel("fast", "1")]
    assert closed(wheels) == (["runtime"], [])
    assert closed(wheels, "runtime[speed]") == (["runtime", "fast"], [])


def test_a_circle_ends() -> None:
    wheels = [wheel("runtime", "1", "other"), wheel("other", "1", "runtime")]
    assert closed(wheels) == (["runtime", "other"], [])


def test_a_wheel_is_read(tmp_path: Path) -> None:
    path = tmp_path / "Some_Thing-1.0-py3-none-any.whl"
    path.write_bytes(wheel_bytes("Some_Thing", "1.0", {"a.py": b"123"}, requires=["numpy>=1"]))
    found = read_wheel(path)
    assert (found.name, found.version, found.requires) == (
        *("some-thing", Version("1.0"), ("numpy>=1",)),
    )
    assert found.unpacked_bytes > 3


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18)], ids=["empty", "no files"])
def test_what_is_no_wheel_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a-1-py3-none-any.whl"
    path.write_bytes(content)
    with pytest.raises(NoWheels, match="no wheel that can be read"):
        read_wheel(path)
