"""Keys and the trust made of them: make, list, trust, revoke, sign."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from device_agent.clock import Clock, format_utc, parse_utc
from device_agent.trust import Trust, TrustedKey
from edgesdk.errors import NotTrusted, SigningError, UsageError
from edgesdk.files import one_writer
from edgesdk.home import home
from edgesdk.keys import chain, ring, store
from edgesdk.keys.chain import Document
from edgesdk.keys.signing import FileSigner, new_signer, open_signer, read_public_key
from edgesdk.keys.store import OwnKey
from edgesdk.values.keys import KeyRing, PendingTrust, TrustChange, Want

Say = Callable[[str], None]

NEVER = "never"


# ---- keys and trust ----------------------------------------------------------------------------


def new_key(
    name: str,
    *,
    existing: Path | str | None = None,
    expires: str | None = None,
    say: Say = lambda _: None,
) -> TrustChange:
    """Make a key, or take in an existing one, and trust it.

    Args:
        existing: a private key file, or the .pub file of a key in ssh-agent; it stays where it is.
        expires: "2027-06-30", or "2027-06-30T12:00:00Z"; in UTC.
        say: told which keys could not sign.

    Raises:
        UsageError: the name is taken; another version of the trust lacks signatures.
        SigningError: the existing key cannot be used, or was revoked.
    """
    until = parse_expiry(expires)
    if existing is None:
        return keep_key(name, new_signer(), until=until, say=say)
    with _locked():
        current = _where_free(name)
        public_key = open_signer(Path(existing)).public_key
        _refuse_revoked(current, public_key)
        _refuse_known(current, public_key, existing)
        key = store.adopt(keys_folder(), name, Path(existing))
        return _added(current, key, until, "took in", say)


def keep_key(name: str, key: FileSigner, *, until: str | None = None, say: Say) -> TrustChange:
    """Store a key that has just been made, and trust it.

    Args:
        until: as the trust has it.
        say: told which keys could not sign.

    Raises:
        UsageError: the name is taken; another version of the trust lacks signatures.
    """
    with _locked():
        current = _where_free(name)
        return _added(current, store.create(keys_folder(), name, key), until, "made", say)


def list_keys() -> KeyRing:
    """Your keys and the trusted ones.

    Raises:
        SigningError: a key or the trust does not hold.
    """
    return _ring()


def trust_key(
    key: str,
    *,
    name: str | None = None,
    expires: str | None = None,
    say: Say = lambda _: None,
) -> TrustChange:
    """Trust somebody's public key, or a key of yours; or change until when one is trusted.

    Args:
        key: a .pub file, or the name of a key of yours or of a trusted one.
        name: what to call it; the file's name unless given.
        expires: as for `new_key`; "never" takes an expiry away.

    Raises:
        UsageError: the name is taken by another key; another version lacks signatures.
        SigningError: there is no such key, or it was revoked.
    """
    with _locked():
        current = _settled()
        wanted = _key_to_trust(current, key, name, expires)
        if current is not None and wanted in current.keys:
            return TrustChange(
                f"{wanted.name} ({wanted.fingerprint}) was trusted so before", _ring()
            )
        how = _propose(current, ring.with_key(current, wanted), say)
        return TrustChange(f"{wanted.name} ({wanted.fingerprint}): {how}", _ring())


def revoke_key(name: str, *, say: Say = lambda _: None) -> TrustChange:
    """Stop trusting a key, for good.

    Raises:
        SigningError: there is no such key, or it is the last one.
    """
    with _locked():
        current = _require_settled()
        key = _trusted(current, name)
        if key.revoked:
            return TrustChange(f"{name} was revoked before", _ring())
        usable = sum(not other.revoked for other in current.keys) - 1
        if usable < current.threshold:
            raise SigningError(
                f"revoking {name} would leave {usable} keys, and {current.threshold} must sign",
                hint="make or trust another key first: edgesdk key new NAME",
            )
        how = _propose(current, ring.with_key(current, replace(key, revoked=True)), say)
        return TrustChange(f"revocation of {name} ({key.fingerprint}): {how}", _ring())


def set_threshold(threshold: int, *, say: Say = lambda _: None) -> TrustChange:
    """Say how many keys must sign each change of the trust.

    Raises:
        SigningError: nothing is trusted yet, or there are fewer keys than that.
    """
    with _locked():
        current = _require_settled()
        if threshold == current.threshold:
            return TrustChange(f"the threshold was {threshold} before", _ring())
        changed = replace(current, version=current.version + 1, threshold=threshold)
        how = _propose(current, changed, say)
        return TrustChange(f"{threshold} keys must sign each change: {how}", _ring())


def sign_trust(signatures: Sequence[Path | str] = (), *, say: Say = lambda _: None) -> TrustChange:
    """Sign the pending version with your keys, and add signatures that others made.

    Raises:
        UsageError: nothing is pending; a signature that is not wanted.
        NotTrusted: a signature that is not of the pending version.
    """
    with _locked():
        document = _require_pending()
        current = current_trust()
        expected = current.version + 1 if current else 1
        if document.trust.version != expected:
            raise UsageError(
                f"version {document.trust.version} is pending, and {expected} is the next",
                hint="somebody was faster: `edgesdk key sign --discard`, then try again",
            )
        for path in signatures:
            document = _with_signatures(current, document, Path(path))
        return TrustChange(_finish(current, document, say), _ring())


def discard_trust() -> TrustChange:
    """Forget the pending version.

    Raises:
        UsageError: nothing is pending.
    """
    with _locked():
        version = _require_pending().trust.version
        chain.discard(_trust_folder())
        return TrustChange(f"version {version} is forgotten", _ring())


def trust_documents() -> tuple[Document, ...]:
    """Every version of the trust, earliest first: what a device is given; maybe none.

    Raises:
        SigningError: the folder does not hold.
    """
    return chain.load(_trust_folder())


# ---- parts -------------------------------------------------------------------------------------


def parse_expiry(text: str | None) -> str | None:
    """A date or time as the trust has it: a date is its first second, UTC.

    Raises:
        UsageError: neither, or it has passed.
    """
    if text is None:
        return None
    try:
        moment_s = parse_utc(text if "T" in text else f"{text}T00:00:00Z")
    except ValueError as error:
        raise UsageError(
            f"found expiry {text!r}, expected 2027-06-30 or 2027-06-30T12:00:00Z"
        ) from error
    if moment_s <= time.time():
        raise UsageError(f"found expiry {text}, which has passed")
    return format_utc(moment_s)


def keys_folder() -> Path:
    """Where this user's keys are."""
    return home() / "keys"


