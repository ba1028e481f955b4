"""One package under guard: its model, the twin that stands in for it, and the rule between them.

The model is checked when it is opened: the hashes of its files, that it loads, and its golden
outputs where the rule says so. What fails there stays failed until the package is opened again. A
failed run is another matter: the next one tries again, up to `FAILED_RUNS` in a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Optional, Sequence, Tuple

from device_agent import fallbacks, runtimes
from device_agent.durable import has_content
from device_agent.manifest import File
from device_agent.model_hosts import Host, HostFailed, open_host
from device_agent.model_messages import Parity
from device_agent.private_runtimes import folders_for
from device_agent.stable_path import PackageFolder
from device_agent.worker_messages import Load

if TYPE_CHECKING:
    from device_agent.runtimes.base import Array
    from device_agent.runtimes.guarding import Inputs
    from device_agent.runtimes.picture_runs import PictureRuns

FAILED_RUNS = 3
"""In a row; after them the model is given up."""

MODEL = "model"

_CAUSES = {
    fallbacks.LOAD_FAILED: "load",
    fallbacks.RUN_FAILED: "load",
    fallbacks.PARITY_FAILED: "parity",
    fallbacks.OUT_OF_DISTRIBUTION: "ood",
}
"""Of `manifest.FALLBACK_CAUSES`, for each reason to fall back."""


class CannotRun(Exception):
    """The model did not run, and nothing may or can stand in for it."""


class Answer(NamedTuple):
    """The outputs of one run.

    Args:
        outputs: in the manifest's order; float32 where the model stores them quantized.
        model: which file they are from: "model", or the fallback's role, "float" or "twin".
        reason: why it was not the model, one of `fallbacks.REASONS`; "" where it was.
        detail: the same in words.
    """

    outputs: Tuple[Array, ...]
    model: str
    reason: str = ""
    detail: str = ""


class Trouble(NamedTuple):
    """Why the model does not answer."""

    reason: str
    detail: str


class Guard:
    """An opened package.

    Args:
        package: where it lies.
        threads: of the runtime; 0 is one a CPU of the process, at most 4.
        max_run_s: None runs the models in this process. Otherwise each gets a process of its own,
            which is ended where one run takes longer than that.

    Attributes:
        trouble: why the model is given up, from the start or by now; None while it is not.
        parity: the model's golden outputs; None where the rule does not ask for them.

    Raises:
        CannotRun: neither the model nor, where the rule has one, its twin can be opened.
    """

    def __init__(self, package: PackageFolder, threads: int, max_run_s: Optional[float]) -> None:
        self.package = package
        self.trouble: Optional[Trouble] = None
        self.parity: Optional[Parity] = None
        self._threads = threads
        self._max_run_s = max_run_s
        self._failed_runs = 0
        self._model: Optional[Host] = None
        self._twin: Optional[Host] = None
        self._pictures: Optional[PictureRuns] = None
        self._counter = fallbacks.Counter(package.root, package.package_id)
        try:
            self._open_model()
            if self.trouble is not None:
                self._open_twin(self.trouble)
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Inputs) -> Answer:
        """As `guarded.GuardedModel.run`."""
        from device_agent.runtimes import guarding

        arrays = guarding.in_order(inputs, self.package.manifest.inputs)
        trouble = self.trouble or self._oddity(arrays)
        if trouble is None:
            try:
                return Answer(self._run_model(arrays), MODEL)
            except HostFailed as error:
                trouble = Trouble(fallbacks.RUN_FAILED, str(error))
                self._note_failure(trouble)
        return self._fall_back(trouble, arrays)

    def run_picture(self, picture: Array) -> Answer:
        """As `guarded.GuardedModel.run_picture`."""
        from device_agent.runtimes.picture_runs import PictureRuns

        if self._pictures is None:
            self._pictures = PictureRuns(self.package.manifest)
        answer = self.run([self._pictures.input(picture)])
        return answer._replace(outputs=self._pictures.answer(answer.outputs))

    def close(self) -> None:
        """Let both models go and write the counts; twice is fine."""
        for host in filter(None, (self._model, self._twin)):
            host.close()
        self._model = self._twin = None
        self._counter.flush()

    def _open_model(self) -> None:
        manifest = self.package.manifest
        try:
            model = self._open(MODEL, manifest.compatibility.runtime)
        except HostFailed as error:
            self.trouble = Trouble(fallbacks.LOAD_FAILED, str(error))
            return
        self._model = model
        self._check_parity(model)
        if self.trouble is not None:
            model.close()
            self._model = None

    def _check_parity(self, model: Host) -> None:
        rule = self.package.manifest.fallback
        if rule is None or "parity" not in rule.when:
            return
        try:
            self._verify("golden")
            self.parity = model.compare()
        except HostFailed as error:
            died = not model.alive
            reason = fallbacks.LOAD_FAILED if died else fallbacks.PARITY_FAILED
            self.trouble = Trouble(reason, str(error))
            return
        self._judge(self.parity, rule.max_parity_mismatch_percent)

    def _judge(self, parity: Parity, most_percent: float) -> None:
        """None of the values is compared where the golden outputs are of other kernels."""
        percent = 100.0 * parity.beyond_one_step / max(1, parity.values)
        if percent > most_percent:
            self.trouble = Trouble(
                fallbacks.PARITY_FAILED,
                f"found {percent:.3g} percent of the golden output values more than one step off "
                f"on {parity.kernel_path}, expected at most {most_percent:g}",
            )

    def _run_model(self, arrays: Sequence[Array]) -> Tuple[Array, ...]:
        if self._model is None or not self._model.alive:
            self._model = self._open(MODEL, self.package.manifest.compatibility.runtime)
        outputs = self._outputs(self._model, arrays)
        self._failed_runs = 0
        return outputs

    def _note_failure(self, trouble: Trouble) -> None:
        self._failed_runs += 1
        if self._failed_runs < FAILED_RUNS:
            return
        self.trouble = trouble
        if self._model is not None:
            self._model.close()
            self._model = None

    def _oddity(self, arrays: Sequence[Array]) -> Optional[Trouble]:
        from device_agent.runtimes import guarding

        manifest = self.package.manifest
        if manifest.fallback is None:
            return None
        words = guarding.odd(arrays, manifest.inputs, manifest.fallback.inputs)
        return None if words is None else Trouble(fallbacks.OUT_OF_DISTRIBUTION, words)

    def _fall_back(self, trouble: Trouble, arrays: Sequence[Array]) -> Answer:
        try:
            outputs = self._run_twin(trouble, arrays)
        except HostFailed as error:
            raise CannotRun(f"{trouble.detail}; nor did the fallback run: {error}") from error
        self._counter.add(trouble.reason)
        assert self.package.manifest.fallback is not None
        return Answer(outputs, self.package.manifest.fallback.role, *trouble)

    def _run_twin(self, trouble: Trouble, arrays: Sequence[Array]) -> Tuple[Array, ...]:
        """Nothing stands in for the twin: where its process is gone, it gets another one."""
        twin = self._open_twin(trouble)
        try:
            return self._outputs(twin, arrays)
        except HostFailed:
            if twin.alive:
                raise
        return self._outputs(self._open_twin(trouble), arrays)

    def _open_twin(self, trouble: Trouble) -> Host:
        rule = self.package.manifest.fallback
        if rule is None or _CAUSES[trouble.reason] not in rule.when:
            raise CannotRun(f"{trouble.detail}; the package has no fallback for that")
        if self._twin is None or not self._twin.alive:
            try:
                self._twin = self._open(rule.role, rule.runtime)
            except HostFailed as error:
                raise CannotRun(f"{trouble.detail}; nor does the fallback load: {error}") from error
        return self._twin

    def _outputs(self, host: Host, arrays: Sequence[Array]) -> Tuple[Array, ...]:
        from device_agent.runtimes import guarding

        made_for = self.package.manifest.inputs
        return guarding.real(host.run(guarding.stored(arrays, made_for, host.inputs)), host.outputs)

    def _open(self, role: str, runtime: str) -> Host:
        """Raises HostFailed also where a file is not as the manifest says."""
        manifest = self.package.manifest
        file = self._verify(role)
        if role == MODEL and manifest.file("companion") is not None:
            self._verify("companion")
        same = runtime == manifest.compatibility.runtime
        golden = manifest.file("golden") if role == MODEL else None
        load = Load(
            path=self.package.path(file),
            runtime=runtime,
            runtime_min_version=manifest.compatibility.runtime_min_version if same else "",
            threads=self._threads,
            golden=None if golden is None else self.package.path(golden),
            golden_inputs=manifest.inputs,
            engines=self.package.root + "/engines",
            folders=_stand_in(self.package.root, runtime),
        )
        return open_host(load, self._max_run_s)

    def _verify(self, role: str) -> File:
        file = self.package.manifest.file(role)
        if file is None:
            raise HostFailed(f"the package has no {role!r} file")
        if not has_content(self.package.path(file), file.raw_bytes, file.sha256):
            raise HostFailed(f"{self.package.path(file)} is not as its manifest says")
        return file


def _stand_in(root: str, runtime: str) -> Tuple[str, ...]:
    """Folders of the agent's own runtime, for an application whose Python has none of its own."""
    if any(found.runtime == runtime for found in runtimes.discover()):
        return ()
    return folders_for(root, runtime)
