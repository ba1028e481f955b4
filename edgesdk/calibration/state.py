"""Everything a calibration has seen so far, in memory and as bytes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgesdk.calibration.accumulator import (
    BINS,
    Accumulator,
    Array,
    Histogram,
    NotANumber,
    Summary,
)
from edgesdk.calibration.estimators import estimate
from edgesdk.calibration.types import Range
from edgesdk.choices import Method
from edgesdk.errors import ConversionError

_DIGEST_BYTES = 32


@dataclass(slots=True)
class Seen:
    """What has been seen of each tensor.

    Args:
        tensors: by name.
        samples: how many went in, counted from the first of the pass.
        complete: the pass is over.
    """

    tensors: dict[str, Accumulator]
    samples: int = 0
    complete: bool = False

    @classmethod
    def nothing(cls, names: Sequence[str], histograms: bool) -> Seen:
        """Before the first sample."""
        return cls({name: Accumulator(Histogram() if histograms else None) for name in names})

    @property
    def has_histograms(self) -> bool:
        """Whether every method can be used."""
        return all(each.histogram is not None for each in self.tensors.values())

    def summaries(self, values: Mapping[str, Array]) -> dict[str, Summary]:
        """What `add` takes of the tensors on one sample; can be made in any thread."""
        counted = self.has_histograms
        return {name: Summary.of(values[name], counted) for name in self.tensors}

    def add(self, summaries: Mapping[str, Summary]) -> None:
        """See the tensors on the next sample.

        Raises:
            ConversionError: one of them is not a number.
        """
        for name, accumulator in self.tensors.items():
            try:
                accumulator.add_summary(summaries[name])
            except NotANumber as error:
                raise ConversionError(
                    f"activation {name!r} of the float model is not a number on calibration "
                    f"sample {self.samples + 1}",
                    hint="check the calibration data, and that the float model is right on them",
                ) from error
        self.samples += 1

    def ranges(self, method: Method, bits: Mapping[str, int], symmetric: bool) -> dict[str, Range]:
        """The range of every tensor; see `edgesdk.calibration.estimators.estimate`.

        Args:
            bits: of each tensor's quantized form.
        """
        return {
            name: estimate(accumulator, method, bits[name], symmetric)
            for name, accumulator in self.tensors.items()
        }


def to_bytes(seen: Seen) -> bytes:
    """An uncompressed `.npz` and, after its end, the SHA-256 of it."""
    tensors = list(seen.tensors.values())
    arrays = {
        "names": np.array(list(seen.tensors), np.str_),
        "progress": np.array([seen.samples, seen.complete], np.int64),
        "bounds": np.array([(each.low, each.high) for each in tensors], np.float64),
    }
    histograms = [each.histogram for each in tensors if each.histogram is not None]
    if histograms:
        arrays["counts"] = np.stack([each.counts for each in histograms])
        arrays["scales"] = np.array([(h.bins_per_unit, h.first_width) for h in histograms])
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    content = stream.getvalue()
    return content + hashlib.sha256(content).digest()


def from_bytes(content: bytes) -> Seen | None:
    """What `to_bytes` was given; None where a single bit is not as it was."""
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return None
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        names = [str(name) for name in arrays["names"]]
        samples, complete = (int(number) for number in arrays["progress"])
        bounds = arrays["bounds"].reshape(-1, 2)
        counts = arrays["counts"] if "counts" in arrays else np.empty((0, BINS), np.int64)
        scales = arrays["scales"] if "scales" in arrays else np.empty((0, 2))
    histograms: list[Histogram | None] = [
        Histogram(row, float(scale[0]), float(scale[1]))
        for row, scale in zip(counts, scales, strict=True)
    ] or [None] * len(names)
    tensors = {
        name: Accumulator(histogram, float(low), float(high))
        for name, histogram, (low, high) in zip(names, histograms, bounds, strict=True)
    }
    return Seen(tensors, samples, bool(complete))
