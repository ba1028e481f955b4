"""A stand-in for libcuda.so.1: device memory is host memory, and any call can be made to fail.

Signatures and codes follow the CUDA Driver API reference. Arguments come as ctypes makes them.
"""

from __future__ import annotations

import ctypes
from typing import Any

COMPUTE_CAPABILITY = {75: 8, 76: 7}
STREAM = 0x5EED


class FakeDriver:
    """Offers the driver's functions as attributes, as `ctypes.CDLL` does.

    Attributes:
        failures: status to answer with, by the name of the function.
        calls: names of the functions, in order.
    """

    def __init__(self, name: str = "Orin") -> None:
        self.name = name
        self.failures: dict[str, int] = {}
        self.calls: list[str] = []
        self._memory: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        answer = type(self).__dict__["_" + name]  # Only what the driver has.

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name in self.failures:
                return self.failures[name]
            answer(self, *arguments)
            return 0

        return call

    def _cuInit(self, flags: int) -> None:
        assert flags == 0

    def _cuDeviceGet(self, device: Any, ordinal: int) -> None:
        device._obj.value = ordinal

    def _cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> None:
        context._obj.value = 0xC0DE

    def _cuCtxSetCurrent(self, context: Any) -> None:
        assert context.value == 0xC0DE

    def _cuDeviceGetName(self, text: Any, size: int, device: Any) -> None:
        assert len(text) == size
        text.value = self.name.encode()

    def _cuDeviceGetAttribute(self, value: Any, number: int, device: Any) -> None:
        value._obj.value = COMPUTE_CAPABILITY[number]

    def _cuMemAlloc_v2(self, address: Any, size: Any) -> None:
        self._memory.append(ctypes.create_string_buffer(size.value))
        address._obj.value = ctypes.addressof(self._memory[-1])

    def _cuMemcpyHtoD_v2(self, target: Any, source: Any, size: Any) -> None:
        ctypes.memmove(target.value, source.value, size.value)

    def _cuMemcpyDtoH_v2(self, target: Any, source: Any, size: Any) -> None:
        ctypes.memmove(target.value, source.value, size.value)

    def _cuStreamCreate(self, stream: Any, flags: int) -> None:
        stream._obj.value = STREAM

    def _cuStreamSynchronize(self, stream: Any) -> None:
        assert stream.value == STREAM

    def _cuGetErrorString(self, status: int, text: Any) -> None:
        text._obj.value = f"error number {status}".encode()
