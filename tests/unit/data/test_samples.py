"""Facts about calibration and evaluation data: what fits is streamed, what does not is refused."""

from __future__ import annotations

import contextlib
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgesdk.data.samples import Samples, check_labels, open_samples
from edgesdk.errors import DataError
from edgesdk.metrics.table import find_metric
from edgesdk.models.types import TensorSpec

X = TensorSpec("x", (1, 2, 3), "float32")
IDS = TensorSpec("ids", (4,), "int64")


def rows(count: int = 5, *shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(count, *(shape or X.shape))).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.npz"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType("samples_of_a_test")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def save(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def refused(source: str, *inputs: TensorSpec) -> DataError:
    with pytest.raises(DataError) as caught:
        open_samples(source, inputs or (X,))
    return caught.value


def from_function(module: ModuleType, *samples: Any, spec: TensorSpec = X) -> Samples:
    module.__dict__["load"] = lambda: iter(samples)
    return open_samples("samples_of_a_test:load", [spec])


def refused_function(module: ModuleType, *samples: Any) -> str:
    with pytest.raises(DataError) as caught:
        from_function(module, *samples)
    return caught.value.message


def stored(samples: Samples) -> list[npt.NDArray[Any]]:
    return [sample["x"] for sample in samples.stream()]


# What is accepted


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 3)], ids=["with batch axis", "without"])
def test_rows_get_the_models_shape(path: Path, shape: tuple[int, ...]) -> None:
    array = rows(5, *shape)
    samples = open_samples(save(path, x=array), [X])
    assert samples.count == 5
    assert np.array_equal(np.stack(stored(samples)), array.reshape(5, 1, 2, 3))


def test_a_single_row_without_any_axis_left_is_a_sample_of_shape_1(path: Path) -> None:
    spec = TensorSpec("x", (1,), "float32")
    samples = open_samples(save(path, x=np.array([3, 4], np.float32)), [spec])
    assert [float(value[0]) for value in stored(samples)] == [3, 4]


def test_a_split_is_named_after_a_hash_sign(path: Path) -> None:
    source = save(path, **{"a/x": rows(2), "b/x": rows(3), "b/label": np.arange(3)})
    assert open_samples(f"{source}#a", [X]).count == 2
    labels = open_samples(f"{source}#b", [X]).labels
    assert labels is not None
    assert labels.tolist() == [0, 1, 2]


def test_a_function_gives_single_samples(module: ModuleType) -> None:
    array = rows(3)
    samples = from_function(module, *({"x": row, "label": 7} for row in array))
    assert np.array_equal(np.stack(stored(samples)), array)
    assert samples.labels is not None
    assert samples.labels.tolist() == [7, 7, 7]


def test_a_function_may_be_a_generator(module: ModuleType) -> None:
    def load() -> Iterator[dict[str, Any]]:
        yield {"x": rows(1)[0]}

    module.__dict__["load"] = load
    assert open_samples("samples_of_a_test:load", [X]).count == 1


def test_a_module_of_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != ""])
    (tmp_path / "own_loader.py").write_text(
        "import numpy as np\ndef load():\n    return [{'x': np.zeros((1, 2, 3), np.float32)}]\n"
    )
    assert open_samples("own_loader:load", [X]).count == 1


def test_several_inputs_go_in_step(path: Path) -> None:
    ids = np.arange(20).reshape(5, 4)
    samples = open_samples(save(path, x=rows(), ids=ids), [X, IDS])
    assert [sample["ids"].tolist() for sample in samples.stream()] == ids.tolist()


def test_arrays_that_are_no_input_are_ignored(path: Path) -> None:
    assert open_samples(save(path, x=rows(5), other=rows(9, 2)), [X]).count == 5


