"""Deltas: what they make is the new file, whatever the two files are, and they are small."""

from __future__ import annotations

import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgesdk.models.ranges import read_layout
from edgesdk.package.delta import make_delta
from tests.unit.package.delta_files import (
    Layer,
    layers,
    noisy,
    onnx_float_biases,
    onnx_qdq,
    onnx_qoperator,
    renamed,
    tflite,
    weights,
)

BASE = weights()
Write = Callable[[Path, tuple[Layer, ...]], bytes]
WRITERS: dict[str, Write] = {
    "QDQ": lambda _, net: onnx_qdq(net),
    "QOperator": lambda _, net: onnx_qoperator(net),
    "TFLite": lambda folder, net: tflite(folder / "m.tflite", net),
    "TFLite, channels last": lambda folder, net: tflite(folder / "m.tflite", net, depthwise=True),
}


@pytest.fixture(params=WRITERS.values(), ids=WRITERS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[tuple[Layer, ...]], bytes]:
    writer: Write = request.param
    return lambda net: writer(tmp_path, net)


def ratio(base: bytes, new: bytes) -> float:
    """Of the patch to the new file packed with xz; that it makes the new file is checked inside."""
    return len(make_delta(base, new).patch) / len(lzma.compress(new, preset=9))


# --- any bytes ---


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=3000), st.binary(max_size=3000))
def test_any_two_files_have_a_delta(base: bytes, new: bytes) -> None:
    make_delta(base, new)


@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=False), st.integers(0, 8))
def test_any_edits_of_any_file_have_a_delta(random: object, edits: int) -> None:
    generator = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    base = generator.integers(0, 256, int(generator.integers(1, 6000)), np.uint8).tobytes()
    new = bytearray(base)
    for _ in range(edits):
        start = int(generator.integers(0, len(new) + 1))
        kind = generator.integers(0, 3)
        piece = generator.integers(0, 256, int(generator.integers(0, 400)), np.uint8).tobytes()
        if kind == 0:
            new[start:start] = piece
        elif kind == 1:
            del new[start : start + len(piece)]
        else:
            new[start : start + len(piece)] = piece
    make_delta(base, bytes(new))


@pytest.mark.parametrize("base", [b"", b"x", bytes(1000)])
@pytest.mark.parametrize("new", [b"", b"y", bytes(1000)])
def test_empty_and_tiny_files_have_a_delta(base: bytes, new: bytes) -> None:
    make_delta(base, new)


def test_the_same_file_costs_next_to_nothing() -> None:
    data = os.urandom(200_000)
    assert len(make_delta(data, data).patch) < 40


def test_moved_pieces_are_copied_and_only_the_new_ones_cost() -> None:
    a, b, c, new = (os.urandom(20_000) for _ in range(4))
    assert len(make_delta(a + b + c, c + new[:500] + a + b).patch) < 700


