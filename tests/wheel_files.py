"""Wheels for tests: tiny ones with anything wrong in them, and real ones of what is installed."""

from __future__ import annotations

import base64
import hashlib
import io
import stat
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path

from device_agent.runtime_messages import WheelFile

EMPTY_RUNTIME = {"ai_edge_litert/__init__.py": b"", "ai_edge_litert/interpreter.py": b"X = 1\n"}
"""As much of LiteRT as an import needs."""


def record_hash(content: bytes) -> str:
    """As RECORD has it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    """An entry of a zip file with that mode."""
    made = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
    made.external_attr = mode << 16
    made.compress_type = zipfile.ZIP_DEFLATED
    return made


def wheel_bytes(
    name: str = "ai_edge_litert",
    version: str = "2.3.0",
    contents: Mapping[str, bytes] = EMPTY_RUNTIME,
    *,
    tags: Iterable[str] = ("py3-none-any",),
    requires: Iterable[str] = (),
    record: Mapping[str, str | None] | None = None,
    more: Iterable[tuple[zipfile.ZipInfo, bytes]] = (),
) -> bytes:
    """A wheel.

    Args:
        tags: in its WHEEL.
        record: hashes that RECORD has in the place of the right ones; None leaves a line out.
        more: entries that no RECORD names, with kinds and names of any sort.
    """
    folder = f"{name}-{version}.dist-info"
    lines = "".join(f"Requires-Dist: {each}\n" for each in requires)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}"
    wheel = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n" + "".join(f"Tag: {t}\n" for t in tags)
    files = {
        **contents,
        f"{folder}/METADATA": metadata.encode(),
        f"{folder}/WHEEL": wheel.encode(),
    }
    hashes: dict[str, str | None] = {path: record_hash(each) for path, each in files.items()}
    hashes.update(record or {})
    rows = [f"{path},{digest}," for path, digest in hashes.items() if digest is not None]
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for path, content in files.items():
            archive.writestr(entry(path), content)
        for odd, content in more:
            archive.writestr(odd, content)
        archive.writestr(entry(f"{folder}/RECORD"), "\n".join([*rows, f"{folder}/RECORD,,", ""]))
    return target.getvalue()


def described(content: bytes, file: str = "ai_edge_litert-2.3.0-py3-none-any.whl") -> WheelFile:
    """As the workstation offers it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(each.file_size for each in archive.infolist())
    return WheelFile(file, hashlib.sha256(content).hexdigest(), len(content), size)


def wheel_of_installed(name: str, folder: Path) -> Path:
    """A wheel of a distribution as it is installed here, for this very Python and machine."""
    found = distribution(name)
    files = dict(_installed(found))
    prefix = next(path.split("/")[0] for path in files if path.endswith(".dist-info/WHEEL"))
    tags = [
        line.removeprefix("Tag:").strip().split("-")
        for line in files[f"{prefix}/WHEEL"].decode().splitlines()
        if line.startswith("Tag:")
    ]
    joined = [".".join(dict.fromkeys(each[part] for each in tags)) for part in range(3)]
    path = folder / f"{prefix.removesuffix('.dist-info')}-{'-'.join(joined)}.whl"
    rows = [f"{each},{record_hash(content)},{len(content)}" for each, content in files.items()]
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in files.items():
            archive.writestr(entry(each), content, compresslevel=1)
        archive.writestr(entry(f"{prefix}/RECORD"), "\n".join([*rows, f"{prefix}/RECORD,,", ""]))
    return path


def _installed(found: Distribution) -> Iterable[tuple[str, bytes]]:
    left_out = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    for each in found.files or ():
        is_ours = each.parts[0] != ".." and each.suffix != ".pyc"
        if is_ours and not (each.parts[0].endswith(".dist-info") and each.name in left_out):
            yield each.as_posix(), Path(each.locate()).read_bytes()
