"""`edgesdk key` as a user runs it; and no secret in what it says, logs or starts (row F43)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent import sshsig
from device_agent.trust import TRUST_NAMESPACE
from tests.cli import ROOT, Cli, Done
from tests.sealed import seal
from tests.unit.device_agent.signatures import ANNA, Key
from tests.unit.package.artifacts import make_artifact

CANARY = Key("canary")
TOKEN = "token-canary-4f1d2c7e"

needs_openssh = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="OpenSSH's client is not installed"
)


@pytest.fixture
def run(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def succeeded(done: Done) -> Done:
    assert done.code == 0, done.err
    return done


def private_file(folder: Path, key: Key) -> Path:
    path = folder / key.name
    path.write_bytes(key.pem)
    path.chmod(0o600)
    path.with_name(key.name + ".pub").write_text(f"{key.text} {key.name}\n")
    return path


def test_a_first_key_is_made_listed_and_told_as_json(run: Cli) -> None:
    assert "no keys yet: edgesdk key new" in succeeded(run("key", "ls")).out
    made = succeeded(run("key", "new"))
    assert "made default (SHA256:" in made.out and made.err == ""
    listed = succeeded(run("key", "ls")).out
    assert "default: trusted; private half in a file here; signs where no other" in listed
    assert "trust version 1; signatures that a change takes: 1" in listed
    ring = succeeded(run("key", "ls", "--json")).json
    assert (ring["version"], ring["pending"]) == (1, None)
    assert [(key["name"], key["state"]) for key in ring["keys"]] == [("default", "trusted")]


def test_every_change_answers_in_json(run: Cli, tmp_path: Path) -> None:
    private_file(tmp_path, ANNA)
    for version, arguments in enumerate(
        (
            ("new", "default"),
            ("new", "spare", "--expires", "2099-01-01"),
            ("trust", "anna.pub"),
            ("trust", "anna", "--expires", "never", "--name", "release"),
            ("revoke", "release"),
            ("threshold", "2"),
        ),
        start=1,
    ):
        answer = succeeded(run("key", *arguments, "--json")).json
        assert answer["ring"]["version"] == version
        assert answer["sentence"]


@needs_openssh
def test_the_commands_that_it_prints_for_a_colleague_work(run: Cli, tmp_path: Path) -> None:
    private_file(tmp_path, ANNA)
    succeeded(run("key", "new"))
    succeeded(run("key", "trust", "anna.pub"))
    told = succeeded(run("key", "threshold", "2")).out
    assert "2 of version 3's keys; signed: default; may sign: anna" in told
    sign, add = (line.partition("  ")[2] for line in told.splitlines()[-2:])
    subprocess.run(sign.replace("KEY", "anna").split(), check=True, cwd=tmp_path)
    assert "version 3 of the trust is signed and holds" in succeeded(run(*add.split()[1:])).out


def test_a_change_can_be_forgotten(run: Cli, tmp_path: Path) -> None:
    private_file(tmp_path, ANNA)
    succeeded(run("key", "new"))
    succeeded(run("key", "trust", "anna.pub"))
    succeeded(run("key", "threshold", "2"))
    refused = run("key", "threshold", "1")
    assert (refused.code, "lacks signatures" in refused.err) == (2, True)
    assert "version 3 is forgotten" in succeeded(run("key", "sign", "--discard")).out
    both = run("key", "sign", "--discard", "--signature", "x")
    assert (both.code, "expected one of them" in both.err) == (2, True)


def test_a_refusal_has_an_exit_code_and_a_next_step(run: Cli) -> None:
    done = run("key", "revoke", "default", "--json")
    assert done.code == 3
    assert done.json["error"]["type"] == "SigningError"
    assert "edgesdk key new" in done.json["error"]["hint"]


def test_keys_made_at_the_same_time_are_all_trusted(run: Cli) -> None:
    running = [run.start("key", "new", f"key-{count}") for count in range(4)]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    ring = succeeded(run("key", "ls", "--json")).json
    assert ring["version"] == 4
    assert {key["state"] for key in ring["keys"]} == {"trusted"}


# ---- canaries ----------------------------------------------------------------------------------


def traces(key: Key) -> Iterator[str]:
    """How the private half of a key could show: its lines, and its seed in the usual forms."""
    seed = key.private.private_bytes_raw()
    yield from (line for line in key.pem.decode().splitlines()[3:-1] if len(line) > 20)
    yield from (seed.hex(), seed.hex(":"), repr(seed)[2:-1], str(list(seed))[1:-1])
    # Within other base64, at each of the three places that a byte can have there.
    yield from (base64.b64encode(bytes(at) + seed).decode()[4:-4] for at in range(3))
    yield "PRIVATE KEY"


def secrets() -> list[str]:
    return [*traces(CANARY), TOKEN]


def assert_silent(*texts: str) -> None:
    for text in texts:
        assert [secret for secret in secrets() if secret in text] == []


@pytest.fixture
def guarded(run: Cli, tmp_path: Path) -> Cli:
    """With a canary for a key and one for a token, and an `ssh-keygen` that tells what it gets."""
    recorder = tmp_path / "bin" / "ssh-keygen"
    recorder.parent.mkdir()
    recorder.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"with open({str(tmp_path / 'argv')!r}, 'a') as log: print(sys.argv, file=log)\n"
        f"os.execv({shutil.which('ssh-keygen')!r}, sys.argv)\n"
    )
    recorder.chmod(0o700)
    run.environment["PATH"] = f"{recorder.parent}:{os.environ['PATH']}"
    run.environment["EDGESDK_TOKEN"] = run.environment["GITHUB_TOKEN"] = TOKEN
    run.environment.pop("SSH_AUTH_SOCK", None)
    private_file(tmp_path, CANARY)
    return run


def test_the_canaries_would_be_noticed(tmp_path: Path) -> None:
    for leak in (CANARY.pem.decode(), repr(CANARY.private.private_bytes_raw()), f"x={TOKEN}"):
        with pytest.raises(AssertionError):
            assert_silent(leak)


def test_no_secret_is_shown_or_logged(guarded: Cli, tmp_path: Path) -> None:
    make_artifact(tmp_path / "artifact")
    for arguments in (
        ("key", "new", "default", "--existing", "canary"),
        ("key", "new", "spare"),
        ("key", "ls"),
        ("key", "ls", "--json"),
        ("package", "artifact", "-o", "a.edgepkg", "--name", "a"),
        ("package", "artifact", "-o", "b.edgepkg", "--name", "a", "--key", "canary"),
        ("inspect", "a.edgepkg"),
        ("key", "threshold", "2"),
        ("key", "revoke", "nobody"),
        ("key", "trust", "canary"),
        ("key", "new", "third", "--existing", "canary.pub"),
    ):
        done = guarded("-vv", *arguments)
        assert_silent(done.out, done.err)
    package = (tmp_path / "a.edgepkg").read_bytes()
    assert b"BEGIN SSH SIGNATURE" in package
    assert_silent(package.decode("latin-1"))
    public = [*(tmp_path / "edgesdk-home" / "trust").iterdir()]
    public += (tmp_path / "edgesdk-home" / "keys").glob("*.pub")
    assert_silent(*(path.read_text() for path in public))


def test_a_damaged_key_is_not_quoted(guarded: Cli, tmp_path: Path) -> None:
    lines = CANARY.pem.decode().splitlines()
    lines[2] = lines[2][::-1]
    (tmp_path / "canary").write_text("\n".join(lines))
    done = guarded("-vv", "key", "new", "--existing", "canary")
    assert (done.code, "or it is damaged" in done.err) == (3, True)
    assert_silent(done.out, done.err)


@needs_openssh
def test_no_secret_is_given_to_a_program(guarded: Cli, tmp_path: Path) -> None:
    """A key with a passphrase signs through ssh-keygen, which is told where it is and no more."""
    argv = ["ssh-keygen", "-q", "-p", "-P", "", "-N", TOKEN, "-f", str(tmp_path / "canary")]
    subprocess.run(argv, check=True, capture_output=True)
    done = guarded("-vv", "key", "new", "--existing", "canary")
    assert "default did not sign: ssh-keygen -Y sign" in done.err
    recorded = (tmp_path / "argv").read_text()
    assert "'-Y', 'sign', '-n', 'edgesdk-trust', '-f'" in recorded
    assert_silent(done.out, done.err, recorded)


def test_a_bug_while_signing_shows_no_secret(guarded: Cli, tmp_path: Path) -> None:
    """A traceback has our source lines in it and the values' names, but no values."""
    program = (
        "import sys\n"
        "from device_agent import sshsig\n"
        "from edgesdk.cli.main import run\n"
        "def broken(*_):\n"
        "    raise RuntimeError('a bug')\n"
        "sshsig.plain_signature = broken\n"
        "run(['-vv', 'key', 'new', '--existing', 'canary'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**guarded.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "RuntimeError: a bug" in done.stderr
    assert_silent(done.stdout, done.stderr)


def test_a_signer_does_not_show_its_key(tmp_path: Path) -> None:
    from edgesdk.keys.signing import open_signer

    signer = open_signer(private_file(tmp_path, CANARY))
    assert_silent(repr(signer), str(signer), json.dumps(str(vars(type(signer)))))
    signature = signer.sign(b"m", TRUST_NAMESPACE)
    assert sshsig.verify(signature, b"m", TRUST_NAMESPACE) == CANARY.blob
    assert_silent(signature.decode())


def test_why_a_package_is_not_believed_is_a_code_for_programs(run: Cli, tmp_path: Path) -> None:
    succeeded(run("key", "new"))
    seal(tmp_path / "unsigned.edgepkg")
    done = run("verify", "unsigned.edgepkg", "--json")
    assert done.code == 3
    assert done.json["error"]["code"] == "unsigned"
    assert "--allow-unsigned" in done.json["error"]["hint"]
    allowed = succeeded(run("verify", "unsigned.edgepkg", "--allow-unsigned"))
    assert "NOT SIGNED by anybody" in allowed.out and "believed" not in allowed.out
