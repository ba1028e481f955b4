"""Facts about files: the old one or the new one is there, whole, and nothing else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.files import move_durable, new_directory, sha256_file, write_durable

INTERRUPTIONS = [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("bug")]


def failing(call: str, error: BaseException, at: int = 0) -> Callable[..., Any]:
    """Stands in for a function of `os` that raises at call number `at`, and works otherwise."""
    calls = iter(range(1000))
    real = getattr(os, call)

    def stand_in(*arguments: Any) -> Any:
        if next(calls) == at:
            raise error
        return real(*arguments)

    return stand_in


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the calls that make files durable and put them in place, as they happen."""
    done: list[str] = []

    def record(call: str) -> None:
        real = getattr(os, call)

        def stand_in(*arguments: Any) -> Any:
            done.append(call)
            return real(*arguments)

        monkeypatch.setattr(os, call, stand_in)

    record("fsync")
    record("replace")
    return done


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"(folder)"
        for path in folder.rglob("*")
    }


def test_a_file_is_replaced(tmp_path: Path) -> None:
    write_durable(tmp_path / "f", b"old")
    write_durable(tmp_path / "f", b"new")
    assert tree(tmp_path) == {"f": b"new"}


def test_a_written_file_can_be_read_by_all(tmp_path: Path) -> None:
    write_durable(tmp_path / "f", b"")
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["replace", "fsync", "fchmod"])
@pytest.mark.parametrize("error", INTERRUPTIONS, ids=repr)
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    write_durable(tmp_path / "f", b"old")
    monkeypatch.setattr(os, call, failing(call, error))
    with pytest.raises(type(error)):
        write_durable(tmp_path / "f", b"new")
    assert tree(tmp_path) == {"f": b"old"}


@pytest.mark.parametrize("how", ["written", "moved"])
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path, how: str) -> None:
    """As root, `-o /dev/null` would make a file of the device."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "made").write_bytes(b"new")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="expected a file"):
            if how == "written":
                write_durable(tmp_path / name, b"new")
            else:
                move_durable(tmp_path / "made", tmp_path / name)
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_is_durable_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = recorded(monkeypatch)
    write_durable(tmp_path / "f", b"")
    assert done == ["fsync", "replace", "fsync"]


def test_a_directory_appears_with_its_parents(tmp_path: Path) -> None:
    with new_directory(tmp_path / "a" / "b") as work:
        (work / "f").write_bytes(b"1")
    assert tree(tmp_path / "a") == {"b": b"(folder)", "b/f": b"1"}


def test_a_directory_is_not_there_before_the_block_ends(tmp_path: Path) -> None:
    with new_directory(tmp_path / "d"):
        assert not (tmp_path / "d").exists()


def old_directory(parent: Path) -> Path:
    (parent / "d").mkdir()
    (parent / "d" / "f").write_bytes(b"old")
    return parent / "d"


OLD = {"d": b"(folder)", "d/f": b"old"}


def test_a_directory_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    with new_directory(old_directory(tmp_path)) as work:
        (work / "sub").mkdir()
        (work / "sub" / "g").write_bytes(b"new")
    assert tree(tmp_path) == {"d": b"(folder)", "d/sub": b"(folder)", "d/sub/g": b"new"}


@pytest.mark.parametrize("error", INTERRUPTIONS, ids=repr)
def test_an_error_in_the_block_keeps_the_old_directory(
    tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)), new_directory(old_directory(tmp_path)) as work:
        (work / "f").write_bytes(b"new")
        raise error
    assert tree(tmp_path) == OLD


@pytest.mark.parametrize("error", INTERRUPTIONS, ids=repr)
def test_an_error_in_the_block_leaves_nothing_where_nothing_was(
    tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)), new_directory(tmp_path / "d"):
        raise error
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(("call", "at"), [("replace", 0), ("replace", 1), ("fsync", 0)])
@pytest.mark.parametrize("error", INTERRUPTIONS, ids=repr)
def test_an_error_while_swapping_keeps_the_old_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, at: int, error: BaseException
) -> None:
    final = old_directory(tmp_path)
    with pytest.raises(type(error)), new_directory(final) as work:
        (work / "f").write_bytes(b"new")
        monkeypatch.setattr(os, call, failing(call, error, at))
    assert tree(tmp_path) == OLD


def test_what_a_link_leads_to_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(old_directory(tmp_path))
    with new_directory(link) as work:
        (work / "f").write_bytes(b"new")
    assert link.is_symlink()
    assert (tmp_path / "d" / "f").read_bytes() == b"new"


def test_every_file_is_durable_before_the_directory_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = recorded(monkeypatch)
    with new_directory(tmp_path / "d") as work:
        (work / "f").write_bytes(b"1")
        (work / "g").write_bytes(b"2")
    assert done == ["fsync"] * 3 + ["replace", "fsync"]


@given(st.binary(max_size=1000))
def test_the_hash_is_that_of_the_bytes(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.mktemp("hash") / "f"
    path.write_bytes(content)
    assert sha256_file(path) == hashlib.sha256(content).hexdigest()
