"""Logging in: by a key of ours, never with a password."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import UnknownKeyType

from edgesdk.devices.inventory import Device
from edgesdk.devices.ssh_errors import lost
from edgesdk.devices.ssh_negotiation import MARGIN_S
from edgesdk.devices.transport import Deadline
from edgesdk.errors import AuthenticationFailed

_DEFAULT_IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True, slots=True)
class Identities:
    """Keys to log in with, in order, and what was found but cannot be used."""

    keys: tuple[tuple[str, paramiko.PKey], ...]
    unusable: tuple[str, ...]


@contextlib.contextmanager
def find_identities(device: Device) -> Iterator[Identities]:
    """The device's own identity file, else ssh-agent and then ~/.ssh.

    An identity file that is locked is looked for in ssh-agent, which is where people unlock it.
    """
    files = _identity_files(device)
    loaded = [(str(path), _load_identity(path)) for path in files]
    unlocked = tuple((name, key) for name, key in loaded if isinstance(key, paramiko.PKey))
    unusable = tuple(f"{name}: {key}" for name, key in loaded if isinstance(key, str))
    if device.identity_file is not None and unlocked:
        yield Identities(unlocked, ())
        return
    agent = paramiko.Agent()
    try:
        held = tuple(("ssh-agent", key) for key in agent.get_keys())
        yield Identities(_without_doubles(held + unlocked), unusable)
    finally:
        agent.close()


def _identity_files(device: Device) -> tuple[Path, ...]:
    if device.identity_file is None:
        candidates = (Path.home() / ".ssh" / name for name in _DEFAULT_IDENTITIES)
        return tuple(path for path in candidates if path.exists())
    path = Path(device.identity_file).expanduser()
    if not path.is_file():
        raise AuthenticationFailed(
            f"the identity file of device {device.name} is not there: {path}",
            hint="Enrol the device again with the private key that it accepts.",
        )
    return (path,)


def _load_identity(path: Path) -> paramiko.PKey | str:
    """The key, or why it cannot be used. Its contents are never shown."""
    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        return "locked by a passphrase; unlock it with `ssh-add`"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, paramiko.SSHException, UnknownKeyType, UnsupportedAlgorithm):
        return "not a private key that can be used"


def _without_doubles(
    keys: Sequence[tuple[str, paramiko.PKey]],
) -> tuple[tuple[str, paramiko.PKey], ...]:
    first = {pair[1].fingerprint: pair for pair in reversed(keys)}
    return tuple(pair for pair in keys if first[pair[1].fingerprint] is pair)


def log_in(
    session: paramiko.Transport, device: Device, identities: Identities, deadline: Deadline
) -> None:
    tried = []
    for name, key in identities.keys:
        tried.append(f"{name}: {key.get_name()} {key.fingerprint}")
        session.auth_timeout = deadline.left_s() + MARGIN_S
        try:
            if not session.auth_publickey(device.user, key):
                return
        except paramiko.SSHException as error:
            if not deadline.left_s():
                raise deadline.exceeded(f"logging in on {device.address}") from error
            if not session.is_active() and len(tried) == 1:
                raise lost(device.address, error) from error
        if not session.is_active():  # OpenSSH hangs up after six keys
            tried.append("then it hung up")
            break
    raise AuthenticationFailed(
        f"{device.host} does not let user {device.user!r} in with "
        + ("any of these keys" if tried else "a key: there is none to try"),
        hint="Is it the right user? To install your key there: "
        f"ssh-copy-id -p {device.port} {device.user}@{device.host}",
        details=(*tried, *identities.unusable),
    )