def test_labels_never_reach_the_model(path: Path, module: ModuleType) -> None:
    from_file = open_samples(save(path, x=rows(2), label=np.arange(2)), [X])
    from_code = from_function(module, *({"x": row, "label": 0} for row in rows(2)))
    for samples in (from_file, from_code):
        assert [set(sample) for sample in samples.stream()] == [{"x"}, {"x"}]


def test_the_head_is_the_first_samples(path: Path) -> None:
    array = rows(5)
    samples = open_samples(save(path, x=array), [X])
    assert np.array_equal(np.stack([sample["x"] for sample in samples.head(2)]), array[:2])
    assert len(samples.head(99)) == 5


FINITE = {"allow_nan": False, "allow_infinity": False}


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.just(2)), elements=FINITE))
def test_any_finite_values_come_back_bit_for_bit(tmp_path_factory: Any, array: Any) -> None:
    path = tmp_path_factory.mktemp("any") / "d.npz"
    samples = open_samples(save(path, x=array), [TensorSpec("x", (2,), "float32")])
    assert np.stack(stored(samples)).tobytes() == array.tobytes()


# The digest


def test_the_digest_does_not_depend_on_the_compression(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=rows())
    np.savez_compressed(tmp_path / "b.npz", x=rows())
    digests = {open_samples(str(tmp_path / name), [X]).sha256 for name in ("a.npz", "b.npz")}
    assert len(digests) == 1


def test_the_digest_does_not_depend_on_the_kind_of_source(path: Path, module: ModuleType) -> None:
    from_file = open_samples(save(path, x=rows()), [X])
    from_code = from_function(module, *({"x": row} for row in rows()))
    assert from_file.sha256 == from_code.sha256


@pytest.mark.parametrize(
    "other",
    [rows(4), rows(5)[::-1].copy(), rows(5) + np.float32(1e-6)],
    ids=["fewer", "order", "value"],
)
def test_the_digest_follows_the_samples(tmp_path: Path, other: Any) -> None:
    one = open_samples(save(tmp_path / "a.npz", x=rows(5)), [X])
    two = open_samples(save(tmp_path / "b.npz", x=other), [X])
    assert one.sha256 != two.sha256


# Streaming


@pytest.mark.parametrize("save_with", [np.savez, np.savez_compressed])
def test_memory_does_not_grow_with_the_file(path: Path, save_with: Any) -> None:
    save_with(path, x=np.ones((64, 128, 1024), np.float32))  # 32 MiB in rows of 0.5 MiB
    spec = TensorSpec("x", (128, 1024), "float32")
    tracemalloc.start()
    samples = open_samples(str(path), [spec])
    for _ in samples.stream():
        pass
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4 * 2**20


def test_samples_that_differ_in_the_second_pass_are_refused(module: ModuleType) -> None:
    random = np.random.default_rng()
    module.__dict__["load"] = lambda: [{"x": random.normal(size=X.shape).astype(np.float32)}]
    samples = open_samples("samples_of_a_test:load", [X])
    with pytest.raises(DataError, match="gave other samples than in the first pass"):
        list(samples.stream())


def test_an_iterator_that_is_used_up_is_refused_in_the_second_pass(module: ModuleType) -> None:
    once = iter([{"x": rows(1)[0]}])
    module.__dict__["load"] = lambda: once
    samples = open_samples("samples_of_a_test:load", [X])
    with pytest.raises(DataError, match="gave other samples than in the first pass"):
        list(samples.stream())


# Files that are refused


@pytest.mark.parametrize("source", ["", "data", "data.npy", "folder/", "images.zip"])
def test_an_unknown_kind_of_source_is_refused(source: str) -> None:
    assert refused(source).message == (
        f"found {source!r}, expected data as FILE.npz, FILE.npz#SPLIT, a folder of pictures or "
        "module:function"
    )


def test_a_missing_file_is_refused(path: Path) -> None:
    assert refused(str(path)).message == f"{path} cannot be read: No such file or directory"


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + bytes(100)])
def test_what_is_not_an_npz_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refused(str(path)).message.startswith(f"{path} is not an .npz file: ")


