"""Facts about the description and the script of an SWUpdate image."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from device_agent.manifest import Compatibility
from edgesdk.errors import UsageError
from edgesdk.package.exporters import swupdate
from edgesdk.progress import Silent
from tests.unit.package.exporters.wanting import content, wanted


def test_each_board_has_its_own_section_and_no_other_finds_a_file(tmp_path: Path) -> None:
    of = content(tmp_path)
    text = swupdate.description(of, wanted(compatible=("pi5:1.0", "pi500")), b"script")
    assert '    pi5 = {\n        hardware-compatibility: [ "1.0" ];' in text
    assert '    pi500 = {\n        hardware-compatibility: [ "#RE:.*" ];' in text
    before_boards = text[: text.index("pi5 = {")]
    assert "files" not in before_boards and "scripts" not in before_boards


def test_it_names_the_hash_of_all_that_lies_beside_it(tmp_path: Path) -> None:
    of = content(tmp_path)
    text = swupdate.description(of, wanted(), b"script")
    assert hashlib.sha256(of.path.read_bytes()).hexdigest() in text
    assert hashlib.sha256(b"script").hexdigest() in text


def test_the_sequence_leads_the_version(tmp_path: Path) -> None:
    assert swupdate.version(content(tmp_path)) == "3.0.0+1.2"
    odd = content(tmp_path, version='1.2_rc "x"+4')
    assert swupdate.version(odd) == "3.0.0+1.2-rc-x-4"


def test_a_sequence_beyond_what_swupdate_compares_is_refused(tmp_path: Path) -> None:
    assert swupdate.version(content(tmp_path, sequence=2**31 - 1)).startswith("2147483647.")
    with pytest.raises(UsageError, match="SWUpdate compares at most 2147483647"):
        swupdate.version(content(tmp_path, sequence=2**31))


def test_a_target_with_odd_characters_becomes_a_board_that_can_be_written(tmp_path: Path) -> None:
    where = Compatibility("jetson-agx-orin@jp6.2", (), "tensorrt", "10.3")
    of = content(tmp_path, compatibility=where)
    assert swupdate.boards(of, wanted()) == {"jetson-agx-orin-jp6-2": "#RE:.*"}


@pytest.mark.parametrize("name", ["5pi", "pi 5", 'pi"', "pi5:1.0;", "pi5:\n1"])
def test_a_board_that_would_break_the_description_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="expected BOARD or BOARD:REVISION"):
        swupdate.boards(content(tmp_path), wanted(compatible=(name,)))


def test_the_script_installs_the_file_that_the_description_places(tmp_path: Path) -> None:
    of = content(tmp_path)
    place = "/var/lib/edgesdk-incoming/digits.edgepkg"
    assert f"package={place}\n".encode() in swupdate.script_for(of)
    assert f'path = "{place}"' in swupdate.description(of, wanted(), b"")


def test_a_key_without_its_certificate_is_refused_and_nothing_written(tmp_path: Path) -> None:
    output = tmp_path / "x.swu"
    with pytest.raises(UsageError, match="both --key and --cert"):
        swupdate.export(content(tmp_path), wanted(output, key=Path("k")), Silent())
    assert not output.exists()


def test_unsigned_images_are_the_same_bytes_each_time_and_say_so(tmp_path: Path) -> None:
    of = content(tmp_path)
    done = swupdate.export(of, wanted(tmp_path / "a.swu"), Silent())
    swupdate.export(of, wanted(tmp_path / "b.swu"), Silent())
    assert (tmp_path / "a.swu").read_bytes() == (tmp_path / "b.swu").read_bytes()
    assert not done.signed
    assert done.notes == ("an SWUpdate that is built for signed images refuses it",)
