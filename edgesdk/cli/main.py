"""The command line: which commands there are, and how an error becomes an exit code."""

import signal
import sys
from contextlib import nullcontext
from typing import Annotated

import typer

from edgesdk import __version__
from edgesdk.cli import late, output
from edgesdk.errors import EdgeSDKError, ExitCode, Interrupted, UsageError
from edgesdk.interruption import Signalled

_COMMANDS = {
    "deploy": (
        "deploy:deploy",
        "Convert, package, push, measure and judge: from a model to a verdict on a device.",
    ),
    "check": (
        "check:check",
        "Tell operators, placement, sizes and broken budgets before any conversion.",
    ),
    "convert": ("commands:convert", "Convert a float model to INT8 for a target."),
    "sweep": (
        "sweep:sweep",
        "Convert and package many models for many targets, and measure them on devices.",
    ),
    "package": ("commands:package", "Seal an artifact into an .edgepkg under its size budgets."),
    "inspect": ("commands:inspect", "Check an artifact or a package, and show what is in it."),
    "verify": (
        "commands:verify",
        "Check a package, its signature and its expiry; no device is needed.",
    ),
    "diff": ("diff:diff", "Explain a delta: which layers changed, and what they cost."),
    "push": (
        "commands:push",
        "Install a package on a device; it becomes the current one if it is healthy there.",
    ),
    "rollback": (
        "commands:rollback",
        "Make the previous package of a device the current one again.",
    ),
    "export": (
        "export:export",
        "Hand a package over to a system that rolls software out to a fleet.",
    ),
    "bench": ("measuring:bench", "Measure the latency of what is installed on a device."),
    "eval": (
        "measuring:evaluate",
        "Measure on a device how much accuracy INT8 loses against the float model.",
    ),
    "compare": (
        "runs:compare",
        "Hold a later run against an earlier one: is it slower, is it worse, or is it chance?",
    ),
    "report": ("commands:report", "Show a stored report again, or write its HTML form."),
    "init": (
        "commands:init",
        "Write an edgesdk.toml to start from; an existing one is left alone.",
    ),
}
_GROUPS = {
    "target": ("targets:app", "The catalogue of devices."),
    "device": ("devices:app", "The devices you have enrolled."),
    "runs": ("runs:app", "The measurements that were kept."),
    "agent": ("agent:app", "The agent that runs on devices."),
    "key": ("keys:app", "The keys you sign with, and those devices trust."),
}
"""Where each is, and the line that the list of all shows of it."""

app = typer.Typer(
    name="edgesdk",
    help="Take a neural network to a named edge device and prove it there.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, (_place, _summary) in _COMMANDS.items():
    late.add(app, _name, _place, _summary)
for _name, (_place, _summary) in _GROUPS.items():
    late.add_group(app, _name, _place, _summary)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"edgesdk {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say what is done; -vv: all of it.")
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="And exit.")
    ] = False,
) -> None:
    output.log_to_stderr(verbose)


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    as_json = "--json" in arguments
    # typer would turn Ctrl-C into a bare exit code, with no word to the user.
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    try:
        with output.json_alone() if as_json else nullcontext():
            code = app(arguments, prog_name="edgesdk", standalone_mode=False)
    except Signalled as ended:
        return _show(Interrupted(ended.signal_number), as_json)
    except EdgeSDKError as error:
        return _show(error, as_json)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _show(EdgeSDKError(f"{place}{error.strerror or error}"), as_json)
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            return int(ExitCode.USAGE)
        hint = "edgesdk COMMAND --help shows what it takes"
        return _show(UsageError(error.format_message(), hint=hint), as_json)
    except SystemExit as ended:
        # It is typer's and rich's word for a reader that has gone, as `head` does.
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        return 128 + signal.SIGPIPE  # 1 would be a failed gate.
    except typer.Abort:  # the end of input at a question
        return _show(Interrupted(signal.SIGINT), as_json)
    return code if isinstance(code, int) else int(ExitCode.PASSED)


def _show(error: EdgeSDKError, as_json: bool) -> int:
    output.show_error(error, as_json)
    return int(error.exit_code)


def _end(signal_number: int, _: object) -> None:
    raise Signalled(signal_number)
