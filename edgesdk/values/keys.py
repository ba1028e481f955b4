"""What this user's keys are, and what the trust made of them says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["trusted", "expired", "revoked", "pending", "not trusted"]
Place = Literal["file", "ssh-agent", "elsewhere"]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key, of this user or only trusted.

    Args:
        public_key: "ssh-ed25519 AAAA...".
        fingerprint: SHA-256, as OpenSSH shows it.
        state: "pending" is trusted as soon as the pending version is signed.
        expires: "YYYY-MM-DDTHH:MM:SSZ"; None: it does not.
        place: of the private half: a file here, ssh-agent, or with somebody else.
        default: signs where no other key is named.
    """

    name: str
    public_key: str
    fingerprint: str
    state: State
    expires: str | None
    place: Place
    default: bool


@dataclass(frozen=True, slots=True)
class Want:
    """Signatures that a pending trust lacks.

    Args:
        version: whose keys must sign.
        threshold: how many of them.
        signed: names of those that have.
        may_sign: names of those that have not.
    """

    version: int
    threshold: int
    signed: tuple[str, ...]
    may_sign: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PendingTrust:
    """The next version of the trust, which is not signed by enough keys yet.

    Args:
        document: path of the file that is to be signed.
    """

    version: int
    document: str
    wants: tuple[Want, ...]


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys, and the version of the trust; None where nothing is trusted yet."""

    version: int | None
    threshold: int | None
    keys: tuple[KeyRow, ...]
    pending: PendingTrust | None


@dataclass(frozen=True, slots=True)
class TrustChange:
    """What a command did to the keys or the trust, and how they are now."""

    sentence: str
    ring: KeyRing
