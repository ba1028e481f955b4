"""The 45 faults that an update has to survive, and how a test says which of them it provokes."""

from __future__ import annotations

import pytest

AS_BEFORE = (
    "the old version still runs; a typed error and an exit code that is no success; nothing is "
    "written outside of the store; a retry succeeds"
)
"""What is expected unless a test says otherwise."""

SECTIONS = {
    "Interruption": range(1, 12),
    "Resources": range(12, 19),
    "Network": range(19, 24),
    "Content": range(24, 34),
    "Trust": range(34, 41),
    "SSH": range(41, 46),
}

ROWS = {
    1: "host killed in the middle of a push",
    2: "agent killed in the middle of receiving",
    3: "agent killed after the last chunk, before the rename",
    4: "agent killed after the rename, before its fsync",
    5: "agent killed after the pointer was switched, before the health check",
    6: "agent killed during the health check",
    7: "agent killed after the commit, before its reply",
    8: "agent killed during a rollback",
    9: "agent killed during the clean-up",
    10: "power cut at each fsync",
    11: "negative control: fsyncs removed, row 10 must fail",
    12: "no space on the disk (ENOSPC), at 0, 50 and 99 %",
    13: "no space while the state is written",
    14: "no inodes",
    15: "read-only file system",
    16: "out of memory while a delta is applied",
    17: "file descriptors exhausted",
    18: "size budget exceeded",
    19: "connection dropped at a random byte",
    20: "connection silent for 10 s, and for good",
    21: "round trip of 500 ms",
    22: "connections refused by MaxStartups",
    23: "another device at the same address",
    24: "package truncated at each structure boundary",
    25: "each byte of a small package flipped",
    26: "trailing, duplicate and reordered members",
    27: "names with ../, absolute, with NUL, of Windows",
    28: "symlink, hardlink and device members",
    29: "symlinks planted in the destination",
    30: "decompression bomb",
    31: "negative and huge tar sizes, deep JSON",
    32: "delta on the wrong base",
    33: "file swapped between verification and use",
    34: "unsigned; unknown, revoked or expired key; wrong namespace",
    35: "malformed Ed25519 signatures",
    36: "downgrade",
    37: "freeze: an expired manifest",
    38: "manifest and payload of different packages mixed",
    39: "wrong board, architecture or runtime",
    40: "clock at 1970 or 2100",
    41: "changed or unknown host key",
    42: "hostile names",
    43: "secrets in logs, tracebacks and arguments",
    44: "two installations at once, and a stale lock",
    45: "not root, noisy .bashrc, noexec /tmp",
}


def fault(row: int, title: str, expect: str = AS_BEFORE) -> pytest.MarkDecorator:
    """Marks a test of the matrix.

    Args:
        row: of `ROWS`.
        title: what the test does to provoke the fault.
        expect: what has to happen then.
    """
    assert row in ROWS
    return pytest.mark.fault(row=row, title=title, expect=expect)
