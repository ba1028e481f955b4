"""A package's documents: its manifest and its delta, read from their canonical bytes and checked.

What is refused here no reader may act on, whoever signed it: unsafe names, sizes and counts that
contradict each other, what cannot be obeyed. The archive around them is `device_agent.archive`.
Pure: nothing is read or written.
"""

from __future__ import annotations

import hashlib
import re
from typing import Tuple, Type, TypeVar

from device_agent.clock import parse_utc
from device_agent.codec import Malformed, canonical, from_dict, parse_json
from device_agent.manifest import (
    CHUNK_BYTES,
    DELTA_FORMAT,
    FALLBACK_CAUSES,
    FALLBACK_ROLES,
    FORMAT,
    RUNTIMES,
    Delta,
    DeltaFile,
    Fallback,
    File,
    HealthCheck,
    Manifest,
)
from device_agent.preprocessing import Stages, check_stages

MANIFEST_MAX_BYTES = 4 * 1024 * 1024
SIGNATURES_MAX_BYTES = 16 * 1024
_MOST_BRACKETS = 4096
_MOST_COMMAS = 250_000
_MOST_KEYS = 4096
"""What is parsed before anybody vouches for it may not take much more memory than its text."""
_MOST_SHOWN = 500
STORED_MAX_BYTES = 8**11 - 1
"""Largest size that the eleven octal digits of a header can say."""
COMMAND_MAX_S = 24 * 3600.0
"""Longest that a health check's command may be given."""

ROLES = ("model", "companion", "float", "twin", "golden")
DELTA_CODECS = ("same", "full", "bytes-delta", "tensors-delta")
PATCHES = ("bytes-delta", "tensors-delta")
MANIFEST_NAME = "manifest.json"
SIGNATURE_SUFFIX = ".sig"

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EMPTY_SHA256 = hashlib.sha256().hexdigest()

T = TypeVar("T")


class CorruptPackage(Exception):
    """The bytes are not a well-formed package; the message says where and why.

    It quotes what a stranger wrote, which may take megabytes: the middle of such is left out.
    """

    def __init__(self, message: str) -> None:
        if len(message) > _MOST_SHOWN:
            message = f"{message[: _MOST_SHOWN // 2]} ... {message[-_MOST_SHOWN // 2 :]}"
        super().__init__(message)


def is_package_id(text: str) -> bool:
    """Whether it has the form of a package id: a SHA-256 in lower-case hex."""
    return _SHA256.fullmatch(text) is not None


def is_file_name(text: str) -> bool:
    """Whether it is a plain, portable file name that does not start with a dot."""
    return _FILE_NAME.fullmatch(text) is not None


def plain_sizes(size: int) -> Tuple[int, ...]:
    """Sizes of the 64 KiB pieces of so many bytes."""
    full, rest = divmod(size, CHUNK_BYTES)
    return (CHUNK_BYTES,) * full + ((rest,) if rest else ())


def check_manifest(manifest: Manifest) -> None:
    """Refuse a manifest that no reader may act on.

    Raises:
        CorruptPackage: an unknown format, an unsafe or repeated name, a role too many or too few,
            sizes or chunk counts that contradict each other, a date that is none, a health check, a
            fallback or a preprocessing that cannot be obeyed.
    """
    if manifest.format != FORMAT:
        raise CorruptPackage(f"found format {manifest.format!r}, expected {FORMAT!r}")
    if not is_file_name(manifest.name):
        raise CorruptPackage(f"found package name {manifest.name!r}, expected {_FILE_NAME.pattern}")
    if not 0 <= manifest.min_sequence <= manifest.sequence:
        raise CorruptPackage(
            f"found sequence {manifest.sequence} and min_sequence {manifest.min_sequence}, "
            "expected neither negative, and the latter not above the former"
        )
    roles = [file.role for file in manifest.files]
    if len(set(roles)) != len(roles) or not set(roles) <= set(ROLES) or "model" not in roles:
        raise CorruptPackage(f"found roles {roles}, expected 'model' and each role at most once")
    # Compared without case: the device's file system may not tell the names apart.
    names = [file.path.lower() for file in manifest.files]
    reserved = {MANIFEST_NAME, MANIFEST_NAME + SIGNATURE_SUFFIX}
    if len(set(names)) != len(names) or reserved & set(names):
        raise CorruptPackage(f"found file names {names}, expected each once, no {MANIFEST_NAME}")
    for file in manifest.files:
        _check_file(file)
    if manifest.expires is not None:
        _check_date(manifest.expires)
    if manifest.health is not None:
        _check_health(manifest.health)
    if manifest.fallback is not None:
        _check_fallback(manifest.fallback, manifest)
    if manifest.stages is not None:
        _check_stages(manifest.stages, manifest)


