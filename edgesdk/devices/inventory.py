"""The devices this user has enrolled: one JSON file, read and written whole.

It holds names, addresses and public host keys, no secrets, and never talks to a device.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import difflib
import hashlib
import ipaddress
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesdk.choices import DeviceKind
from edgesdk.errors import HostKeyMismatch, MalformedFile, UnknownDevice, UsageError
from edgesdk.files import one_writer
from edgesdk.home import home
from edgesdk.serial import read_json, write_json

SSH_PORT = 22
_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
_USER = re.compile(r"[^\s\x00-\x1f\x7f@:/-][^\s\x00-\x1f\x7f@:/]*")
_PORT = re.compile(r"[0-9]{1,5}")
_ADDRESS = re.compile(r"([^@]*)@(?:\[([^\]]*)\]|([^:\[\]]*))(?::(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device answers, and as whom we log in.

    Raises:
        UsageError: a user, host or port that cannot be one; nothing that an option parser or a
            shell could misread gets through.
    """

    user: str
    host: str
    port: int = SSH_PORT

    def __post_init__(self) -> None:
        if not _USER.fullmatch(self.user):
            raise UsageError(f"found user {self.user!r}, expected a login name")
        if not (_HOST.fullmatch(self.host) or _is_ipv6(self.host)):
            raise UsageError(f"found host {self.host!r}, expected a host name or an IP address")
        if not 1 <= self.port <= 65535:
            raise UsageError(f"found port {self.port}, expected 1 to 65535")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" + (f":{self.port}" if self.port != SSH_PORT else "")


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return not re.search(r"\s", host)


def parse_address(text: str) -> Address:
    """Read `user@host`, `user@host:port` or `user@[IPv6]:port`.

    Raises:
        UsageError: anything else.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or not (match[4] is None or _PORT.fullmatch(match[4])):
        raise UsageError(
            f"found device address {text!r}, expected user@host or user@host:port",
            hint="An IPv6 address goes in brackets: user@[fe80::1]:22.",
        )
    host = match[3] if match[2] is None else match[2]
    return Address(match[1], host, SSH_PORT if match[4] is None else int(match[4]))


def host_key_fingerprint(host_key: str) -> str:
    """SHA-256 fingerprint, as OpenSSH shows it, of a "ssh-ed25519 AAAA..." line.

    Raises:
        UsageError: not such a line.
    """
    kind, _, encoded = host_key.partition(" ")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise UsageError(f"found host key {host_key!r}, expected a type and base64") from error
    if blob[4 : 4 + len(kind)] != kind.encode() or not kind:
        raise UsageError(f"found host key {host_key!r}, expected a type and a key of that type")
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Device:
    """An enrolled device.

    Args:
        name: what the user calls it.
        target: id of the target it is, or the absolute path of its descriptor.
        host_key: the one key it may answer with, "ssh-ed25519 AAAA...".
        identity_file: private key to log in with; None asks ssh-agent, then ~/.ssh.
        python: the interpreter on the device, a name on its PATH or a path.
        kind: "board", or what stands in for one; see `virtual`.
        lab: it may be told to take unsigned packages; settled when it is first enrolled, and signed
            later on (`edgesdk.flows.lab`).
        tags: what it is chosen by, beside its name (`edgesdk.devices.selection`).

    Raises:
        UsageError: a field that does not hold.
    """

    name: str
    host: str
    port: int
    user: str
    target: str
    host_key: str
    identity_file: str | None = None
    python: str = "python3"
    kind: DeviceKind = "board"
    lab: bool = False
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"found device name {self.name!r}, expected letters, digits, '.', '_' and '-', "
                "starting with a letter or digit"
            )
        _ = self.address
        host_key_fingerprint(self.host_key)

    @property
    def address(self) -> Address:
        """Where it answers."""
        return Address(self.user, self.host, self.port)

    @property
    def virtual(self) -> bool:
        """It is software on a workstation: its latencies say nothing about a board."""
        return self.kind != "board"


@dataclass(frozen=True, slots=True)
class _Inventory:
    format: int
    devices: tuple[Device, ...]

    def __post_init__(self) -> None:
        if self.format != _FORMAT:
            raise UsageError(f"found inventory format {self.format}, expected {_FORMAT}")


def default_path(environ: Mapping[str, str] = os.environ) -> Path:
    """`$EDGESDK_HOME/devices.json`, else below `$XDG_CONFIG_HOME` or `~/.config`."""
    return home(environ) / "devices.json"


def load(path: Path) -> tuple[Device, ...]:
    """Every enrolled device, by name; none when the file does not exist.

    Raises:
        MalformedFile: the file does not hold, or is of a newer edgesdk.
    """
    if not path.exists():
        return ()
    try:
        return read_json(_Inventory, path).devices
    except MalformedFile as error:
        if newer := _newer_format(path):
            raise MalformedFile(
                f"{path} is of a newer edgesdk: found inventory format {newer}, expected {_FORMAT}",
                hint="update edgesdk, or set EDGESDK_HOME to another folder",
            ) from error
        raise MalformedFile(
            error.message,
            details=error.details,
            hint=f"put it right; or move {path.name} to another place and enrol the devices again"
            " with edgesdk device add",
        ) from error


def _newer_format(path: Path) -> int:
    """The format of a file that a later edgesdk wrote; 0 of any other, whatever is in it."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return 0
    version = found.get("format") if isinstance(found, dict) else None
    return version if isinstance(version, int) and version > _FORMAT else 0


