"""Facts about failures: a toolkit's become one sentence, ours stay what they are."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesdk.convert.backends import toolkits
from edgesdk.errors import ConversionError, DataError

SENTENCE = "Toolkit does not quantize this model"


def within(module: str, raised: Exception) -> Callable[..., None]:
    """A function of the named module: calls what it is given, or raises."""
    scope: dict[str, Any] = {"__name__": module, "raised": raised}
    exec("def call(*others):\n  others[0](*others[1:]) if others else fail()\n", scope)
    exec("def fail():\n  raise raised\n", scope)
    return scope["call"]  # type: ignore[no-any-return]


def run(raised: Exception, *modules: str, writes: Path | None = None) -> None:
    calls = [within(module, raised) for module in modules]
    with toolkits.failures_of(("toolkit",), SENTENCE, writes=writes):
        calls[0](*calls[1:])


@pytest.mark.parametrize(
    "modules",
    [("toolkit",), ("toolkit.core", "numpy"), ("toolkit", "edgesdk.convert", "toolkit.core")],
)
def test_what_a_toolkit_raises_is_one_sentence(modules: tuple[str, ...]) -> None:
    with pytest.raises(ConversionError) as raised:
        run(RuntimeError("no kernel"), *modules)
    assert raised.value.message == f"{SENTENCE}: no kernel"


@pytest.mark.parametrize("modules", [("edgesdk.convert",), ("edgesdk.convert", "numpy")])
def test_what_our_code_raises_that_a_toolkit_calls_travels(modules: tuple[str, ...]) -> None:
    with pytest.raises(KeyError):
        run(KeyError("ours"), "toolkit.core", *modules)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "no room"), MemoryError(), DataError("found NaN")]
)
def test_what_is_nobodys_bug_travels(error: Exception) -> None:
    with pytest.raises(type(error)):
        run(error, "toolkit")


def test_a_full_disk_is_told_though_the_toolkit_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolkits, "is_full", lambda folder: folder == tmp_path)
    with pytest.raises(OSError, match="No space left") as raised:
        run(RuntimeError("cannot serialize"), "toolkit", writes=tmp_path)
    assert raised.value.errno == errno.ENOSPC
