"""A package file in, the same package as another system takes it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgesdk.errors import PackageError, UsageError
from edgesdk.flows.keys import keys_folder
from edgesdk.keys import store
from edgesdk.package.exporters import check_wanted, find_exporter, load_export
from edgesdk.package.exporters.content import content_of
from edgesdk.package.reading import read_package
from edgesdk.progress import Progress, Silent
from edgesdk.values.export import Exported, Wanted


def export(
    package: Path | str,
    to: str,
    output: Path | str,
    *,
    compatible: Sequence[str] = (),
    key: Path | str | None = None,
    certificate: Path | None = None,
    root_keys: Sequence[Path | str] = (),
    root_threshold: int = 1,
    progress: Progress | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Exported:
    """Hand a package over to a system that rolls software out to a fleet.

    Args:
        to: "mender", "rauc", "swupdate", "tuf", "oci", "in-toto" or "cyclonedx".
        output: a file; for "tuf" a folder; for "oci" a folder or "oci://HOST/REPOSITORY:TAG".
        compatible: what the other system calls the devices; the package's target unless given.
        key: file of the private key that signs, without a passphrase, or name of a key of yours.
        certificate: file of its certificate, for "rauc" and "swupdate".
        root_keys: likewise; for a new "tuf" repository, or to renew the root of one.
        root_threshold: for a new "tuf" repository.
        clock: the time in UTC.

    Raises:
        UsageError: there is no such format, or it takes or needs other arguments; or the output is
            the package.
        PackageError: the package is damaged, or the output cannot be written.
        ToolchainMissing: the other system's tool is not installed.
        ExportError: that tool refused.
        SigningError: a key or certificate that does not hold.
        TransportError: a registry cannot be reached, or refuses.
    """
    exporter = find_exporter(to)
    wanted = Wanted(
        output=str(output),
        at=clock(),
        compatible=tuple(compatible),
        key=None if key is None else _key_file(key),
        certificate=certificate,
        root_keys=tuple(map(_key_file, root_keys)),
        root_threshold=root_threshold,
    )
    check_wanted(exporter, wanted)
    carry_out = load_export(exporter)
    content = content_of(read_package(Path(package)))
    if Path(output).exists() and Path(output).samefile(package):
        raise UsageError(
            f"writing {output} would replace the package", hint="name another --output"
        )
    try:
        return carry_out(content, wanted, progress or Silent())
    except OSError as error:
        why = error.strerror or error  # Its file may be the package, which was only read.
        raise PackageError(f"{output} cannot be written: {why}") from error


def _key_file(key: Path | str) -> Path:
    """The file of a key of the user's, by name; else what is given, as a path."""
    named = (mine.path for mine in store.load(keys_folder()) if mine.name == str(key))
    return next(named, Path(key))
