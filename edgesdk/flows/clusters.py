"""Executors of more than one machine. Dask distributed has one; nothing else of it is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from edgesdk.errors import ToolchainMissing, TransportError, UsageError

_CONNECT_S = 20.0
_WITH_PORT = ("tcp", "tls")
"""Dask's schemes whose addresses are host and port."""


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """An executor of the Dask workers behind a scheduler, as long as the block lasts.

    Each task is tried once: one that died with its worker may have half happened.

    Args:
        address: of the scheduler, e.g. "tcp://10.0.0.2:8786".

    Raises:
        UsageError: it is no such address.
        ToolchainMissing: Dask distributed is not installed.
        TransportError: no scheduler answers there.
    """
    _require_address(address)
    try:
        import distributed  # a large library, which only clusters need
    except ImportError as error:
        raise ToolchainMissing(
            "a cluster needs Dask distributed, which is not installed",
            hint='pip install "edgesdk[dask]"',
        ) from error
    connect: Any = distributed.Client  # It has no types.
    try:
        client = connect(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise TransportError(
            f"no Dask scheduler answers at {address}: {error}",
            hint="start one with `dask scheduler`, and workers with `dask worker ADDRESS`",
        ) from error
    with client:
        yield client.get_executor(retries=0, pure=False)


def _require_address(address: str) -> None:
    """Of what has no port, Dask says so only after half a minute of trying."""
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        is_whole = parts.scheme not in _WITH_PORT or bool(parts.hostname and parts.port)
    except ValueError:  # a port that is no number
        is_whole = False
    if not is_whole:
        raise UsageError(f"found --dask {address}, expected a scheduler such as tcp://HOST:8786")
