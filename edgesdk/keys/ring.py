"""All keys of this user and of the trust side by side. Decides; reads and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from device_agent.clock import EXPIRED, Clock
from device_agent.sshsig import fingerprint, key_blob
from device_agent.trust import Trust, TrustedKey
from edgesdk.errors import UsageError
from edgesdk.keys.store import DEFAULT_NAME, OwnKey
from edgesdk.values.keys import KeyRing, KeyRow, PendingTrust, State


def key_ring(
    own: Sequence[OwnKey],
    current: Trust | None,
    draft: Trust | None,
    pending: PendingTrust | None,
    clock: Clock,
) -> KeyRing:
    """Every key, the trusted ones first.

    Args:
        draft: the trust that `pending` tells of.
    """
    return KeyRing(
        version=current.version if current else None,
        threshold=current.threshold if current else None,
        keys=tuple(_rows(own, current, draft, clock)),
        pending=pending,
    )


def _rows(
    own: Sequence[OwnKey], current: Trust | None, draft: Trust | None, clock: Clock
) -> Iterator[KeyRow]:
    mine = {key.public_key: key for key in own}
    chosen = default_key(own, current, clock)
    # The name and expiry of an earlier entry are those that hold now.
    named: dict[str, tuple[str, str | None]] = {}
    for trust in filter(None, (current, draft)):
        for key in trust.keys:
            named.setdefault(key.public_key, (key.name, key.expires))
    for public_key, key_of_mine in mine.items():
        named.setdefault(public_key, (key_of_mine.name, None))
    for text, (name, expires) in named.items():
        yield KeyRow(
            name=name,
            public_key=text,
            fingerprint=fingerprint(key_blob(text)),
            state=key_state(text, current, draft, clock),
            expires=expires,
            place=mine[text].place if text in mine else "elsewhere",
            default=chosen is not None and chosen.public_key == text,
        )


def key_state(text: str, current: Trust | None, draft: Trust | None, clock: Clock) -> State:
    """What the trust says of a public key."""
    key = find_public_key(current, text)
    if key is None:
        return "pending" if find_public_key(draft, text) else "not trusted"
    if key.revoked:
        return "revoked"
    return "expired" if clock.judge(key.expires) == EXPIRED else "trusted"


def default_key(own: Sequence[OwnKey], current: Trust | None, clock: Clock) -> OwnKey | None:
    """The key that signs where none is named: "default", or else the only one that still may."""
    may = [
        key
        for key in own
        if key_state(key.public_key, current, None, clock) not in ("revoked", "expired")
    ]
    named = next((key for key in may if key.name == DEFAULT_NAME), None)
    return named or (may[0] if len(may) == 1 else None)


def find_public_key(trust: Trust | None, text: str) -> TrustedKey | None:
    """The key of a trust with that public key."""
    return next((key for key in trust.keys if key.public_key == text), None) if trust else None


def find_name(trust: Trust | None, name: str) -> TrustedKey | None:
    """The key of a trust with that name."""
    return next((key for key in trust.keys if key.name == name), None) if trust else None


def with_key(current: Trust | None, key: TrustedKey) -> Trust:
    """The next version of a trust, in which this key is added, or takes the place of itself.

    Raises:
        UsageError: another key has its name.
    """
    if current is None:
        return Trust(version=1, threshold=1, keys=(key,))
    namesake = find_name(current, key.name)
    if namesake is not None and namesake.public_key != key.public_key:
        raise UsageError(
            f"another key ({namesake.fingerprint}) is called {key.name} already",
            hint="choose another name",
        )
    others = tuple(key if old.public_key == key.public_key else old for old in current.keys)
    keys = others if key in others else (*others, key)
    return Trust(version=current.version + 1, threshold=current.threshold, keys=keys)
