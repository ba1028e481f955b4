"""Facts about exports to RAUC, as `rauc extract` sees them: unlike `info`, it reads the payload."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import Cli
from tests.fleet import flipped, make_board, make_certificate, must, require, run, runnable
from tests.sealed import seal

require("rauc", "mksquashfs", "openssl")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def signing(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path, "ours")


def export(cli: Cli, package: Path, signing: tuple[Path, Path], *arguments: str) -> Path:
    output = cli.folder / f"{package.stem}.raucb"
    key, certificate = signing
    flags = ("--key", key, "--cert", certificate, *arguments)
    done = cli("export", package, "--to", "rauc", "-o", output, *flags)
    assert done.code == 0, done.err
    return output


def extract(bundle: Path, keyring: Path, folder: Path) -> Path:
    must("rauc", "--keyring", keyring, "extract", bundle, folder)
    return folder


def test_the_package_inside_is_the_same_bytes(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    package = seal(tmp_path / "b.edgepkg")
    found = extract(export(cli, package.path, signing), signing[1], tmp_path / "found")
    assert (found / "package.edgepkg").read_bytes() == package.path.read_bytes()
    assert (found / "install").stat().st_mode & 0o111


def test_rauc_reads_what_the_package_says(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    package = seal(tmp_path / "b.edgepkg")
    bundle = export(cli, package.path, signing, "--compatible", "My Board")
    said = must("rauc", "--keyring", signing[1], "info", bundle)
    for line in (
        "Compatible: \t'My Board'",
        "Version:    \t'1.2'",
        f"Description:\t'digits, edgesdk package {package.manifest.package_id}'",
        "Build:      \t'3'",
        "Bundle Format: \tverity",
        "0 Images",
    ):
        assert line in said


def test_another_signer_is_refused(cli: Cli, tmp_path: Path, signing: tuple[Path, Path]) -> None:
    bundle = export(cli, seal(tmp_path / "b.edgepkg").path, signing)
    _, theirs = make_certificate(tmp_path, "theirs")
    done = run("rauc", "--keyring", theirs, "extract", bundle, tmp_path / "found")
    assert done.returncode != 0 and "signature verification failed" in done.stdout
    assert not (tmp_path / "found").exists()


def test_a_flipped_bit_in_the_payload_is_refused(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    bundle = flipped(export(cli, seal(tmp_path / "b.edgepkg").path, signing), 20_000)
    done = run("rauc", "--keyring", signing[1], "extract", bundle, tmp_path / "found")
    assert done.returncode != 0 and "payload is corrupted" in done.stdout


def test_a_certificate_of_another_key_is_refused_before_rauc_runs(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    _, theirs = make_certificate(tmp_path, "theirs")
    package, output = seal(tmp_path / "b.edgepkg"), tmp_path / "b.raucb"
    flags = ("--key", signing[0], "--cert", theirs)
    done = cli("export", package.path, "--to", "rauc", "-o", output, *flags)
    assert done.code == 3 and "is of another key" in done.err
    assert not output.exists()


def test_rauc_own_words_reach_the_user(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    # RAUC makes no verity bundle of less than 4 KiB.
    package = seal(tmp_path / "b.edgepkg", {"model": b"tiny"})
    flags = ("--key", signing[0], "--cert", signing[1])
    done = cli("export", package.path, "--to", "rauc", "-o", tmp_path / "b.raucb", *flags)
    assert done.code == 5
    assert "rauc ended with exit code 1" in done.err and "squashfs size" in done.err


def test_the_handler_has_the_agent_install_the_package(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    board = make_board(cli)
    bundle = export(cli, runnable(cli, 1).path, signing)
    mounted = extract(bundle, signing[1], tmp_path / "mounted")
    told = {"RAUC_BUNDLE_MOUNT_POINT": str(mounted), **board.environment}
    must(mounted / "install", **told)
    assert board.current() == {"digits": 1}


def test_the_handler_fails_where_the_agent_refuses(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    board = make_board(cli)
    bundle = export(cli, seal(tmp_path / "unsigned.edgepkg").path, signing)
    mounted = extract(bundle, signing[1], tmp_path / "mounted")
    told = {"RAUC_BUNDLE_MOUNT_POINT": str(mounted), **board.environment}
    done = run(mounted / "install", **told)
    assert done.returncode != 0 and "untrusted" in done.stdout
    assert board.current() == {}
