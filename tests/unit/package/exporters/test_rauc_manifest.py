"""Facts about the manifest of a RAUC bundle."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

import pytest

from edgesdk.errors import UsageError
from edgesdk.package.exporters import rauc
from edgesdk.package.exporters.content import Content, account
from edgesdk.values.export import Wanted
from tests.unit.package.exporters.wanting import content, delta_content, wanted


def read(of: Content, wants: Wanted) -> ConfigParser:
    parser = ConfigParser()
    parser.read_string(rauc.manifest(of, wants))
    return parser


def test_it_names_the_system_the_version_and_the_handler(tmp_path: Path) -> None:
    of = content(tmp_path)
    found = read(of, wanted())
    assert dict(found["update"]) == {
        "compatible": "raspberry-pi-5",
        "version": "1.2",
        "description": f"digits, edgesdk package {of.manifest.package_id}",
        "build": "3",
    }
    assert found["bundle"]["format"] == "verity"
    assert found["handler"]["filename"] == "install"


def test_it_writes_no_slot(tmp_path: Path) -> None:
    assert not [name for name in read(content(tmp_path), wanted()) if name.startswith("image")]


def test_it_carries_what_rauc_does_not_compare(tmp_path: Path) -> None:
    delta = delta_content(tmp_path)
    assert dict(read(delta, wanted())["meta.edgesdk"]) == {
        "package-id": delta.manifest.package_id,
        "name": "digits",
        "sequence": "4",
        "base": delta.base,
    }


@pytest.mark.parametrize("name", ["", "two\nlines", " padded", "back\\slash"])
def test_a_name_that_the_manifest_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="expected printable text"):
        rauc.manifest(content(tmp_path), wanted(compatible=(name,)))


def test_a_bundle_is_for_one_system(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a RAUC bundle is for one system"):
        rauc.manifest(content(tmp_path), wanted(compatible=("a", "b")))


def test_a_version_with_a_backslash_cannot_break_the_manifest(tmp_path: Path) -> None:
    assert read(content(tmp_path, version="1\\2"), wanted())["update"]["version"] == "1-2"


def test_what_rauc_cannot_say_is_named(tmp_path: Path) -> None:
    of = content(tmp_path, min_sequence=1)
    rows = account(of, rauc.expressed(of, wanted()))
    assert {row.field for row in rows if not row.becomes} == {
        *("architectures", "runtime", "min_sequence")
    }
