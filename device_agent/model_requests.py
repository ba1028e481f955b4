"""What one session is asked about models: to load them, to time them, to run samples."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any, Callable, Dict, Optional, Tuple, Type, TypeVar

from device_agent import page_cache
from device_agent.channel import Payload, WithPayload
from device_agent.failures import AgentFailure
from device_agent.manifest import Port
from device_agent.measuring_messages import Sustain, Sustained
from device_agent.model_messages import (
    Bench,
    Benched,
    CheckParity,
    Opened,
    OpenModel,
    Parity,
    Predict,
    Predicted,
    Predictions,
    Stage,
    Staged,
)
from device_agent.open_models import OpenModels, Tell
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
from device_agent.protocol import ErrorCode
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
from device_agent.watchdog import LOADING_S
from device_agent.worker_messages import (
    Classified,
    Classify,
    Compare,
    Load,
    Loaded,
    Locate,
    TimeOperators,
)

PREDICT_MAX_BYTES = 256 * 1024 * 1024

R = TypeVar("R")


class ModelRequests:
    """Answers them; what is staged and opened is this session's.

    Args:
        store: gives the device's store; asked for when it is first needed.
        models: the open ones.
        tell: hears of progress, and of windows.
        require_lease: raises where the device is somebody else's.
        last_seen: gives the package this session saw last.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        models: OpenModels,
        tell: Tell,
        require_lease: Callable[[], None],
        last_seen: Callable[[], Optional[str]],
    ) -> None:
        self._store = store
        self._tell = tell
        self._require_lease = require_lease
        self._last_seen = last_seen
        self._models = models
        self._staged: Dict[str, str] = {}
        self._loads: Dict[str, Load] = {}

    def answers(self) -> Dict[Type[Any], Callable[[Any, Payload], Any]]:
        """What answers each request."""
        return {
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
        }

    def _stage(self, request: Stage, payload: Payload) -> Staged:
        path = self._store().stage(
            request.name, request.payload_bytes, request.sha256, payload.read
        )
        self._staged[request.name] = path
        return Staged(request.name)

    def _open_model(self, request: OpenModel, __: Payload) -> Opened:
        self._require_lease()
        self._store().begin_measuring()
        path = self._model_path(request)
        golden, golden_inputs = self._golden(request.package_id or self._last_seen())
        self._models.start(request.key, request.package_id)
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
            loaded, _ = self._models.ask(request.key, load, Loaded, silence_s=LOADING_S)
        except AgentFailure:
            self._models.close(request.key)
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
            self._models.require_open(key)
        return take_turns(request, self._models.ask_timed, self._models.sensors().read, self._tell)

    def _sustain(self, request: Sustain, _: Payload) -> Sustained:
        self._models.require_open(request.key)
        return sustain(request, self._models.ask_timed, self._models.sensors().read, self._tell)

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
                Predictions(key, self._models.ask(key, request, Classified, payload)[0].top1)
                for key in keys
            )
        )

    def _infer(self, request: Infer, payload: Payload) -> WithPayload:
        samples = self._batch(request.payload_bytes, payload)
        collect = Collect(request.count, request.dtypes, len(samples))
        outputs, tensors, size = [], [], 0
        for key in request.keys:
            found, packed = self._models.ask(key, collect, Collected, samples)
            outputs.append(ModelOutputs(key, found.dtypes, found.shapes, len(packed)))
            tensors.append(packed)
            size += len(packed)
            if size > OUTPUTS_MAX_BYTES:
                raise AgentFailure(
                    ErrorCode.BAD_REQUEST,
                    f"found outputs of {size} bytes, expected at most {OUTPUTS_MAX_BYTES}",
                )
        return WithPayload(Inferred(tuple(outputs), size), b"".join(tensors))

    def _check_parity(self, request: CheckParity, _: Payload) -> Parity:
        self._models.require_opened_from(request.key, request.package_id)
        return self._models.ask(request.key, Compare(), Parity)[0]

    def _bench_stages(self, request: BenchStages, _: Payload) -> StagesBenched:
        if request.blocks < 1:
            raise AgentFailure(
                ErrorCode.BAD_REQUEST, f"found {request.blocks} blocks, expected at least 1"
            )
        self._models.require_opened_from(request.key, request.package_id)
        prepare = PrepareStages(self._declared(request.package_id), request.seed)
        return bench_stages(
            request,
            prepare,
            functools.partial(self._models.ask_timed, request.key),
            self._models.sensors().read,
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
        found = self._models.ask(request.key, Locate(), ModelPlacement)[0]
        package_id = self._models.package_of(request.key)
        if package_id is None:
            return found
        provenance = self._store().packages.manifest(package_id).provenance
        return dataclasses.replace(
            found,
            forecast=provenance.get(FORECAST, ""),
            expected_kernel_path=provenance.get(KERNEL_PATH, ""),
        )

    def _profile(self, request: Profile, _: Payload) -> Profiled:
        self._models.require_open(request.key)
        key = f"{request.key}, profiled"
        order = TimeOperators(self._loads[request.key], request.runs, request.max_seconds)
        self._models.start(key, self._models.package_of(request.key))
        try:
            silence_s = LOADING_S + request.max_seconds
            found = self._models.ask(key, order, Profiled, silence_s=silence_s)[0]
        finally:
            self._models.close(key)
        return dataclasses.replace(found, key=request.key)