def test_bytes_that_repeat_come_from_where_those_around_them_do() -> None:
    """As the tables of a graph that another writer has laid out: each occurs in many places."""
    random = np.random.default_rng(0)
    rows = [
        bytes([8, 0, 0, 0, row // 4 % 256, row // 1024, 0, 0, 16, 0, 0, 0, 4, 0, 0, 0])
        + random.bytes(2) * (row % 3 == 0)
        for row in range(2000)
    ]
    wider = [row + bytes(4) * (place % 400 == 7) for place, row in enumerate(rows)]
    assert len(make_delta(b"".join(rows), b"".join(wider)).patch) < 100


def test_a_file_of_no_known_format_is_compared_by_content() -> None:
    generator = np.random.default_rng(0)
    old = np.rint(generator.normal(0, 30, 100_000)).astype(np.int8)
    new = (old + np.rint(generator.normal(0, 1.5, old.size))).astype(np.int8)
    shifted = bytes(range(256)) * 3 + new.tobytes()
    assert ratio(old.tobytes(), shifted) < 0.5


# --- networks ---


@pytest.mark.parametrize(
    ("part", "most"), [(0.01, 0.22), (0.05, 0.50)], ids=["1 % noise", "5 % noise"]
)
def test_a_fine_tuned_network_keeps_the_goal(
    write: Callable[[tuple[Layer, ...]], bytes], part: float, most: float
) -> None:
    base, new = write(layers(BASE)), write(layers(noisy(BASE, part)))
    # These networks are small: half of the delta of 1 % is scales and biases.
    slack = 1.35 if part == 0.01 else 1.05
    assert ratio(base, new) < most * slack


@pytest.mark.parametrize(
    ("part", "clip", "most"),
    [(0.01, 1.0, 0.19), (0.05, 1.0, 0.44), (0.0, 0.97, 0.13)],
    ids=["1 % noise", "5 % noise", "weight clip"],
)
def test_large_layers_keep_the_goals_with_room_to_spare(
    part: float, clip: float, most: float
) -> None:
    net = weights(shapes=((128, 960), (160, 960)))
    after = noisy(net, part) if part else net
    assert ratio(onnx_qdq(layers(net)), onnx_qdq(layers(after, clip=clip))) < most


def test_a_moved_weight_clip_is_predicted(write: Callable[[tuple[Layer, ...]], bytes]) -> None:
    assert ratio(write(layers(BASE)), write(layers(BASE, clip=0.97))) < 0.22


def test_recalibrated_activations_cost_no_weights(
    write: Callable[[tuple[Layer, ...]], bytes],
) -> None:
    assert ratio(write(layers(BASE)), write(layers(BASE, seed=1))) < 0.03


def test_what_did_not_move_around_a_tensor_costs_nothing(tmp_path: Path) -> None:
    """One scale a tensor lies among the graph's bytes, and is compared with them on both sides."""
    net = layers(weights(shapes=((64, 400),) * 6))
    base = tflite(tmp_path / "m.tflite", [replace(each, scales=each.scales[:1]) for each in net])
    largest = max(read_layout(base).tensors, key=lambda tensor: tensor.size)
    tensor = slice(largest.start, largest.end)
    places = np.random.default_rng(0).choice(largest.size, 400, replace=False)
    after = np.frombuffer(base, np.uint8).copy()
    after[largest.start + places] ^= 1
    new = after.tobytes()
    alone = make_delta(base[tensor], new[tensor]).patch
    assert len(make_delta(base, new).patch) < len(alone) + 32


def test_float_biases_corrected_anew_cost_no_more_than_their_bytes_packed() -> None:
    """They move by little, each by something else: too few values for tables of their own."""
    random = np.random.default_rng(0)
    before = [random.normal(0, 0.2, len(w)) for w in BASE]
    after = [bias + random.normal(0, 0.002, len(bias)) for bias in before]
    base = onnx_float_biases(layers(BASE), before)
    new = onnx_float_biases(layers(BASE, seed=1), after)
    differences = np.frombuffer(new, np.uint8) - np.frombuffer(base, np.uint8)
    packed = len(lzma.compress(differences.tobytes(), preset=9))
    assert len(make_delta(base, new).patch) < 0.95 * packed


def test_a_network_trained_from_scratch_is_hardly_larger_than_the_full_file(
    write: Callable[[tuple[Layer, ...]], bytes],
) -> None:
    assert ratio(write(layers(BASE)), write(layers(weights(9)))) < 1.06


def test_layers_that_were_renamed_and_reordered_are_found_by_content(
    write: Callable[[tuple[Layer, ...]], bytes],
) -> None:
    before, after = layers(BASE), layers(noisy(BASE, 0.01))
    straight = ratio(write(before), write(after))
    turned = renamed(tuple(reversed(after)), lambda place: f"other{place}")
    assert ratio(write(before), write(turned)) < 1.35 * straight


def test_a_layer_that_was_added_costs_itself_only(
    write: Callable[[tuple[Layer, ...]], bytes],
) -> None:
    before, added = layers(BASE), layers(weights(5)[:4])[3]
    after = (*before[:3], replace(added, name="added"), *before[3:])
    patch = make_delta(write(before), write(after)).patch
    itself = len(lzma.compress(added.q.tobytes() + added.scales.tobytes() + added.bias.tobytes()))
    assert len(patch) < 1.1 * itself + 900


def test_classes_added_to_a_head_leave_the_others_a_difference() -> None:
    head = weights(shapes=((40, 1280),))[0]
    more = np.concatenate([noisy((head,), 0.01)[0], weights(3, ((2, 1280),))[0]])
    assert ratio(onnx_qdq(layers((head,))), onnx_qdq(layers((more,)))) < 0.35


def test_a_shrunken_network_is_predicted_as_such() -> None:
    """Weight decay moves all weights of a tensor alike, while its scales stay where they were."""
    net = weights(shapes=((64, 1000),))[0]
    q, scales = (layer := layers((net,))[0]).q, layer.scales
    decayed = np.rint(q * 0.97 + np.random.default_rng(0).normal(0, 0.05, q.shape)).astype(np.int8)
    moved = replace(layer, q=decayed, scales=scales * np.float32(1.00001))
    assert ratio(onnx_qdq((layer,)), onnx_qdq((moved,))) < 0.2


@pytest.mark.parametrize("dtype", ["float16", "float32", "int16", "uint8", "int32"])
def test_tensors_of_every_type_beat_packing_them_again(dtype: str) -> None:
    generator = np.random.default_rng(0)
    step = 1 if dtype.startswith("float") else 500
    old = generator.normal(128 if dtype == "uint8" else 0, 20 if dtype == "uint8" else step, 40_000)
    new = old + generator.normal(0, 1 if dtype == "uint8" else step * 1e-3, old.size)
    files = [_one_tensor(np.asarray(values).astype(dtype)) for values in (old, new)]
    assert ratio(*files) < 0.75


def test_packed_four_bit_weights_are_compared_by_the_half_byte() -> None:
    generator = np.random.default_rng(0)
    old = np.clip(np.rint(generator.normal(0, 2.5, 60_000)), -8, 7).astype(np.int64)
    new = np.clip(old + (generator.random(old.size) < 0.1), -8, 7)
    files = []
    for values in (old, new):
        packed = (values[0::2] & 15 | (values[1::2] & 15) << 4).astype(np.uint8)
        tensor = helper.make_tensor("w", 22, [60, 1000], packed.tobytes(), raw=True)
        files.append(_file(tensor))
    assert ratio(*files) < 0.2


def test_a_bias_follows_its_scale() -> None:
    """Biases are multiples of weight scale times input scale: when those move, nothing is left."""
    net = layers(weights(shapes=((2000, 9),)), seed=0)
    moved = layers(weights(shapes=((2000, 9),)), seed=1)
    assert len(make_delta(onnx_qdq(net), onnx_qdq(moved)).patch) < 1200
    assert len(make_delta(onnx_qoperator(net), onnx_qoperator(moved)).patch) < 1200


def test_the_same_files_give_the_same_patch_in_another_process() -> None:
    base, new = onnx_qdq(layers(BASE)), onnx_qdq(layers(noisy(BASE, 0.05)))
    program = (
        "import sys; from edgesdk.package.delta import make_delta; data = sys.stdin.buffer.read()\n"
        f"sys.stdout.buffer.write(make_delta(data[:{len(base)}], data[{len(base)}:]).patch)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=base + new,
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert done.stdout == make_delta(base, new).patch


def test_a_patch_that_does_not_make_the_file_is_never_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgesdk.package.delta.apply_delta", lambda patch, base: b"other")
    with pytest.raises(AssertionError, match="does not make the new file"):
        make_delta(b"old", b"new")


def _one_tensor(values: np.ndarray) -> bytes:
    return _file(numpy_helper.from_array(values.reshape(40, -1), "w"))


def _file(tensor: object) -> bytes:
    node = helper.make_node("Identity", ["w"], ["y"])
    out = helper.make_tensor_value_info("y", tensor.data_type, None)  # type: ignore[attr-defined]
    graph = helper.make_graph([node], "net", [], [out], [tensor])  # type: ignore[list-item]
    return helper.make_model(graph).SerializeToString(deterministic=True)


def test_a_model_that_was_spoilt_has_a_delta_all_the_same(
    write: Callable[[tuple[Layer, ...]], bytes],
) -> None:
    """Whatever its tables then say of tensors, scales and where they lie."""
    base, new = write(layers(BASE[:3])), write(layers(noisy(BASE[:3], 0.05)))
    generator = np.random.default_rng(0)
    for _ in range(25):
        spoilt = bytearray(new)
        for _ in range(int(generator.integers(1, 5))):
            spoilt[int(generator.integers(len(spoilt)))] = int(generator.choice([0, 1, 127, 255]))
        make_delta(base, bytes(spoilt))
        make_delta(bytes(spoilt), new)
