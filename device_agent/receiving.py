"""A package on its way onto the device: written as it is verified, continued where it broke off.

    ROOT/incoming/<key>/files/      files of the package, under their final names, growing
    ROOT/incoming/<key>/patches/    what they are made with, in a delta package

The key is the hash of what is signed, so what lies there can only be the beginning of the same
transfer. A chunk is written after it has been verified, and a file counts only once the hash of all
of it is right: a chunk that a power cut damaged costs the whole file again, and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Callable, Dict, Iterable, Optional

from device_agent.archive import (
    Chunk,
    Head,
    Payload,
    Read,
    chunk_offset,
    head_bytes,
    payloads,
    resumed,
)
from device_agent.codec import canonical
from device_agent.crew import Crew
from device_agent.documents import MANIFEST_NAME, PATCHES, SIGNATURE_SUFFIX, CorruptPackage
from device_agent.durable import (
    Stamp,
    append_file,
    copy_file,
    has_content,
    make_folder,
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

_UNPACKING = 2
"""Threads that check and unpack chunks, where there is more than one processor."""

FindBase = Callable[[str, int], Optional[str]]
"""From the SHA-256 and size of a file to the path of an installed one, or None."""

Apply = Callable[[str, str, str, int], None]
"""Makes a file: the paths of its base, of the patch, and of the file; and the file's size."""


class DamagedPart(Exception):
    """What lay here of a transfer that broke off was not what had come any more; it is gone."""


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
        self._came_before = {payload.file.path for payload in payloads(head)}
        self.checked: Dict[str, Stamp] = {}
        for path in (folder, self._files, self._patches):
            if os.path.islink(path) or not os.path.isdir(path):
                remove(path)
            make_folder(path)

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

    def resume_at(self) -> int:
        """Offset in the package file from where its bytes are missing."""
        everything = payloads(self._head)
        for payload in everything:
            done = self._chunks_done(payload)
            # An empty file has no chunk that could be missing, and has to be made all the same.
            if done < len(payload.sizes) or not os.path.lexists(self._path(payload)):
                return chunk_offset(payload, done)
        if not everything:
            return len(head_bytes(self._head))
        return chunk_offset(everything[-1], len(everything[-1].sizes))

    def missing_bytes(self) -> int:
        """Room that the rest takes on the disk."""
        missing = self._head.manifest.raw_bytes
        missing += sum(
            payload.stored_bytes for payload in payloads(self._head) if payload.codec in PATCHES
        )
        for folder in (self._files, self._patches):
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
        if offset != self.resume_at():
            raise AgentFailure(
                ErrorCode.STORAGE,
                f"what had come of the package changed in {self._folder}",
                "push the package again",
            )
        for number, (payload, chunks) in enumerate(resumed(read, self._head, offset)):
            # What lies behind the first gap comes whole, even where some of it is here.
            self._write(payload, chunks, self._chunks_done(payload) if number == 0 else 0)

    def _write(self, payload: Payload, chunks: Iterable[Chunk], done: int) -> None:
        """Write the chunks of a file behind those that are done."""
        path, size = self._path(payload), sum(map(payload.raw_size, range(done)))
        digest = hashlib.sha256()
        with append_file(path, size) as write:

            def take(raw: bytes) -> None:
                write(raw)
                digest.update(raw)

            with Crew(take, _UNPACKING if usable_cpus() > 1 else 0) as crew:
                for chunk in chunks:
                    crew.hand(chunk.unpack, quick=not chunk.is_packed)
        if done == 0:
            self._came_before.discard(payload.file.path)
        if done == 0 and digest.hexdigest() == payload.file.sha256:
            self.checked[payload.file.path] = stamp(path)

    def assemble(self, find_base: FindBase, apply: Apply) -> str:
        """Make every file of the package of what has come; the folder they are in, durable.

        Raises:
            DamagedPart: a file of which some lay here before is not as the manifest says.
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
        is_checked = file.path in self.checked and not is_made
        if not (is_checked or has_content(path, file.raw_bytes, file.sha256)):
            remove(path)
            remove(os.path.join(self._patches, file.path))
            wrong = f"{file.path}: its SHA-256 is not the manifest's"
            if file.path in self._came_before:
                raise DamagedPart(f"{wrong}; a part of it had come earlier, and was damaged here")
            if is_made:  # By arithmetic that differs here, perhaps; the full package needs none.
                raise AgentFailure(ErrorCode.DELTA_FAILED, wrong, "push the full package")
            raise CorruptPackage(wrong)
        sync_file(path)

    def _path(self, payload: Payload) -> str:
        folder = self._patches if payload.codec in PATCHES else self._files
        return os.path.join(folder, payload.file.path)

    def _chunks_done(self, payload: Payload) -> int:
        try:
            size = os.lstat(self._path(payload)).st_size
        except FileNotFoundError:
            return 0
        total = sum(payload.raw_size(index) for index in range(len(payload.sizes)))
        return len(payload.sizes) if size == total else min(size, total) // CHUNK_BYTES


def base_missing(path: str) -> AgentFailure:
    """The failure for a delta whose base is not here."""
    return AgentFailure(
        ErrorCode.BASE_MISSING,
        f"the device does not have the file that the delta of {path} is made against",
        "push the full package",
    )
