"""The wire between workstation and agent: JSON lines over the SSH channel's stdin and stdout.

The agent first prints a line with the marker its caller chose, so that noise from login scripts
cannot be mistaken for an answer. Then each message is one line: {"type": NAME, "body": {...}}.
A message whose body has `payload_bytes` is followed by exactly that many raw bytes.

The host asks, the agent answers with the reply named in the request's docstring, with any number of
`Progress` before it, or with `Failure` instead of it. A `Failure` may come before the payload is
all sent; the agent then swallows the rest. Unknown fields are ignored; what both sides understand
is settled by `Hello` and `Welcome`.
"""

from __future__ import annotations

from dataclasses import field
from typing import Dict, Optional, Tuple

from device_agent.lease_messages import LEASE_MESSAGES
from device_agent.manifest import Port
from device_agent.measuring_messages import Conditions, Sustain, Sustained, Turn, Window
from device_agent.output_messages import OUTPUT_MESSAGES
from device_agent.preprocessing import Stages
from device_agent.profile_messages import ModelPlacement, Profile, Profiled, ReadPlacement
from device_agent.records import record
from device_agent.runtime_messages import RUNTIME_MESSAGES
from device_agent.stage_messages import STAGE_MESSAGES

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1


class ErrorCode:
    """Machine-readable causes in `Failure.code`."""

    PROTOCOL = "protocol"
    BAD_REQUEST = "bad_request"
    CORRUPT_PACKAGE = "corrupt_package"
    INCOMPATIBLE = "incompatible"
    UNTRUSTED = "untrusted"
    EXPIRED = "expired"
    DOWNGRADE = "downgrade"
    BASE_MISSING = "base_missing"
    RESUME_FAILED = "resume_failed"
    DELTA_FAILED = "delta_failed"
    UNHEALTHY = "unhealthy"
    NO_PREVIOUS = "no_previous"
    OVER_BUDGET = "over_budget"
    DISK_FULL = "disk_full"
    STORAGE = "storage"
    NOT_INSTALLED = "not_installed"
    NO_RUNTIME = "no_runtime"
    RUNTIME_FAILED = "runtime_failed"
    WORKER_DIED = "worker_died"
    HUNG = "hung"
    OUT_OF_MEMORY = "out_of_memory"
    BUSY = "busy"
    INTERNAL = "internal"

    WORKER_GONE = (WORKER_DIED, HUNG, OUT_OF_MEMORY)
    """Those after which the worker they are of is no more."""


PRIVATE = "private"
"""Source of a runtime that is the agent's own (`device_agent.private_runtimes`)."""


@record(frozen=True)
class RuntimeVersion:
    """A runtime the device has.

    Args:
        runtime: one of `manifest.RUNTIMES`.
        package: the distribution it comes from, e.g. "ai-edge-litert"; "trtexec" where TensorRT is
            there without the Python module that is needed to run anything.
        version: of that distribution, or "unknown".
        source: `PRIVATE` where it is the agent's own, "" where it is the Python's.
    """

    runtime: str
    package: str
    version: str
    source: str = ""


@record(frozen=True)
class Accelerators:
    """What the device has beside its CPU, by what its system says; "" where it says nothing.

    Args:
        soc: family, machine and id of the chip, as /sys/devices/soc0 gives them.
        l4t: release of Jetson Linux, such as "36.4.3".
        cuda: release of the CUDA toolkit.
        tensorrt: release of the TensorRT library.
        edge_tpus: attached Edge TPUs: "usb" or "pcie" for each.
    """

    soc: str = ""
    l4t: str = ""
    cuda: str = ""
    tensorrt: str = ""
    edge_tpus: Tuple[str, ...] = ()


@record(frozen=True)
class Environment:
    """What the device is, as far as it can be read without privileges.

    None, or "" for a text, where it cannot.

    Args:
        boot_id: what Linux draws anew at each start.
    """

    hostname: str
    machine: str
    system: str
    kernel: str
    libc: str
    python: str
    cpu_model: str
    cpu_count: int
    memory_total_bytes: Optional[int]
    memory_available_bytes: Optional[int]
    disk_free_bytes: Optional[int]
    governor: Optional[str]
    max_clock_hz: Optional[int]
    board: Optional[str]
    runtimes: Tuple[RuntimeVersion, ...]
    accelerators: Accelerators = Accelerators()
    boot_id: str = ""


