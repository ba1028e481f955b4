"""A device without hardware, served by this machine's own OpenSSH, run by and for this user.

Everything about SSH is real; speed, memory, disk and processor are this machine's. It is no
sandbox: commands run as this user and can read this user's files.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
import tempfile
from pathlib import Path

from edgesdk.devices.emulation import openssh
from edgesdk.devices.emulation.kinds import DeviceServer
from edgesdk.devices.inventory import Device
from edgesdk.errors import ToolchainMissing

_PROGRAM = Path("/usr/sbin/sshd")
_OF_ROOT = Path("/run/sshd")
"""Where sshd run by root locks itself up before anybody has logged in."""
_NO_LOGIN = {"nologin", "false"}
_START_S = 10.0


class SshdDevice(DeviceServer["_Running"]):
    """OpenSSH's server on 127.0.0.1, which lets in this user with one generated key.

    Commands see a home of the device's own in HOME, and start where OpenSSH starts them: in this
    user's. What still runs there when the device stops is killed.

    Args:
        directory: without keys yet, for keys and home; None makes a temporary one.
        port: 0 takes a free one.
        settings: further lines of its sshd_config.
    """

    def __init__(self, directory: Path | None = None, *, port: int = 0, settings: str = "") -> None:
        super().__init__()
        self._directory = directory
        self._requested_port = port
        self._settings = settings

    @property
    def home(self) -> Path:
        """What HOME says there."""
        return self._started.home

    def as_device(self, name: str, target: str) -> Device:
        """What its enrolment holds; its Python is the one that runs this."""
        running = self._started
        return Device(
            name=name,
            host=openssh.HOST,
            port=running.port,
            user=running.user,
            target=target,
            host_key=running.keys.host_line,
            identity_file=str(running.keys.client_file),
            python=sys.executable,
            kind="sshd",
            lab=True,
        )

    def _boot(self, resources: contextlib.ExitStack) -> _Running:
        user = _login_name()
        directory = self._directory or Path(
            resources.enter_context(tempfile.TemporaryDirectory(prefix="edgesdk-sshd-"))
        )
        running = _Running(directory, user, openssh.free_port(self._requested_port))
        running.prepare(self._settings)
        running.server = resources.enter_context(running.serve())
        return running

    def serve_forever(self) -> None:
        """Serve a started device until interrupted (KeyboardInterrupt passes on)."""
        self._started.server.wait()


class _Running:
    """The files of a started device, and its server."""

    server: openssh.Server

    def __init__(self, directory: Path, user: str, port: int) -> None:
        self.home = directory / "home"
        self.user = user
        self.port = port
        self.keys = openssh.make_keys(directory)
        self._config = directory / "sshd_config"
        self._authorized = directory / "authorized_keys"
        self._log = directory / "log"

    def prepare(self, settings: str) -> None:
        self.home.mkdir(exist_ok=True)
        self._authorized.write_text(self.keys.client_line + "\n")
        self._config.write_text(
            openssh.config(
                port=self.port,
                user=self.user,
                host_key=str(self.keys.host_file),
                authorized_keys=str(self._authorized),
                sftp=f'internal-sftp -d "{self.home}"',
                environment={"HOME": str(self.home)},
                settings=settings,
            )
        )

    def serve(self) -> contextlib.AbstractContextManager[openssh.Server]:
        sshd = [str(_PROGRAM), "-D", "-e", "-f", str(self._config)]
        keeper = [sys.executable, "-m", "edgesdk.devices.emulation.keeper"]
        return openssh.served([*keeper, *sshd], self.port, self._log, _START_S)


def _login_name() -> str:
    """Who may log in: this user.

    Raises:
        ToolchainMissing: sshd is not installed, or would let this user in nowhere.
    """
    if not _PROGRAM.exists():
        raise ToolchainMissing(
            f"--kind sshd runs OpenSSH's server, and there is no {_PROGRAM}",
            hint="apt-get install openssh-server, or use --kind python, which needs none",
        )
    try:
        account = pwd.getpwuid(os.getuid())
    except KeyError as error:
        raise _lets_nobody_in(f"user {os.getuid()} has no account here") from error
    if Path(account.pw_shell).name in _NO_LOGIN:
        raise _lets_nobody_in(f"{account.pw_name} has no login shell")
    if os.getuid() == 0:
        _make_folder_of_root()
    return account.pw_name


def _make_folder_of_root() -> None:
    try:
        _OF_ROOT.mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise _lets_nobody_in(f"run by root it needs {_OF_ROOT}: {error.strerror}") from error


def _lets_nobody_in(why: str) -> ToolchainMissing:
    return ToolchainMissing(
        f"OpenSSH's server would let nobody in: {why}",
        hint="use --kind python, whose server asks for no account",
    )
