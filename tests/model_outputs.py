"""Runs a model on the inputs from stdin and writes its first output: here, or sent to a device.

    python model_outputs.py RUNTIME MODEL [STORE] < inputs.npy > outputs.npy

With the agent's STORE it is imported from there, with the runtimes that were brought to it. Which
kernels computed is said on stderr.
"""

import io
import os
import sys


def import_from(store: str, runtime: str) -> None:
    sys.path.insert(0, os.path.join(store, "agent", "current.pyz"))
    from device_agent.private_runtimes import folders_for

    sys.path[:0] = folders_for(store, runtime)


def main(runtime: str, path: str, *stores: str) -> None:
    for store in stores:
        import_from(os.path.expanduser(store), runtime)
    import numpy as np

    from device_agent import runtimes

    model = runtimes.load(runtime, os.path.expanduser(path), 1)
    print(model.kernel_path, file=sys.stderr)
    outputs = []
    for each in np.load(io.BytesIO(sys.stdin.buffer.read())):
        model.set_inputs([each[None]])
        model.invoke()
        outputs.append(model.get_outputs()[0].copy())
    written = io.BytesIO()
    np.save(written, np.concatenate(outputs))
    sys.stdout.buffer.write(written.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])
