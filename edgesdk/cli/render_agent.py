"""The agent's own runtimes as a person reads of them in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesdk.cli.output import table
from edgesdk.text import plain
from edgesdk.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from device_agent.runtime_messages import RuntimeInstalled, RuntimesHere
    from edgesdk.flows.agents import AgentInstall, AgentRuntimes, AgentUninstall, RuntimeOnDevice

_SHOWN_HASH = 12


def install(console: Console, done: AgentInstall) -> None:
    """What was brought, wheel by wheel, and what the agent uses from now on."""
    for each in done.runtimes:
        _wheels(console, each)
        _line(console, _outcome(done.device, each))
    for warning in done.warnings:
        _line(console, f"still lacking: {warning}")


def runtimes(console: Console, shown: AgentRuntimes) -> None:
    """What the agent has to itself."""
    rows = table(f"runtimes of the agent on {plain(shown.device)}", "runtime", "version", "wheels")
    for each in shown.found.runtimes:
        rows.add_row(plain(each.runtime), _version(each), str(len(each.wheels)))
    if shown.found.runtimes:
        console.print(rows)
    else:
        _line(console, f"the agent on {shown.device} has no runtime to itself")
    _sizes(console, shown.found)


def uninstall(console: Console, done: AgentUninstall) -> None:
    """What is gone, and what is left."""
    gone = ", ".join(done.removed) or "no runtime"
    _line(console, f"removed from {done.device}: {gone}")
    if done.store is not None and not done.store.kept:
        _line(console, f"{done.store.folder} is gone: nothing of edgesdk is left there")
    elif done.store is not None:
        kept = ", ".join(done.store.kept)
        _line(console, f"left in {done.store.folder}, as edgesdk did not write it: {kept}")
    if done.left is not None:
        _sizes(console, done.left)


def _wheels(console: Console, each: RuntimeOnDevice) -> None:
    columns = ("wheel", "version", "size", "sha256")
    rows = table(f"{each.runtime} for {plain(each.lock.board)}", *columns, right=("size",))
    for wheel in each.lock.wheels:
        size, digest = format_bytes(wheel.size_bytes), wheel.sha256[:_SHOWN_HASH]
        rows.add_row(plain(wheel.name), plain(wheel.version), size, digest)
    console.print(rows)


def _outcome(device: str, each: RuntimeOnDevice) -> str:
    sent = f"{format_bytes(each.sent_bytes)} sent" if each.sent_bytes else "nothing had to be sent"
    choice = "; chosen earlier for such a board (--renew chooses anew)" if each.kept else ""
    before = f", before the Python's own {each.beside}" if each.beside else ""
    return f"{device} runs {_version(each.receipt)}{before}: it imports there; {sent}{choice}"


def _version(each: RuntimeInstalled) -> str:
    version = plain(f"{each.package} {each.version}".strip())
    return version if each.usable else f"{version} (for another Python than the agent's)"


def _sizes(console: Console, found: RuntimesHere) -> None:
    if found.bytes:
        _line(console, f"runtimes of the agent take {format_bytes(found.bytes)} there")
    if found.left_over_bytes:
        left = format_bytes(found.left_over_bytes)
        _line(console, f"of that, {left} of an install that broke off; the next one continues it")


def _line(console: Console, text: str) -> None:
    console.print(plain(text), markup=False, soft_wrap=True)
