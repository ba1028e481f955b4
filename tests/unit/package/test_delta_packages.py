"""Facts about packages that are made against an earlier one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from device_agent import archive, sshsig
from device_agent.codec import canonical
from device_agent.manifest import DeltaFile
from device_agent.trust import DELTA_NAMESPACE
from edgesdk.errors import PackageError
from edgesdk.keys.signing import FileSigner
from edgesdk.package.building import build_package, full_path
from edgesdk.package.reading import read_contents, read_package
from edgesdk.values.artifact import Artifact
from edgesdk.values.package import Budget, Package, Release
from tests.signers import OWNER
from tests.unit.package.artifacts import make_artifact


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return make_artifact(tmp_path / "artifact")


def build(
    folder: Path,
    artifact: Artifact,
    output: str,
    base: Package | None = None,
    signer: FileSigner | None = OWNER,
    **release: Any,
) -> Package:
    return build_package(
        *(artifact, folder / "artifact", folder / output, Release(**release), Budget(), {}),
        signer=signer,
        base=base,
    )


@pytest.fixture
def old(tmp_path: Path, artifact: Artifact) -> Package:
    return build(tmp_path, artifact, "old.edgepkg")


@pytest.fixture
def new(tmp_path: Path, artifact: Artifact, old: Package) -> Package:
    """A later version of the very same files."""
    return build(tmp_path, artifact, "new.edgepkg", old, version="2", sequence=2)


@pytest.mark.parametrize("name", ["old.edgepkg", "link.edgepkg"])
def test_a_base_is_not_overwritten(
    tmp_path: Path, artifact: Artifact, old: Package, name: str
) -> None:
    (tmp_path / "link.edgepkg").symlink_to("old.edgepkg")
    with pytest.raises(PackageError, match="would replace the base"):
        build(tmp_path, artifact, name, old, version="2")
    assert read_package(old.path) == old


def test_a_base_is_not_overwritten_by_the_full_package_beside_the_delta(
    tmp_path: Path, artifact: Artifact
) -> None:
    base = build(tmp_path, artifact, "a.full.edgepkg")
    with pytest.raises(PackageError, match=r"a.full.edgepkg"):
        build(tmp_path, artifact, "a.edgepkg", base, version="2")
    assert read_package(base.path) == base


def test_files_that_did_not_change_do_not_travel(old: Package, new: Package) -> None:
    assert new.head.delta is not None
    assert new.head.delta.files == tuple(
        DeltaFile(file.path, "same", file.sha256, file.raw_bytes) for file in old.manifest.files
    )
    assert archive.payloads(new.head) == ()
    assert new.size_bytes == new.path.stat().st_size < 8192 < old.size_bytes


def test_what_a_delta_makes_is_what_the_full_package_beside_it_holds(
    tmp_path: Path, artifact: Artifact, new: Package
) -> None:
    assert new.full == full_path(new.path) == tmp_path / "new.full.edgepkg"
    full = read_package(new.full)
    assert full == build(tmp_path, artifact, "new.full.edgepkg", version="2", sequence=2)
    assert (full.head.manifest, full.head.signatures) == (new.manifest, new.head.signatures)


def test_a_delta_is_signed_by_itself(new: Package) -> None:
    text = canonical(new.head.delta)
    key = sshsig.verify(new.head.delta_signatures, text, DELTA_NAMESPACE)
    assert sshsig.key_text(key) == OWNER.public_key


def test_an_unsigned_delta_has_no_signature_at_all(
    tmp_path: Path, artifact: Artifact, old: Package
) -> None:
    delta = build(tmp_path, artifact, "n.edgepkg", old, signer=None, version="2")
    assert (delta.head.signatures, delta.head.delta_signatures) == (b"", b"")


def test_a_delta_is_read_as_it_was_built(new: Package) -> None:
    assert replace(read_package(new.path), full=new.full) == new


def test_the_same_delta_is_the_same_bytes(
    tmp_path: Path, artifact: Artifact, old: Package, new: Package
) -> None:
    before = new.path.read_bytes()
    build(tmp_path, artifact, "new.edgepkg", old, version="2", sequence=2)
    assert new.path.read_bytes() == before


def test_a_file_that_the_base_lacks_travels_whole(
    tmp_path: Path, artifact: Artifact, old: Package
) -> None:
    delta = build(tmp_path, artifact, "n.edgepkg", old, include_float=True)
    assert delta.head.delta is not None
    assert [each.codec for each in delta.head.delta.files] == ["same", "same", "full"]
    assert [payload.file.role for payload in archive.payloads(delta.head)] == ["float"]


def test_where_a_delta_saves_nothing_there_is_none(tmp_path: Path, old: Package) -> None:
    """Its head alone is larger than so small a package's payloads."""
    (tmp_path / "other").mkdir()
    folder = tmp_path / "other"
    tiny = make_artifact(folder / "artifact", model=b"m", golden=b"g", float=b"f")
    package = build(folder, tiny, "n.edgepkg", old)
    assert package.head.delta is None and package.full is None
    assert {path.name for path in folder.iterdir()} == {"artifact", "n.edgepkg"}


def test_a_delta_is_no_base(tmp_path: Path, artifact: Artifact, new: Package) -> None:
    with pytest.raises(PackageError) as caught:
        build(tmp_path, artifact, "third.edgepkg", new, version="3")
    assert f"{new.path} is a delta itself" in caught.value.message
    assert str(new.full) in caught.value.hint
    assert not (tmp_path / "third.edgepkg").exists()


def test_a_delta_has_no_whole_files_to_read(new: Package) -> None:
    with pytest.raises(
        PackageError, match="is a delta, whose files are whole only on a device"
    ) as caught:
        read_contents(new.path)
    assert str(new.full) in caught.value.hint


def test_a_base_that_was_damaged_since_it_was_read_is_refused(
    tmp_path: Path, artifact: Artifact, old: Package
) -> None:
    old.path.write_bytes(old.path.read_bytes()[:-1])
    with pytest.raises(PackageError, match="is not a sound package"):
        build(tmp_path, artifact, "n.edgepkg", old, version="2")
    assert not (tmp_path / "n.edgepkg").exists()
