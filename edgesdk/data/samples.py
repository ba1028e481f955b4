"""Samples for calibration and evaluation, checked against the model and streamed one by one.

A source is `FILE.npz`, `FILE.npz#SPLIT` (arrays named `SPLIT/<input>`), a folder of pictures,
`module:function`, or any iterable of samples. Nothing is resized, scaled or cast but pictures, as
their declared preprocessing says: what does not fit is refused.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import os
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesdk.data.images import Picture, image_samples
from edgesdk.data.npz import NpzRows
from edgesdk.data.preprocessing import Preprocessing
from edgesdk.data.spool import spooled
from edgesdk.errors import DataError
from edgesdk.models.types import TensorSpec

Sample = Mapping[str, npt.NDArray[Any]]
LABEL = "label"
Source = str | os.PathLike[str] | Iterable[Sample]
"""Where samples come from; see `open_samples`."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples that are known to fit a model.

    Args:
        origin: the source as it was given.
        count: number of samples.
        sha256: over every sample's names, shapes, dtypes and bytes, in order.
        labels: int64 of shape (count,), or None when the source has none.
        unvarying: inputs that have one and the same value throughout, in every sample.
        stream: starts one pass; each sample maps input names to arrays of exactly the model's
            input shapes and dtypes.
        preprocessing: digest of what made them of pictures; "" where they came as they are.
        pictures: starts one pass over the pictures they are made of, each decoded, upright RGB,
            uint8 of shape (height, width, 3); None where they are made of none.
    """

    origin: str
    count: int
    sha256: str
    labels: npt.NDArray[np.int64] | None
    stream: Callable[[], Iterator[Sample]]
    unvarying: tuple[str, ...] = ()
    preprocessing: str = ""
    pictures: Callable[[], Iterator[Picture]] | None = None

    def cautions(self) -> Iterator[str]:
        """What makes poor calibration data of these."""
        for name in self.unvarying:
            yield f"the input {name!r} has one and the same value in all of {self.origin}"
        if self.count == 1:
            yield f"{self.origin} holds one sample: ranges made from it fit no other"

    def head(self, count: int) -> list[Sample]:
        """The first `count` samples."""
        return list(itertools.islice(self.stream(), count))


def open_samples(
    source: Source,
    inputs: Sequence[TensorSpec],
    advance: Callable[[int], object] = lambda _: None,
    preprocessing: Preprocessing | None = None,
) -> Samples:
    """Open a source of samples and check every one of them.

    Args:
        source: `FILE.npz`, `FILE.npz#SPLIT`, a folder of pictures, `module:function`, or an
            iterable of samples. Arrays of an `.npz` have a leading sample axis: (n, *input shape),
            or (n, *input shape without its batch axis) when that is 1. A function returns an
            iterable of dictionaries of single samples, shaped likewise. An iterator, which can be
            read but once, is kept in a temporary file.
        inputs: the model's inputs.
        advance: called with 1 after each sample of the first pass, which checks them all.
        preprocessing: what makes inputs of pictures.

    Raises:
        DataError: missing, empty, wrong names, shapes or dtypes, not finite, bad labels.
    """
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if not isinstance(source, str):
        return _checked("the given samples", _iterable_samples(source), inputs, advance)
    file, _, split = source.partition("#")
    if source and Path(source).is_dir():
        return _of_pictures(source, inputs, advance, preprocessing)
    if file.endswith(".npz"):
        raw = _npz_samples(Path(file), f"{split}/" if split else "", inputs)
    elif ":" in source:
        raw = _function_samples(source)
    else:
        raise DataError(
            f"found {source!r}, expected data as FILE.npz, FILE.npz#SPLIT, a folder of pictures "
            "or module:function"
        )
    return _checked(source, raw, inputs, advance)


def _of_pictures(
    source: str,
    inputs: Sequence[TensorSpec],
    advance: Callable[[int], object],
    preprocessing: Preprocessing | None,
) -> Samples:
    raw = image_samples(Path(source), preprocessing, inputs, LABEL)
    return replace(
        _checked(source, raw.stream, inputs, advance),
        preprocessing="" if preprocessing is None else preprocessing.steps().digest,
        pictures=raw.pictures,
    )


def _npz_samples(
    path: Path, prefix: str, inputs: Sequence[TensorSpec]
) -> Callable[[], Iterator[Sample]]:
    rows = NpzRows.open(path)
    headers = {
        name.removeprefix(prefix): header
        for name, header in rows.headers.items()
        if name.startswith(prefix)
    }
    stored = {spec: _stored_name(spec, headers) for spec in inputs}
    missing = [spec.names[0] for spec, name in stored.items() if name is None]
    if missing:
        found = ", ".join(sorted(rows.headers)) or "no arrays"
        raise DataError(
            f"{path} has no array for the model's input {', '.join(map(repr, missing))}, "
            f"it holds {found}",
            hint=_naming_hint(path, missing[0], rows.headers),
        )
    names = {spec: name for spec, name in stored.items() if name is not None}
    for spec, name in names.items():
        _check_array(path, spec, headers[name].shape, headers[name].dtype)
    counts = {name: headers[name].shape[0] if headers[name].shape else 0 for name in headers}
    used = [*names.values(), *([LABEL] if LABEL in headers else [])]
    if len({counts[name] for name in used}) > 1:
        found = ", ".join(f"{name}: {counts[name]}" for name in used)
        raise DataError(f"the arrays of {path} differ in their number of samples ({found})")
    shapes = {name: spec.shape for spec, name in names.items()}

    def stream() -> Iterator[Sample]:
        for row in rows.stream([prefix + name for name in used]):
            yield {
                name: value if name == LABEL else value.reshape(shapes[name])
                for name, value in zip(used, row, strict=True)
            }

    return stream


def _stored_name(spec: TensorSpec, names: Container[str]) -> str | None:
    return next((name for name in spec.names if name in names), None)


def _naming_hint(path: Path, wanted: str, names: Iterable[str]) -> str:
    splits = sorted({name.split("/")[0] for name in names if name.endswith(f"/{wanted}")})
    if splits:
        return "name the split: " + " or ".join(f"{path}#{split}" for split in splits)
    return f"save the array under that name: np.savez({path.name!r}, **{{{wanted!r}: array}})"


def _check_array(path: Path, spec: TensorSpec, shape: tuple[int, ...], dtype: Any) -> None:
    accepted = _accepted(spec)
    if not shape or shape[1:] not in accepted:
        expected = " or ".join(f"[{', '.join(map(str, ('n', *dims)))}]" for dims in accepted)
        raise DataError(f"{spec.name!r} in {path} is {list(shape)}, expected {expected}")
    _check_dtype(f"{spec.name!r} in {path}", spec, dtype)


def _accepted(spec: TensorSpec) -> list[tuple[int, ...]]:
    """Shapes a sample may have: the input's, and without its batch axis where that is 1."""
    return [spec.shape, spec.shape[1:]] if spec.shape[:1] == (1,) else [spec.shape]


