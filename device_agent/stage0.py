"""Starts the agent: python3 -c THIS MARKER SIZE SHA256 FOLDER

Says HAVE or NEED after the marker, reads the zipapp from stdin if needed, checks it, keeps it under
its hash and becomes it. It must parse on Python 2.7, to say that it is too old.
"""
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: E402

import sys

sys.path[:] = [path for path in sys.path if path]  # Nothing is imported from where we happen to be.

import hashlib
import os


def say(marker, word):
    os.write(1, ("\n%s %s\n" % (marker, word)).encode("ascii", "replace"))


def load(path, digest):
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest() == digest
    except (IOError, OSError):
        return False


def receive(size):
    content = b""
    while len(content) < size:
        piece = os.read(0, size - len(content))
        if not piece:
            sys.exit(1)
        content += piece
    return content


def keep(path, content):
    folder = os.path.dirname(path)
    for each in (os.path.dirname(folder), folder):  # The mode is of the last one only.
        os.makedirs(each, 0o700, exist_ok=True)
    if os.path.islink(folder):  # Who put it there may want us to write elsewhere.
        raise OSError(folder + " is a link")
    temporary = "%s.%d" % (path, os.getpid())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(fd)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def hold(content):
    """For a disk that takes nothing: a nameless file that lives as long as this process."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("edgesdk-agent", 0)
    else:
        import tempfile  # Python 3.7; slow to import, so not for everyone.

        fd, path = tempfile.mkstemp()
        os.unlink(path)
        os.set_inheritable(fd, True)
    with os.fdopen(os.dup(fd), "wb") as stream:
        stream.write(content)
    return "/proc/%d/fd/%d" % (os.getpid(), fd)


def become(path, marker, root):
    """In this very process: an interpreter more would take as long again to start."""
    sys.argv = [path, "serve", marker, root]
    sys.path.insert(0, path)
    from device_agent import program

    sys.exit(program.main(sys.argv[1:], path))


def main(marker, size, digest, root):
    if sys.version_info < (3, 7):
        say(marker, "OLD %d.%d" % sys.version_info[:2])
        sys.exit(1)
    os.umask(0o022)
    root = os.path.expanduser(root)
    path = os.path.join(root, "agent", digest + ".pyz")
    if load(path, digest):
        say(marker, "HAVE")
    else:
        say(marker, "NEED")
        content = receive(int(size))
        if hashlib.sha256(content).hexdigest() != digest:
            say(marker, "DAMAGED")
            sys.exit(1)
        try:
            keep(path, content)
        except OSError:
            path = hold(content)
    become(path, marker, root)


if __name__ == "__main__":
    main(*sys.argv[1:])
