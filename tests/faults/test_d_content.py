"""Rows 24 to 33: packages that are not what they should be.

The workstation refuses them first; here they are sent all the same, in conversations with the agent
that no edgesdk would have. What is tried over the device is a sample of what is tried on the code
that runs there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from device_agent import archive, documents, reading, runtimes
from device_agent.archive import BLOCK_BYTES
from device_agent.codec import canonical
from device_agent.documents import CorruptPackage
from device_agent.failures import AgentFailure
from device_agent.installing import Installer
from device_agent.package_messages import Install, Installed, Offer, Offered
from device_agent.store import Store
from device_agent.trust import PACKAGE_NAMESPACE, Trust, Untrusted, require_signed
from device_agent.trust_messages import ChangeTrust, SignedTrust
from edgesdk import api
from edgesdk.devices.agent import AgentSession
from edgesdk.errors import AgentError, EdgeSDKError, PackageError
from edgesdk.flows.keys import current_trust, trust_documents, workstation_clock
from edgesdk.package.building import full_path
from edgesdk.package.reading import read_package
from edgesdk.values.package import Package
from tests.cli import Cli
from tests.faults.bench import DEVICE, Bench
from tests.faults.matrix import fault
from tests.faults.releases import NAME, Releases, file_of, reader, sha256, tiny
from tests.faults.test_b_resources import patched

REFUSED = "every one refused by the workstation and by the device, by a typed error; as usual"
OFTEN_ENOUGH = 40
"""Spoilt packages tried over a device, of many hundred."""


@pytest.fixture
def small(releases: Releases) -> bytes:
    """A signed package of some KiB."""
    return tiny(releases)


# ---- 24 to 28, 31: the bytes -------------------------------------------------------------------


@fault(24, "cut at each boundary of the archive, and one byte before and after it", REFUSED)
def test_truncated_at_each_boundary(
    old_virtual: Bench, releases: Releases, small: bytes, local: Local
) -> None:
    ends = sorted({end + shift for end in boundaries(small) for shift in (-1, 0, 1)} - {len(small)})
    cut = {f"after {end} bytes": small[:end] for end in ends if 0 < end < len(small)}
    assert len(cut) > 20
    all_refused(old_virtual, releases, small, cut, local)


@fault(25, "each byte changed, and over the device each of a sample", REFUSED)
def test_each_byte_flipped(
    old_virtual: Bench, releases: Releases, small: bytes, local: Local
) -> None:
    def flipped(at: int) -> bytes:
        return small[:at] + bytes([small[at] ^ (1 << at % 8)]) + small[at + 1 :]

    all_refused(
        old_virtual, releases, small, {f"byte {at}": flipped(at) for at in range(len(small))}, local
    )


@fault(
    26, "members behind the end, twice, in another order, missing, and of another archive", REFUSED
)
def test_members_that_do_not_belong(
    old_virtual: Bench, releases: Releases, small: bytes, local: Local
) -> None:
    manifest, signature, model, golden = split(small)
    payload, end = model + golden, archive.TRAILER
    other = member(f"{small[:64].decode()}/payload/02", b"x")
    spoilt = {
        "a byte behind": small + b"\0",
        "a block behind": small + bytes(BLOCK_BYTES),
        "a member behind": small + other,
        "a package behind": small + small,
        "a member more": manifest + signature + payload + other + end,
        "a payload twice": manifest + signature + payload + payload + end,
        "the manifest twice": manifest + manifest + signature + payload + end,
        "the signature twice": manifest + signature + signature + payload + end,
        "the payload first": payload + manifest + signature + end,
        "the signature first": signature + manifest + payload + end,
        "the payload before the signature": manifest + payload + signature + end,
        "the golden vectors first": manifest + signature + golden + model + end,
        "the model twice": manifest + signature + model + model + end,
        "no golden vectors": manifest + signature + model + end,
        "no payload": manifest + signature + end,
        "no manifest": signature + payload + end,
        "one block of zeros": manifest + signature + payload + end[:BLOCK_BYTES],
        "three blocks of zeros": manifest + signature + payload + end + end[:BLOCK_BYTES],
        "nothing": b"",
        "only zeros": bytes(10 * BLOCK_BYTES),
        "no archive": b"PK\3\4" + small,
        "compressed": zlib.compress(small),
    }
    all_refused(old_virtual, releases, small, spoilt, local)


@fault(27, "such names of files in a signed manifest, of packages, and of members", REFUSED)
def test_names_that_lead_elsewhere(
    old_virtual: Bench, releases: Releases, small: bytes, local: Local
) -> None:
    names = (
        *("../x", "../../x", "/etc/x", "/x", "a/b", "a/../../x", "..", ".", "", ".x", "-x", " "),
        *("x\0", "x\0.onnx", "x\n", "x\r", "C:\\x", "..\\x", "\\\\host\\x", "x:y", "~", "~/x"),
        *("$(id)", ";id", "`id`", "x" * 129, "x" * 5000, "é", "\u202ex", "x/", "//x", "%2e%2e/x"),
        *("manifest.json", "Manifest.JSON", "manifest.json.sig"),
    )
    spoilt = {}
    for name in names:
        file, stored = file_of("model", b"x" * 50, name)
        spoilt[f"file {name[:20]!r}"] = unchecked(releases, small, stored, files=(file,))
        if name.lower().startswith("manifest"):
            continue  # Packages may be called so.
        spoilt[f"package {name[:20]!r}"] = unchecked(releases, small, None, name=name)
    for name in ("../x", "/etc/x", "x\0y", "C:\\x"):
        spoilt[f"member {name!r}"] = with_changed(small, 3, 0, name.encode().ljust(100, b"\0"))
    all_refused(old_virtual, releases, small, spoilt, local)


@fault(
    28,
    "links, devices, folders, fifos, sparse files and extended headers, as made by tarfile",
    REFUSED,
)
def test_members_that_are_no_files(
    old_virtual: Bench, releases: Releases, small: bytes, local: Local
) -> None:
    kinds = {
        "symlink": tarfile.SYMTYPE,
        "hardlink": tarfile.LNKTYPE,
        "character device": tarfile.CHRTYPE,
        "block device": tarfile.BLKTYPE,
        "folder": tarfile.DIRTYPE,
        "fifo": tarfile.FIFOTYPE,
        "contiguous": tarfile.CONTTYPE,
        "sparse": tarfile.GNUTYPE_SPARSE,
        "long name": tarfile.GNUTYPE_LONGNAME,
        "extended header": tarfile.XHDTYPE,
        "global header": tarfile.XGLTYPE,
        "old file": tarfile.AREGTYPE,
    }
    spoilt = {}
    for what, kind in kinds.items():
        for place in range(4):
            linked = with_changed(small, place, 157, b"/etc/passwd")
            spoilt[f"{what} as member {place}"] = with_changed(linked, place, 156, kind)
            spoilt[f"{what} before member {place}"] = with_member(small, place, kind)
    all_refused(old_virtual, releases, small, spoilt, local)


@fault(
    31,
    "sizes below zero, huge, in base 256, not octal; JSON nested 100,000 times, endless numbers",
    REFUSED,
)
def test_sizes_and_depths(
    old_virtual: Bench, releases: Releases, small: bytes, local: Local
) -> None:
    spoilt = {}
    fields = {
        "negative": b"-0000000001\0",
        "base 256, negative": b"\xff" * 12,
        "base 256, huge": b"\x80" + b"\x7f" * 11,
        "base 256": b"\x80" + (600).to_bytes(11, "big"),
        "the largest": b"77777777777\0",
        "12 digits": b"777777777777",
        "spaces": b"       1130 ",
        "hexadecimal": b"0x00000258\0\0",
        "nothing": b"\0" * 12,
    }
    for what, text in fields.items():
        for place in range(4):
            spoilt[f"{what}, member {place}"] = with_changed(small, place, 124, text)
    texts = {
        "deep lists": b"[" * 100_000,
        "deep objects": b'{"a":' * 100_000,
        "deep and closed": b"[" * 50_000 + b"]" * 50_000,
        "a long number": b"1" * 1_000_000,
        "a long exponent": b"1e999999999",
        "not UTF-8": b"\xff\xfe",
        "NaN": b"NaN",
        "4 MiB": b" " * documents.MANIFEST_MAX_BYTES,
        "more than 4 MiB": b" " * (documents.MANIFEST_MAX_BYTES + 1),
    }
    for what, text in texts.items():
        spoilt[f"manifest: {what}"] = with_manifest(small, text)
    for what, changes in {
        "negative size": {"raw_bytes": -1},
        "huge size": {"raw_bytes": 2**60},
        "huge chunk": {"sizes": (2**60,)},
        "negative chunk": {"sizes": (-1,)},
        "no chunk": {"sizes": ()},
        "no number": {"raw_bytes": "600"},
        "true": {"raw_bytes": True},
    }.items():
        spoilt[f"manifest: {what}"] = unchecked(releases, small, None, file=changes)
    all_refused(old_virtual, releases, small, spoilt, local)


# ---- 29: links ---------------------------------------------------------------------------------


@fault(
    29,
    "links in the place of each file and folder of the store, to a file and a folder outside",
    "nothing outside is written, changed or removed: the link is replaced, or a typed error; "
    "without the link a push succeeds",
)
@pytest.mark.parametrize(
    "place",
    [
        *("store", "incoming", "sessions", "models", "agent", "engines"),
        *("state.json", "trust.json", "lock", "installing.lock"),
        *(f"models/{NAME}", "store/NEW", "store/OLD", "incoming/KEY", "incoming/KEY/files"),
        *("incoming/KEY/patches", "incoming/KEY/files/MODEL", "store/OLD/manifest.json"),
        *("store/OLD/MODEL", "sessions/planted", "agent/AGENT"),
    ],
)
def test_planted_links(old_virtual: Bench, releases: Releases, tmp_path: Path, place: str) -> None:
    bench, victim = old_virtual, tmp_path / "victim"
    path = bench.store / named(place, bench, releases)
    plant(victim)
    before = look(victim)
    for target in (victim / "folder", victim / "file", victim / "new"):
        with link_at(path, target, tmp_path / "aside"):
            end = push_ends(bench, releases(2))
            assert look(victim) == before, f"{end}, and {target.name} has changed"
            assert end in ("done", "storage")
    bench.takes(releases(3))


# ---- 30: bombs ---------------------------------------------------------------------------------


@fault(
    30,
    "chunks and heads that unpack to gigabytes",
    "refused at the declared size, in seconds and in less than 64 MB of memory",
)
def test_bombs(releases: Releases, small: bytes, tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(2**26), 9)[:65_000]
    for what, stored, raw_bytes in (
        ("a chunk that goes on", bomb, 65_536),
        ("a chunk that goes on behind its end", zlib.compress(b"x" * 600) + bomb[:60], 65_536),
        ("a chunk that declares a byte less", zlib.compress(bytes(65_536)), 65_535),
        ("a chunk that declares a byte more", zlib.compress(bytes(65_535)), 65_536),
    ):
        package = tmp_path / "bomb.edgepkg"
        file, _ = file_of("model", bytes(raw_bytes))
        changes = {"sizes": (len(stored),), "chunks": (sha256(stored),)}
        file = dataclasses.replace(file, **changes)
        package.write_bytes(unchecked(releases, small, [stored], files=(file,)))
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, package], capture_output=True, text=True, check=True
        )
        refused, peak_mib = done.stdout.rsplit(" ", 1)
        assert "does not unpack" in refused, (what, refused)
        assert float(peak_mib) < 64
        assert time.monotonic() - began < 20


MEASURED = """
import sys
from device_agent import documents, reading, runtimes
try:
    reading.verify(open(sys.argv[1], "rb").read)
