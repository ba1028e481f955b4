"""A file out of the page cache, as after a start of the device."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from device_agent import page_cache


def test_a_file_on_a_disk_is_dropped_and_one_in_memory_is_not_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(os.urandom(2_000_000))
    path.read_bytes()
    fd = os.open(path, os.O_RDONLY)
    try:
        assert page_cache._is_cached(fd)
    except OSError:
        assert not page_cache.drop(str(path)), "a file system that cannot tell"
        return
    finally:
        os.close(fd)
    assert page_cache.drop(str(path))
    path.read_bytes()
    assert page_cache.drop(str(path)), "and again"


def test_what_is_still_there_is_not_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    path.write_bytes(bytes(100))
    monkeypatch.setattr(page_cache, "_is_cached", lambda fd: True)
    assert not page_cache.drop(str(path))


def test_without_a_way_to_ask_nothing_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    path.write_bytes(bytes(100))
    monkeypatch.delattr(os, "posix_fadvise")
    assert not page_cache.drop(str(path))
