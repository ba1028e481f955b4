"""Every model on every target: converted, packaged and, where there are devices, measured.

Each cell is one task for any `concurrent.futures` executor: processes of this machine unless given,
or `distributed.Client(...).get_executor()` for a cluster of Dask's. Tasks and results are plain
values, and a cell that fails is one, too. On a cluster, paths mean what they mean on the machine
that has the task: models, data and results lie on a file system that all of them see.

    OUT/MODEL/TARGET/...        as `edgesdk.flows.deploy_many` has it

Ctrl-C, or a polite kill, begins no more cells and ends those that processes of ours are at work
with; what became of each is in the `SweepHalted` that is raised then.
"""

from __future__ import annotations

import functools
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed, wait
from dataclasses import dataclass, field
from pathlib import Path

from edgesdk.convert.conversion import Conversion
from edgesdk.data.preprocessing import Postprocessing, Preprocessing
from edgesdk.devices import inventory
from edgesdk.devices.inventory import Device
from edgesdk.devices.selection import select
from edgesdk.errors import EdgeSDKError, ExitCode, Interrupted, UsageError
from edgesdk.flows.convert import convert
from edgesdk.flows.deploy import Order
from edgesdk.flows.deploy_many import Manner, deploy_many
from edgesdk.flows.package import Signing, package
from edgesdk.flows.pool import PATIENCE_S, born_deaf, processes, unless_ended
from edgesdk.flows.signing import ensure_signer
from edgesdk.interruption import Halted, Signalled, signal_of
from edgesdk.targets.loading import load_target
from edgesdk.values.forecast import accelerated_fraction
from edgesdk.values.outcome import Problem, gravest, problem_of
from edgesdk.values.package import Package
from edgesdk.values.recipe import Recipe
from edgesdk.values.sweep import Made, Measured, Swept, measured
from edgesdk.values.timing import Timing

Say = Callable[[str], None]


class SweepHalted(Halted):
    """Ctrl-C in the middle of a sweep.

    Args:
        cells: what became of each, in their order; with an `Interrupted` where it is unfinished.
    """

    def __init__(self, cells: tuple[Swept, ...], signal_number: int) -> None:
        super().__init__(signal_number)
        self.cells = cells


@dataclass(frozen=True, slots=True)
class Cell:
    """What is to be done: one model on one target; the task, as it travels.

    Args:
        model: path of the float model, or "module:function".
        target: a target id, or the path of a descriptor.
        calibration: as for `convert`, as text.
        folder: for what is made.
        devices: a selection of devices to deploy to; "" for none.
        dataset: labelled data for those; None measures no accuracy.
        wait_s: how long to wait for a device that another cell, or someone else, has.
    """

    model: str
    target: str
    calibration: str
    folder: str
    recipe: Recipe = Recipe()
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    postprocessing: Postprocessing | None = None
    unsigned: bool = False
    devices: str = ""
    dataset: str | None = None
    seconds: float = 3.0
    wait_s: float = 0.0