def test_a_zip_of_other_files_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert f"{path} is not an .npz file" in refused(str(path)).message


@pytest.mark.parametrize("save_with", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(path: Path, save_with: Any, part: float) -> None:
    save_with(path, x=rows(50))
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    assert f"{path} is not an .npz file" in refused(str(path)).message


@pytest.mark.parametrize("save_with", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("place", range(60, 1300, 62))
def test_a_flipped_byte_never_gives_other_samples(path: Path, save_with: Any, place: int) -> None:
    save_with(path, x=rows(50))
    sound = open_samples(str(path), [X]).sha256
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 0x55
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert open_samples(str(path), [X]).sha256 == sound


def test_a_damaged_row_is_refused(path: Path) -> None:
    save(path, x=rows(5000))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "is damaged: Bad CRC-32" in refused(str(path)).message


def test_python_objects_are_refused(path: Path) -> None:
    save(path, x=np.array([{}, {}], dtype=object))
    assert refused(str(path)).message == (
        f"x.npy in {path} holds Python objects, expected plain numbers"
    )


def test_fortran_order_is_refused_with_the_way_out(path: Path) -> None:
    error = refused(save(path, x=np.asfortranarray(rows())))
    assert error.message == f"x.npy in {path} is stored in Fortran order, expected C order"
    assert error.hint == "save it with np.ascontiguousarray(array)"


def test_a_missing_input_is_named_with_what_there_is(path: Path) -> None:
    error = refused(save(path, image=rows(), y=rows()))
    assert error.message == (f"{path} has no array for the model's input 'x', it holds image, y")
    assert error.hint == "save the array under that name: np.savez('data.npz', **{'x': array})"


def test_a_missing_split_is_hinted_at(path: Path) -> None:
    error = refused(save(path, **{"train/x": rows(), "test/x": rows()}))
    assert error.hint == f"name the split: {path}#test or {path}#train"


def test_an_unknown_split_is_answered_with_the_known_ones(path: Path) -> None:
    source = save(path, **{"train/x": rows()})
    assert refused(f"{source}#dev").hint == f"name the split: {path}#train"


def test_an_empty_archive_holds_no_arrays(path: Path) -> None:
    assert refused(save(path)).message.endswith("'x', it holds no arrays")


@pytest.mark.parametrize("shape", [(5, 3, 2), (5, 2, 2, 3), (5,), (), (5, 6)])
def test_another_shape_is_refused(path: Path, shape: tuple[int, ...]) -> None:
    error = refused(save(path, x=np.zeros(shape, np.float32)))
    assert error.message == (f"'x' in {path} is {list(shape)}, expected [n, 1, 2, 3] or [n, 2, 3]")


def test_a_scalar_for_an_input_of_one_number_is_refused(path: Path) -> None:
    error = refused(save(path, x=np.float32(3)), TensorSpec("x", (1,), "float32"))
    assert error.message == f"'x' in {path} is [], expected [n, 1] or [n]"


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "int64", ">f4", "bool", "U3"])
def test_another_dtype_is_refused(path: Path, dtype: str) -> None:
    error = refused(save(path, x=np.zeros((5, 1, 2, 3), dtype)))
    assert error.message == (
        f"'x' in {path} is {np.dtype(dtype)}, expected float32 as the model's input is"
    )
    assert ".astype(np.float32)" in error.hint


@pytest.mark.parametrize(
    ("value", "word"),
    [(np.nan, "NaN"), (np.inf, "an infinite value"), (-np.inf, "an infinite value")],
)
def test_what_is_not_finite_is_refused(path: Path, value: float, word: str) -> None:
    array = rows()
    array[3, 0, 1, 2] = value
    assert refused(save(path, x=array)).message == (
        f"'x' of sample 3 in {path} holds {word}, expected finite values"
    )


