"""The small guarded runner: what an application on the device runs its packaged model with.

    with GuardedModel.open("digits") as model:
        answer = model.run([image])  # or run_picture(frame), with a declared preprocessing

Where the package carries a twin and a rule, `run` answers with the twin when the model does not
load or fails, when its golden outputs are off, or when an input is not like those it was calibrated
on. Each such answer says so, and is counted for `edgesdk device installed`.

Not for several threads at once, but for `changed`, `wait` and `watch`, which another may call.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Iterator, Optional

from device_agent.fallbacks import REASONS
from device_agent.guard import Answer, CannotRun, Guard, Trouble
from device_agent.manifest import Manifest
from device_agent.model_messages import Parity
from device_agent.stable_path import DEFAULT_ROOT, NoPackage, StablePath

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Type

    from device_agent.runtimes.base import Array
    from device_agent.runtimes.guarding import Inputs

__all__ = ["DEFAULT_ROOT", "REASONS", "Answer", "CannotRun", "GuardedModel", "NoPackage", "Trouble"]

LOOK_EVERY_S = 1.0
MAX_RUN_S = 60.0


class GuardedModel:
    """The current package of a name, opened. Made by `open`."""

    def __init__(
        self, place: StablePath, threads: int = 0, max_run_s: Optional[float] = None
    ) -> None:
        self._place = place
        self._threads = threads
        self._max_run_s = max_run_s
        self._guard = self._open()

    @classmethod
    def open(
        cls,
        path_or_name: str,
        root: str = DEFAULT_ROOT,
        threads: int = 0,
        isolated: bool = False,
        max_run_s: float = MAX_RUN_S,
    ) -> GuardedModel:
        """Open the current package.

        Args:
            path_or_name: a package's name, or a path with a slash: of the link under ROOT/models,
                or of one package's folder.
            root: the store's folder, for a name.
            threads: of the runtime; 0 is one a CPU of the process, at most 4.
            isolated: run the models in processes of their own, so that one which crashes or hangs
                is a failed run and not the end of the application. Its arrays are copied twice.
            max_run_s: how long an isolated run may take before its process is ended.

        Raises:
            NoPackage: there is none.
            CannotRun: neither its model nor a twin can be opened.
        """
        return cls(StablePath(path_or_name, root), threads, max_run_s if isolated else None)

    def __enter__(self) -> GuardedModel:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    @property
    def package_id(self) -> str:
        """Of the package that answers."""
        return self._guard.package.package_id

    @property
    def manifest(self) -> Manifest:
        """Of the package that answers: its version, and the names and shapes of its tensors."""
        return self._guard.package.manifest

    @property
    def trouble(self) -> Optional[Trouble]:
        """Why the model is given up and only its twin answers; None while it is not."""
        return self._guard.trouble

    @property
    def parity(self) -> Optional[Parity]:
        """How its golden outputs compared at `open`; None where the rule does not ask for that.

        Its `values` is 0 where the package has none for the kernels that compute here; then there
        is nothing to fall back for.
        """
        return self._guard.parity

    def run(self, inputs: Inputs) -> Answer:
        """Run once.

        Args:
            inputs: numpy arrays by the names of the manifest's inputs, or in their order. Real
                numbers, whether or not the model stores its inputs quantized; stored values, in the
                dtype of a quantized input, are taken as such.

        Raises:
            CannotRun: the model did not answer, and nothing may or can stand in for it.
            ValueError: an array is missing, or has another size or dtype than the input.
        """
        return self._guard.run(inputs)

    def run_picture(self, picture: Array) -> Answer:
        """Run once from a decoded picture to the answer, all as the package declares it.

        That is the code that its calibration ran, and that `edgesdk bench` times.

        Args:
            picture: uint8 of shape (height, width, 3), RGB; (height, width) will do for a model of
                gray pictures.

        Returns:
            The outputs are those of `device_agent.preprocessing.Postprocessing`.

        Raises:
            CannotRun: as `run`.
            ValueError: the package declares no preprocessing, or it is no such picture.
        """
        return self._guard.run_picture(picture)

    def changed(self) -> bool:
        """Whether another package is current now; one look at a link.

        False where the link is gone: there is nothing to change to.
        """
        return self._place.current_id() not in ("", self.package_id)

    def wait(self, timeout_s: Optional[float] = None, every_s: float = LOOK_EVERY_S) -> bool:
        """Wait until another package is current.

        Args:
            timeout_s: give up after this long; None never does.
            every_s: how often to look.

        Returns:
            Whether it is; False when the time is up.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.changed():
            left = every_s if end is None else min(every_s, end - time.monotonic())
            if left <= 0:
                return False
            time.sleep(left)
        return True

    def watch(self, every_s: float = LOOK_EVERY_S) -> Iterator[str]:
        """Never ends; gives the id of each package that becomes current, once, as it does."""
        seen = self.package_id
        while True:
            found = self._place.current_id()
            if found not in ("", seen):
                seen = found
                yield found
            else:
                time.sleep(every_s)

    def reload(self) -> None:
        """Open the package that is current now, and only then let the old one go.

        For that moment both are in memory. On the same package it tries a model again that was
        given up.

        Raises:
            NoPackage: as `open`; the old package goes on answering.
            CannotRun: likewise.
        """
        guard = self._open()
        self._guard.close()
        self._guard = guard

    def close(self) -> None:
        """Let the models go and write the counts; twice is fine."""
        self._guard.close()

    def _open(self) -> Guard:
        return Guard(self._place.package(), self._threads, self._max_run_s)
