"""edgesdk device lease | release"""

from functools import partial
from typing import Annotated

import typer

from edgesdk import api, cli
from edgesdk.cli import many, options, output

Names = Annotated[
    str,
    typer.Argument(help="A device, or many: all, tag:NAME, a pattern, names with commas."),
]


def lease(
    name: Names,
    duration: Annotated[
        str,
        typer.Option(
            "--for", callback=options.lasting(10**9), help='How long, "2 h"; at most 7 days.'
        ),
    ],
    purpose: Annotated[str, typer.Option(help="What for, as others are told.")] = "",
    wait: options.Wait = None,
    jobs: many.Jobs = many.DEFAULT_JOBS,
    as_json: options.Json = False,
) -> None:
    """Keep a device to yourself for a while; nobody has to stay connected."""
    wanted = partial(
        api.lease_device,
        seconds=round(options.seconds(duration)),
        purpose=purpose,
        wait_s=options.seconds(wait),
    )
    if api.is_selection(name):
        many.on_each(
            name,
            lambda each, _, say: wanted(each, say=say),
            cli.render_lab.leased,
            jobs=jobs,
            as_json=as_json,
            may_repeat=True,
        )
    with output.visiting(name):
        kept = wanted(name, say=output.say)
    output.emit(kept, as_json, lambda console, value: cli.render_lab.lease(console, name, value))


def release(
    name: Names,
    force: Annotated[
        bool, typer.Option("--force", help="Be it kept by someone else; they are not told.")
    ] = False,
    jobs: many.Jobs = many.DEFAULT_JOBS,
    as_json: options.Json = False,
) -> None:
    """Give back a device that you keep."""
    if api.is_selection(name):
        many.on_each(
            name,
            lambda each, _, __: api.release_device(each, force=force),
            cli.render_lab.given_back,
            jobs=jobs,
            as_json=as_json,
            may_repeat=True,
        )
    with output.visiting(name):
        given = api.release_device(name, force=force)
    output.emit(
        {"device": name, "released": given},
        as_json,
        lambda console, _: cli.render_lab.released(console, name, given),
    )
