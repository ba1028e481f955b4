"""The boundary to paramiko: what it or the socket raises becomes ours here and nowhere else."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from edgesdk.devices.inventory import Address
from edgesdk.errors import TransportError

# paramiko logs what we raise; without a handler Python would print it a second time.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@contextlib.contextmanager
def mapped(session: paramiko.Transport, address: Address) -> Iterator[None]:
    """The boundary: whatever paramiko or the socket raises inside becomes ours."""
    try:
        yield
    except IncompatiblePeer as error:
        raise TransportError(
            f"{address} and this machine have no algorithm in common: {error}",
            hint="The SSH server of the device is too old; only AES with SHA-2 is offered.",
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise lost(address, error) from error


def lost(address: Address, reason: BaseException | None) -> TransportError:
    said = (reason.strerror if isinstance(reason, OSError) else None) or str(reason or "")
    because = f": {said}" if said else ""
    return TransportError(f"the connection to {address} was lost{because}")
