"""Device memory and streams, by ctypes on the NVIDIA driver's own library.

The driver's interface rather than the toolkit's (libcudart), cuda-python or pycuda: libcuda.so.1
comes with the driver itself, so it is on every image on which TensorRT can run at all; its name has
no release in it (libcudart.so.10.2, .11.0, .12, .13), and nothing has to be installed or compiled.
Work is done in the device's primary context, the one that TensorRT itself uses.

Follows the CUDA Driver API reference. No GPU was at hand when this was written: it has been run
against a fake only.
"""

from __future__ import annotations

import ctypes
from typing import Any

LIBRARY = "libcuda.so.1"

# cuda.h: CUdevice_attribute
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76
_NAME_BYTES = 256
_DEFAULT_STREAM_FLAGS = 0


class CudaFailed(Exception):
    """The driver refused, in its own words."""


class Device:
    """The first CUDA device, its primary context current in this thread.

    Raises:
        CudaFailed: there is no driver, or no device that this user may open.
    """

    def __init__(self) -> None:
        self._library = _open_library()
        self._call("cuInit", 0)
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)

    @property
    def name(self) -> str:
        """As the driver calls it, such as "Orin"."""
        text = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("cuDeviceGetName", text, _NAME_BYTES, self._device)
        return text.value.decode("utf-8", "replace")

    @property
    def compute_capability(self) -> str:
        """The GPU's architecture, such as "8.7"."""
        major = self._attribute(_COMPUTE_CAPABILITY_MAJOR)
        return f"{major}.{self._attribute(_COMPUTE_CAPABILITY_MINOR)}"

    def allocate(self, size: int) -> int:
        """Address of that many bytes of device memory, kept until the process ends.

        Raises:
            CudaFailed: there is not so much.
        """
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def copy_in(self, target: int, source: int, size: int) -> None:
        """Copy from host to device memory; later work on any of our streams sees it.

        Raises:
            CudaFailed: the driver refuses, or an earlier run failed on the device.
        """
        arguments = ctypes.c_uint64(target), ctypes.c_void_p(source), ctypes.c_size_t(size)
        self._call("cuMemcpyHtoD_v2", *arguments)

    def copy_out(self, target: int, source: int, size: int) -> None:
        """Copy from device to host memory.

        Raises:
            CudaFailed: as `copy_in`.
        """
        arguments = ctypes.c_void_p(target), ctypes.c_uint64(source), ctypes.c_size_t(size)
        self._call("cuMemcpyDtoH_v2", *arguments)

    def make_stream(self) -> int:
        """Handle of a new stream, which waits for copies as the default flags say.

        Raises:
            CudaFailed: the driver refuses.
        """
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), _DEFAULT_STREAM_FLAGS)
        return stream.value or 0

    def wait_for(self, stream: int) -> None:
        """Wait until all that was given to a stream is done.

        Raises:
            CudaFailed: some of it failed on the device.
        """
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), number, self._device)
        return value.value

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise CudaFailed(f"{name}: {self._describe(status)}")

    def _describe(self, status: int) -> str:
        text = ctypes.c_char_p()
        unknown = self._library.cuGetErrorString(status, ctypes.byref(text))
        if unknown or text.value is None:
            return f"error {status}"
        return text.value.decode("utf-8", "replace")


def _open_library() -> Any:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise CudaFailed(f"{LIBRARY}, the NVIDIA driver, cannot be loaded: {error}") from error
