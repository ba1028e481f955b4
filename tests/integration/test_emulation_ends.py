"""`edgesdk device emulate`, ended by signals that come in haste: nothing of it is left."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli import Cli
from tests.process_trees import await_gone, descendants

START = ("device", "emulate", "--name", "bench", "--kind")
KINDS = [
    "python",
    pytest.param(
        "sshd",
        marks=pytest.mark.skipif(
            not Path("/usr/sbin/sshd").exists(), reason="OpenSSH's server is not installed"
        ),
    ),
]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    cli = Cli(tmp_path)
    (tmp_path / "tmp").mkdir()
    cli.environment["TMPDIR"] = str(tmp_path / "tmp")
    return cli


def end_in_haste(process: subprocess.Popen[str], signals: Sequence[signal.Signals]) -> None:
    """The signals one after another, the last again and again until it has ended."""
    for each in signals:
        process.send_signal(each)
    for _ in range(3000):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
            return
        process.send_signal(signals[-1])
    raise AssertionError("it does not end")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT), (signal.SIGINT,) * 2],
    ids=lambda signals: ", ".join(each.name for each in signals),
)
def test_a_second_signal_does_not_break_off_the_cleaning_up(
    cli: Cli, tmp_path: Path, kind: str, signals: Sequence[signal.Signals]
) -> None:
    with cli.start(*START, kind) as process:
        assert process.stderr is not None
        assert any("Ctrl-C stops it" in line for line in iter(process.stderr.readline, ""))
        running = descendants(process.pid)
        end_in_haste(process, signals)
    assert process.returncode == 0
    await_gone(running)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert cli("device", "ls", "--json").json == []


@pytest.mark.parametrize("kind", KINDS)
def test_while_it_starts_as_well(cli: Cli, tmp_path: Path, kind: str) -> None:
    with cli.start(*START, kind) as process:
        while not list((tmp_path / "tmp").iterdir()):
            assert process.poll() is None
        end_in_haste(process, (signal.SIGINT, signal.SIGTERM))
    assert process.returncode in (0, 130), "0 where it was up already"
    assert list((tmp_path / "tmp").iterdir()) == []
