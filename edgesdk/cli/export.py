"""edgesdk export: a package as Mender, RAUC, SWUpdate, TUF or an OCI registry takes it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesdk import api
from edgesdk.cli import options, output
from edgesdk.text import plain

if TYPE_CHECKING:
    from rich.console import Console

    from edgesdk.values.export import Exported


def export(
    package: Annotated[Path, typer.Argument(help="An .edgepkg file.")],
    to: Annotated[
        str,
        typer.Option("--to", help="mender, rauc, swupdate, tuf, oci, in-toto or cyclonedx."),
    ],
    out: Annotated[
        str,
        typer.Option("--output", "-o", help="A file; tuf: a folder; oci: that or oci://HOST/NAME."),
    ],
    compatible: Annotated[
        list[str] | None,
        typer.Option(help="What the other system calls the devices; the target. May be repeated."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Key that signs: a PEM file, or a name; tuf: not the root."),
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(help="Its certificate (PEM), for rauc and swupdate.")
    ] = None,
    root_key: Annotated[
        list[str] | None,
        typer.Option(help="tuf: signs the root of a new repository. May be repeated."),
    ] = None,
    root_threshold: Annotated[
        int, typer.Option(min=1, help="tuf: how many root keys clients ask for.")
    ] = 1,
    as_json: options.Json = False,
) -> None:
    """Hand a package over to a system that rolls software out to a fleet."""
    exported = api.export(
        package,
        to,
        out,
        compatible=compatible or (),
        key=key,
        certificate=cert,
        root_keys=root_key or (),
        root_threshold=root_threshold,
        progress=output.ProgressBars(),
    )
    output.emit(exported, as_json, render)


def render(console: "Console", done: "Exported") -> None:
    """What was written, and what became of each statement of the package."""
    signed = "signed" if done.signed else "not signed"
    _line(console, f"wrote {done.output} ({done.format}, {signed})")
    _line(console, f"  sha256 {done.sha256}")
    _line(console, f"  made by {done.made_with}")
    mapping = output.table("", "package", "says", "becomes", fixed="package")
    for row in done.mapping:
        becomes = row.becomes or "cannot be said there"
        mapping.add_row(row.field, _cell(row.value), _cell(becomes))
    console.print(mapping)
    for note in done.notes:
        _line(console, f"note: {note}")


def _line(console: "Console", text: str) -> None:
    console.print(plain(text), markup=False, soft_wrap=True)


def _cell(text: str) -> str:
    return plain(text).replace("[", "\\[")
