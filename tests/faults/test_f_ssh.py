"""Rows 41 to 45: the way in, and who else is there."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from edgesdk import api
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import AgentError, EdgeSDKError, HostKeyMismatch
from edgesdk.values.package import Budget, Package, Release
from tests.cli import Cli, this_machine
from tests.faults.bench import DEVICE, Bench, until
from tests.faults.interpreter import Interpreter
from tests.faults.matrix import fault
from tests.faults.releases import Releases
from tests.faults.test_a_interruption import RECEIVED
from tests.integration.test_ssh_errors import OTHER_KEY

NOBODY = 65534
HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned;",
    "| touch pwned",
    "&& touch pwned",
    "x\ntouch pwned\n",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "-oProxyCommand=touch pwned",
    "--output=pwned",
    "../pwned",
    "> pwned",
    "{touch,pwned}",
    "!touch pwned",
    "\u202epwned",
    "\x1b]0;pwned\x07",
)
SUCCEEDS = "the push succeeds"


# ---- 41 to 43 ----------------------------------------------------------------------------------


@fault(
    41,
    "the device answers with another key than the enrolled one",
    "exit code 4, both fingerprints; nothing is written; with the right key a push succeeds",
)
def test_a_changed_host_key(bench: Bench, releases: Releases) -> None:
    bench.cli.enrol(replace(bench.device, host_key=OTHER_KEY))
    assert len(bench.fails(lambda: bench.push(releases(1)), HostKeyMismatch).details) == 2
    assert bench.cli("push", releases(1).path, "--device", DEVICE).code == 4
    assert not bench.store.exists()
    bench.cli.enrol(bench.device)
    bench.takes(releases(1))


@fault(
    41,
    "a device is added whose key nobody confirms",
    "exit code 2, the fingerprint is shown; nothing is written, there or here",
)
def test_an_unknown_host_key(bench: Bench) -> None:
    device = bench.device
    done = bench.cli(
        *("device", "add", "new", "--address", str(device.address), "-t", this_machine()),
        *("--identity", device.identity_file or ""),
    )
    assert done.code == 2
    assert "SHA256:" in done.err
    assert not bench.store.exists()
    assert [each.name for each in api.list_devices()] == [DEVICE]


@fault(
    42,
    "as names of devices, packages, keys, files, interpreters, users, hosts; API and commands",
    "each a typed error, or taken for what it is; nothing of it is run; a push succeeds",
)
def test_hostile_names(old_virtual: Bench, releases: Releases) -> None:
    bench, address = old_virtual, str(old_virtual.device.address)
    for name in HOSTILE:
        for action in (
            lambda name=name: api.push(releases(2).path, name),
            lambda name=name: api.push(name, DEVICE),
            lambda name=name: api.new_key(name),
            lambda name=name: api.trust_key(name),
            lambda name=name: releases.build(releases.path("x"), Budget(), Release(name=name)),
            lambda name=name: added(name, address, bench),
            lambda name=name: added("x", f"{name}@127.0.0.1", bench),
            lambda name=name: added("x", f"edge@{name}", bench),
        ):
            bench.fails(action, EdgeSDKError)
    for name in HOSTILE[::3]:
        for action in (
            lambda name=name: api.rollback(DEVICE, package=name),
            lambda name=name: added("x", address, bench, python=name),
            lambda name=name: added("x", address, bench, identity_file=name),
        ):
            bench.fails(action, EdgeSDKError)
    for name in HOSTILE[::5]:
        hostile = bench.cli.folder / f"{name.replace('/', ' ')}.edgepkg"
        shutil.copy(releases(2).path, hostile)
        api.push(hostile, DEVICE)
    for arguments in (
        ("push", HOSTILE[0], "--device", DEVICE),
        ("push", str(releases(2).path), f"--device={HOSTILE[8]}"),
        ("rollback", "--device", DEVICE, f"--name={HOSTILE[2]}"),
    ):
        done = bench.cli(*arguments)
        assert done.code in (2, 3, 4) and "Traceback" not in done.err
    found = {*bench.cli.folder.rglob("*pwned"), *bench.home.rglob("*pwned")}
    assert not {path for path in found if path.suffix != ".edgepkg" and not path.is_dir()}
    bench.is_as_before("2.0")


def added(name: str, address: str, bench: Bench, **more: str) -> object:
    """As `edgesdk device add`."""
    identity = {"identity_file": bench.device.identity_file, **more}
    return api.add_device(name, address, this_machine(), confirm=lambda _: True, **identity)


@fault(
    43,
    "`edgesdk -vv push --downgrade`, while the arguments and environments of all its processes are "
    "read; a push that fails with a traceback of all variables",
    "no form of a private key shows anywhere, nor in a file on the device",
)
def test_secrets_stay_secret(old: Bench, releases: Releases) -> None:
    old.push(releases(3))
    secrets = {
        **secrets_of(old.cli.home / "keys" / "maker", "signing key"),
        **secrets_of(Path(old.device.identity_file or ""), "login key"),
    }
    seen = Watched(os.getpid())
    with seen:
        push = old.cli.start("-vv", "push", releases(2).path, "--device", DEVICE, "--downgrade")
        out, err = push.communicate()
    assert push.returncode == 0, err
    assert any("serve" in each for each in seen.said), "the agent's arguments were read"
    shown = told_of_all_variables(old, releases(1))
    assert "permissions" in shown, "the local variables are shown"
    stored = b"".join(path.read_bytes() for path in old.store.rglob("*") if path.is_file())
    everything = [out.encode(), err.encode(), shown.encode(), stored, "".join(seen.said).encode()]
    for what, secret in secrets.items():
        assert not any(secret in each for each in everything), what


@fault(
    43,
    "a downgrade is signed while all that is logged is kept",
    "the device's challenge shows nowhere, nor in a file on the device",
)
def test_the_challenge_stays_secret(
    old_virtual: Bench,
    releases: Releases,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    nonces, ask = [], AgentSession.challenge

    def asked(session: AgentSession) -> str:
        nonces.append(ask(session))
        return nonces[-1]

    monkeypatch.setattr(AgentSession, "challenge", asked)
    old_virtual.push(releases(3))
    old_virtual.takes(releases(2), downgrade=True)
    (nonce,) = nonces
    assert nonce not in caplog.text
    files = [path.read_bytes() for path in old_virtual.store.rglob("*") if path.is_file()]
    assert not any(nonce.encode() in content for content in files)


def told_of_all_variables(bench: Bench, package: Package) -> str:
    """The traceback of a push that is refused, with what every variable on the way held."""
    try:
        bench.push(package)
    except AgentError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        return "".join(told.format())
    raise AssertionError("the push was to fail")


def secrets_of(path: Path, what: str) -> dict[str, bytes]:
    """The forms in which a private key could show."""
    content = path.read_bytes()
    raw = load_ssh_private_key(content, None).private_bytes_raw()  # type: ignore[union-attr]
    lines = [line for line in content.splitlines() if b"-----" not in line]
    return {
        f"{what}, raw": raw,
        f"{what}, hex": raw.hex().encode(),
        f"{what}, base64": base64.b64encode(raw).rstrip(b"="),
        f"{what}, repr": repr(raw)[2:-1].encode(),
        **{f"{what}, line {number} of the file": line for number, line in enumerate(lines[1:-1])},
    }


class Watched:
    """While it is open, reads what all descendants of a process have been started with."""

    def __init__(self, of: int) -> None:
        self._of = of
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.said: set[str] = set()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            for entry in descendants(self._of):
                with contextlib.suppress(OSError):
                    for name in ("cmdline", "environ"):
                        self.said.add((entry / name).read_bytes().decode("utf-8", "replace"))


def descendants(of: int) -> list[Path]:
    """Folders in /proc of the processes that a process started, and those did."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found, family = [], {of}
    for pid in sorted(parents, key=lambda pid: len(line_of(pid, parents))):
        if parents[pid] in family:
            family.add(pid)
            found.append(Path("/proc") / str(pid))
    return found


