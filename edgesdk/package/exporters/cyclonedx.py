"""A software bill of materials in CycloneDX 1.6 (JSON): what is in the package, and what made it.

It follows from the manifest alone, so the same package has the same bill, serial number included;
there is no time in it. What the frameworks on the device bring is not in the package and not here.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import edgesdk
from device_agent.manifest import File, Manifest, Port
from edgesdk.files import sha256_file, write_durable
from edgesdk.package.exporters.content import Content, account
from edgesdk.progress import Progress
from edgesdk.values.export import Exported, Wanted

SPEC_VERSION = "1.6"
_TOOLCHAIN = "toolchain."
_KINDS = {
    "model": "machine-learning-model",
    "companion": "file",
    "float": "machine-learning-model",
    "golden": "data",
}
"""CycloneDX's type of component for each role."""

_CONTENTS = {
    "golden": [{"type": "dataset", "name": "inputs and the outputs they must give on the device"}]
}


def bill(manifest: Manifest) -> dict[str, Any]:
    """The bill of materials."""
    package_id = manifest.package_id
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'urn:sha256:{package_id}')}",
        "version": 1,
        "metadata": {"component": _package(manifest), "tools": {"components": _tools(manifest)}},
        "components": [_component(manifest, file) for file in manifest.files],
        "dependencies": [
            {"ref": package_id, "dependsOn": sorted(_ref(file) for file in manifest.files)}
        ],
    }


def _package(manifest: Manifest) -> dict[str, Any]:
    where = manifest.compatibility
    properties = {
        "package_id": manifest.package_id,
        "sequence": str(manifest.sequence),
        "min_sequence": str(manifest.min_sequence),
        "target": where.target,
        "architectures": " ".join(where.architectures),
        "boards": " | ".join(where.boards),
        "runtime": where.runtime,
        "runtime_min_version": where.runtime_min_version,
        "expires": manifest.expires or "",
    }
    return {
        "type": "file",
        "bom-ref": manifest.package_id,
        "name": manifest.name,
        "version": manifest.version,
        "properties": _properties(properties),
    }


def _component(manifest: Manifest, file: File) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": _KINDS[file.role],
        "bom-ref": _ref(file),
        "name": file.path,
        "version": manifest.version,
        "hashes": _hashes(file.sha256),
        "properties": _properties({"role": file.role, "size_bytes": str(file.raw_bytes)}),
    }
    if file.role == "model":
        component |= _model(manifest, component["properties"])
    if file.role in _CONTENTS:
        component["data"] = _CONTENTS[file.role]
    return component


def _model(manifest: Manifest, properties: list[dict[str, str]]) -> dict[str, Any]:
    made = manifest.provenance
    more = {
        "precision": made.get("precision", ""),
        "target": manifest.compatibility.target,
        "sequence": str(manifest.sequence),
        "compilation": made.get("compilation", ""),
        "quantizer": made.get("quantizer", ""),
        "calibration_samples": made.get("calibration_samples", ""),
        "calibration_samples_sha256": made.get("calibration_sha256", ""),
    }
    found: dict[str, Any] = {
        "properties": properties + _properties(more),
        "modelCard": {
            "modelParameters": {
                "inputs": [{"format": _port(port)} for port in manifest.inputs],
                "outputs": [{"format": _port(port)} for port in manifest.outputs],
            }
        },
    }
    if "model_sha256" in made:
        ancestor = {
            "type": "machine-learning-model",
            "name": made.get("model", manifest.name),
            "hashes": _hashes(made["model_sha256"]),
        }
        found["pedigree"] = {
            "ancestors": [ancestor],
            "notes": "the float model that it was quantized from",
        }
    return found


def _tools(manifest: Manifest) -> list[dict[str, Any]]:
    """edgesdk, in its version where the manifest says it, and the toolchain."""
    made = manifest.provenance
    ours: dict[str, Any] = {"type": "application", "name": "edgesdk"}
    if "edgesdk" in made:
        ours["version"] = made["edgesdk"]
    return [
        ours,
        *(
            {"type": "library", "name": key.removeprefix(_TOOLCHAIN), "version": version}
            for key, version in sorted(made.items())
            if key.startswith(_TOOLCHAIN)
        ),
    ]


def _ref(file: File) -> str:
    return f"{file.role}:{file.sha256}"


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]


def _properties(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": f"edgesdk:{name}", "value": value} for name, value in values.items() if value]


def _port(port: Port) -> str:
    """E.g. "image: int8[1, 28, 28, 1]"."""
    return f"{port.name}: {port.dtype}{list(port.shape)}"


def document(manifest: Manifest) -> bytes:
    """The file's bytes."""
    return json.dumps(bill(manifest), indent=1).encode("ascii") + b"\n"


def export(content: Content, wanted: Wanted, progress: Progress) -> Exported:
    """Write the bill."""
    output = Path(wanted.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_durable(output, document(content.manifest))
    return Exported(
        format="cyclonedx",
        output=str(output),
        package_id=content.manifest.package_id,
        sha256=sha256_file(output),
        made_with=f"edgesdk {edgesdk.__version__}",
        signed=False,
        mapping=account(content, _EXPRESSED),
    )


_EXPRESSED = {
    "name": "metadata.component.name",
    "version": "metadata.component.version",
    **{
        field: f"property edgesdk:{field.replace(' ', '_')}"
        for field in ("sequence", "min_sequence", "expires", "target", "boards", "architectures")
    },
    "runtime": "properties edgesdk:runtime and edgesdk:runtime_min_version",
    "package id": "bom-ref, and the serial number made of it",
}
