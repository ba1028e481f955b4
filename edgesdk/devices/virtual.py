"""A device without hardware: an SSH server on this machine, with a home directory of its own.

It is a real SSH server that runs real commands, so everything but speed, memory, disk and processor
architecture is honest. It is no sandbox: commands run as this user and can read this user's files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path

from edgesdk.devices.emulation.kinds import DeviceServer
from edgesdk.devices.inventory import Address, Device
from edgesdk.errors import DeviceError, ToolchainMissing
from edgesdk.units import KIB

try:
    import asyncssh
except ImportError as error:
    raise ToolchainMissing(
        "the virtual device needs asyncssh, which is not installed",
        hint='pip install "edgesdk[virtual]"',
    ) from error

USER = "edge"
_HOST = "127.0.0.1"
_PIECE_BYTES = 64 * KIB
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class VirtualDevice(DeviceServer["_Running"]):
    """An SSH server on 127.0.0.1 that lets in one user with one generated key.

    As on a real board, a command whose client vanishes is not killed: it sees the end of its stdin.
    What still runs when the device stops is killed.

    Args:
        directory: keeps the keys and the home, so that a device enrolled once stays valid; None
            makes a temporary one.
        port: 0 takes a free one.
        path: the PATH of commands; None means the bin directory of this interpreter (so `python3`
            has the runtimes installed here), then the system's. A directory without python3 makes a
            board without Python.
        greeting: what a noisy shell profile prints on stdout before each command.
    """

    user = USER

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int = 0,
        path: str | None = None,
        greeting: bytes = b"",
    ) -> None:
        super().__init__()
        self._directory = directory
        self._requested_port = port
        self._path = path or f"{Path(sys.executable).parent}:{_SYSTEM_PATH}"
        self._greeting = greeting

    @property
    def home(self) -> Path:
        """Where commands start."""
        return self._started.files.home

    @property
    def identity_file(self) -> Path:
        """The private key it lets in."""
        return self._started.files.client_key

    @property
    def host_key(self) -> str:
        """Its public host key, "ssh-ed25519 AAAA..."."""
        return _public(self._started.files.host_key)

    @property
    def address(self) -> Address:
        """Where it answers."""
        return Address(USER, _HOST, self._started.port)

    @property
    def logins(self) -> int:
        """How many connections got past authentication so far."""
        return self._started.server.logins

    def as_device(self, name: str, target: str) -> Device:
        """What its enrolment holds."""
        return Device(
            name=name,
            host=_HOST,
            port=self._started.port,
            user=USER,
            target=target,
            host_key=self.host_key,
            identity_file=str(self.identity_file),
            kind="python",
            lab=True,
        )

    def _boot(self, resources: contextlib.ExitStack) -> _Running:
        directory = self._directory or Path(
            resources.enter_context(tempfile.TemporaryDirectory(prefix="edgesdk-virtual-"))
        )
        files = _Files(directory)
        server = _Server(files, _environment(files.home, self._path), self._greeting)
        running = _Running(files, server, self._requested_port)
        resources.callback(running.stop)
        running.start()
        return running

    def serve_forever(self) -> None:
        """Serve a started device until interrupted (KeyboardInterrupt passes on)."""
        self._started.thread.join()


class _Files:
    """The directory of a device: keys and home, made once and then kept."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.host_key = directory / "host_key"
        self.client_key = directory / "client_key"
        self.home.mkdir(parents=True, exist_ok=True)
        for path in (self.host_key, self.client_key):
            if not path.exists():
                _generate_key(path)


def _generate_key(path: Path) -> None:
    private = asyncssh.generate_private_key("ssh-ed25519").export_private_key()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(private)


def _public(private_key: Path) -> str:
    line = asyncssh.read_private_key(private_key).export_public_key().decode()
    return " ".join(line.split()[:2])


def _environment(home: Path, path: str) -> dict[str, str]:
    """What a login gives; nothing of this process leaks in."""
    return {"HOME": str(home), "PATH": path, "USER": USER, "LOGNAME": USER, "SHELL": "/bin/sh"}


