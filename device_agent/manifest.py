"""The manifest of a package: what is in it, for which device, under which limits.

The manifest names the hash of everything else, so whoever trusts the manifest can trust the
package. A package's id is the SHA-256 of its manifest's canonical bytes; signatures (to come) are
over the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from device_agent.codec import canonical

_MACHINE_ALIASES = {"arm64": "aarch64", "amd64": "x86_64"}

FORMAT = "edgepkg/1"
RUNTIMES = ("litert", "onnxruntime", "edgetpu", "qnn", "tensorrt", "openvino")
"""What `Compatibility.runtime` and the wire call the runtimes."""

CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Port:
    """One input or output tensor of the packaged model.

    `scale` and `zero_point` are set when the tensor is quantized per tensor:
    real = scale * (stored - zero_point).
    """

    name: str
    shape: Tuple[int, ...]
    dtype: str
    scale: Optional[float] = None
    zero_point: Optional[int] = None


@dataclass(frozen=True)
class File:
    """One file of the package.

    Args:
        role: "model", "companion", "float" or "golden"; each at most once. The companion is the one
            other file that the model cannot be loaded without and that it finds beside it by name:
            the weights of an OpenVINO model (.bin), the binary that a context model names.
        path: the file's name once installed; no directories.
        raw_bytes: size once installed.
        sha256: of the installed bytes.
        codec: "none" or "zlib".
        stored_bytes: size inside the package.
        chunks: SHA-256 of every 64 KiB of the stored bytes, in order.
    """

    role: str
    path: str
    raw_bytes: int
    sha256: str
    codec: str
    stored_bytes: int
    chunks: Tuple[str, ...]


@dataclass(frozen=True)
class Compatibility:
    """What the device must be.

    Args:
        target: the target id it was converted for (informative; boards of one kind share binaries).
        architectures: values of `platform.machine()` it runs on; empty when any.
        runtime: one of `RUNTIMES`.
        runtime_min_version: lowest version of that runtime.
    """

    target: str
    architectures: Tuple[str, ...]
    runtime: str
    runtime_min_version: str


@dataclass(frozen=True)
class Limits:
    """Budgets in bytes; None where there is none.

    Args:
        installed_bytes: checked again by the device before it installs.
        peak_ram_bytes: recorded; the workstation judges the memory that the device measured.
    """

    installed_bytes: Optional[int]
    peak_ram_bytes: Optional[int]


@dataclass(frozen=True)
class Manifest:
    """Everything about a package but the bytes of its files.

    Args:
        format: of the package; this reader knows `FORMAT` only.
        name: letters, digits, dots, dashes, underscores.
        version: for people.
        sequence: for machines; a later package of the same name has a higher one. Recorded; that a
            device refuses an earlier one is still to come.
        gates: bounds in base units that the package was made under. Recorded; for the health check
            still to come.
        provenance: what it was made of and with: digests and versions.
    """

    format: str
    name: str
    version: str
    sequence: int
    compatibility: Compatibility
    inputs: Tuple[Port, ...]
    outputs: Tuple[Port, ...]
    files: Tuple[File, ...]
    limits: Limits
    gates: Dict[str, float]
    provenance: Dict[str, str]

    @property
    def package_id(self) -> str:
        """SHA-256 (hex) of the canonical bytes."""
        return hashlib.sha256(canonical(self)).hexdigest()

    def file(self, role: str) -> Optional[File]:
        """The file with that role, or None."""
        return next((file for file in self.files if file.role == role), None)


def runs_on(machine: str, architectures: Tuple[str, ...]) -> bool:
    """Whether a machine, as `platform.machine()` names it, is one of these; none means any."""

    def plain(name: str) -> str:
        return _MACHINE_ALIASES.get(name.lower(), name.lower())

    return not architectures or plain(machine) in {plain(name) for name in architectures}


def is_at_least(version: str, minimum: str) -> bool:
    """Whether a version is the minimum or newer, by their release parts; "" is below all."""
    return _numbers(version) >= _numbers(minimum)


def _numbers(version: str) -> List[int]:
    """The release part, without trailing zeros: "2.10.0rc1" is [2, 10]."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in match.group().split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers
