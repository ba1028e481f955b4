"""Facts about an OCI artifact: its manifest, its names, its layout on disk."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from edgesdk.errors import PackageError, UsageError
from edgesdk.package.exporters import oci
from edgesdk.package.exporters.oci import Reference
from edgesdk.progress import Silent
from tests.unit.package.exporters.wanting import content, delta_content, wanted


def test_the_one_layer_is_the_package_file(tmp_path: Path) -> None:
    of = content(tmp_path)
    found = json.loads(oci.manifest(of))
    assert found["artifactType"] == "application/vnd.edgesdk.package.v1+tar"
    (layer,) = found["layers"]
    assert layer["digest"] == "sha256:" + hashlib.sha256(of.path.read_bytes()).hexdigest()
    assert layer["size"] == of.path.stat().st_size
    assert layer["annotations"] == {"org.opencontainers.image.title": "digits.edgepkg"}


def test_the_statements_are_annotations(tmp_path: Path) -> None:
    delta = delta_content(tmp_path)
    found = json.loads(oci.manifest(delta))["annotations"]
    assert found["org.opencontainers.image.version"] == "1.2"
    assert found["vnd.edgesdk.package.sequence"] == "4"
    assert found["vnd.edgesdk.package.target"] == "raspberry-pi-5"
    assert found["vnd.edgesdk.package.package-id"] == delta.manifest.package_id
    assert found["vnd.edgesdk.package.base"] == delta.base


def test_the_same_package_has_the_same_digest_under_any_file_name(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert oci.manifest(content(tmp_path)) == oci.manifest(content(tmp_path / "b"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci://localhost:5000/models/digits:7", Reference("localhost:5000", "models/digits", "7")),
        ("oci://ghcr.io/a/b", Reference("ghcr.io", "a/b", "1.2")),
        ("layout", None),
    ],
)
def test_references(tmp_path: Path, text: str, expected: Reference | None) -> None:
    assert oci.parse_reference(text, content(tmp_path)) == expected


@pytest.mark.parametrize(
    "text", ["oci://", "oci://host", "oci://host/UPPER", "oci://host/a:", "oci://u:p@host/a"]
)
def test_what_is_no_reference_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="expected oci://HOST"):
        oci.parse_reference(text, content(tmp_path))


def test_tls_is_left_out_on_this_machine_only() -> None:
    assert Reference("localhost:5000", "a", "1").is_loopback
    assert Reference("127.0.0.1:5000", "a", "1").is_loopback
    assert not Reference("localhost.example.org", "a", "1").is_loopback


def test_a_version_that_no_tag_can_say_is_changed_until_one_can(tmp_path: Path) -> None:
    assert oci.default_tag(content(tmp_path, version="-1.2+x y")) == "1.2_x-y"
    assert oci.default_tag(content(tmp_path, version="..")) == "latest"


def test_a_layout_names_blobs_by_their_digests(tmp_path: Path) -> None:
    of = content(tmp_path)
    done = oci.export(of, wanted(tmp_path / "layout"), Silent())
    blobs = tmp_path / "layout" / "blobs" / "sha256"
    for blob in blobs.iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    index = json.loads((tmp_path / "layout" / "index.json").read_bytes())
    assert [each["digest"] for each in index["manifests"]] == [f"sha256:{done.sha256}"]
    layer = json.loads((blobs / done.sha256).read_bytes())["layers"][0]["digest"]
    assert (blobs / layer.removeprefix("sha256:")).read_bytes() == of.path.read_bytes()


def test_a_layout_takes_the_place_of_a_layout_and_of_nothing_else(tmp_path: Path) -> None:
    of, layout = content(tmp_path), tmp_path / "layout"
    layout.mkdir()
    oci.export(of, wanted(layout), Silent())
    oci.export(of, wanted(layout), Silent())
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("years of work")
    with pytest.raises(PackageError, match="holds no OCI image layout"):
        oci.export(of, wanted(tmp_path / "papers"), Silent())
    assert (tmp_path / "papers" / "thesis.txt").read_text() == "years of work"
