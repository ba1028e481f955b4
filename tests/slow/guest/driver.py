"""Runs in the emulated machine: does to the device's store what the host asks for, one line each.

All that the suite knows of the store's interface is here. A request is a JSON line, an answer any
number of JSON lines of which the last one's "event" is "done". The machine is saved when this says
"ready" and started from there each time, so that nothing here may touch the disk before.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import time
import traceback

AGENT, PACKAGES, DATA = "/agent.pyz", "/packages", "/data"
ROOT = DATA + "/edgesdk"
PORT = "/dev/vport0p1"

sys.path.insert(0, AGENT)

from device_agent.archive import PackageReader  # noqa: E402
from device_agent.failures import AgentFailure  # noqa: E402
from device_agent.store import Store  # noqa: E402

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


def install(say, packages, cut=None, meanwhile="nothing", unsynced=None):
    """Install packages one after the other, each by a session of its own.

    Args:
        packages: their numbers.
        cut: the step, from 0, after which to wait for the end.
        meanwhile: what the system does by itself before that: "nothing"; "names", that is
            everything but the content of files, as when another program syncs a file of its own;
            "everything".
        unsynced: which syncs do nothing: "files", "folders", "all", or one step's number.

    Returns: every step, as [call, kind, path below the root].
    """
    with counted(Steps(say, cut, meanwhile, unsynced)) as steps:
        for number in packages:
            with opened() as store:
                package_id = put(store, number)
            say({"event": "installed", "package": number, "package_id": package_id})
    return steps.done


def look(say, root=ROOT):
    """What the store says and holds: the current package or why there is none, and every name."""
    with opened(root) as store:
        current, failure = verified(store)
    return {"current": current, "failure": failure, "names": names(root)}


def verified(store):
    """The current package's id, each of whose files has been read and is as it should be."""
    try:
        package_id = store.current().package_id
        for file in store.manifest(package_id).files:
            store.verified_path(package_id, file.role)
    except AgentFailure as failure:
        return None, f"{failure.code}: {failure.message}"
    return package_id, None


def undisturbed(say, packages):
    """What `look` returns after installing packages without any mishap, on a disk in memory."""
    root = f"/tmp/{len(packages)}-packages"
    for number in packages:
        with opened(root) as store:
            put(store, number)
    return look(say, root)


def put(store, number):
    with open(f"{PACKAGES}/{number}.edgepkg", "rb") as stream:
        return store.install(PackageReader(stream.read)).package_id


@contextlib.contextmanager
def opened(root=ROOT):
    store = Store(root)
    try:
        yield store
    finally:
        store.close()


def names(root):
    """Every name below the root; a plain file's with its size and hash."""
    found = []
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            found.append([os.path.relpath(path, root), content(path)])
    return sorted(found)


def content(path):
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return None
    with open(path, "rb") as stream:
        data = stream.read()
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}"


class Steps:
    """Counts the steps, and does at one of them what the host wants."""

    def __init__(self, say, cut, meanwhile, unsynced):
        self._say = say
        self._cut = cut
        self._meanwhile = meanwhile
        self._unsynced = unsynced
        self._number = itertools.count()
        self.done = []

    def call(self, name, function, arguments, options):
        number, path = next(self._number), place(arguments, options)
        kind = "folder" if os.path.isdir(path) or name == "mkdir" else "file"
        self.done.append([name, kind, os.path.relpath(path, ROOT)])
        try:
            if not (name in SYNCS and self._unsynced in ("all", kind + "s", number)):
                return function(*arguments, **options)
        finally:
            if number == self._cut:
                MEANWHILE[self._meanwhile]()
                self._say({"event": "cut", "step": self.done[-1]})
                signal.pause()


def sync_names():
    """Sync a file that is none of the store's, and with it the file system's whole journal."""
    with open(DATA + "/another-program-s", "w") as stream:
        stream.write("-")
        stream.flush()
        os.fsync(stream.fileno())


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


def busybox(*arguments):
    subprocess.run(["/bin/busybox", *arguments], check=True)


MEANWHILE = {"nothing": lambda: None, "names": sync_names, "everything": os.sync}
REQUESTS = {f.__name__: f for f in (mount, leave, install, look, undisturbed)}

if __name__ == "__main__":
    main()
