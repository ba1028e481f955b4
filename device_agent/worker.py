"""A process that runs one model, so that its crash is an answer and not the end of the agent.

It obeys one agent over its stdin and stdout, and ends at once when the agent does.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
import typing
from typing import Any, Callable, Dict, Optional, Sequence, Type

from device_agent import runtimes
from device_agent.channel import Channel, Payload, guard_standard_streams
from device_agent.environment import (
    peak_rss_bytes,
    rss_bytes,
    usable_cpus,
    volunteer_for_the_oom_killer,
)
from device_agent.environment_messages import RuntimeVersion
from device_agent.failures import AgentFailure
from device_agent.manifest import Port, is_at_least
from device_agent.oom import refused_memory
from device_agent.output_messages import Collect
from device_agent.protocol import ErrorCode, Progress
from device_agent.runtimes import BadTensor, LoadedModel, NoRuntime, NotProfiled, RuntimeFailed
from device_agent.stage_messages import (
    ClassifyPictures,
    PrepareStages,
    StagesPrepared,
    StagesTimed,
    TimeStages,
    WarmUpStages,
)
from device_agent.stages import time_stages
from device_agent.timing import settle, sum_up, time_block, time_window, warm_up
from device_agent.worker_messages import (
    REQUESTS,
    Classified,
    Classify,
    Compare,
    Load,
    Loaded,
    Locate,
    Probe,
    Probed,
    Run,
    TimeBlock,
    Timed,
    TimeOperators,
    TimeWindow,
    WarmUp,
)

if typing.TYPE_CHECKING:
    from device_agent.runtimes.stages_under_test import StagesUnderTest
    from device_agent.runtimes.under_test import ModelUnderTest

MAX_THREADS_BY_DEFAULT = 4
_PROGRESS_EVERY_S = 1.0


def main() -> int:
    """Obey until the agent closes our stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    volunteer_for_the_oom_killer()
    read_fd, write_fd = guard_standard_streams()
    channel = Channel(read_fd, write_fd, REQUESTS, on_end=lambda: os._exit(0))
    worker = Worker(channel)
    while True:
        request = channel.receive()
        if request is None:
            return 0
        worker.obey(request)


