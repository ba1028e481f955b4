"""Facts about the table of exporters: what each format takes, and what it cannot be told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from device_agent.manifest import Compatibility
from edgesdk.errors import ExitCode, ToolchainMissing, UsageError
from edgesdk.package.exporters import (
    EXPORTERS,
    Exporter,
    check_wanted,
    find_exporter,
    load_export,
    swupdate,
)
from edgesdk.package.exporters.content import account, delta_notes, plain_name, statements
from edgesdk.progress import Silent
from edgesdk.values.export import Format
from tests.unit.package.exporters.wanting import content, delta_content, wanted


def test_each_format_has_one_exporter() -> None:
    assert tuple(EXPORTERS) == get_args(Format)


def test_a_format_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="found --to zip, expected one of mender, rauc, swupdate"):
        find_exporter("zip")


@pytest.mark.parametrize("name", EXPORTERS)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", Path("k")),
        ("certificate", Path("c")),
        ("compatible", ("board",)),
        ("root_keys", (Path("r"),)),
        ("root_threshold", 2),
    ],
)
def test_what_a_format_has_no_use_for_is_refused(name: str, field: str, value: Any) -> None:
    exporter = EXPORTERS[name]
    needed = {each: Path("needed") for each in exporter.needs}
    asked = wanted(**{**needed, field: value})
    if field in exporter.takes:
        check_wanted(exporter, asked)
    else:
        with pytest.raises(UsageError, match=f"means nothing to {name}"):
            check_wanted(exporter, asked)


def test_a_rauc_bundle_needs_a_certificate() -> None:
    with pytest.raises(UsageError, match="rauc needs --cert"):
        check_wanted(EXPORTERS["rauc"], wanted(key=Path("k")))


def test_a_toolkit_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    exporter = Exporter("tuf", "nowhere", distribution="no-such-distribution")
    with pytest.raises(ToolchainMissing) as caught:
        load_export(exporter)
    assert caught.value.hint == 'pip install "edgesdk[export]"'
    assert caught.value.exit_code == ExitCode.TOOLCHAIN


def test_importing_the_table_imports_no_exporter_and_no_toolkit() -> None:
    program = (
        "import sys, edgesdk.package.exporters\n"
        "print(sorted({'tuf', 'oras', 'requests', 'edgesdk.package.exporters.mender'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


def test_statements_are_those_that_the_package_makes(tmp_path: Path) -> None:
    plain = content(tmp_path)
    assert set(statements(plain)) == {
        *("name", "version", "sequence", "target", "architectures", "runtime", "package id")
    }
    full = content(
        tmp_path,
        min_sequence=2,
        expires="2027-01-01T00:00:00Z",
        compatibility=Compatibility(
            "pi", (), "litert", "2.0", ("Raspberry Pi 5", "Raspberry Pi 4")
        ),
    )
    assert statements(full).items() >= {
        ("min_sequence", "2"),
        ("expires", "2027-01-01T00:00:00Z"),
        ("boards", "Raspberry Pi 5, Raspberry Pi 4"),
    }


def test_a_delta_states_its_base(tmp_path: Path) -> None:
    delta = delta_content(tmp_path)
    assert statements(delta)["base"] == delta.base != delta.manifest.package_id


def test_the_account_keeps_what_cannot_be_said(tmp_path: Path) -> None:
    rows = account(content(tmp_path), {"name": "as it is"})
    assert [row.field for row in rows if row.becomes] == ["name"]
    assert len(rows) == len(statements(content(tmp_path)))


def test_a_delta_is_remarked_where_nobody_checks_its_base(tmp_path: Path) -> None:
    assert delta_notes(content(tmp_path)) == ()
    assert "this is a delta" in delta_notes(delta_content(tmp_path))[0]
    done = swupdate.export(delta_content(tmp_path), wanted(tmp_path / "x.swu"), Silent())
    assert any("this is a delta" in note for note in done.notes)


def test_odd_versions_become_plain_words(tmp_path: Path) -> None:
    assert plain_name("1.2 (beta)/ü+3") == "1.2-beta-+3"
    assert content(tmp_path, version="1.2 rc").label == "digits-1.2-rc-3"
