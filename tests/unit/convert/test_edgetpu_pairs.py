"""The forecast against published models and what the vendor's compiler made of them.

The pairs are not in the repository: they are looked for beside it, and in the folder that
EDGESDK_EDGETPU_PAIRS names. A pair is NAME.tflite and NAME_edgetpu.tflite.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgesdk.convert.backends.edgetpu.reading import placements, read_compiled
from edgesdk.convert.parameter_cache import forecast_cache
from edgesdk.convert.placement import place
from edgesdk.models.reading import read_graph
from edgesdk.targets.loading import load_target

BESIDE = Path(__file__).parents[4] / "shared" / "models" / "edgetpu"
FOLDERS = [BESIDE, *map(Path, filter(None, [os.environ.get("EDGESDK_EDGETPU_PAIRS")]))]
SUFFIX = "_edgetpu.tflite"
SOURCES = sorted(
    path.with_name(path.name.removesuffix(SUFFIX) + ".tflite")
    for folder in FOLDERS
    for path in folder.glob(f"*{SUFFIX}")
)
PAIRS = [path for path in SOURCES if path.is_file()]
CORAL = load_target("coral-usb")
CAPACITY = 8_388_608
NETWORK_BYTES = 500_000
"""Below it, what the compiler adds of its own outweighs the parameters."""

pytestmark = pytest.mark.skipif(not PAIRS, reason=f"no pairs in {', '.join(map(str, FOLDERS))}")


def compiled(source: Path) -> Path:
    return source.with_name(source.stem + SUFFIX)


@pytest.mark.parametrize("source", PAIRS, ids=lambda path: path.stem)
def test_every_operator_is_forecast_where_the_compiler_put_it(source: Path) -> None:
    graph = read_graph(source)
    real = placements(graph, read_graph(compiled(source)))
    wrong = [
        f"{told.index} {told.type} {told.name}: forecast {told.unit} ({told.reason}), is {is_.unit}"
        for told, is_ in zip(place(graph, CORAL), real, strict=True)
        if told.unit != is_.unit
    ]
    assert wrong == []


@pytest.mark.parametrize("source", PAIRS, ids=lambda path: path.stem)
def test_the_package_in_the_compiled_file_is_an_edge_tpus(source: Path) -> None:
    found = read_compiled(compiled(source))
    assert [piece.chip for piece in found.pieces] == ["beagle"]
    assert 10 <= found.min_runtime_version <= 14


@pytest.mark.parametrize("source", PAIRS, ids=lambda path: path.stem)
def test_the_cache_is_forecast_within_three_percent(source: Path) -> None:
    real = read_compiled(compiled(source)).cache(CAPACITY)
    total = real.on_chip_bytes + real.streamed_bytes
    if not NETWORK_BYTES <= total <= CAPACITY // 2:
        pytest.skip(f"{total} bytes of parameters: too few, or too near the capacity")
    graph = read_graph(source)
    told = forecast_cache(graph, place(graph, CORAL), CAPACITY)
    assert told.on_chip_bytes == pytest.approx(real.on_chip_bytes, rel=0.03)
    assert told.streamed_bytes == real.streamed_bytes == 0
