"""Unpacks a wheel whose bytes have been verified, trusting nothing that is in it.

Every file is compared with the wheel's RECORD while it is written, and none is written anywhere but
below the wheel's folder. Nothing of a wheel runs. Its programs, headers and data files (".data",
save purelib and platlib) are checked and left out: the folder is there to be imported from.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import stat
from typing import IO, TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Set

from device_agent.durable import sync_file, sync_folder
from device_agent.interpreter import machines
from device_agent.runtime_messages import Interpreter, WheelFile

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

MAX_FILES = 50000
MAX_UNPACKED_BYTES = 4 * 1024 * 1024 * 1024
_MAX_TEXT_BYTES = 16 * 1024 * 1024
_MAX_PATH_BYTES = 1024
_PIECE_BYTES = 256 * 1024
_ENCRYPTED = 0x1
_STORED, _DEFLATED = 0, 8
_IMPORTED_FROM = ("purelib", "platlib")
_HASHES = ("sha256", "sha384", "sha512")
_UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")
"""Files of the metadata folder that need no hash (PEP 427)."""
_FILE_NAME = re.compile(
    r"(?P<name>[A-Za-z0-9._]+)-(?P<version>[A-Za-z0-9._+!]+)(-[0-9][^-]*)?"
    r"-(?P<python>[A-Za-z0-9._]+)-(?P<abi>[A-Za-z0-9._]+)-(?P<platform>[A-Za-z0-9._]+)\.whl"
)


class BadWheel(Exception):
    """It is not what a wheel has to be, or not one for this device."""


class Name(NamedTuple):
    """What the name of a wheel's file says; tags as they stand there, joined by "."."""

    name: str
    version: str
    python: str
    abi: str
    platform: str


class _Planned(NamedTuple):
    """A file of the wheel; where it goes is None for one that is left out."""

    entry: ZipInfo
    path: Optional[str]


def parse_name(file: str) -> Name:
    """Read the name of a wheel's file (PEP 427).

    Raises:
        BadWheel: it is none.
    """
    match = _FILE_NAME.fullmatch(file)
    if match is None:
        raise BadWheel(f"found the file name {file[:200]!r}, expected one of a wheel")
    return Name(*match.group("name", "version", "python", "abi", "platform"))


def fits(python: str, abi: str, platform: str, device: Interpreter) -> bool:
    """Whether one wheel's tag can be of this device.

    A second look at what the workstation has chosen from the index, so the version of the C library
    is left to it.
    """
    return _python_fits(python, abi, device) and _platform_fits(platform, device)


def require_fit(file: str, device: Interpreter) -> None:
    """Refuse a wheel whose name says that it is for other devices.

    Raises:
        BadWheel: so it is, or it is no name of a wheel.
    """
    name = parse_name(file)
    if not _any_fits(name.python, name.abi, name.platform, device):
        raise BadWheel(
            f"{file} is for {name.python}-{name.abi}-{name.platform}, "
            f"expected one for {device.abi} on {device.platform}"
        )


def _any_fits(pythons: str, abis: str, platforms: str, device: Interpreter) -> bool:
    """Of tags that are joined by "."."""
    return any(
        fits(python, abi, platform, device)
        for python in pythons.split(".")
        for abi in abis.split(".")
        for platform in platforms.split(".")
    )


def unpack(path: str, folder: str, wheel: WheelFile, device: Interpreter) -> None:
    """Unpack a wheel into an empty folder, and make all of it durable.

    Raises:
        BadWheel: anything about it is not as it should be; some of it may lie in the folder.
        OSError: the disk does not take it.
    """
    import zipfile  # Slow to import, and of use to hardly any session.
    import zlib

    name = parse_name(wheel.file)
    require_fit(wheel.file, device)
    try:
        with zipfile.ZipFile(path) as archive:
            _unpack(archive, folder, wheel, name, device)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError) as error:
        raise BadWheel(f"{wheel.file} is no zip file that holds: {error}") from error
    _sync(folder)


