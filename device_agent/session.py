"""One session with a host: takes requests, answers them, and leaves nothing behind.

When the host is gone, at any moment, the workers are killed and the process ends.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import threading
import time
import traceback
from typing import Any, Callable, Dict, Optional, Tuple, Type, TypeVar, Union

import device_agent
from device_agent import children, page_cache
from device_agent.archive import HEAD_MAX_BYTES
from device_agent.channel import Channel, ChannelClosed, Payload
from device_agent.codec import BadMessage
from device_agent.documents import CorruptPackage
from device_agent.environment import read_environment
from device_agent.failures import AgentFailure
from device_agent.installing import Installer
from device_agent.leases import Leaseholder
from device_agent.manifest import Port
from device_agent.measuring_messages import Sustain, Sustained
from device_agent.output_messages import (
    OUTPUTS_MAX_BYTES,
    Collect,
    Collected,
    Infer,
    Inferred,
    ModelOutputs,
)
from device_agent.preprocessing import Stages
from device_agent.private_runtimes import folders_for
from device_agent.profile_messages import (
    FORECAST,
    KERNEL_PATH,
    ModelPlacement,
    Profile,
    Profiled,
    ReadPlacement,
)
from device_agent.protocol import (
    MESSAGES,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    Bench,
    Benched,
    Challenge,
    ChangeTrust,
    CheckParity,
    Commit,
    Committed,
    Current,
    ErrorCode,
    Failure,
    GetChallenge,
    GetTrust,
    Goodbye,
    Hello,
    Inspect,
    Install,
    Installed,
    ListInstalled,
    Offer,
    Offered,
    Opened,
    OpenModel,
    Parity,
    Predict,
    Predicted,
    Predictions,
    Progress,
    Rollback,
    SetLab,
    Stage,
    Staged,
    TrustState,
    Welcome,
)
from device_agent.runtime_installing import RuntimeRequests
from device_agent.sensors import Sensors
from device_agent.stage_messages import (
    BenchStages,
    ClassifyPictures,
    PredictPictures,
    PrepareStages,
    StagesBenched,
)
from device_agent.stages import bench_stages, pause_for
from device_agent.store import Store
from device_agent.sustaining import sustain
from device_agent.turns import PAUSE_S, take_turns
from device_agent.watchdog import FIRST_RUN_S, LOADING_S
from device_agent.worker_messages import (
    Classified,
    Classify,
    Compare,
    Load,
    Loaded,
    Locate,
    TimeOperators,
)
from device_agent.workers import Worker, worker_command

PREDICT_MAX_BYTES = 256 * 1024 * 1024
_FAREWELL_S = 0.5
_SILENCE_S = 90.0
"""Of a host that keeps others from installing. Its own patience is a minute."""
_LEASED_SILENCE_S = 600.0
"""Of a host that keeps others from the device; it may have data to read meanwhile."""
_PROGRESS_EVERY_BYTES = 1024 * 1024

R = TypeVar("R")


class Session:
    """Answers one host.

    Args:
        read_fd: requests come from here.
        write_fd: replies go here.
        root: the store's folder.
        program: the agent's zipapp, to start workers from.
    """

    def __init__(self, read_fd: int, write_fd: int, root: str, program: str) -> None:
        self._root = os.path.expanduser(root)
        self._program = program
        self._opened_store: Optional[Store] = None
        self._staged: Dict[str, str] = {}
        self._workers: Dict[str, Worker] = {}
        self._packages: Dict[str, Optional[str]] = {}
        self._loads: Dict[str, Load] = {}
        self._last_seen: Optional[str] = None
        self._host_time_s = 0
        self._opened_installer: Optional[Installer] = None
        self._lease = Leaseholder(self._store, lambda: self._host_time_s)
        runtimes = RuntimeRequests(self._store, program, self._tell, self._lease.require)
        self._answers: Dict[Type[Any], Callable[[Any, Payload], Any]] = {
            Hello: self._hello,
            Offer: self._offer,
            Install: self._install,
            Commit: lambda request, _: self._installer().commit(request.package_id, self._tell),
            Rollback: self._roll_back,
            Current: lambda request, _: self._seen(self._installer().current(request.name)),
            ListInstalled: lambda _, __: self._installer().inventory(),
            Inspect: self._inspect,
            GetTrust: lambda _, __: self._installer().trust(),
            ChangeTrust: lambda request, _: self._installer().change_trust(request),
            SetLab: lambda request, _: self._installer().set_lab(request),
            GetChallenge: lambda _, __: Challenge(self._installer().challenge()),
            Stage: self._stage,
            OpenModel: self._open_model,
            Bench: self._bench,
            Sustain: self._sustain,
            Predict: self._predict,
            Infer: self._infer,
            CheckParity: self._check_parity,
            BenchStages: self._bench_stages,
            PredictPictures: self._predict_pictures,
            ReadPlacement: self._read_placement,
            Profile: self._profile,
            **self._lease.answers(),
            **runtimes.answers(),
        }
        self._channel = Channel(read_fd, write_fd, MESSAGES, on_end=self._host_is_gone)

    def serve(self, marker: str) -> int:
        """Answer until the host says goodbye or is gone; returns the exit status.

        Args:
            marker: the line that tells the host where our words begin.
        """
        try:
            self._channel.send_raw(b"\n" + marker.encode("ascii") + b"\n")
            while True:
                self._channel.patience_s = self._patience_s()
                request = self._channel.receive()
                if request is None or isinstance(request, Goodbye):
                    return 0
                self._answer(request)
        except ChannelClosed:
            return 0
        except BadMessage as error:
            self._channel.send(Failure(ErrorCode.PROTOCOL, str(error)))
            return 1
        except Exception:
            self._channel.send(Failure(ErrorCode.INTERNAL, traceback.format_exc()))
            raise
        finally:
            self._clean_up()

    def _answer(self, request: Any) -> None:
        payload = self._channel.payload(getattr(request, "payload_bytes", 0))
        try:
            if type(request) not in self._answers:
                raise AgentFailure(ErrorCode.BAD_REQUEST, f"found {type(request).__name__}")
            reply = self._answers[type(request)](request, payload)
            if isinstance(reply, _WithPayload):
                self._channel.send(reply.message, reply.payload)
            else:
                self._channel.send(reply)
        except AgentFailure as failure:
            self._channel.send(failure.to_wire())
        except CorruptPackage as error:
            self._channel.send(Failure(ErrorCode.CORRUPT_PACKAGE, str(error), "build it again"))
        payload.skip()

    def _hello(self, request: Hello, _: Payload) -> Welcome:
        protocol = min(PROTOCOL_MAX, request.protocol_max)
        if protocol < max(PROTOCOL_MIN, request.protocol_min):
            raise AgentFailure(
                ErrorCode.PROTOCOL,
                f"found protocols {request.protocol_min} to {request.protocol_max}, "
                f"expected one of {PROTOCOL_MIN} to {PROTOCOL_MAX}",
                "update edgesdk",
            )
        self._host_time_s = request.time_s
        try:
            trust: Optional[TrustState] = self._installer().trust()
        except AgentFailure:
            trust = None  # Whoever needs the store hears it then.
        return Welcome(protocol, device_agent.VERSION, read_environment(self._root), trust)

    def _offer(self, request: Offer, payload: Payload) -> Offered:
        if not 0 < request.payload_bytes <= HEAD_MAX_BYTES:
            raise AgentFailure(
                ErrorCode.BAD_REQUEST,
                f"found a head of {request.payload_bytes} bytes, expected 1 to {HEAD_MAX_BYTES}",
            )
        self._lease.require()
        return self._installer().offer(request, payload.read)

    def _roll_back(self, request: Rollback, _: Payload) -> Installed:
        self._lease.require()
        return self._seen(self._installer().roll_back(request.name))

    def _install(self, request: Install, payload: Payload) -> Union[Installed, Committed]:
        meter = _Meter(self._channel, request.payload_bytes, "installing")

        def read(limit: int) -> bytes:
            piece = payload.read(limit)
            meter.advance(len(piece))
            return piece

        installed = self._seen(self._installer().install(request.package_id, read))
        if request.commit:
            return self._installer().commit(installed.package_id, self._tell)
        return installed

    def _seen(self, installed: Installed) -> Installed:
        self._last_seen = installed.package_id
        return installed

    def _inspect(self, request: Inspect, _: Payload) -> Any:
        from device_agent import inspection  # Only whoever asks waits for it.

        found = inspection.inspect(self._root)
        try:
            packages = self._store().packages
        except AgentFailure as failure:
            return dataclasses.replace(found, store_problem=str(failure))
        try:
            manifest = packages.manifest(self._installer().current(request.package).package_id)
        except AgentFailure as failure:
            return dataclasses.replace(found, package_problem=str(failure))
        return dataclasses.replace(found, package=inspection.built_of(manifest))

    def _stage(self, request: Stage, payload: Payload) -> Staged:
        path = self._store().stage(
            request.name, request.payload_bytes, request.sha256, payload.read
        )
        self._staged[request.name] = path
        return Staged(request.name)

    def _open_model(self, request: OpenModel, __: Payload) -> Opened:
        self._lease.require()
        self._store().begin_measuring()
        path = self._model_path(request)
        golden, golden_inputs = self._golden(request.package_id or self._last_seen)
        self._start_worker(request.key, request.package_id)
        load = Load(
            path=path,
            runtime=request.runtime,
            runtime_min_version=request.runtime_min_version,
            threads=request.threads,
            golden=golden,
            golden_inputs=golden_inputs,
            engines=self._store().engines,
            folders=folders_for(self._store().root, request.runtime),
        )
        cache_dropped = self._drop_from_cache(path) if request.cold else None
        try:
            loaded, _ = self._ask(request.key, load, Loaded, silence_s=LOADING_S)
        except AgentFailure:
            self._close_worker(request.key)
            raise
        self._loads[request.key] = load
        return Opened(
            key=request.key,
            runtime=loaded.runtime,
            kernel_path=loaded.kernel_path,
            threads=loaded.threads,
            load_ns=loaded.load_ns,
            baseline_rss_bytes=loaded.baseline_rss_bytes,
            inputs=loaded.inputs,
            outputs=loaded.outputs,
            cache_dropped=cache_dropped,
        )

    def _drop_from_cache(self, path: str) -> bool:
        """The model, and what runtimes have built of models: whether all of it is out."""
        built = [
            os.path.join(folder, name)
            for folder, _, names in os.walk(self._store().engines)
            for name in names
        ]
        return all([page_cache.drop(each) for each in (path, *built)])

    def _model_path(self, request: OpenModel) -> str:
        if (request.package_id is None) == (request.staged is None):
            raise AgentFailure(
                ErrorCode.BAD_REQUEST, "expected either a package or a staged file to open"
            )
        if request.package_id is not None:
            return self._store().packages.verified_path(request.package_id, request.role or "model")
        if request.staged not in self._staged:
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"nothing is staged as {request.staged!r}")
        return self._staged[request.staged]

    def _golden(self, package_id: Optional[str]) -> Tuple[Optional[str], Tuple[Port, ...]]:
        """Path of a package's golden vectors, if any, and the inputs they were made for."""
        if package_id is None:
            return None, ()
        packages = self._store().packages
        manifest = packages.manifest(package_id)
        if manifest.file("golden") is None:
            return None, ()
        return packages.verified_path(package_id, "golden"), manifest.inputs

    def _bench(self, request: Bench, _: Payload) -> Benched:
        if request.blocks < 1:
            raise AgentFailure(
                ErrorCode.BAD_REQUEST, f"found {request.blocks} blocks, expected at least 1"
            )
        for key in request.keys:
            self._require_open(key)
        return take_turns(request, self._ask_timed, self._sensors().read, self._tell)

    def _sustain(self, request: Sustain, _: Payload) -> Sustained:
        self._require_open(request.key)
        return sustain(request, self._ask_timed, self._sensors().read, self._channel.send)

    def _predict(self, request: Predict, payload: Payload) -> Predicted:
        samples = self._batch(request.payload_bytes, payload)
        classify = Classify(request.count, request.dtypes, request.output, len(samples))
        return self._classified(request.keys, classify, samples)

    def _batch(self, size: int, payload: Payload) -> bytes:
        if not 0 <= size <= PREDICT_MAX_BYTES:
            raise AgentFailure(
                ErrorCode.BAD_REQUEST,
                f"found a batch of {size} bytes, expected at most {PREDICT_MAX_BYTES}",
            )
        return payload.read_all()

    def _classified(self, keys: Tuple[str, ...], request: Any, payload: bytes) -> Predicted:
        return Predicted(
            tuple(
                Predictions(key, self._ask(key, request, Classified, payload)[0].top1)
                for key in keys
            )
        )

    def _infer(self, request: Infer, payload: Payload) -> _WithPayload:
        samples = self._batch(request.payload_bytes, payload)
        collect = Collect(request.count, request.dtypes, len(samples))
        outputs, tensors, size = [], [], 0
        for key in request.keys:
            found, packed = self._ask(key, collect, Collected, samples)
            outputs.append(ModelOutputs(key, found.dtypes, found.shapes, len(packed)))
            tensors.append(packed)
            size += len(packed)
            if size > OUTPUTS_MAX_BYTES:
                raise AgentFailure(
                    ErrorCode.BAD_REQUEST,
                    f"found outputs of {size} bytes, expected at most {OUTPUTS_MAX_BYTES}",
                )
        return _WithPayload(Inferred(tuple(outputs), size), b"".join(tensors))

    def _check_parity(self, request: CheckParity, _: Payload) -> Parity:
        self._require_opened_from(request.key, request.package_id)
        return self._ask(request.key, Compare(), Parity)[0]

    def _require_opened_from(self, key: str, package_id: str) -> None:
        self._require_open(key)
        if self._packages[key] != package_id:
            raise AgentFailure(
                ErrorCode.BAD_REQUEST, f"model {key!r} was not opened from package {package_id}"
            )

    def _bench_stages(self, request: BenchStages, _: Payload) -> StagesBenched:
        if request.blocks < 1:
            raise AgentFailure(
                ErrorCode.BAD_REQUEST, f"found {request.blocks} blocks, expected at least 1"
            )
        self._require_opened_from(request.key, request.package_id)
        prepare = PrepareStages(self._declared(request.package_id), request.seed)
        return bench_stages(
            request,
            prepare,
            functools.partial(self._ask_timed, request.key),
            self._sensors().read,
            self._tell,
            pause_for(PAUSE_S),
        )

    def _predict_pictures(self, request: PredictPictures, payload: Payload) -> Predicted:
        pictures = self._batch(request.payload_bytes, payload)
        stages = self._declared(request.package_id)
        classify = ClassifyPictures(stages, request.sizes, request.output, len(pictures))
        return self._classified(request.keys, classify, pictures)

    def _declared(self, package_id: str) -> Stages:
        stages = self._store().packages.manifest(package_id).stages
        if stages is None:
            raise AgentFailure(
                ErrorCode.BAD_REQUEST,
                f"package {package_id} declares no preprocessing",
                "declare it as [preprocessing], convert and package again",
            )
        return stages

    def _read_placement(self, request: ReadPlacement, _: Payload) -> ModelPlacement:
        found = self._ask(request.key, Locate(), ModelPlacement)[0]
        package_id = self._packages[request.key]
        if package_id is None:
            return found
        provenance = self._store().packages.manifest(package_id).provenance
        return dataclasses.replace(
            found,
            forecast=provenance.get(FORECAST, ""),
            expected_kernel_path=provenance.get(KERNEL_PATH, ""),
        )

    def _profile(self, request: Profile, _: Payload) -> Profiled:
        self._require_open(request.key)
        key = f"{request.key}, profiled"
        order = TimeOperators(self._loads[request.key], request.runs, request.max_seconds)
        self._start_worker(key, self._packages[request.key])
        try:
            silence_s = LOADING_S + request.max_seconds
            found = self._ask(key, order, Profiled, silence_s=silence_s)[0]
        finally:
            self._close_worker(key)
        return dataclasses.replace(found, key=request.key)

    def _start_worker(self, key: str, package_id: Optional[str]) -> None:
        self._close_worker(key)
        self._workers[key] = Worker(key, worker_command(self._program))
        self._packages[key] = package_id

    def _ask(
        self,
        key: str,
        request: Any,
        expected: Type[R],
        payload: bytes = b"",
        silence_s: float = FIRST_RUN_S,
    ) -> Tuple[R, bytes]:
        """Ask a model's worker; one that has died, or says nothing for too long, is forgotten."""
        self._require_open(key)
        try:
            return self._workers[key].ask(request, expected, payload, self._tell, silence_s)
        except AgentFailure as failure:
            if failure.code in ErrorCode.WORKER_GONE:
                self._close_worker(key)
            raise

    def _ask_timed(
        self, key: str, request: Any, expected: Type[R], silence_s: float
    ) -> Tuple[R, bytes]:
        return self._ask(key, request, expected, silence_s=silence_s)

    def _sensors(self) -> Sensors:
        pids = [os.getpid(), *(worker.pid for worker in self._workers.values())]
        return Sensors(lambda: pids)

    def _require_open(self, key: str) -> None:
        if key not in self._workers:
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"no model is open as {key!r}")

    def _close_worker(self, key: str) -> None:
        if key in self._workers:
            self._workers.pop(key).close()
            del self._packages[key]

    def _tell(self, progress: Progress) -> None:
        self._channel.send(progress)

    def _store(self) -> Store:
        if self._opened_store is None:
            self._opened_store = Store(self._root)
        return self._opened_store

    def _patience_s(self) -> Optional[float]:
        """Longest silence of the host; None where nobody waits for the device."""
        if self._opened_store is not None and self._opened_store.is_installing:
            return _SILENCE_S
        return _LEASED_SILENCE_S if self._lease.is_held else None

    def _installer(self) -> Installer:
        if self._opened_installer is None:
            self._opened_installer = Installer(self._store(), self._program, self._host_time_s)
        return self._opened_installer

    def _host_is_gone(self) -> None:
        for worker in list(self._workers.values()):
            worker.kill()
        children.kill_all()
        threading.Thread(target=self._end_anyway, daemon=True).start()

    def _end_anyway(self) -> None:
        """The end of a session whose main thread is busy with something it does not get out of."""
        time.sleep(_FAREWELL_S)
        self._clean_up()
        os._exit(0)

    def _clean_up(self) -> None:
        for worker in list(self._workers.values()):
            worker.close()
        children.kill_all()
        self._lease.close()
        if self._opened_store is not None:
            self._opened_store.close()


class _WithPayload:
    """A reply that bytes follow."""

    def __init__(self, message: Any, payload: bytes) -> None:
        self.message = message
        self.payload = payload


class _Meter:
    """Tells the host how much of a payload has been read, every now and then."""

    def __init__(self, channel: Channel, total: int, what: str) -> None:
        self._channel = channel
        self._total = total
        self._what = what
        self._done = 0
        self._told = 0

    def advance(self, count: int) -> None:
        self._done += count
        if self._done - self._told >= _PROGRESS_EVERY_BYTES:
            self._told = self._done
            self._channel.send(Progress(self._done, self._total, self._what))
