"""The agent without a host: for an updater of a fleet that has brought a package to the device.

    python3 edgesdk-agent.pyz install-local FILE.edgepkg [--allow-unsigned]
    python3 edgesdk-agent.pyz rollback-local [--name NAME]
    python3 edgesdk-agent.pyz installed-local
    python3 edgesdk-agent.pyz trust-local TRUST.json [--lab]

Each takes `--root FOLDER` (~/.edgesdk otherwise), prints one JSON document and ends with 0; or says
on stderr what is wrong and ends with 1. They judge, try and commit exactly as for a host.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import IO, Any, Callable, Dict, Sequence

from device_agent.archive import head_bytes
from device_agent.codec import to_dict
from device_agent.documents import CorruptPackage
from device_agent.failures import AgentFailure
from device_agent.installing import Installer
from device_agent.package_messages import Installed, Offer
from device_agent.protocol import ErrorCode
from device_agent.reading import read_head
from device_agent.store import Store
from device_agent.trust_messages import ChangeTrust, SignedTrust

ROOT = "~/.edgesdk"


def main(argv: Sequence[str], program: str) -> int:
    """Carry out one command; the exit status."""
    arguments = _parser().parse_args(list(argv))
    try:
        store = Store(arguments.root)
        try:
            done = _COMMANDS[arguments.command](Installer(store, program), arguments)
        finally:
            store.close()
    except CorruptPackage as error:
        return _fail(ErrorCode.CORRUPT_PACKAGE, str(error))
    except AgentFailure as failure:
        return _fail(failure.code, failure.message, failure.hint)
    except OSError as error:
        why = error.strerror or str(error)
        place = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return _fail(ErrorCode.STORAGE, f"{place}{why}, expected a file that can be read")
    sys.stdout.write(json.dumps(to_dict(done), indent=1) + "\n")
    return 0


def _install(installer: Installer, arguments: argparse.Namespace) -> Any:
    # One open file from the first byte to the last: what is judged is what is installed.
    with open(arguments.file, "rb", buffering=0) as stream:
        try:
            installed = _try_out(installer, stream, arguments.allow_unsigned)
        except AgentFailure as failure:
            if failure.code != ErrorCode.RESUME_FAILED:
                raise
            installed = _try_out(installer, stream, arguments.allow_unsigned)
    return installer.commit(installed.package_id, lambda _: None)


def _try_out(installer: Installer, stream: IO[bytes], allow_unsigned: bool) -> Installed:
    stream.seek(0)
    head = head_bytes(read_head(stream.read))
    stream.seek(0)
    offered = installer.offer(Offer(len(head), allow_unsigned), stream.read)
    stream.seek(offered.resume_at)
    return installer.install(offered.package_id, stream.read)


def _roll_back(installer: Installer, arguments: argparse.Namespace) -> Any:
    return installer.roll_back(arguments.name)


def _installed(installer: Installer, _: argparse.Namespace) -> Any:
    return installer.inventory()


def _trust(installer: Installer, arguments: argparse.Namespace) -> Any:
    beside = os.path.splitext(arguments.file)[0] + ".sig"
    signatures = _text(beside) if os.path.exists(beside) else ""
    version = SignedTrust(_text(arguments.file), signatures)
    return installer.change_trust(ChangeTrust((version,), arguments.lab))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except UnicodeDecodeError as error:
        raise AgentFailure(
            ErrorCode.UNTRUSTED,
            f"{path} is no part of a trust: it is not text",
            "copy it again from the workstation's trust/ folder",
        ) from error


_COMMANDS: Dict[str, Callable[[Installer, argparse.Namespace], Any]] = {
    "install-local": _install,
    "rollback-local": _roll_back,
    "installed-local": _installed,
    "trust-local": _trust,
}


def _fail(code: str, message: str, hint: str = "") -> int:
    sys.stderr.write("%s: %s\n" % (code, message))
    if hint:
        sys.stderr.write("next: %s\n" % hint)
    return 1


def _folder(path: str) -> str:
    if not path:  # Of a variable that is not set; it would be the working directory.
        raise argparse.ArgumentTypeError("found no folder, expected one such as " + ROOT)
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgesdk-agent.pyz", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    for name in _COMMANDS:
        command = commands.add_parser(name)
        command.add_argument("--root", type=_folder, default=ROOT, help="the agent's folder")
    install, rollback, _, trust = (commands.choices[name] for name in _COMMANDS)
    install.add_argument("file", help="an .edgepkg file")
    install.add_argument("--allow-unsigned", action="store_true", help="on a lab device")
    rollback.add_argument("--name", default="", help="of the package; else the one used last")
    trust.add_argument("file", help="a version of the trust, N.json, with N.sig beside it")
    trust.add_argument("--lab", action="store_true", help="unsigned packages may be allowed")
    return parser
