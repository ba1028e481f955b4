"""Boards, as an agent would tell of them."""

from __future__ import annotations

from device_agent.runtime_messages import Interpreter

PI = Interpreter(
    path="/usr/bin/python3",
    implementation="cpython",
    version=(3, 9, 2),
    abi="cp39",
    platform="linux-aarch64",
    machine="aarch64",
    bits=64,
    hard_float=False,
    libc="glibc",
    libc_version=(2, 31),
    release="6.1.21-v8+",
    build="#1642 SMP PREEMPT",
    inflates=True,
)
"""Debian 11 on a Raspberry Pi 4."""