def _check_dtype(what: str, spec: TensorSpec, dtype: Any) -> None:
    if np.dtype(dtype) != np.dtype(spec.dtype):
        raise DataError(
            f"{what} is {dtype}, expected {spec.dtype} as the model's input is",
            hint=f"prepare it as for the float model and save it with .astype(np.{spec.dtype})",
        )


def _function_samples(source: str) -> Callable[[], Iterator[Sample]]:
    module_name, _, function_name = source.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise DataError(
            f"{source}: the module {module_name!r} cannot be imported: "
            f"{type(error).__name__}: {error}",
            hint="run from the folder it lies in, or install it",
        ) from error
    try:
        function = getattr(module, function_name)
    except AttributeError as error:
        raise DataError(f"{source}: {module_name!r} has no {function_name!r}") from error

    def stream() -> Iterator[Sample]:
        try:
            yield from function()
        except (Exception, SystemExit) as error:
            raise DataError(f"{source} failed: {type(error).__name__}: {error}") from error

    return stream


def _iterable_samples(source: Iterable[Sample]) -> Callable[[], Iterator[Sample]]:
    if isinstance(source, Iterator):
        return spooled(source)
    if not isinstance(source, Iterable):
        raise DataError(f"found a {type(source).__name__}, expected an iterable of samples")
    return lambda: iter(source)


