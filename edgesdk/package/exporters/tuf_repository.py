"""A TUF repository: a folder that any web server can serve, and any TUF client can trust.

A root that a threshold of keys has signed names the one key for targets, snapshot and timestamp.
The package is a target `NAME/DEVICES.edgepkg`, always the newest one for these devices. Files are
written in the order that clients rely on (consistent snapshots): the timestamp comes last, and
until then clients see what was there before. python-tuf makes and checks the metadata.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from device_agent.documents import is_file_name
from edgesdk.errors import PackageError, SigningError, UsageError
from edgesdk.files import new_directory, write_durable
from edgesdk.package.exporters.content import (
    Content,
    account,
    delta_notes,
    devices,
    plain_name,
    statements,
)
from edgesdk.package.exporters.private_keys import load_private_key
from edgesdk.progress import Progress
from edgesdk.values.export import Exported, Wanted

LIFETIMES = {
    "root": timedelta(days=365),
    "targets": timedelta(days=90),
    "snapshot": timedelta(days=7),
    "timestamp": timedelta(days=7),
}
"""How long each role's metadata hold; exporting again, even the same package, renews the last 3."""

OnlineRole = Literal["targets", "snapshot", "timestamp"]
_ONLINE: tuple[OnlineRole, ...] = ("targets", "snapshot", "timestamp")
S = TypeVar("S", bound=Signed)