def sweep(
    models: Sequence[Path | str],
    targets: Sequence[str],
    calibration: str | Sequence[str],
    output: Path | str,
    *,
    recipe: Recipe | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    preprocessing: Preprocessing | None = None,
    postprocessing: Postprocessing | None = None,
    devices: str = "",
    dataset: str | None = None,
    seconds: float = 3.0,
    wait_s: float = 3600.0,
    unsigned: bool = False,
    executor: Executor | None = None,
    jobs: int = 1,
    watch: Callable[[Swept], None] = lambda _: None,
    say: Say = lambda _: None,
) -> tuple[Swept, ...]:
    """Bring every model to every target.

    Args:
        models: as for `convert`, each a path or "module:function".
        targets: target ids, or paths of descriptors.
        calibration: one source for all models, or one for each in their order.
        output: folder for the results.
        preprocessing: what makes inputs of pictures, for all models.
        postprocessing: what makes results of outputs, for all models.
        devices: a selection; each is measured with the models for the target it is enrolled as.
        dataset: labelled data for them.
        seconds: least time spent in each model on each device.
        wait_s: how long a cell waits for a device, which others of its target use as well.
        unsigned: sign no package, for devices of a lab.
        executor: runs the cells.
        jobs: processes, where no executor is given.
        watch: told each cell as it ends.
        say: told that a first key was made.

    Returns:
        One for each model and target, the targets of the first model first. What failed says why.

    Raises:
        UsageError: the models, targets and data do not go together.
        TargetError: there is no such target.
        UnknownDevice: the selection means none.
        SweepHalted: it was interrupted, and says what became of each.
    """
    found = select(inventory.load(inventory.default_path()), devices) if devices else ()
    cells = [
        Cell(
            model=str(model),
            target=target,
            calibration=data,
            folder=str(folder),
            recipe=recipe or Recipe(),
            input_shapes=dict(input_shapes or {}),
            preprocessing=preprocessing,
            postprocessing=postprocessing,
            unsigned=unsigned,
            devices=_of_target(found, target),
            dataset=dataset,
            seconds=seconds,
            wait_s=wait_s,
        )
        for model, data, folder in _models(models, calibration, Path(output))
        for target in _distinct(targets, "target")
    ]
    if not unsigned:
        ensure_signer(say)  # Before the cells would each make a first one.
    if executor is not None:
        return _Sweep(cells, executor, carry_out, watch).run()
    task = functools.partial(unless_ended, carry_out, ended=_unfinished)
    with processes(jobs) as pool:
        return _Sweep(cells, pool.executor, task, watch, pool.end).run()


def carry_out(cell: Cell) -> Swept:
    """One cell, where the executor has it. Never raises one of our errors."""
    began_s = time.monotonic()
    try:
        made, devices = _made(cell), _deployed(cell)
    except (EdgeSDKError, OSError) as error:
        return _failed(cell, problem_of(error), time.monotonic() - began_s)
    exit_code = gravest([each.exit_code for each in devices])
    elapsed_s = time.monotonic() - began_s
    return Swept(cell.model, cell.target, made, None, devices, exit_code, elapsed_s)


def _models(
    models: Sequence[Path | str], calibration: str | Sequence[str], output: Path
) -> Iterator[tuple[str, str, Path]]:
    """Each model, its data and its folder."""
    names = [str(model) for model in models]
    sources = [calibration] * len(names) if isinstance(calibration, str) else list(calibration)
    if len(sources) != len(names):
        raise UsageError(
            f"found {len(sources)} sources of calibration data for {len(names)} models, expected "
            "one, or one for each"
        )
    folders = _distinct([_folder_name(name) for name in names], "name of a model's folder")
    for name, source, folder in zip(names, sources, folders, strict=True):
        yield name, source, output / folder


def _folder_name(model: str) -> str:
    return model.replace(":", ".") if ":" in model else Path(model).stem


def _distinct(texts: Sequence[str], what: str) -> Sequence[str]:
    twice = [text for text, count in Counter(texts).items() if count > 1]
    if twice or not texts:
        found = f"the {what} {twice[0]!r} twice" if twice else f"no {what}"
        raise UsageError(f"found {found}, expected each once, and one at least")
    return texts


def _of_target(devices: Sequence[Device], target: str) -> str:
    kind = load_target(target).id
    return ",".join(each.name for each in devices if load_target(each.target).id == kind)


