"""edgesdk device add | ls | show | doctor | installed | lease | release | lab | rm | emulate"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgesdk import api, cli
from edgesdk.choices import EmulatedKind
from edgesdk.cli import leasing, many, options, output
from edgesdk.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from edgesdk.devices.enrol import HostKey

app = typer.Typer(no_args_is_help=True, help="The devices you have enrolled.")
app.command("lease")(leasing.lease)
app.command("release")(leasing.release)

Name = Annotated[str, typer.Argument(help="What you call the device.")]
Names = Annotated[
    str,
    typer.Argument(help="A device, or many: all, tag:NAME, a pattern, names with commas."),
]


@app.command("add")
def add(
    name: Name,
    address: Annotated[str, typer.Option(help="user@host or user@host:port.")],
    target: Annotated[str, typer.Option("--target", "-t", help="What kind of device it is.")],
    identity: Annotated[
        Path | None, typer.Option(help="Private key to log in with; else ssh-agent, ~/.ssh.")
    ] = None,
    python: Annotated[
        str, typer.Option(help="Interpreter on the device that has the runtime.")
    ] = "python3",
    yes: Annotated[bool, typer.Option("--yes", help="Accept the host key unseen.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the device of that name.")
    ] = False,
    lab: Annotated[
        bool, typer.Option("--lab", help="It may be told to take unsigned packages.")
    ] = False,
    tag: Annotated[
        list[str] | None, typer.Option(help="Choose it by this, too. May be repeated.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Enrol a device: pin its host key, log in and start the agent once."""
    visited = api.add_device(
        name,
        address,
        target,
        confirm=lambda key: _confirm(address, key, yes),
        say=output.say,
        identity_file=str(identity.resolve()) if identity else None,
        python=python,
        replace=replace,
        lab=lab,
        tags=tag or (),
    )
    output.emit(visited.device, as_json, lambda console, _: cli.render.visited(console, visited))


def _confirm(address: str, key: "HostKey", yes: bool) -> bool:
    output.say(f"{address} has the host key {key.type} {key.fingerprint_sha256}")
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError(
            "the host key needs a person to confirm it, and there is no terminal",
            hint="compare the fingerprint above with the device's own, then add --yes",
        )
    return typer.confirm("Is this the device's own key?", err=True)


@app.command("tag", context_settings={"ignore_unknown_options": True})
def tag(
    name: Names,
    changes: Annotated[
        list[str], typer.Argument(metavar="+TAG|-TAG...", help="+lab-a gives it, -lab-a takes it.")
    ],
    as_json: options.Json = False,
) -> None:
    """Give a device tags, to choose it by, or take them away."""
    if api.is_selection(name):
        many.on_each(
            name,
            lambda each, _, __: api.tag_device(each, changes),
            cli.render_lab.tagged,
            jobs=many.DEFAULT_JOBS,
            as_json=as_json,
        )
    output.emit(api.tag_device(name, changes), as_json, cli.render.device)


@app.command("ls")
def ls(as_json: options.Json = False) -> None:
    """List the enrolled devices, as they were when last looked at; nobody is contacted."""
    devices = api.seen_devices()
    if as_json:
        from edgesdk.serial import to_dict  # nobody else waits for it

        rows = [{**to_dict(device), "last_seen": to_dict(seen)} for device, seen in devices]
        output.emit(rows, as_json, lambda *_: None)
    else:
        output.emit(devices, as_json, cli.render_doctor.listed)


@app.command("show")
def show(name: Names, jobs: many.Jobs = many.DEFAULT_JOBS, as_json: options.Json = False) -> None:
    """Visit a device and show what it is, and whose."""
    if api.is_selection(name):
        many.on_each(
            name,
            lambda each, _, __: api.show_device(each),
            cli.render_lab.visited,
            jobs=jobs,
            as_json=as_json,
            may_repeat=True,
        )
    with output.visiting(name):
        visited = api.show_device(name)
    output.emit(visited, as_json, cli.render.visited)


@app.command("doctor")
def doctor(
    name: Names,
    package: Annotated[
        Path | None, typer.Option(help="Compare with this package file, not the installed one.")
    ] = None,
    installed: Annotated[
        str, typer.Option(help="Name of the installed package; the last one unless given.")
    ] = "",
    jobs: many.Jobs = many.DEFAULT_JOBS,
    as_json: options.Json = False,
) -> None:
    """Compare a device with its target and its package: what does not fit, and what to do."""
    if api.is_selection(name):
        many.on_each(
            name,
            lambda each, _, __: api.doctor(each, package=package, installed=installed),
            cli.render_lab.diagnosis,
            jobs=jobs,
            as_json=as_json,
            may_repeat=True,
            verdict=lambda told: int(ExitCode.PASSED if told.able else ExitCode.DEVICE),
        )
    with output.visiting(name):
        told = api.doctor(name, package=package, installed=installed)
    output.emit(told, as_json, cli.render_doctor.diagnosis)
    raise typer.Exit(int(ExitCode.PASSED if told.able else ExitCode.DEVICE))


@app.command("installed")
def installed(
    name: Names, jobs: many.Jobs = many.DEFAULT_JOBS, as_json: options.Json = False
) -> None:
    """List the packages on a device: current, previous, and what fell back."""
    if api.is_selection(name):
        many.on_each(
            name,
            lambda each, _, __: api.list_installed(each),
            cli.render_lab.inventory,
            jobs=jobs,
            as_json=as_json,
            may_repeat=True,
        )
    with output.visiting(name):
        there = api.list_installed(name)
    output.emit(there, as_json, cli.render.inventory)


@app.command("lab")
def lab(
    name: Name,
    mode: Annotated[
        Literal["on", "off"], typer.Argument(help="Whether it may be told to take unsigned ones.")
    ],
    as_json: options.Json = False,
) -> None:
    """Sign that a device may take unsigned packages, or never more."""
    changed = api.set_lab(name, mode == "on", say=output.say)
    output.emit(changed, as_json, cli.render.device)


@app.command("rm")
def rm(name: Name, as_json: options.Json = False) -> None:
    """Forget a device. Nothing on it is changed."""
    output.emit(api.remove_device(name), as_json, cli.render.device)


@app.command("emulate")
def emulate(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND...]", help="Run this while it is up, then stop."),
    ] = None,
    name: Annotated[str, typer.Option(help="Enrol it under this name.")] = "virtual",
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Enrol it as this target.")
    ] = None,
    kind: Annotated[
        EmulatedKind,
        typer.Option(
            help="python: needs nothing else. sshd: this machine's OpenSSH. "
            "arm64: an emulated aarch64 Debian, for root."
        ),
    ] = "python",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 0,
    disk: Annotated[
        str | None, typer.Option(help="Size of its disk, for arm64; else 2 GiB.")
    ] = None,
) -> None:
    """Start a device without hardware: a real SSH server on this machine, with its own home."""
    raise typer.Exit(
        api.emulate(
            command or [],
            name=name,
            kind=kind,
            target=target,
            port=port,
            disk=disk,
            progress=output.ProgressBars(),
            say=output.say,
        )
    )
