"""This user's own keys, in a folder: NAME (the private half, mode 0600) and NAME.pub.

They are OpenSSH's files, and can be used with it. A key that lives elsewhere is linked to, or has
its NAME.pub only: then ssh-agent holds the private half. Nothing is ever overwritten or deleted.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from device_agent.trust import is_key_name
from edgesdk.errors import SigningError, UsageError
from edgesdk.files import fsync_directory, one_writer, write_durable
from edgesdk.keys.signing import FileSigner, open_signer, read_public_key
from edgesdk.values.keys import Place

DEFAULT_NAME = "default"


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key of this user.

    Args:
        public_key: "ssh-ed25519 AAAA...".
        path: what OpenSSH and `open_signer` find it by.
        place: where the private half is.
    """

    name: str
    public_key: str
    path: Path
    place: Place


def load(folder: Path) -> tuple[OwnKey, ...]:
    """Every key in the folder, by name.

    Raises:
        SigningError: a .pub file that is none.
    """
    return tuple(_own_key(path) for path in sorted(folder.glob("*.pub")))


def create(folder: Path, name: str, key: FileSigner) -> OwnKey:
    """Store a new key.

    Raises:
        UsageError: it cannot be called so, or there is one of that name.
    """
    with one_writer(folder / "keys"):
        private, public = _free_paths(folder, name)
        write_durable(private, key.pem(), mode=0o600)
        write_durable(public, f"{key.public_key} {name}\n".encode())
    return _own_key(public)


def adopt(folder: Path, name: str, existing: Path) -> OwnKey:
    """Take in a key that stays where it is: a private key file, or the .pub file of one elsewhere.

    Raises:
        UsageError: as `create`.
        SigningError: there is no such key, or it cannot be used.
    """
    signer = open_signer(existing)
    with one_writer(folder / "keys"):
        private, public = _free_paths(folder, name)
        kept = existing.with_suffix("") if existing.suffix == ".pub" else existing
        if kept.exists():
            os.symlink(kept.absolute(), private)
            fsync_directory(folder)
        write_durable(public, f"{signer.public_key} {name}\n".encode())
    return _own_key(public)


def _free_paths(folder: Path, name: str) -> tuple[Path, Path]:
    if not is_key_name(name) or name.endswith((".pub", ".lock")):
        raise UsageError(
            f"found key name {name!r}, expected letters, digits, '.', '_' and '-', starting with a "
            "letter or digit and not ending in .pub or .lock"
        )
    private, public = folder / name, folder / f"{name}.pub"
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists already", hint="choose another name for the new key")
    return private, public


def _own_key(public: Path) -> OwnKey:
    private = public.with_suffix("")
    text = read_public_key(public)
    if private.is_symlink() and not private.exists():
        raise SigningError(
            f"{private} leads to {os.readlink(private)}, which is not there",
            hint=f"put the key back, or remove {private} and {public}",
        )
    if private.exists():
        return OwnKey(private.name, text, private, "file")
    return OwnKey(private.name, text, public, "ssh-agent")