@dataclass(frozen=True, slots=True)
class Trusted:
    """A repository's metadata: a new one's are empty, an old one's verified."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]


@dataclass(frozen=True, slots=True)
class Keys:
    """Who signs."""

    online: CryptoSigner
    root: tuple[CryptoSigner, ...]


def export(content: Content, wanted: Wanted, progress: Progress) -> Exported:
    """Make the repository, or add the package to one that is there."""
    keys = _load_keys(wanted)
    folder = Path(wanted.output)
    paths = tuple(target_path(content, device) for device in devices(content, wanted))
    with progress.task(f"publishing in {folder}", 0):
        known = _read(folder)
        trusted = known or new_repository(keys, wanted)
        if keys.root:
            _renew_root(trusted, keys, wanted.at)
        _require_its_root(trusted.root.signed, keys, wanted)
        for path in paths:
            trusted.targets.signed.targets[path] = target_file(content, path, trusted.targets)
        _sign_online(trusted, keys, wanted.at)
        with _opened(folder, is_new=known is None) as place:
            for name, written in _written(content, paths, trusted, keys):
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                write_durable(place / name, written)
    return Exported(
        format="tuf",
        output=str(folder),
        package_id=content.manifest.package_id,
        sha256=content.sha256,
        made_with=f"python-tuf {version('tuf')}",
        signed=True,
        mapping=account(content, expressed(content, paths)),
        notes=(*_notes(trusted, keys), *delta_notes(content)),
    )


def target_path(content: Content, device: str) -> str:
    """What clients ask for.

    Raises:
        UsageError: no file can have that name.
    """
    of = content.manifest
    name = plain_name(device) if device == of.compatibility.target else device
    if not is_file_name(name):
        raise UsageError(
            f"found --compatible {device!r}, expected letters, digits, dots, dashes and "
            "underscores, the first a letter or digit"
        )
    return f"{of.name}/{name}.edgepkg"


def target_file(content: Content, path: str, targets: Metadata[Targets]) -> TargetFile:
    """The package as a target, its statements as custom metadata.

    Raises:
        PackageError: there is a newer one at that path.
    """
    there = targets.signed.targets.get(path)
    newest = int((there.custom or {}).get("sequence", "0")) if there else 0
    if content.manifest.sequence < newest:
        raise PackageError(
            f"found sequence {content.manifest.sequence}, and {newest} published at {path}",
            hint="build the package again with a higher --sequence",
        )
    custom = {field.replace(" ", "_"): value for field, value in statements(content).items()}
    return TargetFile(
        content.size_bytes,
        {"sha256": content.sha256},
        path,
        {"custom": custom},
    )


def expressed(content: Content, paths: Sequence[str]) -> dict[str, str]:
    """How TUF says what the package says."""
    custom = dict.fromkeys(statements(content), "custom metadata; not compared")
    return custom | {
        "name": f"target {', '.join(paths)}",
        "target": f"target {', '.join(paths)}",
        "sequence": "custom metadata; compared here when publishing, by clients as the version of "
        "targets metadata",
    }


def new_repository(keys: Keys, wanted: Wanted) -> Trusted:
    """Metadata of an empty repository, unsigned, at version 0.

    Raises:
        UsageError: no root key, or a threshold that they cannot meet.
    """
    if not keys.root:
        raise UsageError(
            f"{wanted.output} is a new TUF repository, which needs --root-key",
            hint="give two or more, and the --root-threshold that clients shall ask for; keep them "
            "offline afterwards",
        )
    root = Root(consistent_snapshot=True)
    for signer in keys.root:
        root.add_key(signer.public_key, "root")
    if not 1 <= wanted.root_threshold <= len(root.roles["root"].keyids):
        raise UsageError(
            f"found --root-threshold {wanted.root_threshold}, expected 1 to "
            f"{len(root.roles['root'].keyids)}, the number of different root keys"
        )
    root.roles["root"].threshold = wanted.root_threshold
    empty = Trusted(
        Metadata(root), Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp())
    )
    for signed in (root, empty.targets.signed, empty.snapshot.signed, empty.timestamp.signed):
        signed.version = 0
    return empty


def _require_its_root(root: Root, keys: Keys, wanted: Wanted) -> None:
    """Refuse what would be another root: who asks for it shall not believe that it holds.

    Raises:
        UsageError: a root key that the repository does not name, or another threshold.
    """
    known = root.roles["root"]
    hint = "python-tuf's own API replaces root keys and their threshold"
    strange = [key for key in keys.root if key.public_key.keyid not in known.keyids]
    if strange:
        raise UsageError(
            f"found a --root-key that is none of the {len(known.keyids)} of the repository "
            f"{wanted.output}",
            hint=hint,
        )
    # One is what it is when nobody says anything.
    if wanted.root_threshold not in (1, known.threshold):
        raise UsageError(
            f"found --root-threshold {wanted.root_threshold}, and {known.threshold} in the "
            f"repository {wanted.output}",
            hint=hint,
        )


def _renew_root(trusted: Trusted, keys: Keys, at: datetime) -> None:
    """The next root: it holds longer, and the online key is the one that is given now.

    Raises:
        SigningError: the root keys given do not meet the threshold.
    """
    root = trusted.root
    for role in _ONLINE:
        for keyid in list(root.signed.roles[role].keyids):
            root.signed.revoke_key(keyid, role)
        root.signed.add_key(keys.online.public_key, role)
    known = root.signed.roles["root"]
    signers = {key.public_key.keyid: key for key in keys.root}
    missing = known.threshold - len(signers.keys() & set(known.keyids))
    if missing > 0:
        raise SigningError(
            f"found {known.threshold - missing} of the repository's root keys, "
            f"expected {known.threshold}",
            hint="give each with --root-key",
        )
    _sign(root, [signers[keyid] for keyid in known.keyids if keyid in signers], at)


def _sign_online(trusted: Trusted, keys: Keys, at: datetime) -> None:
    """Sign what the online key signs, and check it as a client will.

    Raises:
        SigningError: it is not the key that the root names.
    """
    _sign(trusted.targets, [keys.online], at)
    trusted.snapshot.signed.meta["targets.json"] = MetaFile(trusted.targets.signed.version)
    _sign(trusted.snapshot, [keys.online], at)
    trusted.timestamp.signed.snapshot_meta = MetaFile(trusted.snapshot.signed.version)
    _sign(trusted.timestamp, [keys.online], at)
    try:
        for role in _ONLINE:
            metadata: Metadata[Any] = getattr(trusted, role)
            trusted.root.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError as error:
        raise SigningError(
            "the key given is not the one that the repository's root names",
            hint="give that one with --key, or the root keys besides with --root-key",
        ) from error


def _sign(metadata: Metadata[S], signers: Sequence[CryptoSigner], at: datetime) -> None:
    metadata.signed.version += 1
    metadata.signed.expires = at.replace(microsecond=0) + LIFETIMES[metadata.signed.type]
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)


def _written(
    content: Content, paths: Sequence[str], trusted: Trusted, keys: Keys
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file, in the order that they have to appear in."""
    whole = content.path.read_bytes()
    for path in paths:
        folder, _, name = path.rpartition("/")
        yield f"targets/{folder}/{content.sha256}.{name}", whole
    for role in (*(("root",) if keys.root else ()), "targets", "snapshot"):
        metadata: Metadata[Any] = getattr(trusted, role)
        yield f"metadata/{metadata.signed.version}.{role}.json", metadata.to_bytes()
    yield "metadata/timestamp.json", trusted.timestamp.to_bytes()


