"""Whom a device believes: the keys it trusts, and how they are replaced. Decides; stores nothing.

The first trust is put on the device by whoever may log in there. From then on version N+1 follows
version N only with the signatures of `threshold` keys of version N, so that one stolen key cannot
enrol another, and of `threshold` keys of its own, so that nobody is locked out by a key that was
lost before it was ever used (as The Update Framework does it for its root role). A revoked key
stays listed for good: then a device can say "revoked" and not just "unknown".
"""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Tuple

from device_agent import clock as clocks
from device_agent import sshsig
from device_agent.clock import Clock
from device_agent.codec import Malformed, canonical, from_dict, parse_json
from device_agent.records import record
from device_agent.sshsig import BadSignature, WrongContent, WrongNamespace, fingerprint

PACKAGE_NAMESPACE = "edgesdk-package"
"""Signs the bytes of a package's manifest.json."""
DELTA_NAMESPACE = "edgesdk-delta"
"""Signs the bytes of a delta's delta.json."""
TRUST_NAMESPACE = "edgesdk-trust"
"""Signs the canonical bytes of a `Trust`."""
OVERRIDE_NAMESPACE = "edgesdk-override"
"""Signs the permission to install an earlier package than the one that is there."""
LAB_NAMESPACE = "edgesdk-lab"
"""Signs that a device becomes one of a lab, which may take unsigned packages, or none any more."""

FORMAT = "edgesdk-trust/1"
TRUST_MAX_BYTES = 64 * 1024
MOST_KEYS = 64
VERSION_MAX = 2**53 - 1
"""What every reader of JSON can tell apart."""

_KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Reason:
    """Machine-readable causes in `Untrusted.code`."""

    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown_key"
    REVOKED_KEY = "revoked_key"
    EXPIRED_KEY = "expired_key"
    WRONG_NAMESPACE = "wrong_namespace"
    MALFORMED_SIGNATURE = "malformed_signature"
    WRONG_SIGNATURE = "wrong_signature"
    BAD_TRUST = "bad_trust"
    WRONG_VERSION = "wrong_trust_version"
    TOO_FEW_SIGNATURES = "too_few_signatures"


