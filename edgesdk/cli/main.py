"""The command line: which commands there are, and how an error becomes an exit code."""

import signal
import sys
from contextlib import nullcontext
from typing import Annotated

import typer

from edgesdk import __version__
from edgesdk.cli import (
    agent,
    check,
    commands,
    deploy,
    devices,
    diff,
    export,
    keys,
    late,
    measuring,
    output,
    runs,
    sweep,
    targets,
)
from edgesdk.errors import EdgeSDKError, ExitCode, Interrupted, UsageError
from edgesdk.interruption import Signalled

app = typer.Typer(
    name="edgesdk",
    help="Take a neural network to a named edge device and prove it there.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
late.add(app, "deploy", deploy.deploy)
late.add(app, "check", check.check)
late.add(app, "convert", commands.convert)
late.add(app, "sweep", sweep.sweep)
late.add(app, "package", commands.package)
late.add(app, "inspect", commands.inspect)
late.add(app, "verify", commands.verify)
late.add(app, "diff", diff.diff)
late.add(app, "push", commands.push)
late.add(app, "rollback", commands.rollback)
late.add(app, "export", export.export)
late.add(app, "bench", measuring.bench)
late.add(app, "eval", measuring.evaluate)
late.add(app, "compare", runs.compare)
late.add(app, "report", commands.report)
late.add(app, "init", commands.init)
app.add_typer(late.group(targets.app), name="target")
app.add_typer(late.group(devices.app), name="device")
app.add_typer(late.group(runs.app), name="runs")
app.add_typer(late.group(agent.app), name="agent")
app.add_typer(late.group(keys.app), name="key")


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
    except (
        SystemExit
    ) as ended:  # typer's and rich's word for a reader that has gone, as `head` does
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
