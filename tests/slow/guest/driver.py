"""Runs in the emulated machine: does to the device's store what the host asks for, one line each.

All that the suite knows of the agent's interface is here. A request is a JSON line, an answer any
number of JSON lines of which the last one's "event" is "done". The machine is saved when this says
"ready" and started from there each time, so that nothing here may touch the disk before.
"""

import contextlib
import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
import traceback

AGENT, PACKAGES, TRUST, DATA = "/agent.pyz", "/packages", "/trust.json", "/data"
ROOT = DATA + "/edgesdk"
NAME = "digits"
PORT = "/dev/vport0p1"
HOST_TIME_S = 1_800_000_000
"""The same in every session, so that what the agent writes does not depend on when it ran."""

sys.path.insert(0, AGENT)

from device_agent import runtimes  # noqa: E402
from device_agent.archive import head_bytes  # noqa: E402
from device_agent.environment_messages import RuntimeVersion  # noqa: E402
from device_agent.failures import AgentFailure  # noqa: E402
from device_agent.installing import Installer  # noqa: E402
from device_agent.package_messages import Offer  # noqa: E402
from device_agent.reading import read_head  # noqa: E402
from device_agent.stable_path import NoPackage, StablePath  # noqa: E402
from device_agent.store import Store  # noqa: E402
from device_agent.trust_messages import ChangeTrust, SignedTrust  # noqa: E402

# No model is run here: the packages ask for no health check, and the runtime is a name.
runtimes.discover = lambda *_: (RuntimeVersion("onnxruntime", "onnxruntime", "1.20"),)

STEPS = ("fsync", "fdatasync", "rename", "replace", "link", "symlink", "unlink", "rmdir", "mkdir")
"""What is counted: every call that makes something durable, or that changes a name."""
SYNCS = ("fsync", "fdatasync")


def main():
    with open(PORT, "r+b", buffering=0) as port:
        hear, say = io.BufferedReader(port), speaker(port)
        say({"event": "ready"})
        for line in hear:
            request = json.loads(line)
            try:
                value = REQUESTS[request.pop("do")](say, **request)
            except Exception:  # noqa: BLE001 - the host decides what it means.
                say({"event": "done", "error": traceback.format_exc()})
            else:
                say({"event": "done", "value": value})


def speaker(port):
    def say(message):
        rest = memoryview(json.dumps(message).encode() + b"\n")
        while rest:
            rest = rest[port.write(rest) :]

    return say


# ---- the disk ------------------------------------------------------------------------------------


def mount(say, options, writeback):
    """Find the disk, which this kernel has not seen before, and mount it.

    Args:
        writeback: whether the kernel writes to the disk without being asked to.
    """
    busybox("insmod", "/modules/virtio_blk.ko")
    deadline = time.monotonic() + 10
    while not os.path.exists("/dev/vda") and time.monotonic() < deadline:
        time.sleep(0.01)
    if not writeback:
        with open("/proc/sys/vm/dirty_writeback_centisecs", "w") as setting:
            setting.write("0")
    busybox("mount", "-t", "ext4", "-o", options, "/dev/vda", DATA)


def leave(say):
    """Unmount: all that was written is on the disk."""
    busybox("umount", DATA)


# ---- what the agent does -------------------------------------------------------------------------


def act(say, actions, root=ROOT, **interruption):
    """Do things one after the other, each in a session of its own, and say each that is done.

    Args:
        actions: each "enrol", "roll back", or the number of a package to install.
        interruption: see `Steps`.

    Returns: every step, as [call, kind, path below the root].
    """
    with counted(Steps(say, root, **interruption)) as steps:
        for action in actions:
            with opened(root) as store:
                perform(Installer(store, AGENT, HOST_TIME_S), action)
                say({"event": "said", "action": action})
    return steps.done


def perform(installer, action):
    if action == "enrol":
        with open(TRUST, encoding="ascii") as stream:
            installer.change_trust(ChangeTrust((SignedTrust(stream.read(), ""),)))
    elif action == "roll back":
        installer.roll_back(NAME)
    else:
        install(installer, f"{PACKAGES}/{action}.edgepkg")


def install(installer, path):
    with open(path, "rb") as stream:
        head = head_bytes(read_head(stream.read))
        offered = installer.offer(Offer(len(head)), io.BytesIO(head).read)
        stream.seek(0 if offered.already else offered.resume_at)
        installer.install(offered.package_id, stream.read)
        installer.commit(offered.package_id, lambda progress: None)


# ---- what is there -------------------------------------------------------------------------------


def look(say, root=ROOT):
    """What an application finds before the agent runs, what the agent says, and every name."""
    application = found_by_application(root)
    with opened(root) as store:
        said = said_by(store)
    return {"application": application, **said, "names": names(root)}


