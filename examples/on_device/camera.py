"""From picture to answer as the package declares it: what `edgesdk bench` has measured.

    python3 camera.py PACKAGE [STORE] < frames.rgb

Reads raw RGB frames of the size that the package declares as its source, one after the other. Needs
numpy and the runtime of the package.
"""

import os
import sys

NAME, STORE = [*sys.argv[1:], "~/.edgesdk"][:2]
sys.path.insert(0, os.path.realpath(os.path.expanduser(STORE + "/agent/current.pyz")))

import numpy as np  # noqa: E402

from device_agent.guarded import GuardedModel  # noqa: E402

with GuardedModel.open(NAME, STORE) as model:
    height, width = model.manifest.stages.source
    for frame in iter(lambda: sys.stdin.buffer.read(height * width * 3), b""):
        picture = np.frombuffer(frame, np.uint8).reshape(height, width, 3)
        answer = model.run_picture(picture)
        print(answer.model, *(array.tolist() for array in answer.outputs), flush=True)
