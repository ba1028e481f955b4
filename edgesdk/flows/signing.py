"""Who signs what leaves this workstation, and whose signature it believes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device_agent import trust as trusts
from device_agent.trust import TrustedKey, Untrusted
from edgesdk.errors import NotTrusted, SigningError, UsageError
from edgesdk.flows.keys import Say, current_trust, keep_key, keys_folder, workstation_clock
from edgesdk.keys import ring, store
from edgesdk.keys.signing import FileSigner, Signer, new_signer, open_signer
from edgesdk.keys.store import DEFAULT_NAME


def default_signer(key: str | None = None) -> Signer | None:
    """Who signs a package: the named key, else "default", else the only one; None where none is.

    Args:
        key: name of a key of yours, or the path of a key file.

    Raises:
        UsageError: there are several, and none is called "default".
        SigningError: there is no such key, it cannot be used, or it is revoked or expired.
    """
    own = store.load(keys_folder())
    if key is None and not own:
        return None
    signer = open_signer(_path(key, own))
    state = ring.key_state(signer.public_key, current_trust(), None, workstation_clock())
    if state in ("revoked", "expired"):
        raise SigningError(
            f"the key {key} is {state}: no device would believe it",
            hint="sign with another one; `edgesdk key ls` lists them",
        )
    return signer


def _path(key: str | None, own: tuple[store.OwnKey, ...]) -> Path:
    names = ", ".join(mine.name for mine in own)
    if key is None:
        chosen = ring.default_key(own, current_trust(), workstation_clock())
        if chosen is None:
            raise UsageError(
                f"found the keys {names}, none of which is the one to sign with",
                hint=f"name one, or call one {DEFAULT_NAME}; `edgesdk key ls` lists them",
            )
        return chosen.path
    named = next((mine.path for mine in own if mine.name == key), None)
    if named is None and not Path(key).exists():
        raise SigningError(
            f"found key {key!r}, expected a key file or one of: {names or '(you have none)'}",
            hint="make one: edgesdk key new NAME",
        )
    return named or Path(key)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who signs.

    Args:
        signer: None where nobody does.
        keep: stores a first key, which is in memory only until then, and says so. To be called
            before anything leaves that it signed; of any other key it does nothing.
    """

    signer: Signer | None
    keep: Callable[[], None] = lambda: None


def choose_signer(say: Say, key: str | None = None) -> Chosen:
    """As `default_signer`; who has no key at all gets one, once it is kept.

    Raises:
        UsageError, SigningError: as `default_signer`; others' keys are trusted here, none is yours.
    """
    signer = default_signer(key)
    if signer is not None:
        return Chosen(signer)
    if current_trust() is not None:
        raise SigningError(
            "keys of others are trusted here, and you have none",
            hint="make one, and have it signed: edgesdk key new NAME",
        )
    first = new_signer()
    return Chosen(first, lambda: _keep(first, say))


def _keep(first: FileSigner, say: Say) -> None:
    made = keep_key(DEFAULT_NAME, first, say=say)
    say(f"you had no key to sign with: {made.sentence}. Back up {keys_folder()}")


def ensure_signer(say: Say, key: str | None = None) -> Signer:
    """As `choose_signer`, and a first key is kept at once.

    Raises:
        UsageError, SigningError: as `choose_signer`.
    """
    chosen = choose_signer(say, key)
    chosen.keep()
    assert chosen.signer is not None
    return chosen.signer


def require_trusted(message: bytes, signatures: bytes, namespace: str) -> TrustedKey:
    """The key that signed a message, if this workstation trusts it.

    Args:
        signatures: armored, one after the other.
        namespace: one of `device_agent.trust`'s.

    Raises:
        NotTrusted: with the reason.
        SigningError: the trust does not hold.
    """
    current = current_trust()
    if current is None:
        raise NotTrusted(
            "there is no trust here to judge a signature by",
            code="no_trust",
            hint="edgesdk key trust FILE.pub, with the public key of who signs",
        )
    try:
        return trusts.require_signed(current, message, signatures, namespace, workstation_clock())
    except Untrusted as error:
        raise NotTrusted(error.message, code=error.code, hint=error.hint) from error