except documents.CorruptPackage as error:
    said = error
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(said, int(peak.split()[1]) / 1024)
"""


# ---- 32 and 33: the wrong files ----------------------------------------------------------------


@fault(
    32,
    "a delta against a package that the device does not have",
    "it asks for the full package, which is sent and committed; the user is told",
)
def test_a_delta_on_the_wrong_base(old_virtual: Bench, releases: Releases) -> None:
    delta = releases.delta(2, base=releases.retrained)
    said: list[str] = []
    api.push(delta.path, DEVICE, say=said.append)
    assert "does not have the file" in said[0] and "full package instead" in said[0]
    old_virtual.is_as_before("2.0")


@fault(32, "a delta against a package that the device lacks, and no full package beside it")
def test_a_delta_on_the_wrong_base_alone(old_virtual: Bench, releases: Releases) -> None:
    delta = releases.delta(2, base=releases.retrained)
    full_path(delta.path).unlink()
    old_virtual.fails(lambda: old_virtual.push(delta), PackageError)
    old_virtual.is_as_before("1.0")
    old_virtual.takes(releases(2))


@fault(
    32,
    "a delta whose base has the right name and another content",
    "it asks for the full package, which is sent and committed; the user is told",
)
def test_a_delta_on_a_damaged_base(old_virtual: Bench, releases: Releases) -> None:
    delta = releases.delta(2)
    path = model_path(releases(1), old_virtual.store / "store" / releases(1).manifest.package_id)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    said: list[str] = []
    api.push(delta.path, DEVICE, say=said.append)
    assert "full package instead" in said[0]
    old_virtual.is_as_before("2.0")


@fault(
    32,
    "a patch that makes something else",
    "it asks for the full package, which is sent and committed; the user is told",
)
def test_a_patch_that_nobody_can_read(old_virtual: Bench, releases: Releases) -> None:
    delta = patched(releases, releases(1), releases(2))
    said: list[str] = []
    api.push(delta.path, DEVICE, say=said.append)
    assert "could not be applied" in said[0] and "full package instead" in said[0]
    old_virtual.is_as_before("2.0")


@fault(33, "the package's file is replaced between the workstation's check and the transfer")
def test_the_package_is_swapped_on_the_workstation(old: Bench, releases: Releases) -> None:
    good, evil = releases(2), releases.path("evil")
    content = bytearray(good.path.read_bytes())
    content[-5000] ^= 1
    evil.write_bytes(content)
    package = dataclasses.replace(read_package(good.path), path=evil)
    with old.session() as agent:
        error = old.fails(lambda: old.send(agent, package), AgentError)
    assert error.code == "corrupt_package"
    old.is_as_before("1.0")
    old.takes(good)


@fault(
    33,
    "a file that has come is replaced before the last one has",
    "noticed before it is tried; the same push sends it again, and the user is told",
)
def test_a_received_file_is_swapped(old: Bench, releases: Releases, tmp_path: Path) -> None:
    new = releases(2)
    evil = tmp_path / "evil"
    evil.write_bytes(b"evil")
    model = model_path(new, old.store / "incoming" / sha256(canonical(new.manifest)) / "files")
    old.order("swap", "append", r"/float\.", number=2, argument=[str(evil), str(model)])
    said: list[str] = []
    api.push(new.path, DEVICE, say=said.append)
    assert old.struck()
    assert len(said) == 1
    assert said[0].startswith("model.onnx: its SHA-256 is not the manifest's any more")
    assert said[0].endswith("sending it again")
    old.is_as_before("2.0")


@fault(
    33,
    "an installed model is replaced before it is measured",
    "refused; a push of the same package repairs it",
)
def test_an_installed_file_is_swapped(old: Bench, releases: Releases) -> None:
    model = model_path(releases(1), old.store / "store" / releases(1).manifest.package_id)
    content = model.read_bytes()
    model.write_bytes(content[:-1] + b"?")
    error = old.fails(lambda: api.bench(DEVICE), AgentError)
    assert error.code == "storage"
    assert "is not as its manifest says" in error.message
    old.takes(releases(1))
    assert model.read_bytes() == content


@fault(
    33,
    "the model is replaced after its check, in the moment in which its worker starts",
    "nothing can be done: who can write to the store is the device's user or root",
)
@pytest.mark.xfail(
    reason="runtimes load by path, so between the check and the load the store's owner can swap",
    strict=True,
)
def test_a_model_is_swapped_just_before_it_is_loaded(
    old_virtual: Bench, releases: Releases, tmp_path: Path
) -> None:
    evil = tmp_path / "evil"
    evil.write_bytes(b"evil")
    model = model_path(releases(1), old_virtual.store / "store" / releases(1).manifest.package_id)
    old_virtual.order("swap", "spawn", "worker", argument=[str(evil), str(model)])
    error = old_virtual.fails(lambda: api.bench(DEVICE), AgentError)
    assert error.code == "storage", f"the runtime was given it: {error}"


# ---- the device's own code, here ---------------------------------------------------------------


class Local:
    """The agent's installer in this process, reached by the same bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        documents = trust_documents()
        self._versions = tuple(
            SignedTrust(each.text.decode(), each.signatures.decode()) for each in documents
        )
        self._count = 0
        self._begin()

    def refuses(self, content: bytes, sound: bytes) -> bool:
        """Whether these bytes are refused, or whether what differs is nothing that was asked for.

        What the device knows already, from the head or a transfer before, does not travel.
        """
        stream = io.BytesIO(content)
        try:
            offered = self._installer.offer(Offer(len(content)), stream.read)
            stream.seek(offered.resume_at)
            self._installer.install(offered.package_id, stream.read)
        except (CorruptPackage, AgentFailure):
            return True
        self.close()
        self._begin()
        return differs_only_untravelled(content, sound, offered.resume_at)

    def close(self) -> None:
        self._store.close()

    def _begin(self) -> None:
        self._count += 1
        self._store = Store(str(self._folder / str(self._count)))
        self._installer = Installer(self._store, "")
        self._installer.change_trust(ChangeTrust(self._versions))


