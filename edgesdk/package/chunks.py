"""Bytes in the chunks that a package is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from device_agent.manifest import CHUNK_BYTES


def pieces(data: bytes) -> Iterable[bytes]:
    """The bytes in pieces of 64 KiB; the last one may be shorter."""
    return (data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))


def hashes(chunks: Iterable[bytes], raw_bytes: int) -> tuple[str, ...]:
    """The SHA-256s (hex) that a manifest gives for stored chunks.

    Args:
        raw_bytes: what the chunks become, all of them: where they are as many bytes, the bytes are
            plain, and each hash is of all up to the chunk's end.
    """
    stored = tuple(chunks)
    digest, is_plain, found = hashlib.sha256(), sum(map(len, stored)) == raw_bytes, []
    for chunk in stored:
        digest = digest if is_plain else hashlib.sha256()
        digest.update(chunk)
        found.append(digest.hexdigest())
    return tuple(found)