@record(frozen=True)
class Hello:
    """Host to agent, first message. Reply: `Welcome`.

    Args:
        time_s: the host's clock, in seconds since 1970; 0 where it says nothing. Boards without a
            battery wake up in 1970: no earlier time than this is believed of the device's own.
    """

    protocol_min: int
    protocol_max: int
    host_version: str
    time_s: int = 0


@record(frozen=True)
class TrustState:
    """Whom the device believes.

    Args:
        document: canonical JSON of its trust; "" where it has none.
        lab: it may take unsigned packages when asked to.
    """

    document: str
    lab: bool


@record(frozen=True)
class Welcome:
    """The protocol both sides speak from here on, and the device.

    Args:
        trust: whom the device believes; None where its store cannot be used, and `GetTrust` says
            why.
    """

    protocol: int
    agent_version: str
    environment: Environment
    trust: Optional[TrustState] = None


@record(frozen=True)
class Offer:
    """May this package be installed? Its head follows as payload. Reply: `Offered`.

    All that can be judged without the rest is judged here: signatures, sequence, expiry, the
    device's fitness, budgets, room on the disk. `Failure` "base_missing" asks for the full package.

    Args:
        allow_unsigned: the user said so; a device of a lab may take it.
        override: armored signature of an `Override`; "" without one.
    """

    payload_bytes: int
    allow_unsigned: bool = False
    override: str = ""


@record(frozen=True)
class Offered:
    """It may.

    Args:
        package_id: of the package it makes.
        already: it is on the device, whole; nothing need travel.
        resume_at: offset in the package file from where its bytes are wanted.
        signed_by: name of the key that signed it; "" where it is unsigned.
        expiry: "none", "valid", or "unknown" where the device's clock cannot be believed.
    """

    package_id: str
    already: bool
    resume_at: int
    signed_by: str
    expiry: str


@record(frozen=True)
class Install:
    """The bytes of the package just offered follow as payload. Reply: `Installed`, on trial.

    With `commit`, what `Commit` does follows at once, and its reply is the only one.

    They begin where `Offered.resume_at` says. Without a payload, for a package that is there.
    `Failure` "resume_failed" asks for another `Offer`: what had come before was damaged, and is
    gone.
    """

    package_id: str
    payload_bytes: int
    commit: bool = False


@record(frozen=True)
class Installed:
    """A package on the device, every file verified and durable.

    Args:
        target: id of the target it was converted for.
        runtime: one of `manifest.RUNTIMES`.
        runtime_min_version: lowest version of that runtime.
        installed_bytes: size of its files.
        already: it had been there before; nothing was written.
        state: "trial": nobody uses it yet. "current", "previous".
        sequence: its place among the packages of its name.
        signed_by: name of the key that signed it; "" where it is unsigned.
        fallbacks: runs that the guarded runner gave to the fallback model, by reason.
        stages: what it declares of pictures and answers; None where it does not.
    """

    package_id: str
    name: str
    version: str
    target: str
    runtime: str
    runtime_min_version: str
    installed_bytes: int
    already: bool
    state: str = "current"
    sequence: int = 0
    signed_by: str = ""
    fallbacks: Dict[str, int] = field(default_factory=dict)
    stages: Optional[Stages] = None


@record(frozen=True)
class Commit:
    """Check the health of the package on trial and make it the current one. Reply: `Committed`.

    Where it is not healthy, `Failure` "unhealthy": the trial is over and the device is as before.
    So it is when the session ends without this message.
    """

    package_id: str


@record(frozen=True)
class Health:
    """What the health check saw; None where the package asks for no such thing.

    Args:
        parity_mismatch_percent: golden values more than a step off; None, too, where the package
            has none for the kernels that compute here.
        latency_ns: of the median inference.
        runs: that latency is of.
        command_status: exit status of the user's command.
    """

    parity_mismatch_percent: Optional[float] = None
    latency_ns: Optional[int] = None
    runs: int = 0
    peak_rss_bytes: Optional[int] = None
    command_status: Optional[int] = None


@record(frozen=True)
class Committed:
    """The package is the current one of its name.

    Args:
        already: it had been; nothing was checked or changed.
        previous: id of the package that `Rollback` would bring back; "" without one.
        health: None where nothing was checked.
    """

    installed: Installed
    already: bool
    previous: str
    health: Optional[Health] = None


@record(frozen=True)
class Rollback:
    """Make the previous package the current one again. Reply: `Installed`.

    Args:
        name: of the package; "" is the one that was committed last.
    """

    name: str = ""