@contextlib.contextmanager
def _opened(folder: Path, is_new: bool) -> Iterator[Path]:
    """Where to write: for a new repository, a folder that appears once all is there."""
    if is_new:
        with new_directory(folder) as place:
            yield place
    else:
        yield folder


def _read(folder: Path) -> Trusted | None:
    """What is there, verified from the newest root down; None where nothing is.

    Raises:
        PackageError: something else is there, or metadata that do not hold.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    home = folder / "metadata"
    roots = sorted(int(path.name.split(".")[0]) for path in home.glob("[0-9]*.root.json"))
    if not roots:
        raise PackageError(
            f"{folder} is there and holds no TUF repository", hint="choose another --output"
        )
    try:
        root = _load(Root, home / f"{roots[-1]}.root.json")
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
        if not root.signed.consistent_snapshot:
            raise RepositoryError("its root does not ask for consistent snapshots")
        timestamp = _delegated(root, Timestamp, home / "timestamp.json")
        number = timestamp.signed.snapshot_meta.version
        snapshot = _delegated(root, Snapshot, home / f"{number}.snapshot.json")
        number = snapshot.signed.meta["targets.json"].version
        targets = _delegated(root, Targets, home / f"{number}.targets.json")
    except (RepositoryError, KeyError, OSError) as error:
        raise PackageError(
            f"the TUF repository in {folder} does not hold: {error}",
            hint="restore it from where it is served, or choose another --output",
        ) from error
    return Trusted(root, targets, snapshot, timestamp)


def _load(kind: type[S], path: Path) -> Metadata[S]:
    metadata: Metadata[S] = Metadata.from_bytes(path.read_bytes())
    if metadata.signed.type != kind.type:
        raise RepositoryError(f"{path.name} holds {metadata.signed.type} metadata")
    return metadata


def _delegated(root: Metadata[Root], kind: type[S], path: Path) -> Metadata[S]:
    metadata = _load(kind, path)
    root.signed.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
    return metadata


def _load_keys(wanted: Wanted) -> Keys:
    if wanted.key is None:
        raise UsageError("a TUF repository needs --key, which signs targets, snapshot, timestamp")
    return Keys(
        CryptoSigner(load_private_key(wanted.key)),
        tuple(CryptoSigner(load_private_key(path)) for path in wanted.root_keys),
    )


def _notes(trusted: Trusted, keys: Keys) -> tuple[str, ...]:
    root = trusted.root.signed
    notes = [
        f"clients refuse it after {trusted.timestamp.signed.expires:%Y-%m-%d %H:%MZ}: export "
        "again before that, the same package will do",
        f"its root holds until {root.expires:%Y-%m-%d}: give --root-key again before that",
    ]
    if any(signer.public_key.keyid == keys.online.public_key.keyid for signer in keys.root):
        notes.append("one key is both a root key and the online key: who steals it owns the root")
    return tuple(notes)
