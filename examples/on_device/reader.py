"""Find the current model of a package, and see when another one becomes current.

    python3 reader.py [PACKAGE NAME] [STORE]

Standard library only. An application with a runtime of its own needs the function alone: copy it.
"""

import json
import os
import sys
import time


def current(name, store="~/.edgesdk"):
    """Path of the current model, and its manifest; the path of another model is another path."""
    folder = os.path.realpath(os.path.join(os.path.expanduser(store), "models", name))
    with open(os.path.join(folder, "manifest.json")) as stream:
        manifest = json.load(stream)
    (model,) = [file["path"] for file in manifest["files"] if file["role"] == "model"]
    return os.path.join(folder, model), manifest


if __name__ == "__main__":
    seen = None
    while True:
        path, manifest = current(*sys.argv[1:] or ["digits"])
        if path != seen:
            seen = path
            print(manifest["version"], path, flush=True)
        time.sleep(0.5)