def line_of(pid: int, parents: Mapping[int, int]) -> list[int]:
    """A process and its ancestors."""
    line = [pid]
    while (pid := parents.get(pid, 0)) and pid not in line:
        line.append(pid)
    return line


# ---- 44: two at once ---------------------------------------------------------------------------


@fault(
    44,
    "a second push while the agent of the first is stopped in the middle of the package",
    "the second is told busy, exit code 4; the first goes on and succeeds; then the second does",
)
def test_two_pushes_at_once(old: Bench, releases: Releases) -> None:
    old.order("pause", "append", RECEIVED, number=3)
    first = old.cli.start("push", releases(2).path, "--device", DEVICE)
    until(old.struck, "the first push to be in the middle")
    second = old.cli("push", releases(3).path, "--device", DEVICE)
    assert second.code == 4
    assert "for a push of " in second.err
    assert old.runs() == "1.0"
    signal_agents(old, signal.SIGCONT)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 0, said
    old.is_as_before("2.0")
    old.takes(releases(3))


@fault(
    44,
    "four pushes of four versions start in the same moment",
    "each succeeds, or is told busy or that a later one was faster; the store is sound",
)
def test_four_pushes_at_once(old: Bench, releases: Releases) -> None:
    pushes = [
        old.cli.start("push", releases(sequence).path, "--device", DEVICE)
        for sequence in (2, 3, 4, 5)
    ]
    ended = [(push.communicate(timeout=120)[1], push.returncode) for push in pushes]
    assert any(code == 0 for _, code in ended)
    for said, code in ended:
        refused = "leased by" in said or "the device has had another package" in said
        assert code == 0 or (code == 4 and refused), said
    old.await_silence()
    old.is_as_before(old.runs())
    old.takes(releases(6))