def _unpack(
    archive: ZipFile, folder: str, wheel: WheelFile, name: Name, device: Interpreter
) -> None:
    entries = archive.infolist()
    _require_bounds(entries, wheel)
    metadata = _metadata_folder(entries, name)
    planned = [_plan(entry, metadata) for entry in entries if not entry.filename.endswith("/")]
    _require_distinct(planned)
    texts = {
        each.entry.filename: each.entry
        for each in planned
        if each.entry.filename in (metadata + "/RECORD", metadata + "/WHEEL")
    }
    if len(texts) != 2:
        raise BadWheel(f"{wheel.file} lacks RECORD or WHEEL in {metadata}")
    _require_tag(_text(archive, texts[metadata + "/WHEEL"]), wheel.file, device)
    record = _read_record(_text(archive, texts[metadata + "/RECORD"]))
    unhashed = {"%s/%s" % (metadata, each) for each in _UNHASHED}
    _require_listed(planned, record, unhashed)
    for each in planned:
        expected = record.get(each.entry.filename, "")
        with archive.open(each.entry) as stream:
            found = _write(_pieces(stream, each.entry), each, folder, expected)
        if found != expected and not (each.entry.filename in unhashed and not expected):
            raise BadWheel(f"{each.entry.filename}: its hash is not the one in RECORD")


def _require_bounds(entries: List[ZipInfo], wheel: WheelFile) -> None:
    if len(entries) > MAX_FILES:
        raise BadWheel(f"found {len(entries)} files in {wheel.file}, expected {MAX_FILES} at most")
    size = sum(entry.file_size for entry in entries)
    if size > wheel.unpacked_bytes:
        raise BadWheel(
            f"found {size} bytes in {wheel.file}, expected the {wheel.unpacked_bytes} announced"
        )


def _metadata_folder(entries: List[ZipInfo], name: Name) -> str:
    """Its one folder "NAME-VERSION.dist-info"; both are compared as indexes do."""
    found = sorted(
        {
            entry.filename.split("/")[0]
            for entry in entries
            if entry.filename.split("/")[0].endswith(".dist-info")
        }
    )
    wanted = "%s-%s" % (_normal(name.name), name.version)
    if len(found) != 1 or not _is_named(found[0], wanted):
        raise BadWheel(f"found the metadata {', '.join(found) or 'of nothing'}, expected {wanted}")
    return found[0]


def _is_named(folder: str, wanted: str) -> bool:
    name, dash, version = folder[: -len(".dist-info")].rpartition("-")
    return bool(dash) and "%s-%s" % (_normal(name), version) == wanted


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _plan(entry: ZipInfo, metadata: str) -> _Planned:
    """Where a file goes.

    Raises:
        BadWheel: its name or kind is not one that a wheel may have.
    """
    name = entry.filename
    _require_safe(name)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise BadWheel(f"{name!r} is a link or a device, expected a file")
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in (_STORED, _DEFLATED):
        raise BadWheel(f"{name!r} is encrypted, or compressed in a way that wheels are not")
    first, _, rest = name.partition("/")
    if first != metadata[: -len(".dist-info")] + ".data":
        return _Planned(entry, name)
    scheme, _, below = rest.partition("/")
    return _Planned(entry, below if scheme in _IMPORTED_FROM and below else None)


def _require_safe(name: str) -> None:
    parts = name.split("/")
    odd = any(part in ("", ".", "..") for part in parts)
    if odd or "\\" in name or not name.isprintable() or ":" in parts[0]:
        raise BadWheel(f"found the path {name[:200]!r}, expected one below the wheel's folder")
    if len(name.encode("utf-8")) > _MAX_PATH_BYTES:
        raise BadWheel(f"found a path of more than {_MAX_PATH_BYTES} bytes")


def _require_distinct(planned: List[_Planned]) -> None:
    names: Set[str] = set()
    paths: Set[str] = set()
    for each in planned:
        if each.entry.filename in names or each.path in paths:
            raise BadWheel(f"found {each.entry.filename!r} twice")
        names.add(each.entry.filename)
        if each.path is not None:
            paths.add(each.path)


def _require_tag(text: str, file: str, device: Interpreter) -> None:
    """Its own word on what it is for must fit, too, and not only the name of its file."""
    tags = [line[len("Tag:") :].strip() for line in text.splitlines() if line.startswith("Tag:")]
    for tag in tags:
        parts = tag.split("-")
        if len(parts) == 3 and _any_fits(parts[0], parts[1], parts[2], device):
            return
    raise BadWheel(
        f"{file} says it is for {', '.join(tags)[:200] or 'nothing'}, "
        f"expected {device.abi} on {device.platform}"
    )