def _check_stages(stages: Stages, manifest: Manifest) -> None:
    if len(manifest.inputs) != 1:
        raise CorruptPackage(
            f"found a preprocessing of pictures for {len(manifest.inputs)} inputs, expected 1"
        )
    try:
        check_stages(stages)
    except ValueError as error:
        raise CorruptPackage(str(error)) from error
    first = manifest.outputs[0].shape[-1:] if manifest.outputs else ()
    if stages.postprocessing.top_k > (first[0] if first else 0):
        raise CorruptPackage(
            f"found the {stages.postprocessing.top_k} largest asked of a first output whose last"
            f" axis is {list(first)}"
        )
    if stages.source:
        made, port = stages.preprocessing.shape(*stages.source), manifest.inputs[0]
        if port.shape not in (made, (1, *made)):
            raise CorruptPackage(
                f"found a preprocessing that makes {[1, *made]} of a picture, expected the input "
                f"{port.name}, which is {list(port.shape)}"
            )


def _check_date(expires: str) -> None:
    try:
        parse_utc(expires)
    except ValueError as error:
        raise CorruptPackage(f"expiry: {error}") from error


def _check_health(health: HealthCheck) -> None:
    if not 0 < health.command_seconds <= COMMAND_MAX_S:
        raise CorruptPackage(
            f"found a command that may take {health.command_seconds:g} s, expected more than 0 and "
            f"at most {COMMAND_MAX_S:g}"
        )
    if health.max_parity_mismatch_percent is not None:
        _check_percent("parity mismatch", health.max_parity_mismatch_percent)


def _check_fallback(fallback: Fallback, manifest: Manifest) -> None:
    if fallback.role not in FALLBACK_ROLES or manifest.file(fallback.role) is None:
        raise CorruptPackage(
            f"found a fallback to {fallback.role!r}, expected one of {FALLBACK_ROLES} that is there"
        )
    if fallback.runtime not in RUNTIMES:
        raise CorruptPackage(
            f"found a fallback run by {fallback.runtime!r}, expected one of {RUNTIMES}"
        )
    causes = set(fallback.when)
    if not causes or len(causes) != len(fallback.when) or not causes <= set(FALLBACK_CAUSES):
        raise CorruptPackage(
            f"found a fallback on {fallback.when}, expected some of {FALLBACK_CAUSES}, each once"
        )
    if "parity" in causes and manifest.file("golden") is None:
        raise CorruptPackage("found a fallback on parity, expected golden vectors for it")
    _check_percent("parity mismatch", fallback.max_parity_mismatch_percent)
    wanted = [port.name for port in manifest.inputs] if "ood" in causes else []
    if [each.name for each in fallback.inputs] != wanted:
        raise CorruptPackage(
            f"found statistics of the inputs {[each.name for each in fallback.inputs]}, "
            f"expected {wanted}"
        )
    for each in fallback.inputs:
        _check_percent(f"share beyond {each.name}", each.max_beyond_percent)
        for band in (each.values, each.mean, each.deviation, each.roughness):
            if not band.low <= band.high:
                raise CorruptPackage(
                    f"found a band of {each.name} from {band.low} to {band.high}, expected it to "
                    "rise"
                )


def _check_percent(what: str, percent: float) -> None:
    if not 0 <= percent <= 100:
        raise CorruptPackage(f"found a {what} of {percent} percent, expected 0 to 100")


