"""edgesdk key new | ls | trust | revoke | threshold | sign"""

from pathlib import Path
from typing import Annotated

import typer

from edgesdk import api, cli
from edgesdk.cli import options, output
from edgesdk.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="The keys you sign with, and those devices trust.")

Expires = Annotated[
    str | None, typer.Option(help='Trust it until then, e.g. 2027-06-30 (UTC); "never" undoes it.')
]


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="What to call the key.")] = "default",
    existing: Annotated[
        Path | None,
        typer.Option(
            help="Take in this key instead: a private key file, or the .pub of one in ssh-agent."
        ),
    ] = None,
    expires: Expires = None,
    as_json: options.Json = False,
) -> None:
    """Make a key to sign packages with, and trust it."""
    done = api.new_key(name, existing=existing, expires=expires, say=output.say)
    output.emit(done, as_json, cli.render_keys.change)


@app.command("ls")
def ls(as_json: options.Json = False) -> None:
    """List your keys and the trusted ones."""
    output.emit(api.list_keys(), as_json, cli.render_keys.ring)


@app.command("trust")
def trust(
    key: Annotated[str, typer.Argument(help="A .pub file, or the name of a key.")],
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    expires: Expires = None,
    as_json: options.Json = False,
) -> None:
    """Trust a key, or change until when it is trusted."""
    done = api.trust_key(key, name=name, expires=expires, say=output.say)
    output.emit(done, as_json, cli.render_keys.change)


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="Name of a trusted key.")],
    as_json: options.Json = False,
) -> None:
    """Stop trusting a key, for good."""
    output.emit(api.revoke_key(name, say=output.say), as_json, cli.render_keys.change)


@app.command("threshold")
def threshold(
    count: Annotated[int, typer.Argument(min=1, help="Keys that must sign each change.")],
    as_json: options.Json = False,
) -> None:
    """Say how many keys must sign each change of the trust."""
    output.emit(api.set_threshold(count, say=output.say), as_json, cli.render_keys.change)


@app.command("sign")
def sign(
    signature: Annotated[
        list[Path] | None,
        typer.Option(help="A signature that somebody else made. May be repeated."),
    ] = None,
    discard: Annotated[bool, typer.Option("--discard", help="Forget the change instead.")] = False,
    as_json: options.Json = False,
) -> None:
    """Sign the change of the trust that lacks signatures, and add those of others."""
    if discard and signature:
        raise UsageError("found --discard with --signature, expected one of them")
    done = api.discard_trust() if discard else api.sign_trust(signature or (), say=output.say)
    output.emit(done, as_json, cli.render_keys.change)
