"""Runtimes onto the device, from the offer to a successful import; and away again.

    offer ─> what is missing? ─> wheels (hash, RECORD, durable) ─> import, apart ─> sets.json

`sets.json` is replaced as a whole, and last: until then nothing uses what has come. What an install
that broke off has brought stays for the next one; what failed is removed.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import (
    AbstractSet,
    Any,
    Callable,
    Dict,
    Iterator,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
)

from device_agent.channel import ChannelClosed, Payload
from device_agent.codec import canonical
from device_agent.durable import (
    disk_full,
    free_bytes,
    make_folder,
    remove,
    replace_file,
    storage_errors,
    sync_folder,
)
from device_agent.failures import AgentFailure
from device_agent.interpreter import python_key, read_interpreter
from device_agent.manifest import RUNTIMES
from device_agent.private_runtimes import (
    FOLDER,
    SETS,
    WHEELS,
    RuntimeSet,
    RuntimeSets,
    private_folders,
    read_sets,
    set_folders,
    version_in,
    wheel_folder,
)
from device_agent.protocol import ENROL_DEVICE, ErrorCode, Progress
from device_agent.reading import Read
from device_agent.runtime_messages import (
    FinishRuntime,
    Interpreter,
    ListRuntimes,
    OfferRuntime,
    ReadInterpreter,
    RemoveRuntimes,
    RemoveStore,
    RuntimeInstalled,
    RuntimeOffered,
    RuntimesHere,
    SendWheel,
    StoreRemoved,
    WheelFile,
    WheelTaken,
)
from device_agent.store import SPARE_BYTES, Store
from device_agent.unpacking import MAX_UNPACKED_BYTES, BadWheel, require_fit, unpack
from device_agent.worker_messages import Probe, Probed
from device_agent.workers import Worker, worker_command

MAX_WHEELS = 64
_OTHER_WHEELS = (
    "what it names may be missing in the device's system; or give other wheels: --wheels FOLDER"
)
_MAX_WHEEL_BYTES = 2 * 1024 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
Tell = Callable[[Progress], None]


class RuntimeRequests:
    """Answers what one session is asked about runtimes; its store is opened by the first request.

    Args:
        store: opens it.
        program: the agent's zipapp.
        tell: hears of progress.
        require_lease: raises where the device is somebody else's.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        program: str,
        tell: Tell,
        require_lease: Callable[[], None],
    ) -> None:
        self._store = store
        self._program = program
        self._tell = tell
        self._require_lease = require_lease
        self._opened: Optional[RuntimeInstaller] = None

    def answers(self) -> Dict[Type[Any], Callable[[Any, Payload], Any]]:
        """What answers each request."""
        return {
            ReadInterpreter: lambda _, __: read_interpreter(),
            ListRuntimes: lambda _, __: self._installer().list(),
            OfferRuntime: lambda request, _: self._changing().offer(request),
            SendWheel: lambda request, payload: self._changing().take(request, payload.read),
            FinishRuntime: lambda request, _: self._changing().finish(request, self._tell),
            RemoveRuntimes: lambda request, _: self._changing().remove(request),
            RemoveStore: lambda _, __: self._changing().remove_store(),
        }

    def _changing(self) -> RuntimeInstaller:
        self._require_lease()
        return self._installer()

    def _installer(self) -> RuntimeInstaller:
        if self._opened is None:
            self._opened = RuntimeInstaller(self._store(), self._program)
        return self._opened


