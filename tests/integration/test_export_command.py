"""Facts about `edgesdk export` whatever the format: what it refuses, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import Cli
from tests.sealed import seal


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_a_missing_tool_is_one_sentence_and_the_command_that_installs_it(
    cli: Cli, tmp_path: Path
) -> None:
    cli.environment["PATH"] = str(tmp_path)
    package = seal(tmp_path / "b.edgepkg").path
    done = cli("export", package, "--to", "mender", "-o", "b.mender")
    assert done.code == 5
    assert "mender-artifact makes this format, and is not installed" in done.err
    assert "sudo apt-get install mender-artifact" in done.err
    assert not (tmp_path / "b.mender").exists()


def test_an_unknown_format_is_answered_with_the_known_ones(cli: Cli, tmp_path: Path) -> None:
    done = cli("export", tmp_path / "b.edgepkg", "--to", "zip", "-o", "x")
    assert done.code == 2 and "mender, rauc, swupdate, tuf, oci, in-toto, cyclonedx" in done.err


def test_a_damaged_package_is_not_exported(cli: Cli, tmp_path: Path) -> None:
    package = seal(tmp_path / "b.edgepkg").path
    content = bytearray(package.read_bytes())
    content[-2000] ^= 1
    package.write_bytes(content)
    done = cli("export", package, "--to", "swupdate", "-o", "b.swu")
    assert done.code == 3 and "is not a sound package" in done.err
    assert not (tmp_path / "b.swu").exists()


def test_the_package_itself_is_not_overwritten(cli: Cli, tmp_path: Path) -> None:
    package = seal(tmp_path / "b.edgepkg").path
    before = package.read_bytes()
    (tmp_path / "link").symlink_to("b.edgepkg")
    for name in ("b.edgepkg", "link"):
        done = cli("export", package, "--to", "cyclonedx", "-o", name)
        assert done.code == 2 and f"writing {name} would replace the package" in done.err
    assert package.read_bytes() == before


def test_json_has_the_whole_mapping(cli: Cli, tmp_path: Path) -> None:
    package = seal(tmp_path / "b.edgepkg", min_sequence=1)
    done = cli("export", package.path, "--to", "swupdate", "-o", "b.swu", "--json")
    assert done.code == 0
    assert done.json["package_id"] == package.manifest.package_id
    becomes = {row["field"]: row["becomes"] for row in done.json["mapping"]}
    assert becomes["sequence"] == "version 3.0.0+1.2, first part"
    assert becomes["min_sequence"] == ""


def test_a_person_reads_what_cannot_be_said(cli: Cli, tmp_path: Path) -> None:
    package = seal(tmp_path / "b.edgepkg").path
    done = cli("export", package, "--to", "swupdate", "-o", "b.swu")
    assert "wrote b.swu (swupdate, not signed)" in done.out
    assert "cannot be said there" in done.out


def test_an_output_that_cannot_be_written_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    package = seal(tmp_path / "b.edgepkg").path
    (tmp_path / "file").write_text("")
    done = cli("export", package, "--to", "swupdate", "-o", "file/b.swu")
    assert done.code == 3 and "file/b.swu cannot be written: " in done.err
    assert (tmp_path / "file").read_text() == ""
