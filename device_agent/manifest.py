"""What a package says of itself: the manifest, and how a delta carries the same files otherwise.

The manifest names the hash of everything else, so whoever trusts the manifest can trust the
package. A package's id is the SHA-256 of its manifest's canonical bytes, and its signature is over
the same bytes. A delta package holds the very manifest of the full one, and with it its id and its
signature; beside it lies a `Delta`, which is signed by itself and says how each file is made from
what the device has. What is installed is the same in both cases.
"""

from __future__ import annotations

import hashlib
import re
from typing import Dict, List, Optional, Tuple

from device_agent.codec import canonical
from device_agent.preprocessing import Stages
from device_agent.records import record

_MACHINE_ALIASES = {"arm64": "aarch64", "amd64": "x86_64"}

FORMAT = "edgepkg/1"
DELTA_FORMAT = "edgedelta/1"
RUNTIMES = ("litert", "onnxruntime", "edgetpu", "qnn", "tensorrt", "openvino")
"""What `Compatibility.runtime` and the wire call the runtimes."""

FALLBACK_ROLES = ("float", "twin")
FALLBACK_CAUSES = ("load", "parity", "ood")

CHUNK_BYTES = 64 * 1024


@record(frozen=True)
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


@record(frozen=True)
class File:
    """One file of the package.

    Its bytes are cut into chunks of 64 KiB, and each is stored by itself: compressed by zlib, or as
    it is where that is not smaller. So any chunk can be verified before it is decompressed, and a
    transfer can go on behind any of them.

    In a file none of whose chunks is compressed, each one's hash is that of all bytes up to its
    end: the last one's is the file's, and whoever receives it hashes each byte once.

    Args:
        role: "model", "companion", "float", "twin" or "golden"; each at most once. The companion is
            the one other file that the model cannot be loaded without and that it finds beside it
            by name: the weights of an OpenVINO model (.bin), the binary that a context model names.
            The twin is another conversion of the same network, such as w8a16.
        path: the file's name once installed; no directories.
        raw_bytes: size once installed.
        sha256: of the installed bytes.
        sizes: stored size of each chunk in bytes.
        chunks: SHA-256 of each chunk as it is stored; of a plain file, of all up to its end.
    """

    role: str
    path: str
    raw_bytes: int
    sha256: str
    sizes: Tuple[int, ...]
    chunks: Tuple[str, ...]

    @property
    def stored_bytes(self) -> int:
        """Size inside the package."""
        return sum(self.sizes)

    @property
    def is_plain(self) -> bool:
        """Whether all of it is stored as it is."""
        return self.stored_bytes == self.raw_bytes


@record(frozen=True)
class Compatibility:
    """What the device must be.

    Args:
        target: the target id it was converted for (informative; boards of one kind share binaries).
        architectures: values of `platform.machine()` it runs on; empty when any.
        runtime: one of `RUNTIMES`.
        runtime_min_version: lowest version of that runtime.
        boards: what the device's board must be called, or begin with; empty when any.
    """

    target: str
    architectures: Tuple[str, ...]
    runtime: str
    runtime_min_version: str
    boards: Tuple[str, ...] = ()


@record(frozen=True)
class Limits:
    """Budgets in bytes; None where there is none. The device checks each of them again.

    Args:
        package_bytes: of the package file; for a delta, see `delta_bytes`.
        delta_bytes: of the package file that is a delta.
        installed_bytes: of the installed files.
        peak_ram_bytes: of the process that runs the model, in the health check.
    """

    package_bytes: Optional[int] = None
    delta_bytes: Optional[int] = None
    installed_bytes: Optional[int] = None
    peak_ram_bytes: Optional[int] = None


@record(frozen=True)
class HealthCheck:
    """What a package on trial must pass on the device before it becomes the current one.

    That its model loads and runs is always asked. A bound that is None is not.

    Args:
        max_parity_mismatch_percent: golden output values more than one quantization step off.
        max_latency_ns: of the median inference.
        command: argv of the user's own check, run in the package's folder on the device; an exit
            status other than 0 fails. Only a signed package's is run.
        command_seconds: how long it may take.
    """

    max_parity_mismatch_percent: Optional[float] = None
    max_latency_ns: Optional[int] = None
    command: Tuple[str, ...] = ()
    command_seconds: float = 60.0


@record(frozen=True)
class Band:
    """From `low` to `high`, both ends of it inside."""

    low: float
    high: float


@record(frozen=True)
class InputStatistics:
    """Where statistics of one input lay over the calibration samples, or may lie on the device.

    They are taken of one sample's whole input tensor x, n elements in C order, as real numbers
    (stored values of a quantized input are dequantized first), in float64:

        mean        m = sum(x) / n
        deviation   sqrt(sum((x - m)^2) / n)
        roughness   sum(|x[i + 1] - x[i]|) / (n - 1); 0 for a single element

    Args:
        name: of the input.
        samples: how many calibration samples there were.
        values: of single elements.
        mean: of the samples' means.
        deviation: of their standard deviations.
        roughness: of the mean step from each element to the next.
        max_beyond_percent: elements of a sample that may lie outside of `values`.
    """

    name: str
    samples: int
    values: Band
    mean: Band
    deviation: Band
    roughness: Band
    max_beyond_percent: float = 0.0


