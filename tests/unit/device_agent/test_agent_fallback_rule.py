"""A manifest's fallback is one that a device can obey, or the package is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from device_agent.codec import canonical
from device_agent.documents import CorruptPackage, check_manifest, parse_manifest
from device_agent.manifest import Band, Fallback, InputStatistics
from tests.unit.device_agent.guarded_packages import ON_ALL, manifest_of

CONTENTS = {"model": b"m", "float": b"f", "twin": b"t", "golden": b"g"}
SEEN = InputStatistics("x", 20, Band(0.0, 1.0), Band(0.1, 0.9), Band(0.0, 0.5), Band(0.0, 1.0), 1.0)
WITH_OOD = replace(ON_ALL, when=("load", "parity", "ood"), inputs=(SEEN,))


@pytest.mark.parametrize(
    "fallback",
    [
        None,
        ON_ALL,
        WITH_OOD,
        replace(ON_ALL, role="twin"),
        replace(ON_ALL, max_parity_mismatch_percent=100.0),
    ],
)
def test_sound_rules_are_taken_and_read_back_as_they_were(fallback: Fallback | None) -> None:
    manifest = manifest_of(CONTENTS, fallback=fallback)
    assert parse_manifest(canonical(manifest)) == manifest


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"role": "model"}, "a fallback to 'model', expected one of"),
        ({"role": "golden"}, "a fallback to 'golden', expected one of"),
        ({"runtime": "cuda"}, "a fallback run by 'cuda', expected one of"),
        ({"when": ()}, "expected some of"),
        ({"when": ("load", "load")}, "each once"),
        ({"when": ("load", "rain")}, "expected some of"),
        ({"max_parity_mismatch_percent": -1.0}, "-1.0 percent, expected 0 to 100"),
        ({"max_parity_mismatch_percent": 101.0}, "101.0 percent, expected 0 to 100"),
        ({"inputs": ()}, r"statistics of the inputs \[\], expected \['x'\]"),
        ({"inputs": (replace(SEEN, name="z"),)}, r"\['z'\], expected \['x'\]"),
        ({"inputs": (SEEN, SEEN)}, r"\['x', 'x'\], expected \['x'\]"),
        ({"inputs": (replace(SEEN, mean=Band(1.0, 0.0)),)}, "from 1.0 to 0.0, expected it to rise"),
        ({"inputs": (replace(SEEN, max_beyond_percent=200.0),)}, "200.0 percent"),
    ],
)
def test_rules_that_nobody_can_obey_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CorruptPackage, match=words):
        check_manifest(manifest_of(CONTENTS, fallback=replace(WITH_OOD, **changes)))


def test_statistics_are_for_out_of_distribution_only() -> None:
    with pytest.raises(CorruptPackage, match=r"\['x'\], expected \[\]"):
        check_manifest(manifest_of(CONTENTS, fallback=replace(ON_ALL, inputs=(SEEN,))))


@pytest.mark.parametrize(
    ("without", "words"),
    [("float", "expected one of .* that is there"), ("golden", "expected golden vectors for it")],
)
def test_what_the_rule_needs_is_in_the_package(without: str, words: str) -> None:
    contents = {role: raw for role, raw in CONTENTS.items() if role != without}
    with pytest.raises(CorruptPackage, match=words):
        check_manifest(manifest_of(contents, fallback=ON_ALL))