def _checked(
    source: str,
    stream: Callable[[], Iterator[Sample]],
    inputs: Sequence[TensorSpec],
    advance: Callable[[int], object],
) -> Samples:
    total = hashlib.sha256()
    labels: list[int] = []
    unvarying: dict[str, Any] = {}
    count = 0
    for sample in stream():
        values = _take_in(source, count, sample, inputs, total)
        for name in values if count == 0 else tuple(unvarying):
            value = unvarying.setdefault(name, values[name].flat[0] if values[name].size else 0)
            if not np.all(values[name] == value):
                del unvarying[name]
        if LABEL in sample:
            labels.append(_label(source, count, sample[LABEL]))
        count += 1
        advance(1)
    if count == 0:
        raise DataError(f"{source} holds no samples, expected at least one")
    if labels and len(labels) != count:
        raise DataError(f"{source} labels {len(labels)} of {count} samples, expected all or none")

    def same_again() -> Iterator[Sample]:
        now = hashlib.sha256()
        for index, sample in enumerate(stream()):
            yield _take_in(source, index, sample, inputs, now)
        if now.digest() != total.digest():
            raise DataError(
                f"{source} gave other samples than in the first pass over it",
                hint="return the same samples at every call, and seed what is random",
            )

    return Samples(
        origin=source,
        count=count,
        sha256=total.hexdigest(),
        labels=np.array(labels, np.int64) if labels else None,
        stream=same_again,
        unvarying=tuple(unvarying),
    )


def _take_in(
    source: str, index: int, sample: Sample, inputs: Sequence[TensorSpec], total: hashlib._Hash
) -> Sample:
    """Check a sample, add its inputs to the digest, and give them the names of the model."""
    values = _checked_inputs(source, index, sample, inputs)
    for name, value in values.items():
        total.update(f"{name}\0{value.dtype}\0{value.shape}\0".encode())
        total.update(value.data)
    return values


def _checked_inputs(
    source: str, index: int, sample: Sample, inputs: Sequence[TensorSpec]
) -> Sample:
    if not isinstance(sample, Mapping):
        raise DataError(
            f"sample {index} of {source} is a {type(sample).__name__}, expected a dictionary of "
            "input name to array"
        )
    values = {}
    for spec in inputs:
        name = _stored_name(spec, sample)
        if name is None:
            raise DataError(f"sample {index} of {source} has no {spec.names[0]!r}")
        value = np.asarray(sample[name], order="C")
        what = f"{spec.name!r} of sample {index} in {source}"
        if value.shape not in _accepted(spec):
            expected = " or ".join(str(list(shape)) for shape in _accepted(spec))
            raise DataError(f"{what} is {list(value.shape)}, expected {expected}")
        value = value.reshape(spec.shape)
        _check_dtype(what, spec, value.dtype)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            found = "NaN" if np.isnan(value).any() else "an infinite value"
            raise DataError(f"{what} holds {found}, expected finite values")
        values[spec.name] = value
    return values


def _label(source: str, index: int, label: Any) -> int:
    value = np.asarray(label)
    if value.ndim != 0 or value.dtype.kind not in "iu":
        raise DataError(
            f"the label of sample {index} in {source} is {value.dtype}{list(value.shape)}, "
            "expected one integer class index a sample",
            hint="for one-hot labels, save labels.argmax(axis=1)",
        )
    return int(value)


def check_labels(
    samples: Samples, outputs: Sequence[TensorSpec], *, for_metrics: bool = False
) -> None:
    """Check that labels, where there are any, are classes of the model's first output.

    Args:
        for_metrics: they are there for metrics as well, which may take those of a single score.

    Raises:
        DataError: the output holds no class scores, or a label is none of its classes.
    """
    if samples.labels is None:
        return
    classes = class_count(outputs)
    if classes == 1 and for_metrics:
        return
    if classes == 1:
        raise DataError(
            f"found labels in {samples.origin}, and the output {outputs[0]} is a single score: "
            "top-1 is of two or more",
            hint="judge it by --metric roc-auc or --metric f1: a single score is that of class 1",
        )
    wrong = samples.labels[(samples.labels < 0) | (samples.labels >= classes)]
    if wrong.size:
        raise DataError(
            f"{samples.origin} holds the label {wrong[0]}, expected 0 to {classes - 1}: the output "
            f"{outputs[0]} has {classes} classes"
        )


def class_count(outputs: Sequence[TensorSpec]) -> int:
    """How many scores the first output of a model has.

    Raises:
        DataError: it is no single row of scores.
    """
    if not outputs[0].scores:
        raise DataError(
            f"the output {outputs[0]} is no single row of class scores, which labels are judged by",
            hint="leave the labels out, or cut the model at its class scores",
        )
    return outputs[0].scores
