"""This user's keys as files."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from edgesdk.errors import SigningError, UsageError
from edgesdk.keys import store
from edgesdk.keys.signing import new_signer, open_signer
from tests.unit.device_agent.signatures import Key

ANNA = Key("anna")


def test_a_new_key_is_two_files_of_which_one_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    key = store.create(folder, "bench", new_signer())
    assert (key.name, key.place, key.path) == ("bench", "file", folder / "bench")
    assert stat.S_IMODE((folder / "bench").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "bench.pub").read_text() == f"{key.public_key} bench\n"
    assert store.load(folder) == (key,)
    assert open_signer(key.path).public_key == key.public_key


def test_every_key_is_another(tmp_path: Path) -> None:
    made = [store.create(tmp_path, f"k{count}", new_signer()) for count in range(5)]
    assert len({key.public_key for key in made}) == 5


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
def test_openssh_reads_a_new_key(tmp_path: Path) -> None:
    key = store.create(tmp_path, "bench", new_signer())
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", key.path], capture_output=True, check=True, text=True
    )
    assert shown.stdout.split()[:2] == key.public_key.split()


@pytest.mark.parametrize("name", ["", "-x", "a/b", "../a", "a b", "a.pub", "keys.lock", "a" * 65])
def test_odd_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="found key name"):
        store.create(tmp_path / "keys", name, new_signer())


@pytest.mark.parametrize("suffix", ["", ".pub"])
def test_nothing_is_overwritten(tmp_path: Path, suffix: str) -> None:
    there = tmp_path / f"bench{suffix}"
    there.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        store.create(tmp_path, "bench", new_signer())
    assert there.read_text() == "mine"


def test_an_existing_key_stays_where_it_is(tmp_path: Path) -> None:
    existing = tmp_path / "id_ed25519"
    existing.write_bytes(ANNA.pem)
    existing.chmod(0o600)
    key = store.adopt(tmp_path / "keys", "mine", existing)
    assert (key.public_key, key.place) == (ANNA.text, "file")
    assert key.path.resolve() == existing
    assert open_signer(key.path).sign(b"m", "n") == ANNA.sign(b"m", "n")


def test_a_pub_file_alone_is_a_key_in_ssh_agent(tmp_path: Path) -> None:
    (tmp_path / "anna.pub").write_text(ANNA.text)
    key = store.adopt(tmp_path / "keys", "mine", tmp_path / "anna.pub")
    assert (key.public_key, key.place) == (ANNA.text, "ssh-agent")
    assert store.load(tmp_path / "keys") == (key,)


def test_an_existing_key_that_is_none_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SigningError):
        store.adopt(tmp_path / "keys", "mine", tmp_path / "gone")
    assert store.load(tmp_path / "keys") == ()


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    existing = tmp_path / "id_ed25519"
    existing.write_bytes(ANNA.pem)
    existing.chmod(0o600)
    store.adopt(tmp_path / "keys", "mine", existing)
    existing.unlink()
    with pytest.raises(SigningError, match=r"leads to .*id_ed25519, which is not there"):
        store.load(tmp_path / "keys")


def test_a_private_key_file_is_never_readable_by_others_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    real_replace = os.replace

    def watched(source: str, target: Path) -> None:
        modes.append((Path(target).name, stat.S_IMODE(os.stat(source).st_mode)))
        real_replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    store.create(tmp_path, "bench", new_signer())
    assert modes == [("bench", 0o600), ("bench.pub", 0o644)]