class RuntimeInstaller:
    """Installs, lists and removes the runtimes of one store, for one session.

    Args:
        store: what is changed.
        program: the agent's zipapp, which starts the process that imports.
    """

    def __init__(self, store: Store, program: str) -> None:
        self._store = store
        self._root = store.root
        self._program = program
        self._offered: Optional[OfferRuntime] = None

    def offer(self, request: OfferRuntime) -> RuntimeOffered:
        """Keep others from installing from here on, if these wheels may come.

        Raises:
            AgentFailure: "busy", "bad_request", "incompatible", "disk_full" or "storage".
        """
        _require_bounds(request)
        device = read_interpreter()
        _require_fit(request, device)
        self._store.begin_installing()
        with self._let_others_on_error(), storage_errors(self._root, SPARE_BYTES):
            kept = {wheel.sha256 for wheel in request.wheels} | self._used()
            self._remove_wheels_but(kept)
            missing = tuple(each for each in request.wheels if not self._is_here(each))
            self._require_room(missing)
        self._offered = request
        return RuntimeOffered(tuple(each.sha256 for each in missing))

    def take(self, request: SendWheel, read: Read) -> WheelTaken:
        """Receive one of the offered wheels, and unpack it.

        Raises:
            AgentFailure: "bad_request", "corrupt_package", "disk_full" or "storage"; then what
                came of the offer is gone.
            ChannelClosed: the host is gone; what came whole stays for its next try.
        """
        wheel = self._wanted(request)
        left = wheel.size_bytes

        def counted(limit: int) -> bytes:
            nonlocal left
            piece = read(limit)
            left -= len(piece)
            if not piece and left > 0:  # No fault of the wheel: what came before it may stay.
                raise ChannelClosed("the input ended within a wheel")
            return piece

        with self._undone_on_error(), storage_errors(self._root, wheel.unpacked_bytes):
            self._make_folders()
            if not self._is_here(wheel):
                self._unpack(wheel, counted)
        return WheelTaken(wheel.sha256)

    def finish(self, request: FinishRuntime, tell: Tell) -> RuntimeInstalled:
        """Import it and use it from now on.

        Raises:
            AgentFailure: "bad_request"; "runtime_failed": it does not import, and is gone.
        """
        offered = self._require_offered(request.runtime)
        made = RuntimeSet(offered.runtime, python_key(read_interpreter()), offered.wheels)
        before = read_sets(self._root).sets
        with self._undone_on_error(), storage_errors(self._root, SPARE_BYTES):
            missing = [each.file for each in made.wheels if not self._is_here(each)]
            if missing:
                raise AgentFailure(ErrorCode.BAD_REQUEST, f"{missing[0]} has not come")
            tell(Progress(0, 0, f"importing {made.runtime} on the device"))
            self._probe(made, tell)
            if made not in before:
                others = tuple(each for each in before if each.runtime != made.runtime)
                self._write(RuntimeSets((*others, made)))
            self._remove_wheels_but(self._used())
        self._end()
        return self._describe(made, already=made in before)

    def list(self) -> RuntimesHere:
        """What is there.

        Raises:
            AgentFailure: "storage": it is damaged.
        """
        sets = sorted(read_sets(self._root).sets, key=lambda each: each.runtime)
        used = {wheel.sha256 for each in sets for wheel in each.wheels}
        sizes = {name: _size(wheel_folder(self._root, name)) for name in self._wheels()}
        left = sum(size for name, size in sizes.items() if name not in used)
        installed = tuple(self._describe(each, already=True) for each in sets)
        return RuntimesHere(installed, sum(sizes.values()), left)

    def remove(self, request: RemoveRuntimes) -> RuntimesHere:
        """Remove some of them, or all: then nothing is left of the folder.

        Raises:
            AgentFailure: "busy", "not_installed" or "storage".
        """
        self._store.begin_installing()
        try:
            with storage_errors(self._root, SPARE_BYTES):
                self._remove(request.runtimes)
        finally:
            self._end()
        return self.list()

    def remove_store(self) -> StoreRemoved:
        """Remove all that the agent wrote here.

        Raises:
            AgentFailure: "busy" or "storage".
        """
        with storage_errors(self._root):
            return StoreRemoved(self._root, self._store.remove_all())

    # ---- within --------------------------------------------------------------------------------

    def _remove(self, names: Sequence[str]) -> None:
        if not names:
            remove(os.path.join(self._root, FOLDER))  # Also where the list of them is damaged.
            sync_folder(self._root)
            return
        sets = read_sets(self._root).sets
        unknown = sorted(set(names) - {each.runtime for each in sets})
        if unknown:
            here = ", ".join(each.runtime for each in sets) or "none"
            raise AgentFailure(
                ErrorCode.NOT_INSTALLED, f"found no {unknown[0]} of the agent's own, only: {here}"
            )
        left = tuple(each for each in sets if each.runtime not in names)
        if not left:
            self._remove(())
            return
        self._write(RuntimeSets(left))
        self._remove_wheels_but(self._used())

    def _unpack(self, wheel: WheelFile, read: Read) -> None:
        path = self._store.stage(wheel.file, wheel.size_bytes, wheel.sha256, read)
        folder = self._store.scratch()
        try:
            unpack(path, folder, wheel, read_interpreter())
            os.chmod(folder, 0o755)
            os.rename(folder, wheel_folder(self._root, wheel.sha256))
            sync_folder(os.path.join(self._root, FOLDER, WHEELS))
        except BadWheel as error:
            raise AgentFailure(
                ErrorCode.CORRUPT_PACKAGE, str(error), "nothing of it is used; get the wheel anew"
            ) from error
        finally:
            remove(path)
            remove(folder)

    def _probe(self, made: RuntimeSet, tell: Tell) -> None:
        folders = set_folders(self._root, made)
        with contextlib.closing(Worker(made.runtime, worker_command(self._program))) as worker:
            try:
                worker.ask(Probe(made.runtime, folders), Probed, b"", tell)
            except AgentFailure as failure:
                died = failure.code == ErrorCode.WORKER_DIED
                raise AgentFailure(
                    ErrorCode.RUNTIME_FAILED,
                    f"{made.runtime} does not start here, and is gone again: {failure.message}",
                    (failure.hint if died else "") or _OTHER_WHEELS,
                ) from failure

    def _write(self, sets: RuntimeSets) -> None:
        self._make_folders()
        path = os.path.join(self._root, FOLDER, SETS)
        replace_file(path, canonical(sets), path + ".new")

    def _make_folders(self) -> None:
        folder = os.path.join(self._root, FOLDER)
        for path in (folder, os.path.join(folder, WHEELS)):
            make_folder(path)

    def _describe(self, each: RuntimeSet, *, already: bool) -> RuntimeInstalled:
        folders = set_folders(self._root, each)
        found = version_in(folders, each.runtime)
        return RuntimeInstalled(
            runtime=each.runtime,
            package=found.package if found else "",
            version=found.version if found else "",
            folder=os.path.join(self._root, FOLDER),
            wheels=each.wheels,
            already=already,
            usable=folders in private_folders(self._root),
        )

    def _wanted(self, request: SendWheel) -> WheelFile:
        for each in self._offered.wheels if self._offered else ():
            if each.sha256 == request.sha256 and each.size_bytes == request.payload_bytes:
                return each
        raise AgentFailure(
            ErrorCode.BAD_REQUEST,
            f"found a wheel of {request.payload_bytes} bytes that was not offered",
        )

    def _require_offered(self, runtime: str) -> OfferRuntime:
        if self._offered is None or self._offered.runtime != runtime:
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"{runtime[:40]!r} was not offered")
        return self._offered

    def _used(self) -> Set[str]:
        return {wheel.sha256 for each in read_sets(self._root).sets for wheel in each.wheels}

    def _is_here(self, wheel: WheelFile) -> bool:
        return os.path.isdir(wheel_folder(self._root, wheel.sha256))

    def _wheels(self) -> Tuple[str, ...]:
        folder = os.path.join(self._root, FOLDER, WHEELS)
        return tuple(sorted(os.listdir(folder))) if os.path.isdir(folder) else ()

    def _remove_wheels_but(self, kept: AbstractSet[str]) -> None:
        for name in set(self._wheels()) - kept:
            remove(wheel_folder(self._root, name))
        with contextlib.suppress(OSError):  # Not empty, or not there.
            os.rmdir(os.path.join(self._root, FOLDER, WHEELS))
            os.rmdir(os.path.join(self._root, FOLDER))

    def _require_room(self, missing: Sequence[WheelFile]) -> None:
        """Room for what is unpacked, and once for the largest of the files it comes from."""
        unpacked = sum(each.unpacked_bytes for each in missing)
        needed = unpacked + unpacked // 10  # The ends of thousands of files fill no block.
        needed += max((each.size_bytes for each in missing), default=0)
        free = free_bytes(self._root)
        if free is not None and free < needed + SPARE_BYTES:
            raise disk_full(self._root, needed + SPARE_BYTES)

    def _end(self) -> None:
        self._offered = None
        self._store.end_installing()

    @contextlib.contextmanager
    def _let_others_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._end()
            raise

    @contextlib.contextmanager
    def _undone_on_error(self) -> Iterator[None]:
        """What failed leaves nothing: not on a full disk, nor where it would fail again."""
        try:
            yield
        except (AgentFailure, OSError):
            self._remove_wheels_but(self._used())
            self._end()
            raise