@record(frozen=True)
class Fallback:
    """When a guarded runner on the device runs another file in the model's place.

    Args:
        role: of the other file: "float" or "twin".
        runtime: what runs it, one of `RUNTIMES`; it needs no accelerator.
        when: of `FALLBACK_CAUSES`. "load": the model, or its accelerator's delegate, does not load,
            or fails in a run. "parity": its golden outputs are off. "ood": an input is out of
            distribution by `inputs`.
        max_parity_mismatch_percent: golden output values that may be more than one step off.
        inputs: what each input may be, in the model's order; empty without "ood".
    """

    role: str
    runtime: str
    when: Tuple[str, ...]
    max_parity_mismatch_percent: float = 0.0
    inputs: Tuple[InputStatistics, ...] = ()


@record(frozen=True)
class Lock:
    """What the model was compiled for and judged by, for whoever compares a device with it.

    Versions of the toolchain are in `Manifest.provenance`, as "toolchain.NAME"; what runs the model
    is in `Compatibility`. None, or "", where the package has no such thing.

    Args:
        kernels: that golden outputs were computed with on the workstation, such as "xnnpack".
        compiler: of the vendor, which made or accepted the model.
        compiler_version: of it.
        edgetpu_runtime: the oldest runtime version of libedgetpu that runs the model, such as 13.
        htp_arch: version of the Hexagon architecture that it was compiled for, such as 73.
        htp_soc_model: Qualcomm's number of the SoC.
        tensorrt: release of TensorRT that it was made for, such as "10.3".
        jetpack: release of JetPack that this TensorRT comes with.
    """

    kernels: Tuple[str, ...]
    compiler: str = ""
    compiler_version: str = ""
    edgetpu_runtime: Optional[int] = None
    htp_arch: Optional[int] = None
    htp_soc_model: Optional[int] = None
    tensorrt: str = ""
    jetpack: str = ""


@record(frozen=True)
class Manifest:
    """Everything about a package but the bytes of its files.

    Args:
        format: of the package; this reader knows `FORMAT` only.
        name: letters, digits, dots, dashes, underscores. Packages of one name follow one another.
        version: for people.
        sequence: for machines; a later package of the same name has a higher one. A device takes
            none that is lower than what it has, unless a signed override says so.
        min_sequence: once this package is current, the device goes back to none below this.
        expires: UTC, "YYYY-MM-DDTHH:MM:SSZ", after which it is not installed any more.
        gates: bounds in base units that the package was made under; for the reader.
        health: what it must pass before it becomes current; None asks for nothing.
        provenance: what it was made of and with: digests and versions.
        fallback: when another file runs in the model's place; None where there is no other.
        stages: what makes the model's one input of a picture, and the answer of its outputs; None
            where nobody declared it.
        lock: what the model was compiled for and judged by.
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
    min_sequence: int = 0
    expires: Optional[str] = None
    health: Optional[HealthCheck] = None
    fallback: Optional[Fallback] = None
    stages: Optional[Stages] = None
    lock: Optional[Lock] = None

    @property
    def package_id(self) -> str:
        """SHA-256 (hex) of the canonical bytes."""
        # Kept beside the fields: it is asked for at every turn, and never changes.
        if "_package_id" not in self.__dict__:
            self.__dict__["_package_id"] = hashlib.sha256(canonical(self)).hexdigest()
        return str(self.__dict__["_package_id"])

    @property
    def raw_bytes(self) -> int:
        """Size of all files once installed."""
        return sum(file.raw_bytes for file in self.files)

    def file(self, role: str) -> Optional[File]:
        """The file with that role, or None."""
        return next((file for file in self.files if file.role == role), None)


@record(frozen=True)
class DeltaFile:
    """How a delta package carries one file of the manifest.

    Args:
        path: the file's name in the manifest.
        codec: "same": the device has the very file, nothing travels. "full": as in the full
            package. "bytes-delta", "tensors-delta": a patch travels, for `device_agent.delta`.
        base_sha256: of the file to take or to patch; "" for "full".
        base_bytes: its size.
        stored_bytes: size of the patch; 0 for the others.
        chunks: of every 64 KiB of the patch, the SHA-256 of it up to their end.
    """

    path: str
    codec: str
    base_sha256: str = ""
    base_bytes: int = 0
    stored_bytes: int = 0
    chunks: Tuple[str, ...] = ()


@record(frozen=True)
class Delta:
    """What makes a package a delta.

    Args:
        format: this reader knows `DELTA_FORMAT` only.
        package_id: of the package it makes.
        base: id of the package it was made against; other packages with the same files will do.
        files: one a file of the manifest, in its order.
    """

    format: str
    package_id: str
    base: str
    files: Tuple[DeltaFile, ...]


def runs_on(machine: str, architectures: Tuple[str, ...]) -> bool:
    """Whether a machine, as `platform.machine()` names it, is one of these; none means any."""

    def plain(name: str) -> str:
        return _MACHINE_ALIASES.get(name.lower(), name.lower())

    return not architectures or plain(machine) in {plain(name) for name in architectures}


def is_at_least(version: str, minimum: str) -> bool:
    """Whether a version is the minimum or newer, by their release parts; "" is below all."""
    return _numbers(version) >= _numbers(minimum)


def _numbers(version: str) -> List[Tuple[int, str]]:
    """The release part, without trailing zeros: "2.10.0rc1" is 2 and 10.

    A number is how many digits it has, and those. `int` would take minutes for the millions that a
    manifest has room for, or refuse them.
    """
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    digits = [part.lstrip("0") for part in match.group().split(".")] if match else []
    while digits and not digits[-1]:
        digits.pop()
    return [(len(number), number) for number in digits]
