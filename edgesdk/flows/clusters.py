"""Executors of more than one machine. Dask distributed has one; nothing else of it is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from edgesdk.errors import ToolchainMissing, TransportError

_CONNECT_S = 20.0


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """An executor of the Dask workers behind a scheduler, as long as the block lasts.

    Each task is tried once: one that died with its worker may have half happened.

    Args:
        address: of the scheduler, e.g. "tcp://10.0.0.2:8786".

    Raises:
        ToolchainMissing: Dask distributed is not installed.
        TransportError: no scheduler answers there.
    """
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