@fault(
    44,
    "the agent that holds the lock gets SIGKILL",
    "the next push takes the lock at once and succeeds",
)
def test_a_stale_lock(old: Bench, releases: Releases) -> None:
    old.order("pause", "append", RECEIVED, number=3)
    first = old.cli.start("push", releases(2).path, "--device", DEVICE)
    until(old.struck, "the first push to be in the middle")
    signal_agents(old, signal.SIGKILL)
    first.communicate(timeout=60)
    assert first.returncode == 4
    assert (old.store / "installing.lock").exists()
    old.takes(releases(3))


def signal_agents(bench: Bench, number: int) -> None:
    for pid, command in bench.processes().items():
        if command == "serve":
            os.kill(pid, number)


# ---- 45: an awkward account --------------------------------------------------------------------


@fault(45, "the agent runs as a user without rights, whose home is not root's", SUCCEEDS)
def test_not_root(cli: Cli, releases: Releases) -> None:
    with public_folder() as folder, VirtualDevice(folder / "virtual") as device:
        python = Interpreter(folder / "python", readable=True)
        if os.geteuid() == 0:
            wrapper = folder / "python-as-nobody"
            argv = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {python.path}"
            wrapper.write_text(f'#!/bin/sh\nexec {argv} "$@"\n')
            wrapper.chmod(0o755)
            os.chown(device.home, NOBODY, NOBODY)
            python = python.behind(wrapper)
        enrolled = replace(device.as_device(DEVICE, this_machine()), lab=False)
        bench = Bench(enrolled, device.home, python, cli)
        bench.takes(releases(1, golden=True))
        owners = {path.lstat().st_uid for path in bench.store.rglob("*")}
        assert owners == {NOBODY if os.geteuid() == 0 else os.geteuid()}


@fault(
    45, "a shell profile that greets, warns, and prints what looks like the agent's words", SUCCEEDS
)
def test_a_noisy_profile(bench: Bench, releases: Releases, tmp_path: Path, cli: Cli) -> None:
    noise = "\n".join(
        [
            "Welcome to the board!",
            "\x1b[1mupdates\x1b[0m available",
            "edgesdk-0123456789abcdef",
            "edgesdk-0 HAVE",
            '{"type":"Welcome","body":{}}',
            "x" * 100_000,
            "",
        ]
    )
    if bench.device.virtual:
        with VirtualDevice(tmp_path / "noisy", greeting=noise.encode()) as device:
            noisy = replace(device.as_device(DEVICE, this_machine()), lab=False)
            Bench(noisy, device.home, bench.interpreter, cli).takes(releases(1))
        return
    (bench.home / "noise").write_text(noise)
    (bench.home / ".bashrc").write_text("cat ~/noise; cat ~/noise >&2\n")
    noisy = Bench(bench.device, bench.home, bench.interpreter, cli)
    noisy.takes(releases(1))
    done = noisy.cli("push", releases(1).path, "--device", DEVICE)
    assert done.code == 0
    assert "Welcome" not in done.out


@fault(45, "/tmp, with the store below it, is mounted noexec", SUCCEEDS)
def test_noexec(bench: Bench, releases: Releases, tmp_path: Path) -> None:
    if not str(tmp_path).startswith("/tmp/"):
        pytest.skip("the tests' own files do not lie in /tmp")
    if sysconfig.get_path("platlib").startswith("/tmp/"):
        pytest.skip("the runtimes lie in /tmp, where nothing of them could be executed")
    if str(bench.interpreter.path.resolve()).startswith("/tmp/"):
        pytest.skip("the device's Python lies in /tmp itself, where it could not be executed")
    remount = "mount --bind /tmp /tmp && mount -o remount,bind,noexec /tmp"
    script = f"{remount} && exec {bench.interpreter.path}"
    wrapper = Path(tempfile.mkdtemp(prefix="edgesdk-", dir="/var/tmp")) / "python"
    wrapper.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'{script} "$@"\' sh "$@"\n')
    wrapper.chmod(0o755)
    try:
        if subprocess.run([wrapper, "-c", ""], capture_output=True).returncode != 0:
            pytest.skip("only root can mount /tmp anew, for one process")
        noexec = Bench(bench.device, bench.home, bench.interpreter.behind(wrapper), bench.cli)
        noexec.takes(releases(1, golden=True))
        noexec.takes(releases(2))
    finally:
        shutil.rmtree(wrapper.parent)


@contextlib.contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that other users can get to, which those of the tests are not."""
    folder = Path(tempfile.mkdtemp(prefix="edgesdk-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
