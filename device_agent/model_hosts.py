"""Where the guarded runner's models run: in the application's process, or in one of their own.

Both end in `HostFailed` whatever goes wrong. Only a process of its own survives, on the
application's side, native code that crashes or never returns.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Tuple, Type, TypeVar

import device_agent
from device_agent import runtimes
from device_agent.environment import usable_cpus
from device_agent.failures import AgentFailure
from device_agent.manifest import Port
from device_agent.model_messages import Parity
from device_agent.protocol import ErrorCode
from device_agent.runtimes import BadTensor, NoRuntime, RuntimeFailed
from device_agent.worker import MAX_THREADS_BY_DEFAULT, require_version
from device_agent.worker_messages import Compare, Load, Loaded, Ran, Run
from device_agent.workers import Worker

if TYPE_CHECKING:
    from device_agent.runtimes.base import Array
    from device_agent.runtimes.under_test import ModelUnderTest

# Resolved now: by the time a worker is started, a link on the way may lead to another agent.
_PLACE = os.path.dirname(os.path.dirname(os.path.realpath(device_agent.__file__)))
_WORKER = (
    "import sys; sys.path.insert(0, sys.argv[1]); from device_agent import worker; worker.main()"
)

R = TypeVar("R")


class HostFailed(Exception):
    """The model does not load, or did not run."""


class Host:
    """A loaded model.

    Attributes:
        alive: it can be asked again; a process that is gone cannot.
        inputs: in the model's order.
        outputs: in the model's order.
    """

    alive = True
    inputs: Tuple[Port, ...]
    outputs: Tuple[Port, ...]

    def run(self, arrays: Sequence[Array]) -> List[Array]:
        """Outputs as the model stores them, for inputs as it stores them.

        Raises:
            HostFailed: the runtime failed, or its process died.
        """
        raise NotImplementedError

    def compare(self) -> Parity:
        """Run the golden vectors that were loaded with the model.

        Raises:
            HostFailed: they cannot be run.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Let the model go; twice is fine."""


def open_host(load: Load, max_run_s: Optional[float]) -> Host:
    """Load a model.

    Args:
        load: which one; its golden vectors are read when they are compared.
        max_run_s: None loads it in this process. Otherwise it gets a process of its own, which is
            ended where a run takes longer than that.

    Raises:
        HostFailed: it does not load.
    """
    return InProcess(load) if max_run_s is None else Isolated(load, max_run_s)


class InProcess(Host):
    """A model in this process."""

    def __init__(self, load: Load) -> None:
        threads = load.threads or min(usable_cpus(), MAX_THREADS_BY_DEFAULT)
        try:
            runtime = runtimes.prepare(load.runtime, load.folders)
            require_version(runtime.version, load.runtime_min_version)
            path = runtime.build(load.path, load.engines, lambda seconds, what: None)
            self._model = runtime.load(path, threads)
        except (NoRuntime, RuntimeFailed, AgentFailure) as error:
            raise HostFailed(str(error)) from error
        self.inputs, self.outputs = self._model.inputs, self._model.outputs
        self._under_test = _under_test(self._model, load)

    def run(self, arrays: Sequence[Array]) -> List[Array]:
        try:
            return self._model.run(arrays)
        except RuntimeFailed as error:
            raise HostFailed(str(error)) from error

    def compare(self) -> Parity:
        try:
            return self._under_test.compare(lambda done, total: None)
        except (RuntimeFailed, BadTensor) as error:
            raise HostFailed(str(error)) from error


class Isolated(Host):
    """A model in a process of its own, which is the agent's worker."""

    def __init__(self, load: Load, max_run_s: float) -> None:
        self._max_run_s = max_run_s
        self._late = False
        self._worker = Worker(os.path.basename(load.path), [sys.executable, "-c", _WORKER, _PLACE])
        try:
            loaded, _ = self._worker.ask(load, Loaded)
        except AgentFailure as failure:
            self.close()
            raise HostFailed(failure.message) from failure
        self.inputs, self.outputs = loaded.inputs, loaded.outputs

    def run(self, arrays: Sequence[Array]) -> List[Array]:
        from device_agent.runtimes.tensors import pack_arrays, unpack_arrays

        payload = pack_arrays(arrays)
        timer = threading.Timer(self._max_run_s, self._end_late)
        timer.daemon = True
        timer.start()
        try:
            ran, outputs = self._ask(Run(len(payload)), Ran, payload)
            return unpack_arrays(outputs, ran.dtypes, ran.shapes)
        finally:
            timer.cancel()

    def compare(self) -> Parity:
        return self._ask(Compare(), Parity)[0]

    def close(self) -> None:
        self.alive = False
        self._worker.close()

    def _ask(self, request: Any, expected: Type[R], payload: bytes = b"") -> Tuple[R, bytes]:
        try:
            return self._worker.ask(request, expected, payload)
        except AgentFailure as failure:
            if failure.code in ErrorCode.WORKER_GONE:
                self.close()
            late = f"; it had run for more than {self._max_run_s:g} s" if self._late else ""
            raise HostFailed(failure.message + late) from failure
        except BaseException:
            # Interrupted: the reply that is still to come would be taken for the next one's.
            self.close()
            raise

    def _end_late(self) -> None:
        self._late = True
        self._worker.kill()


def _under_test(model: runtimes.LoadedModel, load: Load) -> ModelUnderTest:
    # Needs numpy, which is known to be there now that a runtime has been imported.
    from device_agent.runtimes.under_test import Golden, ModelUnderTest

    golden = Golden(load.golden, load.golden_inputs) if load.golden else None
    return ModelUnderTest(model, golden)
