"""A model on Qualcomm's HTP emulator, run as a process of its own: `python -m ...emulate_job`.

Arguments: model, inputs (.npz), outputs to write (.npz); arrays are named "row/place".
"""

from __future__ import annotations

import sys

import numpy as np

from device_agent import runtimes
from edgesdk.convert.toolchains import Array


def main(model: str, inputs: str, outputs: str) -> None:
    """Run every row."""
    loaded = runtimes.load("qnn", model, threads=1, kernel="htp")
    with np.load(inputs, allow_pickle=False) as archive:
        rows = len({name.split("/")[0] for name in archive.files})
        results: dict[str, Array] = {}
        for row in range(rows):
            arrays = [archive[f"{row}/{place}"] for place in range(len(loaded.inputs))]
            for place, output in enumerate(loaded.run(arrays)):
                results[f"{row}/{place}"] = output
    np.savez(outputs, allow_pickle=False, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
