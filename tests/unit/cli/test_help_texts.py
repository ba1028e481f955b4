"""Facts that help texts state, held against what they speak of."""

from __future__ import annotations

from pathlib import Path

from device_agent.timing import SAMPLES_MAX
from edgesdk.values.timing import Timing
from tests.cli import Cli


def help_of(command: str, folder: Path) -> str:
    return " ".join(Cli(folder)(command, "--help").out.split())


def test_a_quick_model_is_not_timed_for_all_the_seconds(tmp_path: Path) -> None:
    enough = Timing().blocks * SAMPLES_MAX
    assert f"Time in each model; {enough:,} runs may be enough before." in help_of(
        "bench", tmp_path
    )


def test_eval_points_at_no_option_that_it_does_not_have(tmp_path: Path) -> None:
    told = help_of("eval", tmp_path)
    assert "labelled: FILE.npz, FILE.npz#SPLIT, a folder of pictures" in told
    assert "--calibration" not in told
