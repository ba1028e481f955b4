"""edgesdk agent install | ls | uninstall | save"""

from pathlib import Path
from typing import Annotated

import typer

from edgesdk import api, cli
from edgesdk.cli import options, output

app = typer.Typer(no_args_is_help=True, help="The agent that runs on devices.")

Name = Annotated[str, typer.Argument(metavar="DEVICE", help="Name of an enrolled device.")]


@app.command("install")
def install(
    device: Name,
    runtime: Annotated[
        list[str] | None,
        typer.Option(help="litert, onnxruntime, openvino ...; the target's usual. Repeatable."),
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option(help="Take the wheels from this folder, without internet.")
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Choose the newest again, for such a board.")
    ] = False,
    wait: options.Wait = None,
    as_json: options.Json = False,
) -> None:
    """Bring a runtime to a device, which needs neither internet nor pip for it."""
    done = api.agent_install(
        device,
        runtimes=runtime or (),
        wheels=wheels,
        renew=renew,
        progress=output.ProgressBars(),
        wait_s=options.seconds(wait),
        say=output.say,
    )
    output.emit(done, as_json, cli.render_agent.install)


@app.command("ls")
def ls(device: Name, as_json: options.Json = False) -> None:
    """List the runtimes that were brought to a device so."""
    with output.visiting(device):
        here = api.agent_runtimes(device)
    output.emit(here, as_json, cli.render_agent.runtimes)


@app.command("uninstall")
def uninstall(
    device: Name,
    runtime: Annotated[
        list[str] | None, typer.Option(help="Only this one. Repeatable; all of them unless given.")
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--everything", help="Packages, trust and the agent itself as well."),
    ] = False,
    wait: options.Wait = None,
    as_json: options.Json = False,
) -> None:
    """Remove what was brought to a device so, or all that edgesdk ever wrote there."""
    with output.visiting(device):
        done = api.agent_uninstall(
            device,
            runtimes=runtime or (),
            everything=everything,
            wait_s=options.seconds(wait),
            say=output.say,
        )
    output.emit(done, as_json, cli.render_agent.uninstall)


@app.command("save")
def save(
    path: Annotated[Path, typer.Argument(help="The file to write, e.g. edgesdk-agent.pyz.")],
    as_json: options.Json = False,
) -> None:
    """Write the agent to a file, for devices that no SSH reaches."""
    output.emit(api.save_agent(path), as_json, cli.render.written)