def own_keys() -> tuple[OwnKey, ...]:
    """This user's keys, those first that sign without a person or another program.

    Raises:
        SigningError: a key does not hold.
    """
    return tuple(sorted(store.load(keys_folder()), key=lambda key: key.place != "file"))


def workstation_clock() -> Clock:
    """The clock of this machine, which is believed."""
    now_s = time.time()
    return Clock(now_s, int(now_s))


def current_trust() -> Trust | None:
    """The latest version of the trust, if there is one.

    Raises:
        SigningError: the trust does not hold.
    """
    documents = trust_documents()
    return documents[-1].trust if documents else None


def _trust_folder() -> Path:
    return home() / "trust"


def _locked() -> AbstractContextManager[None]:
    return one_writer(_trust_folder())


def _settled() -> Trust | None:
    """The current trust, while no other version is on its way."""
    pending = chain.pending(_trust_folder())
    if pending is not None:
        raise UsageError(
            f"version {pending.trust.version} of the trust lacks signatures",
            hint="get it signed (`edgesdk key ls` says by whom), or `edgesdk key sign --discard`",
        )
    return current_trust()


def _where_free(name: str) -> Trust | None:
    """The current trust, in which no key is called so."""
    current = _settled()
    if ring.find_name(current, name):
        raise UsageError(f"a trusted key is called {name} already", hint="choose another name")
    return current


def _require_settled() -> Trust:
    current = _settled()
    if current is None:
        raise SigningError("no key is trusted yet", hint="make one: edgesdk key new NAME")
    return current


def _require_pending() -> Document:
    document = chain.pending(_trust_folder())
    if document is None:
        raise UsageError("no version of the trust lacks signatures")
    return document


def _trusted(current: Trust, name: str) -> TrustedKey:
    key = ring.find_name(current, name)
    if key is None:
        names = ", ".join(key.name for key in current.keys)
        raise SigningError(
            f"no trusted key is called {name!r}, expected one of: {names}",
            hint="`edgesdk key ls` lists the keys",
        )
    return key


