"""Facts about exports to Mender, as Mender's own tool sees them, and about the update module."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from tests.cli import ROOT, Cli
from tests.fleet import Board, flipped, make_board, must, require, run, runnable
from tests.sealed import seal, seal_delta

require("mender-artifact", "openssl")
MODULE = ROOT / "examples" / "fleet" / "mender" / "edge-model"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "ec.pem"
    must("openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", path)
    must("openssl", "ec", "-in", path, "-pubout", "-out", tmp_path / "ec.pub")
    return path


def export(cli: Cli, package: Path, *arguments: str | Path) -> Path:
    output = cli.folder / f"{package.stem}.mender"
    done = cli("export", package, "--to", "mender", "-o", output, *arguments)
    assert done.code == 0, done.err
    return output


def payload(artifact: Path, folder: Path) -> dict[str, bytes]:
    """The files inside; for a test, of an artifact that it made itself."""
    with tarfile.open(artifact) as outer:
        data = outer.extractfile("data/0000.tar")
        assert data is not None
        with tarfile.open(fileobj=data) as inner:
            found = {member.name: inner.extractfile(member) for member in inner}
            return {name: file.read() for name, file in found.items() if file}


def test_mender_artifact_reads_what_the_package_says(cli: Cli, tmp_path: Path) -> None:
    package = seal(tmp_path / "b.edgepkg")
    said = must("mender-artifact", "read", export(cli, package.path))
    for line in (
        "Name: digits-1.2-3",
        "Version: 3",
        "Compatible devices: '[raspberry-pi-5]'",
        "Type:   edge-model",
        "edge-model.digits.version: 1.2",
        "edge-model.digits.sequence: 3",
        f"edge-model.digits.package_id: {package.manifest.package_id}",
        'Clears Provides: ["edge-model.digits.*"]',
        f"checksum: {hashlib.sha256(package.path.read_bytes()).hexdigest()}",
    ):
        assert line in said


def test_a_signed_artifact_is_valid_for_its_key_only(cli: Cli, tmp_path: Path, key: Path) -> None:
    artifact = export(cli, seal(tmp_path / "b.edgepkg").path, "--key", key)
    public = tmp_path / "ec.pub"
    assert run("mender-artifact", "validate", artifact, "-k", public).returncode == 0
    must("openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", tmp_path / "2")
    must("openssl", "ec", "-in", tmp_path / "2", "-pubout", "-out", tmp_path / "2.pub")
    assert run("mender-artifact", "validate", artifact, "-k", tmp_path / "2.pub").returncode != 0


def test_a_flipped_bit_is_refused(cli: Cli, tmp_path: Path, key: Path) -> None:
    artifact = export(cli, seal(tmp_path / "b.edgepkg").path, "--key", key)
    changed = flipped(artifact, artifact.stat().st_size // 2)
    done = run("mender-artifact", "validate", changed, "-k", tmp_path / "ec.pub")
    assert done.returncode != 0


def test_the_package_inside_is_the_same_bytes(cli: Cli, tmp_path: Path) -> None:
    package = seal(tmp_path / "b.edgepkg")
    assert payload(export(cli, package.path), tmp_path) == {
        "digits.edgepkg": package.path.read_bytes()
    }


def test_a_delta_depends_on_its_base(cli: Cli, tmp_path: Path) -> None:
    base = seal(tmp_path / "base.edgepkg")
    delta = seal_delta(tmp_path / "d.edgepkg", base, sequence=4)
    said = must("mender-artifact", "read", export(cli, delta.path))
    assert f"Depends:\n\tedge-model.digits.package_id: {base.manifest.package_id}" in said


def test_a_key_that_is_none_leaves_what_was_there(cli: Cli, tmp_path: Path) -> None:
    package = seal(tmp_path / "b.edgepkg")
    output = tmp_path / "b.mender"
    output.write_bytes(b"the old one")
    bad = tmp_path / "bad.pem"
    bad.write_text("no key")
    done = cli("export", package.path, "--to", "mender", "-o", output, "--key", bad)
    assert done.code == 3 and "holds no private key" in done.err
    assert output.read_bytes() == b"the old one"
    assert not list(tmp_path.glob(".b.mender*"))


@pytest.fixture
def board(cli: Cli) -> Board:
    return make_board(cli)


def module(board: Board, work: Path, state: str) -> str:
    """The update module, called as Mender's client calls it."""
    return must("/bin/sh", MODULE, state, work, **board.environment)


def deliver(cli: Cli, package: Path) -> Path:
    """What Mender's client has on the device after the download: the module's folder."""
    work = cli.folder / f"work-{package.stem}"
    (work / "files").mkdir(parents=True)
    for name, content in payload(export(cli, package), cli.folder).items():
        (work / "files" / name).write_bytes(content)
    return work


def test_the_update_module_has_the_agent_install_the_package(cli: Cli, board: Board) -> None:
    module(board, deliver(cli, runnable(cli, 1).path), "ArtifactInstall")
    assert board.current() == {"digits": 1}


def test_the_update_module_rolls_back(cli: Cli, board: Board) -> None:
    module(board, deliver(cli, runnable(cli, 1).path), "ArtifactInstall")
    second = deliver(cli, runnable(cli, 2).path)
    module(board, second, "ArtifactInstall")
    assert board.current() == {"digits": 2}
    module(board, second, "ArtifactRollback")
    assert board.current() == {"digits": 1}


def test_the_update_module_fails_where_the_agent_refuses(cli: Cli, board: Board) -> None:
    module(board, deliver(cli, runnable(cli, 2).path), "ArtifactInstall")
    work = deliver(cli, runnable(cli, 1).path)
    done = run("/bin/sh", MODULE, "ArtifactInstall", work, **board.environment)
    assert done.returncode != 0 and "downgrade" in done.stdout
    assert board.current() == {"digits": 2}


@pytest.mark.parametrize(
    ("state", "answer"),
    [("NeedsArtifactReboot", "No\n"), ("SupportsRollback", "Yes\n"), ("SomethingNew", "")],
)
def test_the_update_module_answers_as_the_protocol_asks(
    tmp_path: Path, state: str, answer: str
) -> None:
    assert must("/bin/sh", MODULE, state, tmp_path) == answer


def test_the_update_module_refuses_an_artifact_without_a_package(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    done = run("/bin/sh", MODULE, "ArtifactInstall", tmp_path)
    assert done.returncode == 1 and "expected one .edgepkg file" in done.stdout
