"""Messages of models: to load and time them, and to run samples (`device_agent.protocol`)."""

from __future__ import annotations

from typing import Optional, Tuple

from device_agent.environment_messages import RuntimeVersion
from device_agent.manifest import Port
from device_agent.measuring_messages import Conditions, Turn
from device_agent.records import record


@record(frozen=True)
class Stage:
    """A file for this session only follows as payload (e.g. the float model). Reply: `Staged`."""

    name: str
    sha256: str
    payload_bytes: int


@record(frozen=True)
class Staged:
    """The file lies in the session's scratch folder and goes when the session ends."""

    name: str


@record(frozen=True)
class OpenModel:
    """Load a model in a worker process of its own. Reply: `Opened`.

    The session measures from here to its end; while another one does, `Failure` "busy".

    Args:
        key: name for later requests of this session, e.g. "int8".
        package_id: load this installed package's file with role `role` ...
        role: "model" or "float" ...
        staged: ... or this staged file, which has no companion; exactly one of `package_id` and
            `staged` is set.
        runtime: one of `manifest.RUNTIMES`.
        runtime_min_version: refuse an older one.
        threads: intra-operator threads; 0 means one per CPU of the process, at most 4.
        cold: drop the model's file from the device's page cache first.
    """

    key: str
    runtime: str
    runtime_min_version: str
    threads: int
    package_id: Optional[str] = None
    role: Optional[str] = None
    staged: Optional[str] = None
    cold: bool = False


@record(frozen=True)
class Opened:
    """The model is loaded.

    Args:
        kernel_path: which kernels compute: "xnnpack", "builtin", "edgetpu", "cpu", "htp", "gpu" or
            "npu".
        load_ns: from file to ready; the runtime's import, and the building of an engine, excluded.
        baseline_rss_bytes: resident memory with the runtime imported and no model loaded.
        cache_dropped: the file was not in the page cache, as it is after a start of the device;
            None where that was not asked for: it was, since it had just been checked.
    """

    key: str
    runtime: RuntimeVersion
    kernel_path: str
    threads: int
    load_ns: int
    baseline_rss_bytes: Optional[int]
    inputs: Tuple[Port, ...]
    outputs: Tuple[Port, ...]
    cache_dropped: Optional[bool] = None


@record(frozen=True)
class Bench:
    """Time several opened models, taking turns in blocks. Reply: `Benched`.

    The inputs are the first sample sent with `Predict` or, failing that, the first golden vector:
    of the model's package or, for a staged model, of the package this session saw last.

    Args:
        keys: the models, in the order of their turns.
        blocks: turns of each model.
        min_runs: runs of each model over all blocks, at least.
        min_seconds: time spent in each model over all blocks, at least; a block of a very fast
            model may end before its share of it, at 5,000 runs.
        max_seconds: stop a model's turns after this long even if `min_runs` is not reached.
        max_warm_up_seconds: longest warm-up of each model.
    """

    keys: Tuple[str, ...]
    blocks: int
    min_runs: int
    min_seconds: float
    max_seconds: float
    max_warm_up_seconds: float


@record(frozen=True)
class Latency:
    """Raw samples of one model.

    Args:
        samples_ns: wall time of each run by the monotonic clock, in order; inference alone. Each
            turn begins with a few runs that are not timed, to refill the caches.
        block_sizes: how many samples each turn gave.
        warm_up_runs: runs before the first sample.
        steady: the warm-up ended because the latency no longer fell, not because time was up.
        conditions: before, during and after each turn, in order.
        peak_rss_bytes: highest resident memory of the worker process up to the end, since it
            started.
        turns: where each turn lies among the conditions.
    """

    key: str
    samples_ns: Tuple[int, ...]
    block_sizes: Tuple[int, ...]
    warm_up_runs: int
    steady: bool
    conditions: Tuple[Conditions, ...]
    peak_rss_bytes: Optional[int]
    turns: Tuple[Turn, ...] = ()


@record(frozen=True)
class Benched:
    """Reply to `Bench`, one entry a key, in the request's order."""

    latencies: Tuple[Latency, ...]


@record(frozen=True)
class Predict:
    """A batch of samples follows as payload. Reply: `Predicted`.

    The payload is, sample after sample, every float-side input tensor in the model's order, C
    contiguous, little endian, in the dtypes of `dtypes` (quantized inputs are quantized on the
    device). All keys run on the same samples.

    Args:
        keys: the models to run.
        count: samples in this batch.
        dtypes: of the input tensors as sent.
        output: index of the output whose largest element is the prediction.
    """

    keys: Tuple[str, ...]
    count: int
    dtypes: Tuple[str, ...]
    output: int
    payload_bytes: int


@record(frozen=True)
class Predictions:
    """Top-1 class index of each sample of a batch, for one model."""

    key: str
    top1: Tuple[int, ...]


@record(frozen=True)
class Predicted:
    """Reply to `Predict`, one entry a key, in the request's order."""

    predictions: Tuple[Predictions, ...]


@record(frozen=True)
class CheckParity:
    """Run an opened model on its package's golden inputs. Reply: `Parity`."""

    key: str
    package_id: str


@record(frozen=True)
class Parity:
    """Outputs on the device against the golden outputs made with the same kernel path.

    Args:
        kernel_path: the one compared; `values` is 0 when the package has none for it.
        golden_runtime_kernels: the kernel paths the package has expectations for.
        count: golden vectors.
        values: output values compared.
        beyond_one_step: values that differ by more than one quantization step of their output
            (for float outputs: by more than 1/255 of that output's golden range).
        worst_steps: the largest difference in steps.
        top1_changed: golden vectors whose largest first-output element moved.
    """

    kernel_path: str
    golden_runtime_kernels: Tuple[str, ...]
    count: int
    values: int
    beyond_one_step: int
    worst_steps: float
    top1_changed: int


MODEL_MESSAGES = (
    Stage,
    Staged,
    OpenModel,
    Opened,
    Bench,
    Benched,
    Predict,
    Predicted,
    CheckParity,
    Parity,
)
