"""A package on its way onto the device: written as it is verified, continued where it broke off.

    ROOT/incoming/<key>/files/      files of the package, under their final names, growing
    ROOT/incoming/<key>/patches/    what they are made with, in a delta package

The key is the hash of what is signed, so what lies there can only be the beginning of the same
transfer. A chunk is written after it has been verified, and a file counts only once the hash of all
of it is right. Where a power cut damaged a plain payload, what comes again begins with the damaged
chunk; where it damaged one that came compressed, with that file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Callable, Dict, Iterable, Optional, Set, Tuple

from device_agent.archive import Head, Payload, chunk_offset, head_bytes, payloads
from device_agent.codec import canonical
from device_agent.crew import Crew
from device_agent.documents import MANIFEST_NAME, PATCHES, SIGNATURE_SUFFIX, CorruptPackage
from device_agent.durable import (
    Stamp,
    append_file,
    copy_file,
    has_content,
    make_folder,
    own_bytes,
    read_pieces,
    remove,
    stamp,
    sync_file,
    sync_folder,
    write_file,
)
from device_agent.environment import usable_cpus
from device_agent.failures import AgentFailure
from device_agent.manifest import CHUNK_BYTES, DeltaFile, File
from device_agent.protocol import ErrorCode
from device_agent.reading import Chunk, Read, resumed

_UNPACKING = 2
"""Threads that check and unpack compressed chunks, where there is more than one processor."""

_Here = Tuple[int, "hashlib._Hash"]
"""How many of a payload's first chunks are in its file, and the SHA-256 of their bytes there."""

FindBase = Callable[[str, int], Optional[str]]
"""From the SHA-256 and size of a file to the path of an installed one, or None."""

Apply = Callable[[str, str, str, int], None]
"""Makes a file: the paths of its base, of the patch, and of the file; and the file's size."""


class DamagedPart(Exception):
    """What lies here of a transfer is not what had come any more; it is gone."""


