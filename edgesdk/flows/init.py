"""A project file to start from."""

from __future__ import annotations

from pathlib import Path

from edgesdk.errors import ProjectError
from edgesdk.files import write_durable
from edgesdk.project import PROJECT_FILE

TEMPLATE = """\
# edgesdk project file: what would otherwise be repeated as flags. Paths are relative to this file.

model = "model.onnx"                  # float32, .onnx or .tflite
target = "raspberry-pi-5"             # edgesdk target ls
# device = "pi-bench-3"               # edgesdk device add pi-bench-3 --address user@host ...
calibration = "data.npz#calibration"  # FILE.npz, FILE.npz#SPLIT or module:function
dataset = "data.npz#test"             # labelled: an integer array `label`
output = "out"

# [input_shapes]                      # only for dynamic inputs
# image = [1, 3, 224, 224]

# [recipe]
# io = "float32"                      # inputs and outputs of the INT8 model: int8 or float32
# keep_float = ["head/.*"]            # operators that stay in float

# [preprocessing]                     # what makes inputs of pictures: docs/preprocessing.md
# resize = [224, 224]
# source = [480, 640]                 # the camera's, to time a whole run with

[package]
version = "0.1.0"
# sequence = 7                        # without it: one more than the device or the base has

[budget]                              # on top of the target's
# package = "4 MiB"
# delta = "1 MiB"                     # of a package made with --base
# installed = "8 MiB"
# peak_ram = "256 MiB"

# [contract]                          # on top of the target's
# min_accelerated_fraction = 0.9      # share of the operators off the CPU

[gates]                               # on top of the target's
# max_accuracy_drop_points = 0.5
# max_p95 = "10 ms"                   # of inference alone
# max_end_to_end_p95 = "30 ms"        # from picture to answer; needs [preprocessing]
"""


def init(directory: Path | str) -> Path:
    """Write `edgesdk.toml` into a folder.

    Raises:
        ProjectError: there is one already; it is left as it is.
    """
    path = Path(directory) / PROJECT_FILE
    if path.exists():
        raise ProjectError(f"{path} exists already; it was left as it is")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durable(path, TEMPLATE.encode())
    return path
