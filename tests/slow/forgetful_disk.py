"""A disk with a volatile write cache, as an nbdkit plugin: what was not flushed dies with it.

    nbdkit python script=forgetful_disk.py file=IMAGE keep=0.5 seed=7 last=0

Of what is written and not flushed, the share `keep` of the blocks goes to the image at once,
chosen at random, as a disk that writes in an order of its own would leave it. The disk dies in the
`last` request to write or flush, after a part of it; 0 is never.
"""

import os
import random
import signal

API_VERSION = 2

_BLOCK_BYTES = 4096
_settings = {}
_cache = {}
_random = random.Random()
_requests = 0


def config(key, value):
    _settings[key] = value


def config_complete():
    _random.seed(_settings["seed"])


def thread_model():
    import nbdkit

    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def open(readonly):
    return os.open(_settings["file"], os.O_RDWR)


def get_size(handle):
    return os.fstat(handle).st_size


def block_size(handle):
    return (_BLOCK_BYTES, _BLOCK_BYTES, 0xFFFFFFFF)


def pread(handle, buffer, offset, flags):
    data = bytearray(os.pread(handle, len(buffer), offset))
    for block in range(offset, offset + len(buffer), _BLOCK_BYTES):
        if block in _cache:
            data[block - offset : block - offset + _BLOCK_BYTES] = _cache[block]
    buffer[:] = data


def pwrite(handle, buffer, offset, flags):
    for block in range(offset, offset + len(buffer), _BLOCK_BYTES):
        piece = bytes(buffer[block - offset : block - offset + _BLOCK_BYTES])
        if _random.random() < float(_settings["keep"]):
            _cache.pop(block, None)
            os.pwrite(handle, piece, block)
        else:
            _cache[block] = piece
    _count()


def flush(handle, flags):
    _count()
    for block, piece in _cache.items():
        os.pwrite(handle, piece, block)
    _cache.clear()


def _count():
    global _requests
    _requests += 1
    if _requests == int(_settings["last"]):
        os.kill(os.getpid(), signal.SIGKILL)