def _key_to_trust(
    current: Trust | None, key: str, name: str | None, expires: str | None
) -> TrustedKey:
    public_key, called = _public_key(current, key)
    _refuse_revoked(current, public_key)
    known = ring.find_public_key(current, public_key)
    if expires is None:
        until = known.expires if known else None
    else:
        until = None if expires == NEVER else parse_expiry(expires)
    return TrustedKey(name or (known.name if known else called), public_key, until)


def _refuse_revoked(current: Trust | None, public_key: str) -> None:
    known = ring.find_public_key(current, public_key)
    if known is not None and known.revoked:
        raise SigningError(
            f"{known.name} ({known.fingerprint}) was revoked, which is for good",
            hint="make a new key instead",
        )


def _refuse_known(current: Trust | None, public_key: str, existing: Path | str) -> None:
    known = ring.find_public_key(current, public_key)
    if known is not None:
        raise UsageError(
            f"that key ({known.fingerprint}) is trusted already, as {known.name}",
            hint=f"sign with it where it is: --key {existing}",
        )


def _public_key(current: Trust | None, key: str) -> tuple[str, str]:
    """The public key that a name or a file stands for, and what to call it."""
    if named := ring.find_name(current, key):
        return named.public_key, key
    own = next((mine for mine in store.load(keys_folder()) if mine.name == key), None)
    if own is not None:
        return own.public_key, key
    if Path(key).exists():
        return read_public_key(Path(key)), Path(key).stem
    raise SigningError(
        f"found {key!r}, expected the name of a key or a .pub file",
        hint="`edgesdk key ls` lists the keys",
    )


def _added(
    current: Trust | None, key: OwnKey, until: str | None, verb: str, say: Say
) -> TrustChange:
    added = TrustedKey(key.name, key.public_key, until)
    how = _propose(current, ring.with_key(current, added), say)
    return TrustChange(f"{verb} {key.name} ({added.fingerprint}): {how}", _ring())


def _propose(current: Trust | None, trust: Trust, say: Say) -> str:
    return _finish(current, chain.draft(trust), say)


def _finish(current: Trust | None, document: Document, say: Say) -> str:
    """Let this user's keys sign as far as needed; store it, and say how far it came."""
    clock = workstation_clock()
    for key in own_keys():
        if not _is_wanted(key, chain.wants(current, document, clock), current, document.trust):
            continue
        try:
            document = chain.signed_by(document, open_signer(key.path))
        except SigningError as error:
            say("; ".join(filter(None, (f"{key.name} did not sign: {error.message}", error.hint))))
    version = document.trust.version
    if chain.wants(current, document, clock):
        chain.keep_pending(_trust_folder(), document)
        return f"version {version} of the trust lacks signatures"
    chain.accept(_trust_folder(), current, document, clock)
    return f"version {version} of the trust is signed and holds"


def _with_signatures(current: Trust | None, document: Document, path: Path) -> Document:
    """With what somebody else signed; what does not bring it forward is not carried along."""
    clock = workstation_clock()
    try:
        signed = chain.with_signatures(document, path.read_bytes())
    except NotTrusted as error:
        raise NotTrusted(f"{path}: {error.message}", code=error.code, hint=error.hint) from error
    if chain.wants(current, signed, clock) == chain.wants(current, document, clock):
        raise UsageError(
            f"{path} holds no signature that is wanted and not there yet",
            hint="`edgesdk key ls` says who must sign",
        )
    return signed


def _is_wanted(key: OwnKey, wants: Sequence[Want], current: Trust | None, new: Trust) -> bool:
    trusts = {trust.version: trust for trust in (current, new) if trust is not None}
    return any(
        (known := ring.find_public_key(trusts[want.version], key.public_key)) is not None
        and known.name in want.may_sign
        for want in wants
    )


def _ring() -> KeyRing:
    current, document = current_trust(), chain.pending(_trust_folder())
    clock = workstation_clock()
    pending = None
    if document is not None:
        pending = PendingTrust(
            version=document.trust.version,
            document=str(chain.document_path(_trust_folder())),
            wants=chain.wants(current, document, clock),
        )
    draft = document.trust if document else None
    return ring.key_ring(store.load(keys_folder()), current, draft, pending, clock)
