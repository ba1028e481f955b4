"""Facts about `append_file`: what it writes, and what the disk is told meanwhile."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from device_agent import durable
from device_agent.durable import append_file

PIECE = bytes(256 * 1024)


def append(path: Path, count: int) -> None:
    with append_file(str(path), 0) as write:
        for _ in range(count):
            write(PIECE)


def test_the_disk_writes_while_more_is_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_BEHIND_BYTES", len(PIECE))
    flushed: list[int] = []
    really = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_size)
        really(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    with append_file(str(tmp_path / "a"), 0) as write:
        write(PIECE)
        while not flushed:
            pass
        write(PIECE)
    assert flushed[0] == len(PIECE)
    assert (tmp_path / "a").stat().st_size == 2 * len(PIECE)


def test_a_disk_that_fails_meanwhile_is_told_since_it_says_so_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_BEHIND_BYTES", len(PIECE))

    asked = threading.Event()

    def fdatasync(_: int) -> None:
        asked.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    with pytest.raises(OSError) as caught, append_file(str(tmp_path / "a"), 0) as write:
        write(PIECE)
        assert asked.wait(10)
    assert caught.value.errno == errno.EIO


def test_little_is_left_to_the_end_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda _: pytest.fail("for a few bytes"))
    append(tmp_path / "a", 3)


def test_an_error_of_the_writer_is_the_one_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyError), append_file(str(tmp_path / "a"), 0):
        raise KeyError