class Untrusted(Exception):
    """What is there is not what somebody trusted has signed.

    Args:
        code: one of `Reason`.
        message: what was found and what was expected.
        hint: what to do next.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


@record(frozen=True)
class TrustedKey:
    """A key that signatures are, or were, believed from.

    Args:
        name: what people call it; letters, digits, dots, dashes, underscores.
        public_key: "ssh-ed25519 AAAA..." or "sk-ssh-ed25519@openssh.com AAAA...", no comment.
        expires: until when it is believed, "YYYY-MM-DDTHH:MM:SSZ" in UTC; None: until revoked.
        revoked: it is not believed any more.
    """

    name: str
    public_key: str
    expires: Optional[str] = None
    revoked: bool = False

    @property
    def fingerprint(self) -> str:
        """SHA-256, as OpenSSH shows it.

        Raises:
            BadSignature: the public key is none.
        """
        return fingerprint(sshsig.key_blob(self.public_key))


@record(frozen=True)
class Trust:
    """The keys that are believed, as of one version.

    Args:
        version: 1 for the first; each later one is signed by the one before it.
        threshold: how many keys must sign the next version, and this one.
        keys: revoked ones included.
        format: this reader knows `FORMAT` only.
    """

    version: int
    threshold: int
    keys: Tuple[TrustedKey, ...]
    format: str = FORMAT


# ---- the document ------------------------------------------------------------------------------


def read_trust(text: bytes) -> Trust:
    """The trust of its canonical bytes.

    Raises:
        Untrusted: `Reason.BAD_TRUST`: not such bytes, or what they say does not hold.
    """
    if len(text) > TRUST_MAX_BYTES:
        raise _bad("found %d bytes, expected at most %d" % (len(text), TRUST_MAX_BYTES))
    try:
        trust = from_dict(Trust, parse_json(text))
    except Malformed as error:
        raise _bad(str(error)) from error
    check_trust(trust)
    if canonical(trust) != text:
        raise _bad("the bytes are not in canonical form, or say what this version does not know")
    return trust


def check_trust(trust: Trust) -> None:
    """Refuse a trust that does not hold by itself, whoever signed it.

    Raises:
        Untrusted: `Reason.BAD_TRUST`, naming the first problem.
    """
    if trust.format != FORMAT:
        raise _bad("found format %r, expected %r" % (trust.format, FORMAT))
    if not 1 <= trust.version <= VERSION_MAX:
        raise _bad("found version %d, expected 1 to %d" % (trust.version, VERSION_MAX))
    if len(trust.keys) > MOST_KEYS:
        raise _bad("found %d keys, expected at most %d" % (len(trust.keys), MOST_KEYS))
    for key in trust.keys:
        _check_key(key)
    _refuse_duplicates(trust)
    unrevoked = sum(not key.revoked for key in trust.keys)
    most = min(unrevoked, sshsig.MOST_SIGNATURES)
    if not 1 <= trust.threshold <= most:
        raise _bad(
            "found a threshold of %d with %d keys that are not revoked, expected 1 to %d"
            % (trust.threshold, unrevoked, max(1, most))
        )


def is_key_name(text: str) -> bool:
    """Whether a key may be called so."""
    return _KEY_NAME.fullmatch(text) is not None


def _check_key(key: TrustedKey) -> None:
    if not is_key_name(key.name):
        raise _bad("found key name %r, expected %s" % (key.name[:80], _KEY_NAME.pattern))
    try:
        sshsig.key_blob(key.public_key)
        if key.expires is not None:
            clocks.parse_utc(key.expires)
    except (BadSignature, ValueError) as error:
        raise _bad("key %s: %s" % (key.name, error)) from error


def _refuse_duplicates(trust: Trust) -> None:
    """One name for a key, and one key for a name: else one owner could sign for two."""
    names: Dict[str, str] = {}
    for key in trust.keys:
        point = sshsig.key_point(sshsig.key_blob(key.public_key)).hex()
        for known, what in ((key.name, "name"), (point, "key")):
            if known in names:
                raise _bad("%s and %s have the same %s" % (names[known], key.name, what))
            names[known] = key.name


def _bad(problem: str) -> Untrusted:
    return Untrusted(Reason.BAD_TRUST, "the trust does not hold: " + problem)


# ---- the chain ---------------------------------------------------------------------------------


def next_trust(current: Trust, text: bytes, signatures: bytes, clock: Clock) -> Trust:
    """The trust that takes the place of the current one.

    Args:
        text: its canonical bytes.
        signatures: over them, in `TRUST_NAMESPACE`, armored, one after the other.

    Raises:
        Untrusted: it is not the next version, or not signed by enough keys of both versions; a
            key that was revoked is not any more, or gone.
    """
    new = read_trust(text)
    if new.version != current.version + 1:
        raise Untrusted(
            Reason.WRONG_VERSION,
            "found trust version %d, expected %d: the next after version %d"
            % (new.version, current.version + 1, current.version),
            "every version between is needed, in order" if new.version > current.version else "",
        )
    _require_still_revoked(current, new)
    signers = _signers(text, signatures, TRUST_NAMESPACE)
    _require_enough(current, signers, clock)
    _require_enough(new, signers, clock)
    return new


def _require_still_revoked(current: Trust, new: Trust) -> None:
    revoked = {key.public_key for key in new.keys if key.revoked}
    for key in current.keys:
        if key.revoked and key.public_key not in revoked:
            raise _bad("key %s was revoked in version %d" % (key.name, current.version))


def believed_signers(
    trust: Trust, message: bytes, signatures: bytes, namespace: str, clock: Clock
) -> Tuple[TrustedKey, ...]:
    """The keys of a trust that signed a message and are believed, each once; none of no signature.

    Raises:
        Untrusted: one of the signatures does not hold, whoever made it.
    """
    signers = _signers(message, signatures, namespace) if signatures else ()
    found = [_judged(trust, signer, clock) for signer in signers]
    return tuple(
        key for key in trust.keys if any(judged.key == key and not judged.code for judged in found)
    )


def _require_enough(trust: Trust, signers: Tuple[bytes, ...], clock: Clock) -> None:
    found = [_judged(trust, signer, clock) for signer in signers]
    # Two signatures by one key are one.
    names = {judged.key.name for judged in found if judged.key and not judged.code}
    if len(names) >= trust.threshold:
        return
    refused = "".join("; " + judged.sentence for judged in found if judged.code)
    raise Untrusted(
        Reason.TOO_FEW_SIGNATURES,
        "trust version %d wants the signatures of %d of its keys, found %d (%s)%s"
        % (trust.version, trust.threshold, len(names), ", ".join(sorted(names)) or "none", refused),
        "its keys are " + _listed(trust),
    )


def require_threshold(
    trust: Trust, message: bytes, signatures: bytes, namespace: str, clock: Clock
) -> None:
    """Refuse what is not signed by as many keys as a change of the trust takes.

    Raises:
        Untrusted: with the reason.
    """
    _require_enough(trust, _signers(message, signatures, namespace), clock)


# ---- signatures --------------------------------------------------------------------------------


def require_signed(
    trust: Trust, message: bytes, signatures: bytes, namespace: str, clock: Clock
) -> TrustedKey:
    """The trusted key that signed a message.

    One is enough. Every signature that is there must match the message, whoever made it: what
    nobody can check shall not travel along. Where the clock cannot tell whether the key expired,
    it is believed; `clock.judge(key.expires)` then says "unknown", for the report.

    Args:
        signatures: armored, one after the other; up to 8.

    Raises:
        Untrusted: with the reason.
    """
    found = [_judged(trust, signer, clock) for signer in _signers(message, signatures, namespace)]
    for judged in found:
        if judged.key is not None and not judged.code:
            return judged.key
    known = [judged for judged in found if judged.key is not None]
    raise Untrusted(
        (known or found)[0].code,
        "; ".join(judged.sentence for judged in found),
        "the keys of trust version %d are %s" % (trust.version, _listed(trust)),
    )


@record(frozen=True)
class _Judged:
    """A signer, by what a trust says: the key it is, if any, and why it is not believed, if so."""

    key: Optional[TrustedKey]
    code: str = ""
    sentence: str = ""


def _judged(trust: Trust, signer: bytes, clock: Clock) -> _Judged:
    text = sshsig.key_text(signer)
    key = next((key for key in trust.keys if key.public_key == text), None)
    who = fingerprint(signer)
    if key is None:
        return _Judged(None, Reason.UNKNOWN_KEY, "signed by %s, which is not trusted" % who)
    if key.revoked:
        return _Judged(key, Reason.REVOKED_KEY, "signed by %s (%s), revoked" % (key.name, who))
    if clock.judge(key.expires) == clocks.EXPIRED:
        sentence = "signed by %s (%s), expired since %s" % (key.name, who, key.expires)
        return _Judged(key, Reason.EXPIRED_KEY, sentence)
    return _Judged(key)


def _signers(message: bytes, signatures: bytes, namespace: str) -> Tuple[bytes, ...]:
    """Who signed; all of it checked, none of it judged.

    Raises:
        Untrusted: nobody, or one of the signatures does not hold.
    """
    if not signatures:
        raise Untrusted(Reason.UNSIGNED, "there is no signature")
    signers: List[bytes] = []
    try:
        for armored in sshsig.split(signatures):
            signers.append(sshsig.verify(armored, message, namespace))
    except WrongNamespace as error:
        raise Untrusted(Reason.WRONG_NAMESPACE, str(error)) from error
    except WrongContent as error:
        raise Untrusted(Reason.WRONG_SIGNATURE, str(error)) from error
    except BadSignature as error:
        raise Untrusted(Reason.MALFORMED_SIGNATURE, str(error)) from error
    return tuple(signers)


def _listed(trust: Trust) -> str:
    return ", ".join(
        "%s %s%s" % (key.name, key.fingerprint, " (revoked)" if key.revoked else "")
        for key in trust.keys
    )
