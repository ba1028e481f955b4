"""Packages handed over to systems that roll software out to fleets: one file a format.

This is a light table; an exporter's module, and the toolkit it needs, is imported when it is asked
for. An exporter decides in pure functions what the other system shall be told, and then either
writes that or has the system's own tool write it. What the other system cannot be told is named in
the result; the agent on the device checks all of it again in any case.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Protocol, cast

from edgesdk.distributions import is_installed
from edgesdk.errors import ToolchainMissing, UsageError
from edgesdk.package.exporters.content import Content
from edgesdk.progress import Progress
from edgesdk.values.export import Exported, Format, Wanted


class Export(Protocol):
    """What an exporter's module provides under the name `export`."""

    def __call__(self, content: Content, wanted: Wanted, progress: Progress) -> Exported:
        """Write it, all or nothing.

        Raises:
            ToolchainMissing: the program that makes it is not installed.
            ExportError: that program refused.
            SigningError: a key or certificate that does not hold.
            UsageError: the other system cannot take a name as it is.
            OSError: the output cannot be written.
        """


@dataclass(frozen=True, slots=True)
class Exporter:
    """One format.

    Args:
        format: its name on the command line.
        module: where it lies.
        takes: the optional fields of `Wanted` that mean something to it.
        needs: those of them that it cannot do without.
        distribution: what must be installed for it, as the extra `export` does; "" for nothing.
    """

    format: Format
    module: str
    takes: frozenset[str] = field(default_factory=frozenset)
    needs: frozenset[str] = field(default_factory=frozenset)
    distribution: str = ""


_HOME = "edgesdk.package.exporters"
_ALL = (
    Exporter("mender", f"{_HOME}.mender", frozenset({"key", "compatible"})),
    Exporter(
        "rauc",
        f"{_HOME}.rauc",
        frozenset({"key", "certificate", "compatible"}),
        frozenset({"key", "certificate"}),
    ),
    Exporter("swupdate", f"{_HOME}.swupdate", frozenset({"key", "certificate", "compatible"})),
    Exporter(
        "tuf",
        f"{_HOME}.tuf_repository",
        frozenset({"key", "root_keys", "root_threshold", "compatible"}),
        frozenset({"key"}),
        "tuf",
    ),
    Exporter("oci", f"{_HOME}.oci"),
    Exporter("in-toto", f"{_HOME}.in_toto", frozenset({"key"})),
    Exporter("cyclonedx", f"{_HOME}.cyclonedx"),
)
EXPORTERS: dict[str, Exporter] = {each.format: each for each in _ALL}
"""By the format's name."""

_FLAGS = {
    "key": "--key",
    "certificate": "--cert",
    "compatible": "--compatible",
    "root_keys": "--root-key",
    "root_threshold": "--root-threshold",
}


def find_exporter(name: str) -> Exporter:
    """The exporter of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in EXPORTERS:
        raise UsageError(f"found --to {name}, expected one of {', '.join(EXPORTERS)}")
    return EXPORTERS[name]


def check_wanted(exporter: Exporter, wanted: Wanted) -> None:
    """Refuse what the format has no use for, and the lack of what it needs.

    Raises:
        UsageError: names the flag.
    """
    given = _given(wanted)
    for name in sorted(given - exporter.takes):
        raise UsageError(f"{_FLAGS[name]} means nothing to {exporter.format}", hint="leave it out")
    for name in sorted(exporter.needs - given):
        raise UsageError(
            f"{exporter.format} needs {_FLAGS[name]}",
            hint="`edgesdk export --help` says what that is",
        )


def _given(wanted: Wanted) -> frozenset[str]:
    default = Wanted(wanted.output, wanted.at)
    return frozenset(name for name in _FLAGS if getattr(wanted, name) != getattr(default, name))


def load_export(exporter: Exporter) -> Export:
    """The function that makes it.

    Raises:
        ToolchainMissing: its toolkit is not installed.
    """
    if exporter.distribution:
        require(exporter.format, exporter.distribution)
    return cast(Export, importlib.import_module(exporter.module).export)


def require(what: str, distribution: str) -> None:
    """Refuse to go on without a distribution of the extra `export`.

    Raises:
        ToolchainMissing: it is not installed.
    """
    if not is_installed(distribution):
        raise ToolchainMissing(
            f"exporting to {what} needs {distribution}, which is not installed",
            hint='pip install "edgesdk[export]"',
        )