def _check_file(file: File) -> None:
    if not is_file_name(file.path):
        raise CorruptPackage(f"found file name {file.path!r}, expected {_FILE_NAME.pattern}")
    if not 0 <= file.raw_bytes <= STORED_MAX_BYTES:
        raise CorruptPackage(
            f"{file.path}: found {file.raw_bytes} bytes, expected 0 to {STORED_MAX_BYTES}"
        )
    raw_sizes = plain_sizes(file.raw_bytes)
    if not len(file.chunks) == len(file.sizes) == len(raw_sizes):
        raise CorruptPackage(
            f"{file.path}: found {len(file.chunks)} chunks of {len(file.sizes)} sizes, "
            f"expected {len(raw_sizes)}"
        )
    for stored, raw in zip(file.sizes, raw_sizes):
        if not 0 < stored <= raw:
            raise CorruptPackage(
                f"{file.path}: found a chunk of {stored} bytes, expected 1 to {raw}"
            )
    _check_hashes(file.path, (file.sha256, *file.chunks))
    if file.is_plain and file.sha256 != (file.chunks or (_EMPTY_SHA256,))[-1]:
        raise CorruptPackage(f"{file.path}: its SHA-256 is not that of its last chunk")


def check_delta(delta: Delta, manifest: Manifest) -> None:
    """Refuse a delta that does not make this package.

    Raises:
        CorruptPackage: an unknown format or codec, another package, other files, sizes that
            contradict each other.
    """
    if delta.format != DELTA_FORMAT:
        raise CorruptPackage(f"found delta format {delta.format!r}, expected {DELTA_FORMAT!r}")
    if delta.package_id != manifest.package_id or not is_package_id(delta.base):
        raise CorruptPackage("the delta is of another package than the manifest")
    if [each.path for each in delta.files] != [file.path for file in manifest.files]:
        raise CorruptPackage("the delta names other files than the manifest")
    for each in delta.files:
        _check_delta_file(each)


def _check_delta_file(each: DeltaFile) -> None:
    if each.codec not in DELTA_CODECS:
        raise CorruptPackage(
            f"{each.path}: found codec {each.codec!r}, expected one of {DELTA_CODECS}"
        )
    sizes = (each.base_bytes, each.stored_bytes)
    if not all(0 <= size <= STORED_MAX_BYTES for size in sizes):
        raise CorruptPackage(f"{each.path}: found sizes {sizes}, expected 0 to {STORED_MAX_BYTES}")
    if (each.codec in PATCHES) != (each.stored_bytes > 0):
        raise CorruptPackage(f"{each.path}: found {each.stored_bytes} bytes of {each.codec!r}")
    if len(each.chunks) != len(plain_sizes(each.stored_bytes)):
        raise CorruptPackage(f"{each.path}: found {len(each.chunks)} chunks of its delta")
    based = (each.base_sha256,) if each.codec != "full" else ()
    _check_hashes(each.path, (*based, *each.chunks))


def _check_hashes(path: str, digests: Tuple[str, ...]) -> None:
    for digest in digests:
        if not _SHA256.fullmatch(digest):
            raise CorruptPackage(f"{path}: found {digest!r}, expected a SHA-256 in hex")


def parse_manifest(text: bytes) -> Manifest:
    """The manifest in its canonical bytes; any other spelling of it is refused.

    Raises:
        CorruptPackage: malformed, not canonical (which unknown fields are not), or does not hold.
    """
    manifest = parse_canonical(Manifest, text, "manifest")
    check_manifest(manifest)
    return manifest


def parse_canonical(kind: Type[T], text: bytes, what: str) -> T:
    """A dataclass from its canonical bytes; any other spelling of it is refused.

    Raises:
        CorruptPackage: malformed, or not canonical.
    """
    brackets, keys = text.count(b"[") + text.count(b"{"), text.count(b'":')
    if brackets > _MOST_BRACKETS or keys > _MOST_KEYS or text.count(b",") > _MOST_COMMAS:
        raise CorruptPackage(f"{what}: found more values than any package has")
    try:
        value = from_dict(kind, parse_json(text))
        spelling = canonical(value)
    except (Malformed, ValueError, RecursionError) as error:
        raise CorruptPackage(f"{what}: {error}") from error
    if spelling != text:
        raise CorruptPackage(f"{what}: not in canonical form")
    return value