@record(frozen=True)
class Current:
    """Which package is the current one? Reply: `Installed`, or `Failure` "not_installed".

    Args:
        name: of the package; "" is the one that was committed last.
    """

    name: str = ""


@record(frozen=True)
class ListInstalled:
    """Everything on the device. Reply: `Inventory`."""


@record(frozen=True)
class Damaged:
    """A package of the device that cannot be read any more, or is gone.

    Args:
        state: as of `Installed`; "" where nothing needs it.
        problem: what is wrong with it.
    """

    package_id: str
    state: str
    problem: str


@record(frozen=True)
class Inventory:
    """The packages on the device, current ones first.

    Args:
        active: name of the package that was committed last; "" without one.
        damaged: those whose manifest cannot be read. That the files of the others are whole is
            seen when they are used.
    """

    packages: Tuple[Installed, ...]
    active: str
    damaged: Tuple[Damaged, ...] = ()


@record(frozen=True)
class Inspect:
    """What is the device in detail, and what was its package made with?

    Reply: `inspection_messages.Inspection`, a module that only whoever asks waits for.

    Args:
        package: name of the package; "" is the one that was committed last.
    """

    package: str = ""


@record(frozen=True)
class SignedTrust:
    """One version of the trust.

    Args:
        document: canonical JSON of a `device_agent.trust.Trust`.
        signatures: armored signatures of it.
    """

    document: str
    signatures: str


@record(frozen=True)
class GetTrust:
    """Whom does the device believe? Reply: `TrustState`."""


@record(frozen=True)
class ChangeTrust:
    """Take over newer versions of the trust, each signed by the one before. Reply: `TrustState`.

    On a device without trust, which was never enrolled, the last version counts as its first.

    Args:
        lab: of a device without trust: it may take unsigned packages when asked to.
    """

    versions: Tuple[SignedTrust, ...]
    lab: bool = False


@record(frozen=True)
class GetChallenge:
    """A number for this session, for the next `Override` or `LabMode`. Reply: `Challenge`."""


@record(frozen=True)
class Challenge:
    """The number, as hex."""

    nonce: str


@record(frozen=True)
class Override:
    """Not a message: what is signed to allow one downgrade, once.

    Args:
        package_id: of the package that may be installed although its sequence is too low.
        nonce: of the device's `Challenge`, so that it holds on this device in this session only.
    """

    package_id: str
    nonce: str


@record(frozen=True)
class SetLab:
    """Become a device of a lab, which may take unsigned packages, or stop being one.

    Reply: `TrustState`.

    Args:
        signatures: armored signatures of a `LabMode`, by `threshold` keys of the device's trust.
    """

    lab: bool
    signatures: str


@record(frozen=True)
class LabMode:
    """Not a message: what is signed to change the lab mode of one device, once.

    Args:
        nonce: of the device's `Challenge`, so that it holds on this device in this session only.
    """

    lab: bool
    nonce: str


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


@record(frozen=True)
class Progress:
    """How far a request is, in units of its own choosing; a total of 0 is one nobody knows."""

    done: int
    total: int
    what: str


@record(frozen=True)
class Failure:
    """Instead of the reply: what was found and expected, and what to do.

    Args:
        hint: "DEVICE" stands for what the host calls this device.
    """

    code: str
    message: str
    hint: str = ""


@record(frozen=True)
class Goodbye:
    """Host to agent: end the session. No reply; closing stdin does the same."""


MESSAGES = {
    message.__name__: message
    for message in (
        Hello,
        Welcome,
        Offer,
        Offered,
        Install,
        Installed,
        Commit,
        Committed,
        Rollback,
        Current,
        ListInstalled,
        Inventory,
        Inspect,
        GetTrust,
        ChangeTrust,
        TrustState,
        GetChallenge,
        Challenge,
        SetLab,
        Stage,
        Staged,
        OpenModel,
        Opened,
        Bench,
        Benched,
        Sustain,
        Window,
        Sustained,
        Predict,
        Predicted,
        CheckParity,
        Parity,
        ReadPlacement,
        ModelPlacement,
        Profile,
        Profiled,
        Progress,
        Failure,
        Goodbye,
        *STAGE_MESSAGES,
        *LEASE_MESSAGES,
        *OUTPUT_MESSAGES,
        *RUNTIME_MESSAGES,
    )
}
