"""How long `edgesdk --help` takes, as a ratio to importing the toolkits it is made of.

The two are started in turn, whole processes, after one uncounted start of each.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 31
HELP = [str(Path(sys.executable).with_name("edgesdk")), "--help"]
PEER = [sys.executable, "-c", "import typer, rich"]


def seconds(command: list[str]) -> float:
    """Wall time of one run of a command."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the median ratio, pair by pair, and its range."""
    seconds(HELP), seconds(PEER)
    ratios = sorted(seconds(HELP) / seconds(PEER) for _ in range(RUNS))
    print(
        f"edgesdk --help / import typer, rich: median {statistics.median(ratios):.2f}, "
        f"quartiles {ratios[RUNS // 4]:.2f} to {ratios[3 * RUNS // 4]:.2f}, n = {RUNS} pairs"
    )


if __name__ == "__main__":
    main()
