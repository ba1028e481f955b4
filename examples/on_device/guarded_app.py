"""A small application: classifies what it reads, and takes up a new model when there is one.

    python3 guarded_app.py [PACKAGE NAME] [STORE] < images.txt

Each line of its input is the values of one input tensor, as a JSON list; each line of its output
says the class, which model answered, and why it was not the package's own. Needs numpy and the
runtime of the package, and nothing of edgesdk but the agent that the device has anyway.
"""

import json
import os
import sys

NAME = sys.argv[1] if len(sys.argv) > 1 else "digits"
STORE = sys.argv[2] if len(sys.argv) > 2 else "~/.edgesdk"

# Resolved once: the link moves on when a newer agent comes, and Python goes on importing from here.
AGENT = os.path.join(os.path.expanduser(STORE), "agent", "current.pyz")
sys.path.insert(0, os.path.realpath(AGENT))

import numpy as np  # noqa: E402

from device_agent.guarded import CannotRun, GuardedModel, NoPackage  # noqa: E402


def main():
    with GuardedModel.open(NAME, STORE) as model:
        for line in sys.stdin:
            if model.changed():
                take_up(model)
            (port,) = model.manifest.inputs
            answer = model.run([np.array(json.loads(line), np.float32).reshape(port.shape)])
            told = {
                "class": int(answer.outputs[0].argmax()),
                "model": answer.model,
                "reason": answer.reason,
                "version": model.manifest.version,
            }
            print(json.dumps(told), flush=True)


def take_up(model):
    """Between two inputs, where it does not matter that it takes a moment."""
    try:
        model.reload()
    except (NoPackage, CannotRun) as error:
        print("the old model stays:", error, file=sys.stderr)


main()
