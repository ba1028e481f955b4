"""edgesdk device lease | release"""

from typing import Annotated

import typer

from edgesdk import api, cli
from edgesdk.cli import options, output

Name = Annotated[str, typer.Argument(help="What you call the device.")]


def lease(
    name: Name,
    duration: Annotated[
        str,
        typer.Option(
            "--for", callback=options.lasting(10**9), help='How long, "2 h"; at most 7 days.'
        ),
    ],
    purpose: Annotated[str, typer.Option(help="What for, as others are told.")] = "",
    wait: options.Wait = None,
    as_json: options.Json = False,
) -> None:
    """Keep a device to yourself for a while; nobody has to stay connected."""
    kept = api.lease_device(
        name,
        round(options.seconds(duration)),
        purpose=purpose,
        wait_s=options.seconds(wait),
        say=output.say,
    )
    output.emit(kept, as_json, lambda console, value: cli.render_lab.lease(console, name, value))


def release(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Be it kept by someone else; they are not told.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Give back a device that you keep."""
    given = api.release_device(name, force=force)
    output.emit(
        {"device": name, "released": given},
        as_json,
        lambda console, _: cli.render_lab.released(console, name, given),
    )
