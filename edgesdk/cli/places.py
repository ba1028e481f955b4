"""--place and --coordinator for commands that take a device.

Annotations here are evaluated once, as in `edgesdk.cli.commands`.
"""

import functools
import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Annotated, Any

import typer

from edgesdk import api
from edgesdk.cli import options, output
from edgesdk.errors import UsageError

Place = Annotated[
    str | None, typer.Option("--place", help="Instead of --device: a place of a labgrid lab.")
]
Coordinator = Annotated[
    str, typer.Option("--coordinator", help="labgrid's, HOST:PORT; else $LG_COORDINATOR.")
]


def at_place(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which may be told a place of a labgrid lab instead of a device.

    The place is ours while the command runs; `--wait` waits for it, too.
    """
    signature = inspect.signature(command)
    more = (
        Parameter("place", Parameter.KEYWORD_ONLY, default=None, annotation=Place),
        Parameter("coordinator", Parameter.KEYWORD_ONLY, default="", annotation=Coordinator),
    )

    @functools.wraps(command)
    def called(*, place: str | None, coordinator: str, **given: Any) -> None:
        if place is None:
            return command(**given)
        if given["device"] is not None:
            raise UsageError(
                f"found --device {given['device']} and --place {place}, expected one of them"
            )
        with api.device_of_place(
            place,
            coordinator=coordinator,
            wait_s=options.seconds(given["wait"]),
            say=output.say,
        ) as device:
            return command(**{**given, "device": device})

    called.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *more]
    )
    return called
