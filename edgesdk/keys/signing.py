"""Who signs: an Ed25519 key in a file, or `ssh-keygen` for what only OpenSSH can reach.

A key in a file without a passphrase signs in this process. One with a passphrase, one in ssh-agent
and one on a hardware token sign through `ssh-keygen -Y sign`, and their private halves never come
here. No private key is shown, logged, or given to a program as an argument.
"""

from __future__ import annotations

import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from device_agent import sshsig
from device_agent.sshsig import BadSignature, Signature
from edgesdk.errors import SigningError, ToolchainMissing
from edgesdk.processes import CannotStart, run_to_end

_TOUCH_DEADLINE_S = 60.0
"""For a person to find the token and touch it, or to confirm in ssh-agent."""


class Signer(Protocol):
    """Signs with one key."""

    @property
    def public_key(self) -> str:
        """The key whose signatures these are, "ssh-ed25519 AAAA..."."""

    def sign(self, message: bytes, namespace: str) -> bytes:
        """An armored SSHSIG over the message. The same one again for a key that is not hardware.

        Raises:
            SigningError: the key cannot be used now.
        """


@dataclass(frozen=True, slots=True)
class FileSigner:
    """A private key that was read from a file."""

    public_key: str
    _private: Ed25519PrivateKey = field(repr=False)

    def sign(self, message: bytes, namespace: str) -> bytes:
        """As `Signer.sign`."""
        proof = self._private.sign(sshsig.signed_data(message, namespace))
        blob = sshsig.key_blob(self.public_key)
        return sshsig.armor(Signature(blob, namespace, "sha512", sshsig.plain_signature(proof)))

    def pem(self) -> bytes:
        """The private half as OpenSSH's files hold it, without a passphrase."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


@dataclass(frozen=True, slots=True)
class SshKeygenSigner:
    """A key that `ssh-keygen` finds: in ssh-agent, on a token, or behind a passphrase.

    Args:
        path: its file; the .pub file where ssh-agent holds the private half.
    """

    public_key: str
    path: Path

    def sign(self, message: bytes, namespace: str) -> bytes:
        """As `Signer.sign`."""
        armored = self._run(message, namespace)
        try:
            signer = sshsig.verify(armored, message, namespace)
        except BadSignature as error:
            raise SigningError(
                f"ssh-keygen made a signature that does not hold: {error}"
            ) from error
        if sshsig.key_text(signer) != self.public_key:
            raise SigningError(
                f"{self.path} signs as {sshsig.fingerprint(signer)}, which is not its public key",
                hint="the .pub file beside it is of another key",
            )
        return armored

    def _run(self, message: bytes, namespace: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="edgesdk-sign-") as folder:
            document = Path(folder) / "document"
            document.write_bytes(message)
            argv = ["ssh-keygen", "-Y", "sign", "-n", namespace]
            argv += ["-f", str(self.path.absolute()), str(document)]
            try:
                ended = run_to_end(argv, _TOUCH_DEADLINE_S)
            except CannotStart as error:
                raise ToolchainMissing(
                    f"{self.path} needs ssh-keygen to sign, which cannot be started",
                    hint="install OpenSSH's client, 8.1 or newer",
                ) from error
            signature = document.with_name("document.sig")
            if not ended.succeeded or not signature.exists():
                raise SigningError(
                    ended.sentence(f"ssh-keygen -Y sign with {self.path}", _TOUCH_DEADLINE_S),
                    details=ended.last_lines(),
                    hint=self._remedy(),
                )
            return signature.read_bytes()

    def _remedy(self) -> str:
        if self.path.suffix == ".pub":
            private = self.path.with_suffix("")
            return (
                f"its private half is not at {private}, and `ssh-add -L` lists what ssh-agent "
                "holds: restore it, or add it there"
            )
        return (
            f"`ssh-add -L` lists what ssh-agent holds; `ssh-add {self.path}` unlocks a key with a "
            "passphrase"
        )


def new_signer() -> FileSigner:
    """A key that nobody has seen yet: it is in memory only."""
    return _file_signer(Ed25519PrivateKey.generate())


def open_signer(path: Path) -> Signer:
    """The signer of a private key file, or of a .pub file whose private half ssh-agent holds.

    Raises:
        SigningError: there is no such file, it is no Ed25519 key, or others can read it.
    """
    private = path.with_suffix("") if path.suffix == ".pub" else path
    public = private.with_name(private.name + ".pub")
    if not private.exists():
        return SshKeygenSigner(read_public_key(public), public)
    _require_private(private)
    key = _private_key(private, public)
    if key is None:
        return SshKeygenSigner(read_public_key(public), private)
    signer = _file_signer(key)
    if public.exists() and read_public_key(public) != signer.public_key:
        raise SigningError(
            f"{public} is of another key than {private}",
            hint=f"restore both from your backup, or `ssh-keygen -y -f {private} > {public}`",
        )
    return signer


def read_public_key(path: Path) -> str:
    """The key of a .pub file, without its comment.

    Raises:
        SigningError: there is no such file, or it holds no Ed25519 public key.
    """
    try:
        line = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SigningError(f"the public key {path} cannot be read: {reason}") from error
    if "PRIVATE KEY" in line:
        raise SigningError(f"{path} holds a private key, expected a public one", hint="add .pub")
    text = " ".join(line.split()[:2])
    try:
        if not line:
            raise BadSignature("it is empty")
        if "\n" in line:
            raise BadSignature("found several lines, expected one")
        sshsig.key_blob(text)
    except BadSignature as error:
        raise SigningError(
            f"{path} holds no key that can be used: {error}",
            hint="edgesdk signs with Ed25519: `edgesdk key new NAME`, or ssh-keygen -t ed25519",
        ) from error
    return text


def _file_signer(key: Ed25519PrivateKey) -> FileSigner:
    return FileSigner(sshsig.key_text(sshsig.plain_key(key.public_key().public_bytes_raw())), key)


def _require_private(path: Path) -> None:
    if not path.is_file():
        raise SigningError(f"{path} is no file, expected a private key in OpenSSH's form")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise SigningError(
            f"others can read the private key {path} (mode {mode:04o})", hint=f"chmod 600 {path}"
        )


def _private_key(path: Path, public: Path) -> Ed25519PrivateKey | None:
    """The key, or None where it takes `ssh-keygen`: it has a passphrase, or is on a token."""
    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except TypeError:
        return None
    except (ValueError, UnsupportedAlgorithm):
        if public.exists() and read_public_key(public).startswith(sshsig.HARDWARE_KEY):
            return None
        # Not chained: a message about broken data might quote them.
        raise SigningError(
            f"{path} is no private key in OpenSSH's form, or it is damaged",
            hint="restore it from your backup, or make another key: `edgesdk key new NAME`",
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(
            f"{path} is not an Ed25519 key",
            hint="edgesdk signs with Ed25519: `edgesdk key new NAME`, or ssh-keygen -t ed25519",
        )
    return key
