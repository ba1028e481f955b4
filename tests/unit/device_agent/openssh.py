"""OpenSSH's `ssh-keygen`, to compare with."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from signatures import Key

needs_openssh = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="OpenSSH's client is not installed"
)


def private_file(folder: Path, key: Key) -> Path:
    path = folder / key.name
    path.write_bytes(key.pem)
    path.chmod(0o600)
    return path


def openssh_takes(
    folder: Path,
    armored: bytes,
    message: bytes,
    *,
    namespace: str,
    allowed: str,
    identity: str = "anna",
    revoked: str = "",
) -> bool:
    """Whether `ssh-keygen -Y verify` does.

    Args:
        allowed: the file of allowed signers; they are called "anna" unless told.
        revoked: a file of revoked public keys.
    """
    signers, signature, gone = folder / "allowed", folder / "signature", folder / "revoked"
    signers.write_text(allowed)
    signature.write_bytes(armored)
    gone.write_text(revoked)
    argv = ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", identity, "-n", namespace]
    done = subprocess.run([*argv, "-s", signature, "-r", gone], input=message, capture_output=True)
    return done.returncode == 0
