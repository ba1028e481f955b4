"""Bytes in the chunks that a package is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from device_agent.manifest import CHUNK_BYTES


def pieces(data: bytes) -> Iterable[bytes]:
    """The bytes in pieces of 64 KiB; the last one may be shorter."""
    return (data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))


def hashes(chunks: Iterable[bytes]) -> tuple[str, ...]:
    """SHA-256 (hex) of each."""
    return tuple(hashlib.sha256(chunk).hexdigest() for chunk in chunks)
