"""What sealing needs of whoever signs."""

from __future__ import annotations

from typing import Protocol


class Signer(Protocol):
    """Signs with one key; see `edgesdk.keys.signing`."""

    def sign(self, message: bytes, namespace: str) -> bytes:
        """An armored signature of the message.

        Raises:
            SigningError: the key cannot be used now.
        """


def signed(signer: Signer | None, message: bytes, namespace: str) -> bytes:
    """The signature of the message; none where nobody signs.

    Raises:
        SigningError: the key cannot be used now.
    """
    return b"" if signer is None else signer.sign(message, namespace)