def test_no_samples_are_refused(path: Path) -> None:
    source = save(path, x=np.zeros((0, 1, 2, 3), np.float32))
    assert refused(source).message == f"{path} holds no samples, expected at least one"


def test_inputs_of_different_counts_are_refused(path: Path) -> None:
    source = save(path, x=rows(5), ids=np.zeros((4, 4), np.int64))
    assert refused(source, X, IDS).message == (
        f"the arrays of {path} differ in their number of samples (x: 5, ids: 4)"
    )


@pytest.mark.parametrize("labels", [np.arange(4), np.int64(3)], ids=["fewer", "one number"])
def test_labels_of_another_count_are_refused(path: Path, labels: Any) -> None:
    message = refused(save(path, x=rows(5), label=labels)).message
    assert message.startswith(
        f"the arrays of {path} differ in their number of samples (x: 5, label"
    )


# Functions that are refused


@pytest.mark.parametrize("source", ["no_such_module:load", ":load", "..:load", "a b:load"])
def test_a_module_that_is_not_there_is_refused(source: str) -> None:
    error = refused(source)
    assert "cannot be imported" in error.message
    assert error.hint == "run from the folder it lies in, or install it"


def test_a_module_that_fails_while_it_is_imported_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "failing_loader.py").write_text("1 / 0")
    assert refused("failing_loader:load").message == (
        "failing_loader:load: the module 'failing_loader' cannot be imported: "
        "ZeroDivisionError: division by zero"
    )


@pytest.mark.parametrize("name", ["load", ""])
def test_a_missing_function_is_refused(module: ModuleType, name: str) -> None:
    assert refused(f"samples_of_a_test:{name}").message.endswith(
        f"'samples_of_a_test' has no {name!r}"
    )


def test_a_failing_function_is_quoted(module: ModuleType) -> None:
    def load() -> None:
        raise KeyError("image")

    module.__dict__["load"] = load
    assert refused("samples_of_a_test:load").message == (
        "samples_of_a_test:load failed: KeyError: 'image'"
    )


def test_a_function_that_returns_nothing_is_refused(module: ModuleType) -> None:
    module.__dict__["load"] = lambda: None
    assert "failed: TypeError" in refused("samples_of_a_test:load").message


def test_no_samples_from_a_function_are_refused(module: ModuleType) -> None:
    assert refused_function(module).endswith("holds no samples, expected at least one")


def test_a_sample_is_a_dictionary(module: ModuleType) -> None:
    assert refused_function(module, rows(1)[0]) == (
        "sample 0 of samples_of_a_test:load is a ndarray, expected a dictionary of input name to "
        "array"
    )


def test_a_sample_without_an_input_is_refused(module: ModuleType) -> None:
    assert refused_function(module, {"x": rows(1)[0]}, {"y": 1}) == (
        "sample 1 of samples_of_a_test:load has no 'x'"
    )


def test_a_sample_has_the_models_shape(module: ModuleType) -> None:
    message = refused_function(module, {"x": rows(1)[0][0][0]})
    assert message.endswith("is [3], expected [1, 2, 3] or [2, 3]")


def test_a_sample_may_come_without_a_batch_axis_of_1(module: ModuleType) -> None:
    module.load = lambda: [{"x": rows(1)[0][0]}]  # type: ignore[attr-defined]
    opened = open_samples("samples_of_a_test:load", [X])
    assert next(opened.stream())["x"].shape == (1, 2, 3)


def test_a_function_that_exits_is_refused_not_obeyed(module: ModuleType) -> None:
    def leave() -> None:
        raise SystemExit(0)

    module.load = leave  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="failed: SystemExit: 0"):
        open_samples("samples_of_a_test:load", [X])


def test_a_sample_has_exactly_the_models_dtype(module: ModuleType) -> None:
    assert "is float64, expected float32" in refused_function(module, {"x": np.zeros((1, 2, 3))})


# Labels

