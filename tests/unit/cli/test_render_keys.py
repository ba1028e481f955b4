"""What `edgesdk key ls` prints."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from edgesdk.cli import render_keys
from edgesdk.values.keys import KeyRing, KeyRow


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("trusted", "spare: trusted until 2099-06-30T00:00:00Z; private half in a file here"),
        ("revoked", "spare: revoked; private half in a file here"),
    ],
)
def test_a_revocation_has_no_end(state: Any, expected: str) -> None:
    row = KeyRow(
        "spare", "ssh-ed25519 AAAA", "SHA256:x", state, "2099-06-30T00:00:00Z", "file", False
    )
    console = Console(file=io.StringIO(), width=100)
    render_keys.ring(console, KeyRing(1, 1, (row,), None))
    assert console.file.getvalue().splitlines()[0] == expected
