"""Who signs: keys in files, in ssh-agent, behind passphrases, on tokens."""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent import sshsig
from edgesdk.errors import SigningError, ToolchainMissing
from edgesdk.keys.signing import FileSigner, SshKeygenSigner, open_signer, read_public_key
from tests.unit.device_agent.signatures import HardwareKey, Key, string

ANNA, BEN = Key("anna"), Key("ben")
MESSAGE = b'{"format":"edgepkg/1"}'
PURPOSE = "edgesdk-package"

needs_openssh = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None or shutil.which("ssh-agent") is None,
    reason="OpenSSH's client is not installed",
)


def written(folder: Path, key: Key = ANNA, content: bytes | None = None) -> Path:
    """A private key file with its .pub beside it."""
    path = folder / key.name
    path.write_bytes(key.pem if content is None else content)
    path.chmod(0o600)
    path.with_name(key.name + ".pub").write_text(f"{key.text} {key.name}@desk\n")
    return path


# ---- keys in files -----------------------------------------------------------------------------


def test_a_key_in_a_file_signs_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    signer = open_signer(written(tmp_path))
    assert isinstance(signer, FileSigner)
    assert signer.public_key == ANNA.text
    assert sshsig.verify(signer.sign(MESSAGE, PURPOSE), MESSAGE, PURPOSE) == ANNA.blob


def test_a_folder_is_no_key_and_nobody_is_told_to_close_it_to_others(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match="is no file") as caught:
        open_signer(tmp_path)
    assert "chmod" not in caught.value.hint


def test_the_same_message_gets_the_same_signature(tmp_path: Path) -> None:
    signer = open_signer(written(tmp_path))
    assert signer.sign(MESSAGE, PURPOSE) == signer.sign(MESSAGE, PURPOSE)


def test_a_pub_file_stands_for_the_private_one_beside_it(tmp_path: Path) -> None:
    written(tmp_path)
    assert isinstance(open_signer(tmp_path / "anna.pub"), FileSigner)


def test_a_private_key_without_its_pub_file_signs(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "anna.pub").unlink()
    assert open_signer(tmp_path / "anna").public_key == ANNA.text


@needs_openssh
def test_openssh_signs_with_our_keys_alike(tmp_path: Path) -> None:
    path = written(tmp_path)
    ours, theirs = open_signer(path), SshKeygenSigner(ANNA.text, path)
    assert ours.sign(MESSAGE, PURPOSE) == theirs.sign(MESSAGE, PURPOSE)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_private_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path)
    path.chmod(mode)
    with pytest.raises(SigningError, match=f"mode {mode:04o}") as caught:
        open_signer(path)
    assert f"chmod 600 {path}" in caught.value.hint


def test_a_pub_file_of_another_key_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "anna.pub").write_text(BEN.text)
    with pytest.raises(SigningError, match="is of another key than"):
        open_signer(path)


@needs_openssh
@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_a_key_of_another_type_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "other"
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path]
    subprocess.run(argv, check=True)
    with pytest.raises(SigningError, match="is not an Ed25519 key") as caught:
        open_signer(path)
    assert "ssh-keygen -t ed25519" in caught.value.hint


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match=r"gone\.pub cannot be read: No such file"):
        open_signer(tmp_path / "gone")


def test_a_damaged_key_is_refused_and_not_quoted(tmp_path: Path) -> None:
    """Row F43: neither the message nor a traceback holds any line of the key."""
    lines = ANNA.pem.decode().splitlines()
    for at in range(len(ANNA.pem)):
        damaged = ANNA.pem[:at] + bytes([ANNA.pem[at] ^ 4]) + ANNA.pem[at + 1 :]
        path = written(tmp_path, content=damaged)
        try:
            signature = open_signer(path).sign(MESSAGE, PURPOSE)
        except SigningError as error:
            told = "".join(traceback.format_exception(error))
            assert not any(line[:20] in told for line in lines[1:-1]), told
        else:  # The bit is in a comment or padding.
            assert signature == ANNA.sign(MESSAGE, PURPOSE)


# ---- public keys -------------------------------------------------------------------------------


def test_a_public_key_is_read_without_its_comment(tmp_path: Path) -> None:
    path = tmp_path / "a.pub"
    path.write_text(f"{ANNA.text} anna of the bench\n")
    assert read_public_key(path) == ANNA.text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no key that can be used: it is empty"),
        (b"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQA=", "found a key of type 'ssh-rsa'"),
        (ANNA.text.encode() + b"\n" + BEN.text.encode(), "several lines"),
        (ANNA.text[:-3].encode(), "expected a type and base64"),
        (ANNA.pem, "holds a private key, expected a public one"),
        (b"\xff\xfe", "it is not text"),
    ],
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "a.pub"
    path.write_bytes(content)
    with pytest.raises(SigningError, match=told) as caught:
        read_public_key(path)
    assert "PRIVATE" not in str(caught.value)


# ---- through OpenSSH ---------------------------------------------------------------------------


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ssh-agent of this test's own, with nothing in it."""
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 10
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        yield
        process.terminate()


def add_to_agent(path: Path, folder: Path, passphrase: str = "") -> None:
    """Put a key into ssh-agent, with its passphrase from a program that answers in its place."""
    answer = folder / "answer"
    answer.write_text(f"#!/bin/sh\necho {passphrase}\n")
    answer.chmod(0o700)
    environ = {**os.environ, "SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", path], check=True, env=environ)


