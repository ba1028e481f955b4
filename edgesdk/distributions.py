"""Which Python distributions are installed; nothing is imported."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def is_installed(distribution: str) -> bool:
    """Whether a distribution is installed, whatever its version."""
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