class _Running:
    """The thread with the event loop."""

    def __init__(self, files: _Files, server: _Server, port: int) -> None:
        self.files = files
        self.port = port
        self.thread = threading.Thread(
            target=lambda: asyncio.run(self._main()), name="virtual-device", daemon=True
        )
        self.server = server
        self._ready: Future[int] = Future()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event

    def start(self) -> None:
        self.thread.start()
        try:
            self.port = self._ready.result()
        except OSError as error:
            raise DeviceError(
                f"the virtual device cannot listen on port {self.port}: {error.strerror}"
            ) from error

    def stop(self) -> None:
        if self.thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self.thread.join()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            acceptor = await self.server.listen(self.port)
        except OSError as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(acceptor.get_port())
        await self._stop.wait()
        acceptor.close()
        await self.server.hang_up()
        await acceptor.wait_closed()


class _Server:
    """What the connections share: the files, the environment, what runs."""

    def __init__(self, files: _Files, environment: dict[str, str], greeting: bytes) -> None:
        self._files = files
        self._environment = environment
        self._greeting = greeting
        self.logins = 0
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._commands: dict[asyncio.Task[None], asyncio.subprocess.Process] = {}

    async def listen(self, port: int) -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            lambda: _Connection(_public(self._files.client_key), self),
            _HOST,
            port,
            server_host_keys=[str(self._files.host_key)],
            process_factory=self._serve,
            sftp_factory=self._sftp,
            allow_scp=True,
            encoding=None,
        )

    async def hang_up(self) -> None:
        for connection in tuple(self.connections):
            connection.abort()
        for command in self._commands.values():
            _kill(command)
        if self._commands:
            await asyncio.wait(tuple(self._commands))

    def _sftp(self, channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        return _HomeSFTPServer(channel, self._files.home)

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", process.command or ""),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._files.home,
            env=self._environment,
            start_new_session=True,
        )
        task = asyncio.current_task()
        assert task is not None
        self._commands[task] = command
        try:
            await _write(process.stdout, self._greeting)
            await _connect_streams(process, command)
        finally:
            del self._commands[task]


async def _connect_streams(
    process: asyncssh.SSHServerProcess[bytes], command: asyncio.subprocess.Process
) -> None:
    """Pump by hand: asyncssh's own redirection loses output at the end of a command."""
    assert command.stdin and command.stdout and command.stderr
    if process.channel.is_closing():  # It left while the command started: its input never ends.
        command.stdin.close()
    feeding = asyncio.create_task(_feed(process.stdin, command.stdin))
    try:
        await asyncio.gather(
            _drain(command.stdout, process.stdout), _drain(command.stderr, process.stderr)
        )
        code = await command.wait()
    finally:
        feeding.cancel()
        await asyncio.wait([feeding])
    if code < 0:
        process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
    else:
        process.exit(code)


async def _feed(source: asyncssh.SSHReader[bytes], stdin: asyncio.StreamWriter) -> None:
    """Client to command, until either ends; a lost client is the end of stdin."""
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, asyncssh.Error):
            while piece := await source.read(_PIECE_BYTES):
                stdin.write(piece)
                await stdin.drain()
    finally:
        stdin.close()


async def _drain(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    """Command to client. After the client is gone, keeps reading so that the command can end."""
    connected = True
    while piece := await source.read(_PIECE_BYTES):
        if connected:
            connected = await _write(sink, piece)


async def _write(sink: asyncssh.SSHWriter[bytes], piece: bytes) -> bool:
    try:
        sink.write(piece)
        await sink.drain()
    except (BrokenPipeError, ConnectionResetError, asyncssh.Error):
        return False
    return True


def _kill(command: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # ended meanwhile
        os.killpg(command.pid, signal.SIGKILL)


class _Connection(asyncssh.SSHServer):
    """Lets in one user with one key."""

    def __init__(self, public_key: str, server: _Server) -> None:
        self._key = asyncssh.import_public_key(public_key)
        self._server = server
        self._self: asyncssh.SSHServerConnection

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._self = conn
        self._server.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self._self)

    def begin_auth(self, username: str) -> bool:
        return True

    def auth_completed(self) -> None:
        self._server.logins += 1

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == USER and key == self._key


class _HomeSFTPServer(asyncssh.SFTPServer):
    """Relative paths are relative to the device's home."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], home: Path) -> None:
        super().__init__(channel)
        self._home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        return os.path.join(self._home, path)