def _read_record(text: str) -> Dict[str, str]:
    """Path to "sha256=BASE64" of every file, "" for those without a hash."""
    found: Dict[str, str] = {}
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise BadWheel(f"its RECORD cannot be read: {error}") from error
    for row in rows:
        if row and (len(row) != 3 or row[0] in found):
            raise BadWheel(f"its RECORD has the line {','.join(row)[:200]!r}")
        if row:
            found[row[0]] = row[1]
    return found


def _require_listed(planned: List[_Planned], record: Dict[str, str], unhashed: Set[str]) -> None:
    names = {each.entry.filename for each in planned}
    unlisted = sorted(
        name for name in names if name not in unhashed and not _is_hash(record.get(name, ""))
    )
    if unlisted:
        raise BadWheel(f"{unlisted[0]!r} has no hash in RECORD")
    missing = sorted(set(record) - names)
    if missing:
        raise BadWheel(f"{missing[0]!r} is in RECORD and not in the wheel")


def _is_hash(text: str) -> bool:
    return text.partition("=")[0] in _HASHES


def _text(archive: ZipFile, entry: ZipInfo) -> str:
    if entry.file_size > _MAX_TEXT_BYTES:
        raise BadWheel(f"{entry.filename} has {entry.file_size} bytes")
    with archive.open(entry) as stream:
        return b"".join(_pieces(stream, entry)).decode("utf-8")


def _pieces(stream: IO[bytes], entry: ZipInfo) -> Iterator[bytes]:
    """The bytes of a file, no more than its entry says, however far they would inflate."""
    left = entry.file_size
    while left > 0:
        piece = stream.read(min(left, _PIECE_BYTES))
        if not piece:
            raise BadWheel(f"{entry.filename} ends {left} bytes too early")
        left -= len(piece)
        yield piece
    if stream.read(1):
        raise BadWheel(f"{entry.filename} holds more than its {entry.file_size} bytes")


def _write(pieces: Iterator[bytes], planned: _Planned, folder: str, expected: str) -> str:
    """Write a file, unless it is left out; its hash as RECORD writes it."""
    algorithm = expected.partition("=")[0]
    digest = hashlib.new(algorithm if algorithm in _HASHES else _HASHES[0])
    if planned.path is None:
        for piece in pieces:
            digest.update(piece)
        return _encoded(digest)
    path = os.path.join(folder, *planned.path.split("/"))
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, _mode(planned.entry))
    except (FileExistsError, NotADirectoryError) as error:
        raise BadWheel(f"{planned.path!r} is a file and a folder") from error
    with os.fdopen(descriptor, "wb") as stream:
        for piece in pieces:
            digest.update(piece)
            stream.write(piece)
    return _encoded(digest)


def _mode(entry: ZipInfo) -> int:
    return 0o755 if (entry.external_attr >> 16) & 0o111 else 0o644


def _encoded(digest: Any) -> str:
    text = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")
    return "%s=%s" % (digest.name, text)


def _sync(folder: str) -> None:
    """Make every file below a folder durable, in a second pass: the disk has long begun by then."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_file(os.path.join(place, name))
        sync_folder(place)


def _python_fits(python: str, abi: str, device: Interpreter) -> bool:
    major, minor = device.version[:2]
    match = re.fullmatch(r"(py|cp)(\d)(\d*)", python)
    if match is None or int(match.group(2)) != major:
        return False
    kind, wanted = match.group(1), int(match.group(3) or 0)
    if abi == "none":
        return wanted <= minor if kind == "py" else wanted == minor
    if abi == "abi3":
        return kind == "cp" and wanted <= minor and not device.abi.endswith("t")
    return abi == device.abi and wanted == minor


def _platform_fits(platform: str, device: Interpreter) -> bool:
    if platform == "any":
        return True
    match = re.fullmatch(r"(musllinux_\d+_\d+|manylinux(?:\d+|_\d+_\d+)|linux)_(\w+)", platform)
    if match is None or (match.group(1) != "linux" and not _is_of(match.group(1), device.libc)):
        return False
    return match.group(2) in machines(device)


def _is_of(prefix: str, libc: str) -> bool:
    return prefix.startswith("musl") == (libc == "musl")
