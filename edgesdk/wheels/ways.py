"""What brings each runtime: distributions on the package index, or the vendor's own packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesdk.errors import NoWheels, UsageError


@dataclass(frozen=True, slots=True)
class Way:
    """One way to get a runtime from the package index.

    Args:
        package: the distribution.
        beside: what has to be asked for beside it, as its own metadata do not say so.
    """

    package: str
    beside: tuple[str, ...] = ()

    def requirements(self, min_version: str) -> tuple[str, ...]:
        """What pip is asked for.

        Args:
            min_version: lowest that will do; "" takes any.
        """
        return (f"{self.package}>={min_version}" if min_version else self.package, *self.beside)


_LITERT = (
    Way("ai-edge-litert"),
    # For Pythons that ai-edge-litert has no wheel for; built before numpy 2.
    Way("tflite-runtime", ("numpy<2",)),
)
_WAYS: Mapping[str, tuple[Way, ...]] = {
    "litert": _LITERT,
    "edgetpu": _LITERT,
    "onnxruntime": (Way("onnxruntime"),),
    "qnn": (Way("onnxruntime-qnn", ("onnxruntime",)),),
    "openvino": (Way("openvino"),),
}
"""Best first; a later one is tried where no wheel of an earlier one fits the board."""

_NOT_THERE: Mapping[str, str] = {
    "tensorrt": "on the device, sudo apt install python3-libnvinfer (JetPack's own package), then "
    "edgesdk device add ... --python /usr/bin/python3 --replace",
}
"""Runtimes that no wheel brings, and what does."""

EDGE_TPU_LIBRARY = (
    "the Edge TPU needs libedgetpu.so.1 as well, which no wheel brings: from Coral's package "
    "repository, sudo apt install libedgetpu1-std"
)

INSTALLABLE = tuple(_WAYS)
"""What `edgesdk agent install` can bring, by name."""

WHOLE = tuple(name for name in _WAYS if name != "edgetpu")
"""Those of them that need nothing else on the device."""


def ways_for(runtime: str) -> tuple[Way, ...]:
    """How to get a runtime, best first.

    Raises:
        UsageError: there is no runtime of that name.
        NoWheels: no wheel brings it.
    """
    require_known(runtime)
    if runtime in _NOT_THERE:
        raise NoWheels(f"{runtime} comes with no wheel", hint=_NOT_THERE[runtime])
    return _WAYS[runtime]


def require_known(runtime: str) -> None:
    """Refuse a name that no runtime has.

    Raises:
        UsageError: naming those that can be brought.
    """
    if runtime not in _WAYS and runtime not in _NOT_THERE:
        raise UsageError(f"found runtime {runtime!r}, expected one of: {', '.join(INSTALLABLE)}")


def installed_as(runtime: str) -> str:
    """Name under which the device keeps it: the Edge TPU's is LiteRT, with a library beside it."""
    return "litert" if runtime == "edgetpu" else runtime