class _Sweep:
    """The cells at work, and what became of the others.

    Args:
        task: what the executor does with each.
        end: has the executor end those at work.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        executor: Executor,
        task: Callable[[Cell], Swept],
        watch: Callable[[Swept], None],
        end: Callable[[], None] = lambda: None,
    ) -> None:
        self._cells = cells
        self._executor = executor
        self._task = task
        self._watch = watch
        self._end = end
        self._futures: dict[Future[Swept], int] = {}
        self._ended: dict[int, Swept] = {}

    def run(self) -> tuple[Swept, ...]:
        """Until all have ended.

        Raises:
            SweepHalted: a signal came.
        """
        try:
            with born_deaf():
                for index, cell in enumerate(self._cells):
                    self._futures[self._begun(cell)] = index
            for future in as_completed(self._futures):
                self._take(future)
        except (KeyboardInterrupt, Signalled) as error:
            raise self._halted(signal_of(error)) from None
        finally:
            for future in self._futures:
                future.cancel()
        return tuple(self._ended[index] for index in range(len(self._cells)))

    def _begun(self, cell: Cell) -> Future[Swept]:
        """A task; one that has failed where those before it have broken the executor already."""
        try:
            return self._executor.submit(self._task, cell)
        except BrokenExecutor as error:
            lost: Future[Swept] = Future()
            lost.set_exception(error)
            return lost

    def _take(self, future: Future[Swept]) -> None:
        index = self._futures[future]
        self._ended[index] = _ended(future, self._cells[index])
        self._watch(self._ended[index])

    def _halted(self, signal_number: int) -> SweepHalted:
        """End those at work, and say what became of all."""
        self._end()
        begun = {
            future: index
            for future, index in self._futures.items()
            if index not in self._ended and not future.cancel()
        }
        done, _ = wait(begun, PATIENCE_S)
        for future in done:
            if future.exception() is None:
                self._take(future)
        for index, cell in enumerate(self._cells):
            if index not in self._ended:
                self._ended[index] = _unfinished(cell, index in begun.values(), signal_number)
                self._watch(self._ended[index])
        ended = tuple(self._ended[index] for index in range(len(self._cells)))
        return SweepHalted(ended, signal_number)


def _unfinished(cell: Cell, began: bool, signal_number: int = signal.SIGINT) -> Swept:
    """What became of a cell that was interrupted."""
    when = "at work" if began else "before its turn came"
    return _failed(cell, problem_of(Interrupted(signal_number, f"interrupted {when}")), 0.0)


def _ended(future: Future[Swept], cell: Cell) -> Swept:
    """What a task returned; where it did not, its machine or process died, or we have a defect."""
    error = future.exception()
    if error is None:
        return future.result()
    message = (
        f"the task of {cell.model} for {cell.target} was lost: {error or type(error).__name__}"
    )
    hint = "is there enough memory where it ran? If so, this is a defect of edgesdk: report it"
    problem = Problem(type(error).__name__, message, hint, (), int(ExitCode.TOOLCHAIN))
    return _failed(cell, problem, 0.0)


def _failed(cell: Cell, problem: Problem, elapsed_s: float) -> Swept:
    return Swept(cell.model, cell.target, None, problem, (), problem.exit_code, elapsed_s)


def _made(cell: Cell) -> Made:
    folder = Path(cell.folder) / load_target(cell.target).id
    folder.mkdir(parents=True, exist_ok=True)
    conversion = convert(
        cell.model,
        cell.target,
        cell.calibration,
        folder / "artifact",
        recipe=cell.recipe,
        input_shapes=cell.input_shapes,
        preprocessing=cell.preprocessing,
    )
    sealed = package(
        folder / "artifact",
        folder / f"{Path(cell.folder).name}.edgepkg",
        preprocessing=cell.preprocessing,
        postprocessing=cell.postprocessing,
        signing=Signing(unsigned=cell.unsigned),
    )
    return _told(conversion, sealed)


def _told(conversion: Conversion, sealed: Package) -> Made:
    artifact = conversion.artifact
    compared = [each.sqnr_db for each in artifact.tensor_errors if each.sqnr_db is not None]
    return Made(
        package=str(sealed.path),
        package_id=sealed.manifest.package_id,
        float_bytes=artifact.file("float").size_bytes,
        model_bytes=artifact.loaded_bytes,
        package_bytes=sealed.size_bytes,
        worst_sqnr_db=min(compared, default=None),
        accelerated_fraction=accelerated_fraction(artifact.forecast),
    )


def _deployed(cell: Cell) -> tuple[Measured, ...]:
    """The conversion is found as it was just made."""
    if not cell.devices:
        return ()
    order = Order(
        model=cell.model,
        calibration=cell.calibration,
        dataset=cell.dataset,
        recipe=cell.recipe,
        input_shapes=cell.input_shapes,
        preprocessing=cell.preprocessing,
        postprocessing=cell.postprocessing,
        signing=Signing(unsigned=cell.unsigned),
    )
    timing = Timing(min_seconds=cell.seconds, max_seconds=max(60.0, cell.seconds))
    manner = Manner(timing=timing, wait_s=cell.wait_s)
    ended = deploy_many(cell.devices, order, cell.folder, manner=manner)
    return tuple(measured(each) for each in ended)