def differs_only_untravelled(content: bytes, sound: bytes, resume_at: int) -> bool:
    head = len(archive.head_bytes(reading.read_head(reader(sound))))
    return content[:head] == sound[:head] and content[resume_at:] == sound[resume_at:]


@pytest.fixture
def local(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    """The code of a device that believes the maker, on a disk in memory where there is one."""
    found = runtimes.discover()  # Once, and not for each of some thousand packages.
    monkeypatch.setattr(runtimes, "discover", lambda *_: found)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        local = Local(Path(folder))
        yield local
        local.close()


def all_refused(
    bench: Bench, releases: Releases, small: bytes, spoilt: Mapping[str, bytes], local: Local
) -> None:
    """By the code of the workstation and of the device each, and a sample over a device."""
    step = max(1, len(spoilt) // OFTEN_ENOUGH)
    sample = list(spoilt.items())[::step]
    trust = current_trust()
    assert trust is not None
    taken = [what for what, content in spoilt.items() if is_believed(content, trust)]
    assert not taken, "the workstation's code takes them"
    taken = [what for what, content in spoilt.items() if not local.refuses(content, small)]
    assert not taken, "the device's code takes them"
    path = releases.path("spoilt")
    path.write_bytes(sample[0][1])
    bench.fails(lambda: api.push(path, DEVICE), EdgeSDKError)
    with bench.session() as agent:
        codes = {what: code_for(agent, content, small) for what, content in sample}
    assert set(codes.values()) <= {"corrupt_package", "untrusted", "bad_request"}, codes
    bench.is_as_before("1.0")
    bench.takes(releases(2))


def is_believed(content: bytes, trust: Trust) -> bool:
    """Whether the two steps of `edgesdk verify` take it."""
    try:
        head = reading.verify(reader(content))
        message, clock = canonical(head.manifest), workstation_clock()
        require_signed(trust, message, head.signatures, PACKAGE_NAMESPACE, clock)
    except (CorruptPackage, Untrusted):
        return False
    return True


def code_for(agent: AgentSession, content: bytes, sound: bytes) -> str:
    """The error for bytes that are offered as they are, and then sent from where it wants them."""
    try:
        offered = agent._ask(Offer(len(content)), Offered, pieces=[content])
        if differs_only_untravelled(content, sound, offered.resume_at):
            return "corrupt_package"
        rest = content[offered.resume_at :]
        pieces = [rest] if rest else []
        agent._ask(Install(offered.package_id, len(rest)), Installed, pieces=pieces)
    except AgentError as error:
        return error.code
    return "taken"


# ---- spoiling ----------------------------------------------------------------------------------


def member(name: str, content: bytes) -> bytes:
    """A sound member."""
    return archive.header(name, len(content)) + content + archive.padding(len(content))


def split(content: bytes) -> list[bytes]:
    """The members of a sound archive."""
    found, at = [], 0
    while content[at : at + BLOCK_BYTES] != bytes(BLOCK_BYTES):
        size = int(content[at + 124 : at + 135], 8)
        end = at + BLOCK_BYTES + size + len(archive.padding(size))
        found.append(content[at:end])
        at = end
    return found


def boundaries(content: bytes) -> set[int]:
    """Where its headers, contents, paddings and last blocks end."""
    ends, at = {len(content) - BLOCK_BYTES, len(content)}, 0
    for each in split(content):
        size = int(each[124:135], 8)
        ends |= {at, at + BLOCK_BYTES, at + BLOCK_BYTES + size, at + len(each)}
        at += len(each)
    return ends


def unchecked(
    releases: Releases,
    small: bytes,
    stored: list[bytes] | None = None,
    *,
    file: Mapping[str, Any] = MappingProxyType({}),
    **fields: object,
) -> bytes:
    """A signed archive, sound but for what its manifest says."""
    head = reading.read_head(reader(small))
    model = dataclasses.replace(head.manifest.files[0], **file)
    files = (model, *head.manifest.files[1:])
    changes: dict[str, Any] = {"files": files, **fields}
    manifest = dataclasses.replace(head.manifest, **changes)
    contents = [b"".join(stored)] if stored else [noise(small, 2, 600), noise(small, 3, 200)]
    folder = manifest.package_id
    payload = b"".join(
        member(f"{folder}/payload/{number:02d}", content) for number, content in enumerate(contents)
    )
    return (
        member(f"{folder}/manifest.json", canonical(manifest))
        + member(f"{folder}/manifest.json.sig", releases.sign(manifest))
        + payload
        + archive.TRAILER
    )


def noise(small: bytes, place: int, size: int) -> bytes:
    """The content of a member."""
    return split(small)[place][BLOCK_BYTES:][:size]


def with_manifest(small: bytes, text: bytes) -> bytes:
    """The archive with other bytes for its manifest, and the id that they give."""
    folder = sha256(text)
    rest = [with_field(each, 0, folder.encode()) for each in split(small)[1:]]
    return b"".join([member(f"{folder}/manifest.json", text), *rest, archive.TRAILER])


def with_field(each: bytes, at: int, text: bytes) -> bytes:
    """A member with something else in its header, whose checksum is right."""
    block = bytearray(each[:BLOCK_BYTES])
    block[at : at + len(text)] = text
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + each[BLOCK_BYTES:]


def with_changed(small: bytes, place: int, at: int, text: bytes) -> bytes:
    """The archive with another header of one member."""
    members = split(small)
    members[place] = with_field(members[place], at, text)
    return b"".join(members) + archive.TRAILER


def with_member(small: bytes, place: int, kind: bytes) -> bytes:
    """The archive with a member more, as tarfile writes it."""
    extra = tarfile.TarInfo("extra")
    extra.type, extra.linkname = kind, "/etc/passwd"
    members = split(small)
    members.insert(place, extra.tobuf(tarfile.USTAR_FORMAT))
    return b"".join(members) + archive.TRAILER


# ---- planting ----------------------------------------------------------------------------------


def named(place: str, bench: Bench, releases: Releases) -> str:
    """The path in the store for a place."""
    old, new = releases(1).manifest, releases(2).manifest
    model = new.file("model")
    assert model is not None
    (agent,) = (path.name for path in bench.store.glob("agent/*.pyz") if not path.is_symlink())
    for word, meant in {
        "NEW": new.package_id,
        "OLD": old.package_id,
        "KEY": sha256(canonical(new)),
        "MODEL": model.path,
        "AGENT": agent,
    }.items():
        place = place.replace(word, meant)
    return place


def plant(victim: Path) -> None:
    """A folder that must stay as it is."""
    (victim / "folder").mkdir(parents=True)
    for path in (victim / "file", victim / "folder" / "file"):
        path.write_text("precious")


def look(victim: Path) -> dict[str, tuple[int, bytes]]:
    """All of it."""
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in [victim, *victim.rglob("*")]
    }


def push_ends(bench: Bench, package: Package) -> str:
    """How a push ends: "done", or the code of its error."""
    try:
        bench.push(package)
    except AgentError as error:
        return error.code
    return "done"


@contextlib.contextmanager
def link_at(path: Path, target: Path, aside: Path) -> Iterator[None]:
    """While it is open, there is a link in a place; what was there comes back if need be."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.path.lexists(path):
        path.rename(aside)
    # Put there in one step: the agent of the push before may still be ending, and make a file anew.
    link = aside.with_name("link")
    link.symlink_to(target)
    os.replace(link, path)
    yield
    if path.is_symlink() and os.readlink(path) == str(target):
        path.unlink()
    if not os.path.lexists(path) and os.path.lexists(aside):
        aside.rename(path)
    elif aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    else:
        aside.unlink(missing_ok=True)


def model_path(package: Package, folder: Path) -> Path:
    """Where a package's model lies."""
    model = package.manifest.file("model")
    assert model is not None
    return folder / model.path
