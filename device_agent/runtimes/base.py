"""What every runtime adapter offers: the one description of the interface, and its errors.

Nothing heavy is imported here. Arrays are numpy arrays; names and order of the tensors are those of
the model file as its runtime reports them (for LiteRT the tensors' own names, such as
"serving_default_image:0", also where the file has signatures).
"""

from __future__ import annotations

import typing
from typing import Callable, List, Sequence, Tuple

from device_agent.environment_messages import RuntimeVersion
from device_agent.manifest import Port
from device_agent.profile_messages import ModelPlacement, Profiled

if typing.TYPE_CHECKING:
    import numpy as np

    from device_agent.runtimes.profiling import ProfileOrder

    Array = np.ndarray


Tell = Callable[[int, str], None]
"""Called every second or so of a long preparation: the seconds so far, and what is being done."""


class NoRuntime(Exception):
    """This Python cannot import the runtime, or the device lacks what it needs."""


class RuntimeFailed(Exception):
    """The runtime refused the model or an input, or failed while computing."""


class BadTensor(ValueError):
    """An array, or a payload of them, that does not fit the model."""


class NotProfiled(Exception):
    """Nothing times this model's operators here; the message says why."""


class LoadedModel:
    """A model that is ready to run.

    Args:
        runtime: which runtime computes.
        kernel_path: which of its kernels: "xnnpack" or "builtin" for LiteRT (and "edgetpu" with its
            delegate), "cpu" or "htp" for ONNX Runtime, "cpu", "gpu" or "npu" for OpenVINO, "gpu"
            for TensorRT. It is found out from the loaded model, never assumed.
        inputs: in the model's order; a dimension that the model leaves open reads as 1.
        outputs: in the model's order.
    """

    def __init__(
        self,
        runtime: RuntimeVersion,
        kernel_path: str,
        inputs: Tuple[Port, ...],
        outputs: Tuple[Port, ...],
    ) -> None:
        self.runtime = runtime
        self.kernel_path = kernel_path
        self.inputs = inputs
        self.outputs = outputs

    def set_inputs(self, arrays: Sequence[np.ndarray]) -> None:
        """Hand over one array an input, in order, each of its port's shape and dtype.

        Raises:
            RuntimeFailed: the runtime refuses one of them.
        """
        raise NotImplementedError

    def invoke(self) -> None:
        """Run once on the inputs last set. Only this is timed.

        Raises:
            RuntimeFailed: the runtime failed.
        """
        raise NotImplementedError

    def get_outputs(self) -> List[np.ndarray]:
        """The outputs of the last run, in order, as copies."""
        raise NotImplementedError

    def run(self, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
        """Set the inputs, run once, get the outputs.

        Raises:
            RuntimeFailed: as `set_inputs` and `invoke`.
        """
        self.set_inputs(arrays)
        self.invoke()
        return self.get_outputs()

    def placement(self) -> ModelPlacement:
        """What computes each operator, found out from the loaded model; nothing is run."""
        raise NotImplementedError


class Runtime:
    """An imported runtime.

    Args:
        version: which one it is.
    """

    def __init__(self, version: RuntimeVersion) -> None:
        self.version = version

    def build(self, path: str, folder: str, tell: Tell) -> str:
        """Make of a model file, on this device, the file that `load` takes; its path.

        Most runtimes load the model file itself: theirs is the path they were given.

        Args:
            path: of the model file.
            folder: where what was built is kept for the next time; made where it does not exist.
            tell: hears how long it has taken so far.

        Raises:
            RuntimeFailed: the runtime refuses the model.
            AgentFailure: "storage" or "disk_full".
        """
        return path

    def load(self, path: str, threads: int, kernel: str = "") -> LoadedModel:
        """Load a model file.

        Args:
            path: of the file that `build` gave.
            threads: threads within one operator, at least 1; for those that compute on the CPU.
            kernel: "" for the runtime's default; "builtin" keeps LiteRT from delegating, "htp" and
                "cpu" choose where QNN runs a model, "cpu", "gpu" and "npu" where OpenVINO does.

        Raises:
            RuntimeFailed: the runtime refuses the model, or has no such kernels.
        """
        raise NotImplementedError

    def profile(self, order: ProfileOrder) -> Profiled:
        """Load a model once more and time each of its operators; `Profiled.key` is left empty.

        Raises:
            NotProfiled: nothing here times them.
            RuntimeFailed: as `load` and `LoadedModel.run`.
            BadTensor: from `order.inputs`.
        """
        raise NotImplementedError