def save(path: Path, devices: Sequence[Device]) -> None:
    """Replace the inventory, durably. `add` and `remove` are safe against each other, this is not.

    Raises:
        UsageError: two devices of one name.
    """
    names = [device.name for device in devices]
    if len(set(names)) != len(names):
        raise UsageError(f"found a device name twice: {', '.join(sorted(names))}")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(path, _Inventory(_FORMAT, tuple(sorted(devices, key=lambda device: device.name))))


def get(path: Path, name: str) -> Device:
    """The device of that name.

    Raises:
        UnknownDevice: there is none.
    """
    return find(load(path), name)


def enrolling(device: Device) -> str:
    """The command that enrols a device once more as it is."""
    words = ["edgesdk", "device", "add", device.name, "--address", str(device.address)]
    words += ["--target", device.target]
    words += [] if device.identity_file is None else ["--identity", device.identity_file]
    words += [] if device.python == "python3" else ["--python", device.python]
    words += ["--lab"] if device.lab else []
    words += [word for tag in device.tags for word in ("--tag", tag)]
    return shlex.join([*words, "--replace"])


def add(path: Path, device: Device, *, replace: bool = False) -> None:
    """Store a device; the same one again is fine.

    Raises:
        HostKeyMismatch, UsageError: as `require_same`, unless `replace`.
    """
    with one_writer(path):
        devices = {stored.name: stored for stored in load(path)}
        if device.name in devices and not replace:
            require_same(devices[device.name], device)
            tags = {*devices[device.name].tags, *device.tags}
            device = dataclasses.replace(device, tags=tuple(sorted(tags)))
        devices[device.name] = device
        save(path, tuple(devices.values()))


def remove(path: Path, name: str) -> Device:
    """Forget a device, and return what was stored.

    Raises:
        UnknownDevice: there is none of that name.
    """
    with one_writer(path):
        devices = load(path)
        removed = find(devices, name)
        save(path, tuple(device for device in devices if device is not removed))
    return removed


def require_same(stored: Device, device: Device) -> None:
    """Refuse to let one device take the name of another, or of itself as it was.

    Raises:
        HostKeyMismatch: at the enrolled address, another host key answers.
        UsageError: naming everything that differs.
    """
    if stored.address == device.address:
        require_same_key(stored, device.host_key)
    before, now = _described(stored), _described(device)
    differing = [what for what in before if before[what] != now[what]]
    if differing:
        raise UsageError(
            f"{stored.name} is enrolled already, with another {', '.join(differing)}",
            hint="add --replace to forget the enrolled one, or choose another name",
            details=[f"{what}: enrolled {before[what]}, given {now[what]}" for what in differing],
        )


def _described(device: Device) -> Mapping[str, str]:
    return {
        "address": str(device.address),
        "target": device.target,
        "python": device.python,
        "identity": device.identity_file or "(none)",
        "host key": host_key_fingerprint(device.host_key),
        "kind": device.kind,
    }


def require_same_key(stored: Device, host_key: str) -> None:
    """Refuse another host key than the enrolled one.

    Raises:
        HostKeyMismatch: showing both fingerprints.
    """
    if stored.host_key != host_key:
        raise HostKeyMismatch(
            f"device {stored.name} ({stored.address}) answers with another host key "
            "than the enrolled one",
            hint="someone else may be answering at its address; only if it was reinstalled, enrol "
            f"it again: {enrolling(stored)}",
            details=(
                f"enrolled: {stored.host_key.partition(' ')[0]} "
                f"{host_key_fingerprint(stored.host_key)}",
                f"found:    {host_key.partition(' ')[0]} {host_key_fingerprint(host_key)}",
            ),
        )


def find(devices: Sequence[Device], name: str) -> Device:
    """The device of that name.

    Raises:
        UnknownDevice: there is none.
    """
    for device in devices:
        if device.name == name:
            return device
    near = difflib.get_close_matches(name, [device.name for device in devices], n=1)
    tagged = sum(name in device.tags for device in devices)
    raise UnknownDevice(
        f"no device is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        hint=f"it is a tag: tag:{name} means the {tagged} that have it"
        if tagged
        else "`edgesdk device ls` lists the enrolled devices.",
    )
