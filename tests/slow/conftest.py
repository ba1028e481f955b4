"""Fixtures of the slow suite: an emulated machine, or why there is none here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.slow import debian_guest, emulator
from tests.slow.power_bench import TOOLS, Bench

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
"""The user's, which the other tests must not see; read before they hide it."""


@pytest.fixture(scope="session")
def emulated_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A saved machine, made in some seconds; its software is fetched on the first run."""
    needed = (*debian_guest.TOOLS, *emulator.TOOLS, *TOOLS)
    if missing := [tool for tool in needed if shutil.which(tool) is None]:
        pytest.skip(f"not on the PATH: {', '.join(missing)}")
    try:
        guest = debian_guest.debian_guest(_CACHE)
    except debian_guest.NoGuest as error:
        pytest.skip(f"no Debian packages for the emulated machine: {error}")
    return Bench(guest, tmp_path_factory.mktemp("bench"))