def _require_bounds(request: OfferRuntime) -> None:
    if request.runtime not in RUNTIMES:
        raise AgentFailure(
            ErrorCode.BAD_REQUEST,
            f"found runtime {request.runtime[:40]!r}, expected one of: {', '.join(RUNTIMES)}",
        )
    sums = [each.sha256 for each in request.wheels]
    whole = sum(each.unpacked_bytes for each in request.wheels)
    if not 0 < len(set(sums)) == len(sums) <= MAX_WHEELS or whole > MAX_UNPACKED_BYTES:
        raise AgentFailure(
            ErrorCode.BAD_REQUEST,
            f"found {len(sums)} wheels of {whole} bytes, expected 1 to {MAX_WHEELS}, each once, of "
            f"at most {MAX_UNPACKED_BYTES} bytes unpacked",
        )
    for each in request.wheels:
        sizes_hold = 0 < each.size_bytes <= _MAX_WHEEL_BYTES and each.unpacked_bytes > 0
        if not (_SHA256.fullmatch(each.sha256) and sizes_hold):
            raise AgentFailure(ErrorCode.BAD_REQUEST, f"found the wheel {each!r}"[:300])


def _require_fit(request: OfferRuntime, device: Interpreter) -> None:
    if not device.inflates:
        raise AgentFailure(
            ErrorCode.INCOMPATIBLE,
            f"{device.path} was built without zlib, so that it can unpack no wheel",
            "name another Python of the device: %s --python PATH" % ENROL_DEVICE,
        )
    for each in request.wheels:
        try:
            require_fit(each.file, device)
        except BadWheel as error:
            raise AgentFailure(
                ErrorCode.INCOMPATIBLE, str(error), "choose the wheels for this device"
            ) from error


def _size(folder: str) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # It has gone meanwhile.
                total += os.lstat(os.path.join(place, name)).st_size
    return total
