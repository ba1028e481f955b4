"""Facts that help texts state, held against what they speak of."""

from __future__ import annotations

from pathlib import Path

from device_agent.timing import SAMPLES_MAX
from edgesdk.values.timing import Timing
from tests.cli import Cli


def help_of(command: str, folder: Path) -> str:
    return " ".join(Cli(folder)(command, "--help").out.split())


def test_slow_models_are_timed_for_longer_than_asked_and_quick_ones_for_less(
    tmp_path: Path,
) -> None:
    timing = Timing()
    longer = f"up to {timing.max_seconds:g} for want of {timing.min_runs} runs"
    shorter = f"less once it has {timing.blocks * SAMPLES_MAX:,}"
    assert f"Time in each model: {longer}, {shorter}." in help_of("bench", tmp_path)


def test_eval_points_at_no_option_that_it_does_not_have(tmp_path: Path) -> None:
    told = help_of("eval", tmp_path)
    assert "labelled: FILE.npz, FILE.npz#SPLIT, a folder of pictures" in told
    assert "--calibration" not in told