class Transfer:
    """One package being received. What it wrote stays when it breaks off.

    Args:
        folder: of this transfer; made where it does not exist.
        head: of the package, admitted.

    Attributes:
        checked: the files whose bytes came whole and are right, by their paths, as they were then.
    """

    def __init__(self, folder: str, head: Head) -> None:
        self._head = head
        self._folder = folder
        self._files = os.path.join(folder, "files")
        self._patches = os.path.join(folder, "patches")
        self._came_before: Set[str] = set()
        self._known: Dict[str, Tuple[Stamp, _Here]] = {}
        self.checked: Dict[str, Stamp] = {}
        self._make_folders()

    @staticmethod
    def key(head: Head) -> str:
        """Name of the folder for a package with that head."""
        signed = canonical(head.manifest if head.delta is None else head.delta)
        return hashlib.sha256(signed).hexdigest()

    @staticmethod
    def remove_empty(folder: str) -> None:
        """Remove the folder of a transfer of which nothing has come."""
        for path in (os.path.join(folder, "files"), os.path.join(folder, "patches"), folder):
            with contextlib.suppress(OSError):  # Not empty, or not there.
                os.rmdir(path)

    def is_begun(self) -> bool:
        """Whether some of it came earlier, which `resume_at` reads."""
        return any(os.listdir(folder) for folder in (self._files, self._patches))

    def resume_at(self) -> int:
        """Offset in the package file from where its bytes are missing."""
        offset, _, _ = self._gap()
        return offset

    def missing_bytes(self) -> int:
        """Room that the rest takes on the disk."""
        missing = self._head.manifest.raw_bytes
        missing += sum(
            payload.stored_bytes for payload in payloads(self._head) if payload.codec in PATCHES
        )
        for folder in (self._files, self._patches):
            if not os.path.isdir(folder):  # Any more: `receive` makes it again.
                continue
            with os.scandir(folder) as entries:
                missing -= sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
        return max(0, missing)

    def receive(self, read: Read, offset: int) -> None:
        """Write what comes, from `resume_at` on.

        Raises:
            AgentFailure: "storage": what lies here is not any more what `offset` was told by.
            CorruptPackage: at the first chunk that is not as it should be; those before it stay.
            OSError: the disk does not take it.
        """
        self._make_folders()
        expected, done, digest = self._gap()
        if offset != expected:
            raise AgentFailure(
                ErrorCode.STORAGE,
                f"what had come of the package changed in {self._folder}",
                "push the package again",
            )
        for payload, chunks in resumed(read, self._head, offset, digest):
            self._write(payload, chunks, done, digest)
            # What lies behind the first gap comes whole, even where some of it is here.
            done, digest = 0, hashlib.sha256()

    def _write(
        self, payload: Payload, chunks: Iterable[Chunk], done: int, digest: hashlib._Hash
    ) -> None:
        """Write the chunks of a file behind those that are done, of which that is the SHA-256."""
        path, size = self._path(payload), sum(map(payload.raw_size, range(done)))
        is_plain = payload.is_plain
        with append_file(path, size) as write:

            def take(raw: bytes) -> None:
                write(raw)
                if not is_plain:
                    digest.update(raw)

            # Waking a thread costs more than it takes off what is only hashed and written.
            threads = 0 if is_plain or usable_cpus() == 1 else _UNPACKING
            with Crew(take, threads) as crew:
                for chunk in chunks:
                    crew.hand(chunk.unpack)
        # The hash of a plain payload's last chunk was that of all of it.
        if is_plain or digest.hexdigest() == payload.file.sha256:
            self._note(payload, stamp(path))
        if done == 0:
            self._came_before.discard(payload.file.path)

    def assemble(self, find_base: FindBase, apply: Apply) -> str:
        """Make every file of the package of what has come; the folder they are in, durable.

        Raises:
            DamagedPart: a file that had come, or some of it, is not as the manifest says any more.
            CorruptPackage: a file is not as the manifest says; what came of it is gone.
            AgentFailure: "base_missing", "delta_failed".
            OSError: the disk does not take it.
        """
        manifest, delta = self._head.manifest, self._head.delta
        hows = {each.path: each for each in delta.files} if delta is not None else {}
        for file in manifest.files:
            how = hows.get(file.path)
            is_made = how is not None and how.codec != "full"
            if how is not None and is_made:
                self._make(file, how, find_base, apply)
            self._check(file, is_made)
        head = {MANIFEST_NAME: canonical(manifest)}
        if self._head.signatures:
            head[MANIFEST_NAME + SIGNATURE_SUFFIX] = self._head.signatures
        for name, text in head.items():
            path = os.path.join(self._files, name)
            remove(path)
            write_file(path, [text])
        for name in set(os.listdir(self._files)) - {*head, *(file.path for file in manifest.files)}:
            remove(os.path.join(self._files, name))
        os.chmod(self._files, 0o755)
        sync_folder(self._files)
        return self._files

    def _make(self, file: File, how: DeltaFile, find_base: FindBase, apply: Apply) -> None:
        base = find_base(how.base_sha256, how.base_bytes)
        if base is None:
            raise base_missing(file.path)
        path = os.path.join(self._files, file.path)
        remove(path)
        if how.codec == "same":
            copy_file(base, path)
        else:
            apply(base, os.path.join(self._patches, file.path), path, file.raw_bytes)

    def _check(self, file: File, is_made: bool) -> None:
        path = os.path.join(self._files, file.path)
        checked = None if is_made else self.checked.get(file.path)
        is_checked = checked is not None and own_bytes(path) is not None and checked == stamp(path)
        if not (is_checked or has_content(path, file.raw_bytes, file.sha256)):
            remove(path)
            remove(os.path.join(self._patches, file.path))
            wrong = f"{file.path}: its SHA-256 is not the manifest's"
            if is_made:  # By arithmetic that differs here, perhaps; the full package needs none.
                raise AgentFailure(ErrorCode.DELTA_FAILED, wrong, "push the full package")
            if checked is not None:
                raise DamagedPart(f"{wrong} any more; it had come, and was changed here")
            if file.path in self._came_before:
                raise DamagedPart(f"{wrong}; a part of it had come earlier, and was damaged here")
            raise CorruptPackage(wrong)
        sync_file(path)

    def _path(self, payload: Payload) -> str:
        folder = self._patches if payload.codec in PATCHES else self._files
        return os.path.join(folder, payload.file.path)

    def _make_folders(self) -> None:
        for path in (self._folder, self._files, self._patches):
            if os.path.islink(path) or not os.path.isdir(path):
                remove(path)
            make_folder(path)

    def _gap(self) -> Tuple[int, int, hashlib._Hash]:
        """Where bytes are missing first, and what is here of the payload that they are of.

        Returns:
            The offset in the package file; the payload's chunks before it; the SHA-256 of those, as
            they are in the file.
        """
        offset, done, digest = len(head_bytes(self._head)), 0, hashlib.sha256()
        for payload in payloads(self._head):
            here = self._here(payload)
            done, digest = (0, hashlib.sha256()) if here is None else (here[0], here[1].copy())
            offset = chunk_offset(payload, done)
            # An empty file has no chunk that could be missing, and has to be made all the same.
            if here is None or done < len(payload.sizes):
                break
        return offset, done, digest

    def _here(self, payload: Payload) -> Optional[_Here]:
        """What is here of it; None to begin anew. A file that has not changed is read once.

        What is damaged is not here, nor what lies behind it. In a file that came compressed no
        chunk's hash shows that: only where all of it came it is known, and then none of it is here.
        """
        path, total = self._path(payload), payload.raw_bytes
        size = own_bytes(path)
        if size is None or size > total:
            return None
        found = stamp(path)
        if path in self._known and self._known[path][0] == found:
            return self._known[path][1]
        try:
            here = _read_chunks(path, size if size == total else size - size % CHUNK_BYTES, payload)
        except OSError:  # A worn card, which may take what comes again elsewhere.
            remove(path)
            return None
        self._came_before.add(payload.file.path)
        if size == total and not payload.is_plain:
            if here[1].hexdigest() != payload.file.sha256:
                return None
        if here[0] == len(payload.sizes):
            self._note(payload, found)
        self._known[path] = found, here
        return here

    def _note(self, payload: Payload, found: Stamp) -> None:
        if payload.codec not in PATCHES:
            self.checked[payload.file.path] = found


def _read_chunks(path: str, size: int, payload: Payload) -> _Here:
    """What is sound of the first `size` bytes of a payload's file.

    Raises:
        OSError: they cannot be read.
    """
    done, digest, is_plain = 0, hashlib.sha256(), payload.is_plain
    for raw in read_pieces(path, size, CHUNK_BYTES):
        after = digest.copy()
        after.update(raw)
        if len(raw) != payload.raw_size(done):
            break
        if is_plain and after.hexdigest() != payload.chunks[done]:
            break
        done, digest = done + 1, after
    return done, digest


def base_missing(path: str) -> AgentFailure:
    """The failure for a delta whose base is not here."""
    return AgentFailure(
        ErrorCode.BASE_MISSING,
        f"the device does not have the file that the delta of {path} is made against",
        "push the full package",
    )
