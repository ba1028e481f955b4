"""The command line: which commands there are, and how an error becomes an exit code."""

import sys
from typing import Annotated

import typer

from edgesdk import __version__
from edgesdk.cli import commands, devices, output, targets
from edgesdk.errors import EdgeSDKError, ExitCode

INTERRUPTED = 130

app = typer.Typer(
    name="edgesdk",
    help="Take a neural network to a named edge device and prove it there.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(commands.deploy)
app.command()(commands.convert)
app.command()(commands.package)
app.command()(commands.inspect)
app.command()(commands.push)
app.command()(commands.bench)
app.command("eval")(commands.evaluate)
app.command()(commands.report)
app.command()(commands.init)
app.add_typer(targets.app, name="target")
app.add_typer(devices.app, name="device")


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
    try:
        app(arguments, prog_name="edgesdk")
        return int(ExitCode.PASSED)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            output.say("interrupted; nothing half-written was left")
        return end.code if isinstance(end.code, int) else int(ExitCode.USAGE)
    except EdgeSDKError as error:
        problem = error
    except OSError as error:
        problem = EdgeSDKError(f"{error.filename or 'a file'}: {error.strerror or error}")
    output.show_error(problem, as_json="--json" in arguments)
    return int(problem.exit_code)
