"""What a delta is said to cost, tensor by tensor, adds up and names the right ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgesdk.package.delta import make_delta
from edgesdk.package.delta.explain import explain
from edgesdk.values.difference import TensorChange
from tests.unit.package.delta_files import layers, noisy, onnx_qdq, weights

NET = weights()
BEFORE = layers(NET)


def changes(after: bytes, before: bytes | None = None) -> dict[str, TensorChange]:
    found = explain(onnx_qdq(BEFORE) if before is None else before, after)
    return {change.name: change for change in found.changes}


def test_a_changed_layer_bears_the_cost_and_the_others_none() -> None:
    after = list(BEFORE)
    after[6] = layers((*NET[:6], noisy(NET, 0.05)[6], NET[7]))[6]
    found = changes(onnx_qdq(after))
    assert found["layer6/weight"].how == "rescaled"
    assert found["layer6/weight"].changed_fraction == pytest.approx(
        (after[6].q != BEFORE[6].q).mean()
    )
    largest = np.abs(after[6].q.astype(int) - BEFORE[6].q.astype(int)).max()
    assert found["layer6/weight"].max_step == largest
    total = sum(change.cost_bytes for change in found.values())
    assert found["layer6/weight"].cost_bytes > 0.8 * total
    still = [change for name, change in found.items() if name.startswith("layer5/")]
    assert {change.how for change in still} == {"unchanged"}
    assert {change.cost_bytes for change in still} == {0}


def test_the_costs_add_up_to_the_patch() -> None:
    base, new = onnx_qdq(BEFORE), onnx_qdq(layers(noisy(NET, 0.05)))
    found = explain(base, new)
    patch = make_delta(base, new).patch
    assert found.patch_bytes == len(patch)
    assert sum(change.cost_bytes for change in found.changes) == len(patch)


def test_the_most_expensive_come_first() -> None:
    found = explain(onnx_qdq(BEFORE), onnx_qdq(layers(noisy(NET, 0.05))))
    costs = [change.cost_bytes for change in found.changes]
    assert costs == sorted(costs, reverse=True)
    assert found.changes[0].name == "layer6/weight"


def test_a_tensor_that_is_new_says_so() -> None:
    added = replace(layers(weights(5)[:4])[3], name="added")
    found = changes(onnx_qdq((*BEFORE, added)))["added/weight"]
    assert (found.how, found.changed_fraction, found.max_step) == ("new", 1.0, None)


def test_a_difference_without_a_move_of_scales_says_so() -> None:
    q = BEFORE[6].q.copy()
    q[:, ::7] = np.minimum(q[:, ::7].astype(np.int16) + 1, 127)
    after = (*BEFORE[:6], replace(BEFORE[6], q=q), BEFORE[7])
    found = changes(onnx_qdq(after))["layer6/weight"]
    assert (found.how, found.max_step) == ("difference", 1)


def test_a_file_of_no_known_format_is_one_line() -> None:
    (change,) = changes(b"new bytes" * 20, b"old bytes" * 20).values()
    assert (change.name, change.how, change.changed_fraction) == ("", "bytes", None)
