"""The trust of this workstation as files: N.json and N.sig for each version, and what is pending.

N.json holds the canonical bytes of a `device_agent.trust.Trust`, N.sig the signatures over them.
There is nothing secret in the folder: a team shares it. `pending.json` is the next version while it
lacks signatures; `pending.sig` are those it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from device_agent.clock import Clock
from device_agent.codec import canonical
from device_agent.trust import (
    TRUST_NAMESPACE,
    Trust,
    Untrusted,
    believed_signers,
    check_trust,
    next_trust,
    read_trust,
)
from edgesdk.errors import NotTrusted, SigningError
from edgesdk.files import fsync_directory, write_durable
from edgesdk.keys.signing import Signer
from edgesdk.values.keys import Want

_ANY_TIME = Clock(now_s=0, floor_s=0)
"""That a key has expired since says nothing about the day on which it signed."""


@dataclass(frozen=True, slots=True)
class Document:
    """A trust as it is signed and sent: its canonical bytes, and signatures over them."""

    trust: Trust
    text: bytes
    signatures: bytes


def load(folder: Path) -> tuple[Document, ...]:
    """Every version, earliest first, each followed by the one that its keys signed; maybe none.

    Raises:
        SigningError: a version is missing, damaged, or does not follow from the one before it.
    """
    numbers = sorted(int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal())
    documents: list[Document] = []
    for number in numbers:
        document = _read(folder, str(number))
        path = folder / f"{number}.json"
        if document.trust.version != number:
            raise _does_not_hold(path, f"it says that it is version {document.trust.version}")
        try:
            if documents:
                next_trust(documents[-1].trust, document.text, document.signatures, _ANY_TIME)
            elif wants(None, document, _ANY_TIME):
                raise _does_not_hold(path, "its own keys have not signed it")
        except Untrusted as error:
            raise _does_not_hold(path, error.message) from error
        documents.append(document)
    return tuple(documents)


def pending(folder: Path) -> Document | None:
    """The version that lacks signatures, if any.

    Raises:
        SigningError: it is damaged.
    """
    return _read(folder, "pending") if (folder / "pending.json").exists() else None


def document_path(folder: Path) -> Path:
    """Where the pending version is, for others to sign."""
    return folder / "pending.json"


def draft(trust: Trust) -> Document:
    """A trust that nobody has signed.

    Raises:
        NotTrusted: it does not hold, whoever signs it.
    """
    try:
        check_trust(trust)
    except Untrusted as error:
        raise NotTrusted(error.message, code=error.code, hint=error.hint) from error
    return Document(trust, canonical(trust), b"")


def wants(current: Trust | None, document: Document, clock: Clock) -> tuple[Want, ...]:
    """The signatures that it lacks, of the current version's keys and of its own."""
    return tuple(_wants(current, document, clock))


def _wants(current: Trust | None, document: Document, clock: Clock) -> Iterator[Want]:
    for trust in filter(None, (current, document.trust)):
        signed = believed_signers(trust, document.text, document.signatures, TRUST_NAMESPACE, clock)
        names = tuple(key.name for key in signed)
        if len(names) < trust.threshold:
            usable = (key for key in trust.keys if not key.revoked and key not in signed)
            others = tuple(key.name for key in usable if clock.judge(key.expires) != "expired")
            yield Want(trust.version, trust.threshold, names, others)


def with_signatures(document: Document, more: bytes) -> Document:
    """With further armored signatures.

    Raises:
        NotTrusted: one of them is not of this document.
    """
    signed = Document(document.trust, document.text, document.signatures + more)
    try:
        believed_signers(signed.trust, signed.text, signed.signatures, TRUST_NAMESPACE, _ANY_TIME)
    except Untrusted as error:
        raise NotTrusted(error.message, code=error.code, hint=error.hint) from error
    return signed


def signed_by(document: Document, signer: Signer) -> Document:
    """With this signer's signature.

    Raises:
        SigningError: the key cannot be used now.
    """
    return with_signatures(document, signer.sign(document.text, TRUST_NAMESPACE))


def accept(folder: Path, current: Trust | None, document: Document, clock: Clock) -> None:
    """Store a version that follows the current one; nothing is pending after that.

    Raises:
        NotTrusted: it does not follow.
    """
    if current is not None:
        try:
            next_trust(current, document.text, document.signatures, clock)
        except Untrusted as error:
            raise NotTrusted(error.message, code=error.code, hint=error.hint) from error
    # The .json last: it is what makes the version be there.
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_durable(folder / f"{document.trust.version}.sig", document.signatures)
    write_durable(folder / f"{document.trust.version}.json", document.text)
    discard(folder)


def keep_pending(folder: Path, document: Document) -> None:
    """Store a version that lacks signatures."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_durable(folder / "pending.sig", document.signatures)
    write_durable(document_path(folder), document.text)


def discard(folder: Path) -> None:
    """Forget what is pending."""
    for name in ("pending.json", "pending.sig"):
        (folder / name).unlink(missing_ok=True)
    fsync_directory(folder)


def _read(folder: Path, stem: str) -> Document:
    path = folder / f"{stem}.json"
    try:
        text, signatures = path.read_bytes(), path.with_suffix(".sig").read_bytes()
    except OSError as error:
        raise SigningError(f"{error.filename} cannot be read: {error.strerror}") from error
    try:
        return Document(read_trust(text), text, signatures)
    except Untrusted as error:
        raise _does_not_hold(path, error.message) from error


def _does_not_hold(path: Path, problem: str) -> SigningError:
    return SigningError(
        f"{path} does not hold: {problem}",
        hint="restore the folder from your backup or from a colleague's; it holds no secret",
    )
