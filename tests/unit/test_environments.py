"""Environments of their own: made once, whole or not at all, whoever makes them. No network."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgesdk import environments
from edgesdk.environments import Isolated, environment, environments_directory, find_python
from edgesdk.errors import ToolchainMissing
from edgesdk.progress import Advance, Silent

OURS = f"{sys.version_info.major}.{sys.version_info.minor}"


class Recorded:
    """A `Progress` that remembers."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int]] = []
        self.advanced = 0

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Advance]:
        self.tasks.append((description, total))
        yield self._advance

    def _advance(self, by: int) -> None:
        self.advanced += by


def wheel(folder: Path, module: str) -> None:
    """A distribution `tiny` 1.0 with one module."""
    files = {
        "tiny.py": module,
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = [f"{name},sha256={_hash(text)},{len(text)}" for name, text in files.items()]
    files["tiny-1.0.dist-info/RECORD"] = "\n".join([*record, "tiny-1.0.dist-info/RECORD,,\n"])
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.fixture
def tiny(tmp_path: Path) -> Isolated:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "value = 42\n")
    requirements = tmp_path / "tiny.txt"
    requirements.write_text(f"# exact\n--no-index\n--find-links {wheels}\ntiny==1.0\n")
    return Isolated("tiny", requirements, (OURS,))


