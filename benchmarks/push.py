"""Pushing a package against scp and `tar | ssh`: the same bytes to the same server, in turn.

    python benchmarks/push.py [--content random] [--megabytes 50] [--rtt-ms 0] [--rounds 5] [--json]

Ours is the whole of `api.push`: connect, start the agent, judge the head, send, verify every chunk
while it comes, write, fsync, switch. scp and tar are whole commands, which connect and write, and
neither verify nor fsync. The package is random bytes, which nothing compresses, or with `--content
weights` what INT8 weights are like, which zlib makes an eighth smaller; either way the package file
has that many bytes, nearly. It asks for no health check, so that the transfer alone is compared.

"verifying adds" is the time of a push against that of one to the same agent without its hashes of
what it receives: every chunk's, and every file's. CPU time is that of the whole machine meanwhile,
of both ends; it varies less than the time that passes.

`--rtt-ms` puts a proxy between that holds each piece back for half of it either way. The agent's
memory is its highest resident set, of all its processes, read from /proc while it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import json
import multiprocessing
import os
import platform
import pwd
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import unittest.mock
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from device_agent import archive
from device_agent.archive import Head
from device_agent.codec import canonical
from device_agent.manifest import FORMAT, Compatibility, File, Limits, Manifest
from device_agent.trust import PACKAGE_NAMESPACE
from edgesdk import api
from edgesdk.devices import bootstrap, inventory
from edgesdk.devices.bootstrap import Agent
from edgesdk.devices.inventory import Device
from edgesdk.flows.signing import ensure_signer
from edgesdk.package.chunks import hashes, pieces
from edgesdk.validate.statistics import order_statistic_ranks

SSHD = "/usr/sbin/sshd"


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="edgesdk-push-") as name:
        folder = Path(name)
        os.environ["EDGESDK_HOME"] = str(folder / "home")
        with contextlib.ExitStack() as stack:
            device = stack.enter_context(_sshd(folder))
            if arguments.rtt_ms:
                proxy = Delay("127.0.0.1", device.port, arguments.rtt_ms / 2000)
                device = Device(**{**_fields(device), "port": stack.enter_context(proxy).port})
            results = _measure(folder, device, arguments)
    results["rtt_ms"] = arguments.rtt_ms
    print(json.dumps(results, indent=1) if arguments.json else _text(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--content", choices=tuple(_CONTENTS), default="random")
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--rtt-ms", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _measure(folder: Path, device: Device, arguments: argparse.Namespace) -> dict[str, object]:
    megabytes, contents = arguments.megabytes, _CONTENTS[arguments.content]
    inventory.add(inventory.default_path(), device, replace=True)
    api.show_device(device.name)  # The agent is there afterwards, as on any device in use.
    times: dict[str, list[float]] = {what: [] for what in _COMMANDS}
    busy: dict[str, list[float]] = {what: [] for what in _COMMANDS}
    with _unverifying_agent():
        api.show_device(device.name)
    for turn in range(arguments.rounds):
        order = [_COMMANDS[place] for place in _ORDERS[turn % len(_ORDERS)]]
        paths = {}
        for number, ours in enumerate(each for each in order if each in _OURS):
            seed = 2 * turn + number
            paths[ours] = folder / f"{seed}.edgepkg"
            _build(paths[ours], contents(megabytes * 10**6, seed), seed)
        os.sync()
        act = {
            "edgesdk": lambda path=paths["edgesdk"]: api.push(path, device.name),
            "unverified": lambda path=paths["unverified"]: _push_unverified(path, device),
            "scp": lambda path=paths["edgesdk"]: _scp(device, path, folder),
            "tar | ssh": lambda path=paths["edgesdk"]: _tar(device, path, folder),
        }
        for what in order:
            start, busy_before = time.perf_counter(), _busy_seconds()
            act[what]()
            times[what].append(time.perf_counter() - start)
            busy[what].append(_busy_seconds() - busy_before)
            os.sync()
        for path in paths.values():
            path.unlink()
    peaks = []
    for seed in range(2 * arguments.rounds, 2 * arguments.rounds + _WATCHED):
        watched = folder / f"{seed}.edgepkg"
        _build(watched, contents(megabytes * 10**6, seed), seed)
        with _peak_of_agent(folder) as peak:
            api.push(watched, device.name)
        peaks.append(peak[0])
    ours = times["edgesdk"]
    return {
        "megabytes": megabytes,
        "content": arguments.content,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, load {os.getloadavg()[0]:.1f}",
        "seconds": times,
        "cpu_seconds": {what: statistics.mean(each) for what, each in busy.items()},
        "against_scp": _ratios(ours, times["scp"]),
        "against_tar": _ratios(ours, times["tar | ssh"]),
        "verifying_adds": [round(each - 1, 3) for each in _ratios(ours, times["unverified"])],
        "agent_peak_mib": [round(peak / 2**20, 1) for peak in peaks],
    }


_COMMANDS = ("scp", "tar | ssh", "edgesdk", "unverified")
_OURS = ("edgesdk", "unverified")
_ORDERS = ((0, 1, 3, 2), (1, 2, 0, 3), (2, 3, 1, 0), (3, 0, 2, 1))
"""Each has each place, and each of the others before it, equally often (a Williams square): what
ran before leaves caches, and a disk that is busy."""
_WATCHED = 3
"""Pushes whose memory is watched; they are not timed, as watching takes a processor its share."""

_HASHES = (
    ("reading.py", "digest.update(self.stored)", "pass"),
    ("reading.py", "digest.hexdigest() != self.sha256", "False"),
    ("receiving.py", "digest.update(raw)", "pass"),
    (
        "receiving.py",
        "if is_plain or digest.hexdigest() == payload.file.sha256",
        "if True",
    ),
)


@functools.cache
def _unverifying() -> Agent:
    """An agent that takes whatever comes."""
    usual = bootstrap.build_agent()
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(usual.zipapp)) as source,
        zipfile.ZipFile(target, "w") as changed,
    ):
        for entry in source.infolist():
            text = source.read(entry).decode()
            for name, hashing, instead in _HASHES:
                if entry.filename == f"device_agent/{name}":
                    assert text.count(hashing) == 1
                    text = text.replace(hashing, instead)
            changed.writestr(entry, text)
    zipapp = target.getvalue()
    return Agent(zipapp, hashlib.sha256(zipapp).hexdigest(), usual.stage0)


@contextlib.contextmanager
def _unverifying_agent() -> Iterator[None]:
    """Within, sessions are with that agent."""
    with unittest.mock.patch("edgesdk.devices.agent.build_agent", _unverifying):
        yield


def _push_unverified(path: Path, device: Device) -> None:
    with _unverifying_agent():
        api.push(path, device.name)


def _busy_seconds() -> float:
    """CPU time of this machine since it was started: all of /proc/stat but idle and waiting."""
    fields = [int(each) for each in Path("/proc/stat").read_text().split()[1:8]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [round(a / b, 3) for a, b in zip(ours, theirs, strict=True)]


def _text(results: dict[str, object]) -> str:
    def of(values: object) -> str:
        assert isinstance(values, list)
        found = f"median {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
        ranks = order_statistic_ranks(len(values), 0.5)
        if ranks is None:
            return found
        low, high = (sorted(values)[rank - 1] for rank in ranks)
        return f"{found}, 95 % of the median {low:.3f} to {high:.3f}"

    seconds, cpu = results["seconds"], results["cpu_seconds"]
    assert isinstance(seconds, dict) and isinstance(cpu, dict)
    asked = f"{results['megabytes']} MB of {results['content']}, RTT {results['rtt_ms']} ms"
    lines = [f"{asked}, {results['machine']}"]
    lines += [f"  {what:<10} {of(values)} s" for what, values in seconds.items()]
    lines += [f"  edgesdk / scp         {of(results['against_scp'])}"]
    lines += [f"  edgesdk / (tar | ssh) {of(results['against_tar'])}"]
    lines += [f"  verifying adds        {of(results['verifying_adds'])} of the rest"]
    means = ", ".join(f"{what} {each:.3f}" for what, each in cpu.items())
    lines += [f"  CPU time, mean        {means} s"]
    added = cpu["edgesdk"] / cpu["unverified"] - 1
    lines += [f"  verifying adds        {added:.3f} of the CPU time"]
    lines += [f"  the agent's memory    {of(results['agent_peak_mib'])} MiB"]
    return "\n".join(lines)


def _random(package_bytes: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(package_bytes)


def _weights(package_bytes: int, seed: int) -> bytes:
    """Normally distributed, the largest of a channel at the end of the range: about 7 bits each."""
    count = int(package_bytes * _WEIGHTS_PER_STORED_BYTE)
    drawn = np.random.default_rng(seed).normal(0, 127 / 4, count).astype(np.float32)
    return np.clip(np.rint(drawn), -127, 127).astype(np.int8).tobytes()


_WEIGHTS_PER_STORED_BYTE = 1.12
_CONTENTS = {"random": _random, "weights": _weights}


def _build(path: Path, raw: bytes, seed: int) -> None:
    stored = [archive.store_chunk(piece) for piece in pieces(raw)]
    file = File(
        role="model",
        path="model.bin",
        raw_bytes=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        sizes=tuple(map(len, stored)),
        chunks=hashes(stored, len(raw)),
    )
    manifest = Manifest(
        format=FORMAT,
        name="benchmark",
        version=str(seed),
        sequence=seed,
        compatibility=Compatibility("any", (), "onnxruntime", ""),
        inputs=(),
        outputs=(),
        files=(file,),
        limits=Limits(),
        gates={},
        provenance={},
    )
    signer = ensure_signer(lambda _: None)
    head = Head(manifest, signer.sign(canonical(manifest), PACKAGE_NAMESPACE))
    path.write_bytes(b"".join(archive.write_package(head, lambda _: stored)))


def _ssh_options(device: Device, port: str) -> list[str]:
    known = f"{Path(str(device.identity_file)).parent}/known_hosts"
    Path(known).write_text(f"[127.0.0.1]:{device.port} {device.host_key}\n")
    options = [f"{port}{device.port}"] if port == "-P" else [port, str(device.port)]
    return [
        *options,
        *("-i", str(device.identity_file), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
        *("-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes", "-F", "none"),
    ]


def _scp(device: Device, path: Path, folder: Path) -> None:
    to = f"{device.user}@127.0.0.1:{folder}/received"
    subprocess.run(["scp", "-q", *_ssh_options(device, "-P"), str(path), to], check=True)


def _tar(device: Device, path: Path, folder: Path) -> None:
    target = folder / "untarred"
    target.mkdir(exist_ok=True)
    tar = subprocess.Popen(
        ["tar", "-C", str(path.parent), "-cf", "-", path.name], stdout=subprocess.PIPE
    )
    ssh = ["ssh", *_ssh_options(device, "-p"), f"{device.user}@127.0.0.1"]
    subprocess.run([*ssh, f"tar -C {target} -xf -"], stdin=tar.stdout, check=True)
    assert tar.stdout is not None
    tar.stdout.close()
    if tar.wait() != 0:
        raise SystemExit("tar failed")


@contextlib.contextmanager
def _peak_of_agent(folder: Path) -> Iterator[list[int]]:
    """Highest resident memory of the processes that run the agent on this device."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            found = (_agent_rss(each, folder) for each in Path("/proc").glob("[0-9]*"))
            peak[0] = max(peak[0], sum(found))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _agent_rss(process: Path, folder: Path) -> int:
    try:
        argv, home = (process / "cmdline").read_bytes(), f"HOME={folder}/device\0".encode()
        if b"\0-c\0" not in argv or home not in (process / "environ").read_bytes() + b"\0":
            return 0
        status = (process / "status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) * 1024 if found else 0


@contextlib.contextmanager
def _sshd(folder: Path) -> Iterator[Device]:
    """OpenSSH's server on this machine, with a home folder of its own."""
    if not (Path(SSHD).exists() and shutil.which("scp")):
        raise SystemExit("this needs OpenSSH: its server (sshd), ssh and scp")
    for key in ("host_key", "client_key"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / key)]
        subprocess.run(argv, check=True)
    shutil.copy(folder / "client_key.pub", folder / "authorized_keys")
    (folder / "device").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_key\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nUsePAM no\nStrictModes no\n"
        "Subsystem sftp internal-sftp\n"
        f"SetEnv HOME={folder}/device\n"
    )
    with subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL) as sshd:
        try:
            _await(port)
            host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
            yield Device(
                name="bench",
                host="127.0.0.1",
                port=port,
                user=pwd.getpwuid(os.getuid()).pw_name,
                target="generic-x86-64",
                host_key=host_key,
                identity_file=str(folder / "client_key"),
                python=sys.executable,
            )
        finally:
            sshd.terminate()


