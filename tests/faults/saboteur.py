"""What makes a device's Python misbehave at a named point. Runs there, before anything else does.

It lies in the site-packages of an interpreter that a test made (`interpreter.py`), and finds its
orders in a file beside it. The agent is not changed and does not know: the calls of the `os` module
that it makes are counted here, and at the one that was named the process really dies, its disk
really fills up, or it stops until it is told to go on.

A point is a role ("serve", "worker", "patch"), a call, a pattern for its path, and a
number; "before" or "after" the call. `os.fdopen(...).write` is called "append"; "spawn" is a child
process, whose path is its command; "begin" is the start of the process itself.
"""

import errno
import json
import os
import re
import resource
import signal

HERE = os.path.dirname(os.path.abspath(__file__))
ORDERS = os.path.join(HERE, "orders.json")
DONE = os.path.join(HERE, "done.log")

_ROLES = ("worker", "patch")
_ONE_PATH = ("open", "mkdir", "rmdir", "unlink", "chmod", "fsync", "ftruncate", "write")
_TWO_PATHS = ("rename", "symlink")
_ALSO_AGAIN = ("clock", "files")
"""What holds for every process, and not once."""

_really_open = os.open
_really_rename = os.rename


def role():
    with open("/proc/self/cmdline", "rb") as stream:
        argv = stream.read().split(b"\0")
    if b"-c" in argv and any(word.startswith(b"edgesdk-") for word in argv):
        return "serve"
    behind = [argv[at + 1] for at, word in enumerate(argv[:-1]) if word.endswith(b".pyz")]
    return next((name for name in _ROLES if behind[:1] == [name.encode()]), "")


def arm():
    if not os.path.exists(ORDERS):
        return
    with open(ORDERS) as stream:
        orders = [order for order in json.load(stream) if order["role"] == role()]
    if not orders:
        return
    points = [_Point(order) for order in orders if order["call"] != "begin"]
    for order in orders:
        if order["call"] == "begin":
            _obey(order, "")
    if points:
        _watch(points)


class _Point:
    def __init__(self, order):
        self.order = order
        self.pattern = re.compile(order["path"])
        self.left = order["number"]

    def is_reached(self, call, path, moment):
        order = self.order
        if (call, moment) != (order["call"], order["moment"]) or not self.pattern.search(path):
            return False
        self.left -= 1
        return self.left == 0


def _watch(points):
    def seen(call, path, moment):
        for point in points:
            if point.is_reached(call, path, moment):
                _obey(point.order, path)

    for name in _ONE_PATH + _TWO_PATHS:
        really = getattr(os, name)
        watched = _watched(really, name, seen)
        setattr(os, name, watched)
        for group in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if really in group:
                group.add(watched)
    fdopen = os.fdopen

    def watched_fdopen(fd, *arguments, **options):
        return _Stream(fdopen(fd, *arguments, **options), _path_of(fd), seen)

    os.fdopen = watched_fdopen
    import _posixsubprocess

    fork_exec = _posixsubprocess.fork_exec

    def watched_fork_exec(args, *rest):
        command = " ".join(os.fsdecode(each) for each in args)
        seen("spawn", command, "before")
        pid = fork_exec(args, *rest)
        seen("spawn", command, "after")
        return pid

    _posixsubprocess.fork_exec = watched_fork_exec


def _watched(really, name, seen):
    def call(*arguments, **options):
        path = _path(name, arguments, options)
        seen(name, path, "before")
        result = really(*arguments, **options)
        seen(name, path, "after")
        return result

    return call


def _path(name, arguments, options):
    """What a call is about: its path, or what it writes where it is a pipe."""
    if name == "write":
        return bytes(arguments[1][:200]).decode("ascii", "replace")
    target = arguments[1] if name in _TWO_PATHS else arguments[0]
    if isinstance(target, int):
        return _path_of(target)
    path = os.fsdecode(target)
    folder = options.get("dir_fd")
    return path if folder is None else os.path.join(_path_of(folder), path)


def _path_of(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


class _Stream:
    """A file whose writes are counted."""

    def __init__(self, stream, path, seen):
        self._stream = stream
        self._path = path
        self._seen = seen

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, data):
        self._seen("append", self._path, "before")
        written = self._stream.write(data)
        self._seen("append", self._path, "after")
        return written


def _obey(order, path):
    action, argument = order["action"], order["argument"]
    if action not in _ALSO_AGAIN:
        _forget(order)
    with open(DONE, "a") as stream:
        stream.write("{} {} {}\n".format(order["role"], order["call"], path))
    _ACTIONS[action](argument)


def _forget(order):
    with open(ORDERS) as stream:
        left = [each for each in json.load(stream) if each != order]
    temporary = f"{ORDERS}.{os.getpid()}"
    with open(temporary, "w") as stream:
        json.dump(left, stream)
    _really_rename(temporary, ORDERS)


def _die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def _pause(_):
    os.kill(os.getpid(), signal.SIGSTOP)


def _fill(path):
    """Take all room that is left, down to the last byte."""
    piece = bytes(64 * 1024)
    with open(path, "ab", buffering=0) as stream:
        while piece:
            try:
                stream.write(piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                piece = piece[: len(piece) // 2]


def _take_inodes(folder):
    for number in range(1000000):
        try:
            os.close(_really_open(os.path.join(folder, str(number)), os.O_CREAT, 0o600))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return


def _limit_files(most):
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _limit_memory(more):
    """No more address space than this process has now, and a little."""
    with open("/proc/self/statm") as stream:
        now = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))


def _set_clock(now):
    import time

    time.time = lambda: float(now)


def _swap(paths):
    _really_rename(paths[0], paths[1])


_ACTIONS = {
    "die": _die,
    "pause": _pause,
    "fill": _fill,
    "inodes": _take_inodes,
    "files": _limit_files,
    "memory": _limit_memory,
    "clock": _set_clock,
    "swap": _swap,
}

arm()