def says(python: Path) -> str:
    done = subprocess.run(
        [python, "-c", "import tiny; print(tiny.value)"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_it_is_made_on_first_use_and_kept(
    tiny: Isolated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Recorded(), Recorded()
    # Our search path is not for it: this would hide the standard library's own.
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "venv.py").write_text("raise SystemExit('not ours')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "ours"))
    made = environment(tiny, first, tmp_path / "cache")
    assert says(made) == "42"
    assert first.tasks == [("environment of tiny (once)", 3)]
    assert first.advanced == 3
    assert environment(tiny, second, tmp_path / "cache") == made
    assert second.tasks == []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stands for venv and pip; what it was called with."""
    calls: list[list[str]] = []

    def run(_: str, argv: list[str], __: Advance) -> None:
        calls.append(argv)
        time.sleep(0.3)
        if "venv" in argv:
            (Path(argv[-1]) / "bin").mkdir(parents=True)
            (Path(argv[-1]) / "bin" / "python").symlink_to(sys.executable)

    monkeypatch.setattr(environments, "_run", run)
    monkeypatch.setattr(environments, "_require_pins", lambda isolated, home: None)
    return calls


def test_other_pins_are_another_environment(
    tiny: Isolated, tmp_path: Path, quick: list[list[str]]
) -> None:
    first = environment(tiny, Silent(), tmp_path / "cache")
    tiny.requirements.write_text(tiny.requirements.read_text() + "# changed\n")
    assert environment(tiny, Silent(), tmp_path / "cache") != first


def test_what_a_killed_process_left_is_made_afresh(
    tiny: Isolated, tmp_path: Path, quick: list[list[str]]
) -> None:
    home = environment(tiny, Silent(), tmp_path / "cache").parents[1]
    (home / "complete").unlink()
    (home / "half").touch()
    environment(tiny, Silent(), tmp_path / "cache")
    assert len(quick) == 4
    assert not (home / "half").exists()


def test_it_is_made_afresh_when_its_python_has_gone(
    tiny: Isolated, tmp_path: Path, quick: list[list[str]]
) -> None:
    python = environment(tiny, Silent(), tmp_path / "cache")
    python.unlink()
    python.symlink_to(tmp_path / "uninstalled")
    assert environment(tiny, Silent(), tmp_path / "cache").exists()


def test_a_process_that_is_killed_holds_up_nobody(
    tiny: Isolated, tmp_path: Path, quick: list[list[str]]
) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from edgesdk import environments; from edgesdk.progress import Silent\n"
        "environments._build = lambda *_: (print('locked', flush=True), time.sleep(600))\n"
        f"environments.environment(environments.Isolated('tiny', Path({str(tiny.requirements)!r}), "
        f"({OURS!r},)), Silent(), Path({str(tmp_path / 'cache')!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert environment(tiny, Silent(), tmp_path / "cache").exists()


def test_two_at_once_make_one(tiny: Isolated, tmp_path: Path, quick: list[list[str]]) -> None:
    seen = Recorded()
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: environment(tiny, seen, tmp_path / "cache"), range(2)))
    assert made[0] == made[1]
    assert len(quick) == 2
    assert ("another process makes the environment of tiny", 0) in seen.tasks


def test_when_pip_fails_its_last_word_is_said_and_nothing_is_left(
    tiny: Isolated, tmp_path: Path
) -> None:
    tiny.requirements.write_text(tiny.requirements.read_text() + "absent==1.0\n")
    with pytest.raises(ToolchainMissing) as error:
        environment(tiny, Silent(), tmp_path / "cache")
    assert error.value.message == (
        "the environment of tiny could not be made: No matching distribution found for absent==1.0"
    )
    assert error.value.hint.startswith("run the command again")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_what_pip_put_elsewhere_is_missed(
    tiny: Isolated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    with pytest.raises(ToolchainMissing) as error:
        environment(tiny, Silent(), tmp_path / "cache")
    assert error.value.message == (
        "the environment of tiny is not what is pinned: found tiny missing, expected 1.0"
    )
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("installed", "words"),
    [
        ({"tiny": "1.0+patched"}, r"found tiny 1\.0\+patched, expected 1\.0"),
        ({"tiny": "1.0", "guest": "3"}, "found guest 3, expected none"),
        ({}, r"found tiny missing, expected 1\.0"),
    ],
    ids=["another version", "a guest", "nothing"],
)
def test_an_environment_that_differs_from_its_pins_is_refused(
    tiny: Isolated,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    installed: dict[str, str],
    words: str,
) -> None:
    monkeypatch.setattr(environments, "_installed", lambda name, home: {"pip": "26", **installed})
    with pytest.raises(ToolchainMissing, match=words):
        environment(tiny, Silent(), tmp_path / "cache")


def test_names_are_compared_as_indexes_do(tiny: Isolated, tmp_path: Path) -> None:
    tiny.requirements.write_text(tiny.requirements.read_text().replace("tiny==", "Tiny=="))
    assert says(environment(tiny, Silent(), tmp_path / "cache")) == "42"


def test_a_full_disk_is_said(
    tiny: Isolated, tmp_path: Path, quick: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(environments, "write_durable", full)
    with pytest.raises(ToolchainMissing, match="No space left on device") as error:
        environment(tiny, Silent(), tmp_path / "cache")
    assert "XDG_CACHE_HOME" in error.value.hint
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_this_python_is_used_where_it_will_do() -> None:
    assert find_python(Isolated("tiny", Path("none"), ("3.1", OURS))) == sys.executable


def test_a_python_on_the_path_is_used_where_ours_will_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "python3.99"
    other.write_text("#!/bin/sh\necho 3.99\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert find_python(Isolated("tiny", Path("none"), ("3.99",))) == str(other)


def test_a_stub_that_starts_no_python_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "python3.99"
    stub.write_text("#!/bin/sh\nexit 127\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ToolchainMissing, match=r"runs on Python 3\.99, found Python"):
        find_python(Isolated("tiny", Path("none"), ("3.99",)))


def test_the_pins_are_its_versions(tiny: Isolated) -> None:
    assert tiny.versions() == {"tiny": "1.0"}


def test_environments_lie_in_the_users_cache() -> None:
    found = environments_directory({"XDG_CACHE_HOME": "/cache"})
    assert found == Path("/cache/edgesdk/environments")
    assert environments_directory({"XDG_CACHE_HOME": "relative"}).parts[-3:] == (
        ".cache",
        "edgesdk",
        "environments",
    )