def _await(port: int) -> None:
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit("sshd does not start here")


def _fields(device: Device) -> dict[str, object]:
    return {name: getattr(device, name) for name in Device.__dataclass_fields__}


class Delay:
    """A TCP proxy that holds every piece back for `seconds`, without limiting the rate.

    It is a process of its own: beside `edgesdk` it would take the interpreter's lock from it.
    """

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self._target, self._seconds = (host, port), seconds
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._process = multiprocessing.get_context("fork").Process(target=self._accept)

    def __enter__(self) -> Delay:
        self._process.start()
        self._listener.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for one, other in ((client, server), (server, client)):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        import queue

        held: queue.Queue[tuple[float, bytes]] = queue.Queue()

        def send() -> None:
            while True:
                due, piece = held.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not piece:
                    with contextlib.suppress(OSError):
                        sink.shutdown(socket.SHUT_WR)
                    return
                with contextlib.suppress(OSError):
                    sink.sendall(piece)

        threading.Thread(target=send, daemon=True).start()
        piece = b"any"
        while piece:
            try:
                piece = source.recv(256 * 1024)
                # A far machine's word of receipt takes the round trip and no longer.
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            except OSError:
                piece = b""
            held.put((time.monotonic() + self._seconds, piece))


if __name__ == "__main__":
    main()
