"""Facts about exports to SWUpdate, as SWUpdate sees them.

Debian's swupdate 2022.12 says "SWUPDATE successful" and then, now and then, ends with status 1, for
any image: its own service is not always there to run post-update actions when it asks for them. So
these tests go by what it says. Its sockets lie in TMPDIR, a folder of each test's own.

In about one run of fifty, for any image, its client takes the service's idle state, before the
update has begun, for the end of it: it says so ("[endupdate]"), and clears the folder in which the
service is still unpacking. What the service says from then on is of files that are gone, if it says
anything; SWUpdate is then asked again. In some it never ends, and is stopped.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.cli import Cli
from tests.fleet import Board, flipped, make_board, make_certificate, must, require, run, runnable
from tests.sealed import seal

require("swupdate", "cpio", "openssl")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def signing(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path, "ours", "extendedKeyUsage=emailProtection")


def export(cli: Cli, package: Path, signing: tuple[Path, Path], *arguments: str) -> Path:
    output = cli.folder / f"{package.stem}.swu"
    key, certificate = signing
    flags = ("--key", key, "--cert", certificate, *arguments)
    done = cli("export", package, "--to", "swupdate", "-o", output, *flags)
    assert done.code == 0, done.err
    return output


ATTEMPTS = 5
VERDICTS = ("SWUPDATE successful", "SWUPDATE failed")
LONGEST = ("timeout", "-k", "1", "30")


def told(folder: Path, *argv: str | Path, **environment: str) -> str:
    """What SWUpdate says, asked again when its client did not wait for a verdict."""
    said = ""
    for attempt in range(ATTEMPTS):
        own = folder / f"s{attempt}"
        own.mkdir(exist_ok=True)
        said = run(*LONGEST, *argv, TMPDIR=f"{own}/", **environment).stdout
        until_the_client_left = said.partition("[endupdate]")[0]
        if any(verdict in until_the_client_left for verdict in VERDICTS):
            break
    return said


def check(folder: Path, image: Path, certificate: Path, *arguments: str) -> str:
    """What `swupdate -c` says."""
    return told(folder, "swupdate", "-v", "-c", "-k", certificate, "-i", image, *arguments)


def refused(folder: Path, image: Path, certificate: Path, *arguments: str, why: str) -> bool:
    said = check(folder, image, certificate, *arguments)
    return "SWUPDATE failed" in said and why in said


def accepted(folder: Path, image: Path, certificate: Path, *arguments: str) -> bool:
    return "SWUPDATE successful" in check(folder, image, certificate, *arguments)


BOARD = ("-H", "raspberry-pi-5:1.0")
WRONG_BOARD = "HW compatibility not found"
DOWNGRADE = "No downgrading allowed"


def test_swupdate_accepts_the_image_on_the_right_board(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    image = export(cli, seal(tmp_path / "b.edgepkg").path, signing)
    assert accepted(tmp_path, image, signing[1], *BOARD)


def test_swupdate_refuses_it_on_another_board(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    image = export(cli, seal(tmp_path / "b.edgepkg").path, signing)
    assert refused(tmp_path, image, signing[1], "-H", "another:1.0", why=WRONG_BOARD)


def test_swupdate_refuses_another_revision_of_the_board(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    image = export(cli, seal(tmp_path / "b.edgepkg").path, signing, "--compatible", "pi5:1.0")
    assert accepted(tmp_path, image, signing[1], "-H", "pi5:1.0")
    assert refused(
        tmp_path, image, signing[1], "-H", "pi5:1.1", why="SW not compatible with hardware"
    )


@pytest.mark.parametrize(("sequence", "fits"), [(2, False), (3, True), (70_000, True)])
def test_swupdate_orders_images_by_the_sequence(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path], sequence: int, fits: bool
) -> None:
    # The version, for people, goes down while the sequence goes up.
    package = seal(tmp_path / "b.edgepkg", sequence=sequence, version=f"0.{100_000 - sequence}")
    image = export(cli, package.path, signing)
    if fits:
        assert accepted(tmp_path, image, signing[1], *BOARD, "-N", "3.0.0")
    else:
        assert refused(tmp_path, image, signing[1], *BOARD, "-N", "3.0.0", why=DOWNGRADE)


def test_the_largest_sequence_is_still_compared(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    image = export(cli, seal(tmp_path / "b.edgepkg", sequence=2**31 - 1).path, signing)
    assert accepted(tmp_path, image, signing[1], *BOARD, "-N", "2147483646.0.0")
    older = export(cli, seal(tmp_path / "c.edgepkg", sequence=2**31 - 2).path, signing)
    least = ("-N", "2147483647.0.0")
    assert refused(tmp_path, older, signing[1], *BOARD, *least, why=DOWNGRADE)


def test_swupdate_refuses_another_signer(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    image = export(cli, seal(tmp_path / "b.edgepkg").path, signing)
    _, theirs = make_certificate(tmp_path, "theirs", "extendedKeyUsage=emailProtection")
    why = "Authentication of all signatures failed"
    assert refused(tmp_path, image, theirs, *BOARD, why=why)


def test_swupdate_refuses_an_unsigned_image(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path]
) -> None:
    package, image = seal(tmp_path / "b.edgepkg"), tmp_path / "b.swu"
    done = cli("export", package.path, "--to", "swupdate", "-o", image, "--json")
    assert done.code == 0 and done.json["signed"] is False
    assert refused(tmp_path, image, signing[1], *BOARD, why="Image invalid or corrupted")


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("version =", "Checksum WRONG"),
        ("#!/bin/sh", "HASH mismatch"),
        ("manifest.json", "HASH mismatch"),
    ],
)
def test_swupdate_refuses_a_flipped_bit(
    cli: Cli, tmp_path: Path, signing: tuple[Path, Path], place: str, why: str
) -> None:
    image = export(cli, seal(tmp_path / "b.edgepkg").path, signing)
    at = image.read_bytes().index(place.encode())
    assert refused(tmp_path, flipped(image, at), signing[1], *BOARD, why=why)


def test_a_signature_by_ecdsa_holds_as_well(cli: Cli, tmp_path: Path) -> None:
    key, certificate = tmp_path / "ec.key", tmp_path / "ec.pem"
    must(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-subj", "/CN=ec", "-keyout", key, "-out", certificate),
        *("-addext", "extendedKeyUsage=emailProtection"),
    )
    image = export(cli, seal(tmp_path / "b.edgepkg").path, (key, certificate))
    assert accepted(tmp_path, image, certificate, *BOARD)


def test_cpio_unpacks_the_same_bytes(cli: Cli, tmp_path: Path, signing: tuple[Path, Path]) -> None:
    package = seal(tmp_path / "b.edgepkg")
    image = export(cli, package.path, signing)
    (tmp_path / "out").mkdir()
    must("cpio", "-i", "-F", image, "-D", tmp_path / "out")
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found["digits.edgepkg"] == package.path.read_bytes()
    assert set(found) == {
        *("sw-description", "sw-description.sig", "digits.edgepkg", "edgesdk-install.sh")
    }


def install(board: Board, image: Path, certificate: Path, hardware: str) -> str:
    """`swupdate -i` for real, in a mount namespace where /var/lib is the test's own."""
    inside = 'mount -t tmpfs none /var/lib && exec swupdate "$@"'
    asked = ("swupdate", "-v", "-M", "-m", "-k", certificate, "-H", hardware, "-i", image)
    return told(board.folder, "unshare", "--mount", "sh", "-c", inside, *asked, **board.environment)


def _may_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return run("unshare", "--mount", "sh", "-c", "mount -t tmpfs none /var/lib").returncode == 0


needs_mounts = pytest.mark.skipif(
    not _may_mount(), reason="installing for real needs a mount namespace, which root may make"
)


@needs_mounts
def test_swupdate_installs_and_the_agent_has_the_package(
    cli: Cli, signing: tuple[Path, Path]
) -> None:
    board = make_board(cli)
    said = install(board, export(cli, runnable(cli, 1).path, signing), signing[1], "a-board:1")
    assert "SWUPDATE successful" in said, said
    assert board.current() == {"digits": 1}


@needs_mounts
def test_swupdate_reports_that_the_agent_refused(cli: Cli, signing: tuple[Path, Path]) -> None:
    board = make_board(cli)
    install(board, export(cli, runnable(cli, 2).path, signing), signing[1], "a-board:1")
    said = install(board, export(cli, runnable(cli, 1).path, signing), signing[1], "a-board:1")
    assert "SWUPDATE successful" not in said and "downgrade" in said
    assert board.current() == {"digits": 2}