@needs_openssh
def test_a_key_in_ssh_agent_signs(tmp_path: Path, agent: None) -> None:
    path = written(tmp_path)
    add_to_agent(path, tmp_path)
    path.unlink()
    signer = open_signer(tmp_path / "anna.pub")
    assert isinstance(signer, SshKeygenSigner)
    assert signer.sign(MESSAGE, PURPOSE) == ANNA.sign(MESSAGE, PURPOSE)


@needs_openssh
def test_a_key_with_a_passphrase_signs_once_ssh_agent_has_it(tmp_path: Path, agent: None) -> None:
    path = written(tmp_path)
    argv = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "correct horse", "-f", path]
    subprocess.run(argv, check=True, capture_output=True)
    signer = open_signer(path)
    assert isinstance(signer, SshKeygenSigner)
    with pytest.raises(SigningError, match="ssh-keygen -Y sign with") as caught:
        signer.sign(MESSAGE, PURPOSE)
    assert f"ssh-add {path}" in caught.value.hint
    add_to_agent(path, tmp_path, "correct horse")
    assert signer.sign(MESSAGE, PURPOSE) == ANNA.sign(MESSAGE, PURPOSE)


@needs_openssh
def test_a_key_that_ssh_agent_does_not_have_is_said_so(tmp_path: Path, agent: None) -> None:
    written(tmp_path).unlink()
    signer = open_signer(tmp_path / "anna.pub")
    with pytest.raises(SigningError, match="ended with exit code") as caught:
        signer.sign(MESSAGE, PURPOSE)
    assert caught.value.details
    assert "ssh-add -L" in caught.value.hint
    assert f"its private half is not at {tmp_path / 'anna'}, and" in caught.value.hint


def test_without_ssh_keygen_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path).unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainMissing, match="needs ssh-keygen") as caught:
        open_signer(tmp_path / "anna.pub").sign(MESSAGE, PURPOSE)
    assert "OpenSSH" in caught.value.hint


# ---- a token, played by a program called ssh-keygen ---------------------------------------------

TOKEN = HardwareKey("token")

_PLAYER = """#!{python}
import json, os, shutil, sys
with open({folder!r} + "/argv", "w") as log:
    json.dump(sys.argv, log)
shutil.copy({folder!r} + "/made.sig", sys.argv[-1] + ".sig")
"""


def token_file(folder: Path) -> Path:
    """What `ssh-keygen -t ed25519-sk` writes: a handle, not a key (PROTOCOL.key, PROTOCOL.u2f)."""
    inner = struct.pack(">II", 7, 7) + string(sshsig.HARDWARE_KEY.encode())
    inner += string(TOKEN.point) + string(TOKEN.application) + b"\1"
    inner += string(b"handle") + string(b"") + string(b"comment")
    inner += bytes(range(1, 1 + -len(inner) % 8))
    blob = b"openssh-key-v1\0" + string(b"none") + string(b"none") + string(b"")
    blob += struct.pack(">I", 1) + string(TOKEN.blob) + string(inner)
    text = base64.encodebytes(blob).decode()
    kind = "OPENSSH PRIVATE KEY"
    return written(folder, TOKEN, f"-----BEGIN {kind}-----\n{text}-----END {kind}-----\n".encode())


def play_ssh_keygen(folder: Path, monkeypatch: pytest.MonkeyPatch, signature: bytes) -> None:
    player = folder / "bin" / "ssh-keygen"
    player.parent.mkdir()
    player.write_text(_PLAYER.format(python=sys.executable, folder=str(folder)))
    player.chmod(0o700)
    (folder / "made.sig").write_bytes(signature)
    monkeypatch.setenv("PATH", str(player.parent))


def test_a_token_signs_through_ssh_keygen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = token_file(tmp_path)
    play_ssh_keygen(tmp_path, monkeypatch, TOKEN.sign(MESSAGE, PURPOSE))
    signer = open_signer(path)
    assert sshsig.verify(signer.sign(MESSAGE, PURPOSE), MESSAGE, PURPOSE) == TOKEN.blob
    argv = json.loads((tmp_path / "argv").read_text())
    assert argv[1:-1] == ["-Y", "sign", "-n", PURPOSE, "-f", str(path)]


@needs_openssh
def test_openssh_knows_the_file_of_a_token(tmp_path: Path) -> None:
    """So that the file above is one; without the token there is nothing to sign with."""
    path = token_file(tmp_path)
    shown = subprocess.run(["ssh-keygen", "-y", "-f", path], capture_output=True, text=True)
    assert " ".join(shown.stdout.split()[:2]) == TOKEN.text
    with pytest.raises(SigningError, match="ssh-keygen -Y sign with"):
        open_signer(path).sign(MESSAGE, PURPOSE)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (ANNA.sign(MESSAGE, PURPOSE), "which is not its public key"),
        (TOKEN.sign(b"other", PURPOSE), "does not hold"),
        (TOKEN.sign(MESSAGE, "file"), "does not hold"),
        (b"junk", "does not hold"),
        (HardwareKey("token", flags=0).sign(MESSAGE, PURPOSE), "without being touched"),
    ],
)
def test_what_ssh_keygen_made_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bytes, told: str
) -> None:
    play_ssh_keygen(tmp_path, monkeypatch, made)
    with pytest.raises(SigningError, match=told):
        open_signer(token_file(tmp_path)).sign(MESSAGE, PURPOSE)
