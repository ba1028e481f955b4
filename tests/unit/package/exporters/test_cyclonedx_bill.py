"""Facts about the bill of materials; CycloneDX's own schema judges it in the integration tests."""

from __future__ import annotations

import json
from typing import Any

from edgesdk.package.exporters import cyclonedx
from tests.sealed import CONTENTS, manifest_of


def made(contents: dict[str, bytes] = CONTENTS, **changes: Any) -> Any:
    return json.loads(cyclonedx.document(manifest_of(contents, **changes)))


def properties(component: Any) -> dict[str, str]:
    return {each["name"]: each["value"] for each in component["properties"]}


def test_each_file_is_a_component_with_its_hash() -> None:
    manifest = manifest_of(CONTENTS)
    found = {each["name"]: each["hashes"] for each in made()["components"]}
    assert found == {
        file.path: [{"alg": "SHA-256", "content": file.sha256}] for file in manifest.files
    }


def test_the_model_says_what_it_is_and_what_it_was_made_of() -> None:
    model = made()["components"][0]
    assert model["type"] == "machine-learning-model"
    assert properties(model).items() >= {
        ("edgesdk:role", "model"),
        ("edgesdk:precision", "w8a8"),
        ("edgesdk:target", "raspberry-pi-5"),
        ("edgesdk:sequence", "3"),
    }
    assert model["modelCard"]["modelParameters"]["inputs"] == [{"format": "image: int8[1, 4]"}]
    (ancestor,) = model["pedigree"]["ancestors"]
    assert ancestor["hashes"][0]["content"] == "a" * 64


def test_golden_vectors_are_data_and_a_float_twin_is_a_model() -> None:
    kinds = {
        properties(each)["edgesdk:role"]: each["type"]
        for each in made({"model": b"m", "golden": b"g", "float": b"f", "companion": b"c"})[
            "components"
        ]
    }
    assert kinds == {
        "model": "machine-learning-model",
        "float": "machine-learning-model",
        "golden": "data",
        "companion": "file",
    }


def test_the_toolchain_is_named_with_its_versions() -> None:
    tools = made(provenance={"toolchain.onnx": "1.23.2", "edgesdk": "0.2.0"})["metadata"]["tools"]
    assert [(each["name"], each.get("version")) for each in tools["components"]] == [
        ("edgesdk", "0.2.0"),
        ("onnx", "1.23.2"),
    ]


def test_the_serial_number_follows_from_the_package() -> None:
    assert made()["serialNumber"] == made()["serialNumber"]
    assert made()["serialNumber"] != made(sequence=4)["serialNumber"]


def test_the_same_package_has_the_same_bill() -> None:
    assert cyclonedx.document(manifest_of(CONTENTS)) == cyclonedx.document(manifest_of(CONTENTS))
    assert "timestamp" not in made()["metadata"]