class Worker:
    """Carries out requests: `Load` once, then any others."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._job: Optional[Job] = None

    def obey(self, request: Any) -> None:
        """Carry out a request and send the reply, or the failure.

        Raises:
            ChannelClosed: the agent is gone.
        """
        payload = self._channel.payload(getattr(request, "payload_bytes", 0))
        try:
            if isinstance(request, Load):
                self._load(request)
            elif isinstance(request, Probe):
                runtime = runtimes.prepare(request.runtime, request.folders, only_there=True)
                self._channel.send(Probed(runtime.version))
            elif isinstance(request, TimeOperators):
                self._time_operators(request)
            elif self._job is None:
                raise AgentFailure(ErrorCode.BAD_REQUEST, "no model is loaded")
            else:
                self._job.carry_out(request, payload)
        except AgentFailure as failure:
            self._channel.send(failure.to_wire())
        except NoRuntime as error:
            self._channel.send(_no_runtime(str(error)).to_wire())
        except RuntimeFailed as error:
            self._channel.send(AgentFailure(ErrorCode.RUNTIME_FAILED, str(error)).to_wire())
        except BadTensor as error:
            self._channel.send(AgentFailure(ErrorCode.BAD_REQUEST, str(error)).to_wire())
        except MemoryError:
            self._channel.send(refused_memory().to_wire())
        payload.skip()

    def _load(self, request: Load) -> None:
        runtime = runtimes.prepare(request.runtime, request.folders)
        # Needs numpy, and only now is numpy known to be there.
        from device_agent.runtimes.under_test import Golden, ModelUnderTest

        require_version(runtime.version, request.runtime_min_version)
        threads = request.threads or default_threads()
        path = runtime.build(request.path, request.engines, self._tell_building)
        baseline = rss_bytes()
        start = time.perf_counter_ns()
        model = runtime.load(path, threads)
        load_ns = time.perf_counter_ns() - start
        golden = Golden(request.golden, request.golden_inputs) if request.golden else None
        self._job = Job(self._channel, model, ModelUnderTest(model, golden))
        self._channel.send(
            Loaded(
                runtime=model.runtime,
                kernel_path=model.kernel_path,
                threads=threads,
                load_ns=load_ns,
                baseline_rss_bytes=baseline,
                inputs=model.inputs,
                outputs=model.outputs,
            )
        )

    def _time_operators(self, request: TimeOperators) -> None:
        load = request.load
        runtime = runtimes.prepare(load.runtime, load.folders)
        # Needs numpy, as above.
        from device_agent.runtimes.profiling import ProfileOrder, not_profiled
        from device_agent.runtimes.under_test import Golden

        def inputs(ports: Sequence[Port]) -> Sequence[Any]:
            if load.golden is None:
                raise BadTensor("the model has no golden vectors to profile it with")
            return Golden(load.golden, load.golden_inputs).read().inputs(ports, 0)

        order = ProfileOrder(
            path=runtime.build(load.path, load.engines, self._tell_building),
            threads=load.threads or default_threads(),
            inputs=inputs,
            runs=request.runs,
            max_seconds=request.max_seconds,
            tell=self._tell_building,
        )
        try:
            self._channel.send(runtime.profile(order))
        except NotProfiled as reason:
            self._channel.send(not_profiled(str(reason)))

    def _tell_building(self, seconds: int, what: str) -> None:
        # Also tells the host, which would give up on a silent agent, that this one is at work.
        self._channel.send(Progress(seconds, 0, what))


class Job:
    """A loaded model and what can be asked of it."""

    def __init__(self, channel: Channel, model: LoadedModel, under_test: ModelUnderTest) -> None:
        self._channel = channel
        self._model = model
        self._under_test = under_test
        self._prepared_stages: Optional[StagesUnderTest] = None
        self._told = time.monotonic()
        self._carries_out: Dict[Type[Any], Callable[[Any, Payload], None]] = {
            WarmUp: self._warm_up,
            TimeBlock: self._time_block,
            TimeWindow: self._time_window,
            Classify: self._classify,
            Run: self._run,
            Compare: self._compare,
            PrepareStages: self._prepare_stages,
            WarmUpStages: self._warm_up_stages,
            TimeStages: self._time_stages,
            ClassifyPictures: self._classify_pictures,
            Collect: self._collect,
            Locate: self._locate,
        }

    def carry_out(self, request: Any, payload: Payload) -> None:
        """Do it and send the reply.

        Raises:
            BadTensor: the data do not fit the model.
            RuntimeFailed: the runtime failed.
        """
        self._carries_out[type(request)](request, payload)

    def _warm_up(self, request: WarmUp, _: Payload) -> None:
        self._under_test.prepare_timing()
        self._channel.send(warm_up(self._model.invoke, request.max_seconds, time.perf_counter_ns))

    def _time_block(self, request: TimeBlock, _: Payload) -> None:
        self._under_test.prepare_timing()
        settling = settle(self._model.invoke, time.perf_counter_ns)
        samples = time_block(self._model.invoke, request, time.perf_counter_ns)
        peak = peak_rss_bytes()  # Before the samples are copied.
        payload = samples.tobytes()
        self._channel.send(Timed(peak, settling, len(payload)), payload)

    def _time_window(self, request: TimeWindow, _: Payload) -> None:
        self._under_test.prepare_timing()
        samples = time_window(self._model.invoke, request.seconds, time.perf_counter_ns)
        found = sum_up(samples, request.kept_samples)
        payload = samples[:: found.every].tobytes()
        self._channel.send(
            dataclasses.replace(found, peak_rss_bytes=peak_rss_bytes(), payload_bytes=len(payload)),
            payload,
        )

    def _classify(self, request: Classify, payload: Payload) -> None:
        top1 = self._under_test.classify(
            payload.read_all(), request.dtypes, request.count, request.output, self._advance
        )
        self._channel.send(Classified(top1))

    def _run(self, _: Run, payload: Payload) -> None:
        ran, outputs = self._under_test.run(payload.read_all())
        self._channel.send(ran, outputs)

    def _collect(self, request: Collect, payload: Payload) -> None:
        from device_agent.runtimes.collecting import collect

        samples = payload.read_all()
        collected, outputs = collect(
            self._model, samples, request.dtypes, request.count, self._advance
        )
        self._channel.send(collected, outputs)

    def _compare(self, _: Compare, __: Payload) -> None:
        self._channel.send(self._under_test.compare(self._advance))

    def _prepare_stages(self, request: PrepareStages, _: Payload) -> None:
        from device_agent.runtimes.stages_under_test import StagesUnderTest

        stages = StagesUnderTest(self._model, request.stages, request.seed)
        self._prepared_stages = stages
        self._channel.send(StagesPrepared(stages.input_sha256()))

    def _warm_up_stages(self, request: WarmUpStages, _: Payload) -> None:
        run = self._stages().run
        self._channel.send(warm_up(run, request.max_seconds, time.perf_counter_ns))

    def _time_stages(self, request: TimeStages, _: Payload) -> None:
        stages = self._stages()
        settling = settle(stages.run, time.perf_counter_ns)
        readings = time_stages(
            stages.preprocess, stages.infer, stages.postprocess, request, time.perf_counter_ns
        )
        payload = readings.tobytes()
        self._channel.send(StagesTimed(settling, len(payload)), payload)

    def _stages(self) -> StagesUnderTest:
        if self._prepared_stages is None:
            raise AgentFailure(ErrorCode.BAD_REQUEST, "no stages are prepared")
        return self._prepared_stages

    def _classify_pictures(self, request: ClassifyPictures, payload: Payload) -> None:
        from device_agent.runtimes.stages_under_test import classify_pictures

        top1 = classify_pictures(
            self._model,
            request.stages,
            request.sizes,
            payload.read_all(),
            request.output,
            self._advance,
        )
        self._channel.send(Classified(top1))

    def _locate(self, _: Locate, __: Payload) -> None:
        found = self._model.placement()
        self._channel.send(dataclasses.replace(found, kernel_path=self._model.kernel_path))

    def _advance(self, done: int, total: int) -> None:
        if time.monotonic() - self._told >= _PROGRESS_EVERY_S:
            self._told = time.monotonic()
            self._channel.send(Progress(done, total, "samples"))


def default_threads() -> int:
    """Threads where none are asked for."""
    return min(usable_cpus(), MAX_THREADS_BY_DEFAULT)


def require_version(found: RuntimeVersion, minimum: str) -> None:
    """Refuse a runtime older than `minimum`; "" takes any.

    Raises:
        AgentFailure: "no_runtime".
    """
    if not is_at_least(found.version, minimum):
        raise _no_runtime(f"found {found.package} {found.version}, expected {minimum} or newer")


def _no_runtime(message: str) -> AgentFailure:
    return AgentFailure(
        ErrorCode.NO_RUNTIME,
        message,
        "install or update it for that Python on the device, or name another Python",
    )
