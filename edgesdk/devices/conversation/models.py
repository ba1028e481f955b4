"""What is asked of the agent about models that are opened: to load, to time, to account for."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from device_agent.documents import is_file_name
from device_agent.measuring_messages import Sustain, Sustained, Window
from device_agent.model_messages import (
    Bench,
    Benched,
    CheckParity,
    Opened,
    OpenModel,
    Parity,
    Stage,
    Staged,
)
from device_agent.profile_messages import ModelPlacement, Profile, Profiled, ReadPlacement
from device_agent.stage_messages import BenchStages, StagesBenched
from edgesdk.devices.conversation.bars import bar, named_bar
from edgesdk.devices.conversation.connection import LOADING_S, Connection
from edgesdk.devices.conversation.exchange import expect
from edgesdk.devices.conversation.pieces import counted, in_pieces, opened
from edgesdk.errors import ModelError
from edgesdk.progress import Progress as ProgressDisplay


class ModelRequests(Connection):
    """Models opened on the device, each in a process of its own."""

    def stage(self, path: Path, progress: ProgressDisplay) -> str:
        """Send a model file for this session only; its name for `OpenModel.staged`.

        Raises:
            ModelError: the file is unreadable.
        """
        with opened(path, ModelError) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
            stream.seek(0)
            name = digest + path.suffix if is_file_name(digest + path.suffix) else digest
            with progress.task(f"sending {path.name}", size) as advance:
                pieces = counted(in_pieces(stream), advance)
                return self._ask(Stage(name, digest, size), Staged, pieces=pieces).name

    def open_model(self, request: OpenModel, progress: ProgressDisplay) -> Opened:
        """Load a model in a process of its own; what the device builds for it first is shown."""
        with named_bar(progress) as on_progress:
            return self._exchange(LOADING_S).ask(request, Opened, on_progress)

    def bench(self, request: Bench, progress: ProgressDisplay) -> Benched:
        """Time the opened models in turns."""
        turns = len(request.keys) * (request.blocks + 1)
        a_block_s = request.max_seconds / max(request.blocks, 1)  # The agent refuses less than 1.
        longest_s = max(request.max_warm_up_seconds, a_block_s)
        with bar(progress, "measuring latency", turns) as on_progress:
            exchange = self._exchange(longest_s + self._patience_s)
            return exchange.ask(request, Benched, on_progress)

    def sustain(
        self, request: Sustain, progress: ProgressDisplay
    ) -> tuple[Sustained, tuple[Window, ...]]:
        """Run an opened model without a pause; its windows, as they come, are the progress."""
        longest_s = max(request.max_warm_up_seconds, request.window_seconds)
        exchange = self._exchange(longest_s + self._patience_s)
        exchange.tell(request)
        windows: list[Window] = []
        with progress.task("running without a pause", math.ceil(request.seconds)) as advance:
            shown = 0
            while isinstance(reply := exchange.hear(object), Window):
                windows.append(reply)
                done = min(request.seconds, (reply.ended_ns - windows[0].began_ns) / 1e9)
                advance(int(done) - shown)
                shown = int(done)
        return expect(Sustained, reply), tuple(windows)

    def bench_stages(self, request: BenchStages, progress: ProgressDisplay) -> StagesBenched:
        """Time an opened model from picture to answer, in turns of its own."""
        a_block_s = request.max_seconds / max(request.blocks, 1)
        longest_s = max(request.max_warm_up_seconds, a_block_s)
        with bar(progress, "measuring the stages", request.blocks) as on_progress:
            exchange = self._exchange(longest_s + self._patience_s)
            return exchange.ask(request, StagesBenched, on_progress)

    def check_parity(self, request: CheckParity) -> Parity:
        """Run a model's golden vectors."""
        return self._ask(request, Parity)

    def placement(self, request: ReadPlacement) -> ModelPlacement:
        """What computes each operator of an opened model."""
        return self._ask(request, ModelPlacement)

    def profile(self, request: Profile, progress: ProgressDisplay) -> Profiled:
        """Time each operator of an opened model, loaded once more for it."""
        with bar(progress, "timing each operator", 0) as on_progress:
            exchange = self._exchange(LOADING_S + request.max_seconds)
            return exchange.ask(request, Profiled, on_progress)
