"""The command line. What the commands print with is imported when something is printed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesdk.cli import render as render
    from edgesdk.cli import render_agent as render_agent
    from edgesdk.cli import render_check as render_check
    from edgesdk.cli import render_compare as render_compare
    from edgesdk.cli import render_diff as render_diff
    from edgesdk.cli import render_doctor as render_doctor
    from edgesdk.cli import render_keys as render_keys
    from edgesdk.cli import render_lab as render_lab
    from edgesdk.cli import render_runs as render_runs


def __getattr__(name: str) -> Any:
    if not name.startswith("render"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