def undisturbed(say, actions):
    """What `look` returns after the same without any mishap, on a disk in memory."""
    root = "/tmp/store-" + "-".join(map(str, actions))
    act(say, actions, root)
    return look(say, root)


def found_by_application(root):
    """Id of the package at the stable path, all of it read; None where there is none."""
    link = StablePath(NAME, root)
    if not os.path.lexists(link.path):
        return None
    try:
        package = link.package()
    except NoPackage as failure:
        return f"damaged: {failure}"
    for file in package.manifest.files:
        found = content(package.path(file))
        if found != f"{file.raw_bytes} {file.sha256}":
            return f"damaged: {file.path}: {found}"
    return package.package_id


def said_by(store):
    """Ids of the current package and of the one to go back to, and why one of them is not whole."""
    state, failures = store.state(), []
    slot = state.slot(NAME)
    current, previous = (None, None) if slot is None else (slot.current, slot.previous or None)
    for package_id in sorted(state.in_use()):
        try:
            for file in store.packages.manifest(package_id).files:
                store.packages.verified_path(package_id, file.role)
            # The next push would repair it; until then there is no going back to the package.
            if state.signed_by.get(package_id) and not store.packages.signatures(package_id):
                failures.append(f"{package_id}: its signature is lost")
        except AgentFailure as failure:
            failures.append(f"{failure.code}: {failure.message}")
    trusts = store.trust() is not None
    return {"current": current, "previous": previous, "trusts": trusts, "failures": failures}


@contextlib.contextmanager
def opened(root):
    store = Store(root)
    try:
        yield store
    finally:
        store.close()


def names(root):
    """Every name below the root with what it stands for."""
    found = []
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            found.append([os.path.relpath(path, root), content(path)])
    return sorted(found)


def content(path):
    """Of a file size and hash, of a link where it leads, of a folder nothing."""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    if not stat.S_ISREG(mode):
        return ""
    with open(path, "rb") as stream:
        data = stream.read()
    if os.path.basename(path) == "state.json":
        # The time that the device knows of moves on; everything else has to be the same.
        data = json.dumps({**json.loads(data), "clock_floor_s": 0}, sort_keys=True).encode()
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}"


# ---- steps ---------------------------------------------------------------------------------------


class Steps:
    """Counts the calls that matter and succeed, and does at one of them what the host wants.

    Args:
        cut: the step, from 0, after which to wait for the end.
        meanwhile: what the system does by itself before that, see `MEANWHILE`.
        unsynced: which syncs do nothing: "files", "folders", "all", or one step's number.
    """

    def __init__(self, say, root, cut=None, meanwhile="nothing", unsynced=None):
        self._say = say
        self._root = root
        self._cut = cut
        self._meanwhile = meanwhile
        self._unsynced = unsynced
        self.done = []

    def call(self, name, function, arguments, options):
        number, path = len(self.done), place(arguments, options)
        kind = "folder" if os.path.isdir(path) or name in ("mkdir", "rmdir") else "file"
        if not (name in SYNCS and self._unsynced in ("all", kind + "s", number)):
            function(*arguments, **options)
        self.done.append([name, kind, os.path.relpath(path, self._root)])
        if number == self._cut:
            MEANWHILE[self._meanwhile]()
            self._say({"event": "cut", "step": self.done[-1]})
            signal.pause()


def place(arguments, options):
    """The path that a call is about; of a rename, the new one."""
    if isinstance(arguments[0], int):
        return opened_path(arguments[0])
    path = [path for path in arguments if isinstance(path, str)][-1]
    folder = options.get("dir_fd")
    return path if folder is None else os.path.join(opened_path(folder), path)


def opened_path(descriptor):
    return os.readlink(f"/proc/self/fd/{descriptor}")


@contextlib.contextmanager
def counted(steps):
    """Hand the calls of `STEPS` to `steps`."""
    real = {name: getattr(os, name) for name in STEPS}

    def wrapped(name):
        return lambda *arguments, **options: steps.call(name, real[name], arguments, options)

    for name in real:
        setattr(os, name, wrapped(name))
    try:
        yield steps
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def sync_names(fsync=os.fsync):
    """Sync a file of another program, and with it the file system's whole journal."""
    with open(DATA + "/another-program-s", "w") as stream:
        stream.write("-")
        stream.flush()
        fsync(stream.fileno())


def busybox(*arguments):
    subprocess.run(["/bin/busybox", *arguments], check=True)


MEANWHILE = {"nothing": lambda: None, "names": sync_names}
REQUESTS = {f.__name__: f for f in (mount, leave, act, look, undisturbed)}

if __name__ == "__main__":
    main()
