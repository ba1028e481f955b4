"""Where this user's devices, keys and trust are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """`$EDGESDK_HOME`, else `edgesdk` below `$XDG_CONFIG_HOME` or `~/.config`."""
    if chosen := environ.get("EDGESDK_HOME"):
        return Path(chosen)
    config = environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "edgesdk"