LABELS = {
    "float": (np.zeros(5), "float64[]"),
    "one-hot": (np.eye(5, 3, dtype=np.int64), "int64[3]"),
    "text": (np.array(list("abcde")), "<U1[]"),
    "truth": (np.zeros(5, bool), "bool[]"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_integer_classes(path: Path, kind: str) -> None:
    labels, found = LABELS[kind]
    error = refused(save(path, x=rows(5), label=labels))
    assert error.message == (
        f"the label of sample 0 in {path} is {found}, expected one integer class index a sample"
    )
    assert "argmax" in error.hint


def test_all_samples_are_labelled_or_none(module: ModuleType) -> None:
    x = rows(1)[0]
    assert refused_function(module, {"x": x, "label": 1}, {"x": x}).endswith(
        "labels 1 of 2 samples, expected all or none"
    )


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_labels_of_any_integer_dtype_will_do(path: Path, dtype: str) -> None:
    labels = open_samples(save(path, x=rows(5), label=np.arange(5, dtype=dtype)), [X]).labels
    assert labels is not None
    assert labels.dtype == np.int64


@pytest.mark.parametrize("wrong", [3, -1])
def test_a_label_is_a_class_of_the_first_output(path: Path, wrong: int) -> None:
    samples = open_samples(save(path, x=rows(2), label=np.array([2, wrong])), [X])
    with pytest.raises(DataError, match=f"holds the label {wrong}, expected 0 to 2"):
        check_labels(samples, [TensorSpec("y", (1, 3), "float32")])


def test_labels_need_a_single_row_of_scores(path: Path) -> None:
    samples = open_samples(save(path, x=rows(2), label=np.array([0, 1])), [X])
    outputs = [TensorSpec("y", (4, 3), "float32")]
    for check in (
        lambda: check_labels(samples, outputs),
        lambda: find_metric("top1").check({"label": samples.labels}, outputs),
    ):
        with pytest.raises(DataError, match="no single row of class scores, which") as raised:
            check()
        assert "cut the model at its class scores" in raised.value.hint


def test_labels_of_a_single_score_are_for_metrics_alone(path: Path) -> None:
    samples = open_samples(save(path, x=rows(2), label=np.array([0, 1])), [X])
    outputs = [TensorSpec("y", (1, 1), "float32")]
    with pytest.raises(DataError, match="is a single score: top-1 is of two or more") as raised:
        check_labels(samples, outputs)
    assert "--metric roc-auc" in raised.value.hint
    check_labels(samples, outputs, for_metrics=True)


@pytest.mark.parametrize(
    ("shape", "scores"),
    [((1, 10), 10), ((10,), 10), ((1, 10, 1, 1), 10), ((1, 1), 1), ((4, 3), 0), ((), 0)],
)
def test_a_row_of_scores_may_have_dimensions_of_one(shape: tuple[int, ...], scores: int) -> None:
    assert TensorSpec("y", shape, "float32").scores == scores


def test_labels_in_range_and_no_labels_are_fine(tmp_path: Path) -> None:
    outputs = [TensorSpec("y", (1, 3), "float32")]
    check_labels(
        open_samples(save(tmp_path / "a.npz", x=rows(1), label=np.array([2])), [X]), outputs
    )
    check_labels(open_samples(save(tmp_path / "b.npz", x=rows(1)), [X]), outputs)


def test_an_input_that_never_varies_is_a_caution(path: Path) -> None:
    save(path, x=np.full((3, *X.shape), 7, np.float32))
    (caution,) = open_samples(str(path), [X]).cautions()
    assert caution == f"the input 'x' has one and the same value in all of {path}"


def test_one_sample_is_a_caution(path: Path) -> None:
    save(path, x=rows(1))
    (caution,) = open_samples(str(path), [X]).cautions()
    assert "holds one sample" in caution


def test_samples_that_vary_are_none(path: Path) -> None:
    save(path, x=rows(2))
    assert list(open_samples(str(path), [X]).cautions()) == []
