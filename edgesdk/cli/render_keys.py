"""Keys and the trust as a person reads them in a terminal."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from edgesdk.text import plain

if TYPE_CHECKING:
    from rich.console import Console

    from edgesdk.values.keys import KeyRing, PendingTrust, TrustChange

_PLACES = {
    "file": "private half in a file here",
    "ssh-agent": "private half in ssh-agent",
    "elsewhere": "private half elsewhere",
}


def change(console: Console, done: TrustChange) -> None:
    """What a command did, and who has to sign yet."""
    _line(console, done.sentence)
    if done.ring.pending is not None:
        _pending(console, done.ring.pending)


def ring(console: Console, shown: KeyRing) -> None:
    """Every key, and the version of the trust."""
    if not shown.keys:
        _line(console, "no keys yet: edgesdk key new")
        return
    for key in shown.keys:
        until = f" until {key.expires}" if key.expires and key.state != "revoked" else ""
        chosen = "; signs where no other key is named" if key.default else ""
        _line(console, f"{key.name}: {key.state}{until}; {_PLACES[key.place]}{chosen}")
        _line(console, f"  {key.fingerprint}")
    if shown.version is not None:
        _line(
            console,
            f"trust version {shown.version}; signatures that a change takes: {shown.threshold}",
        )
    if shown.pending is not None:
        _pending(console, shown.pending)


def _pending(console: Console, pending: PendingTrust) -> None:
    _line(console, f"version {pending.version} of the trust lacks signatures:")
    for want in pending.wants:
        signed = ", ".join(want.signed) or "none"
        may_sign = ", ".join(want.may_sign) or "none"
        _line(
            console,
            f"  {want.threshold} of version {want.version}'s keys; "
            f"signed: {signed}; may sign: {may_sign}",
        )
    document = shlex.quote(pending.document)
    _line(console, f"they sign with  ssh-keygen -Y sign -n edgesdk-trust -f KEY {document}")
    _line(console, f"and you add it  edgesdk key sign --signature {document}.sig")


def _line(console: Console, text: str) -> None:
    console.print(plain(text), markup=False, soft_wrap=True)
