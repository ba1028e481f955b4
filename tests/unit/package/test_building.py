"""Facts about package files: the same bytes every time, and not one of them unchecked."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import ExitCode, PackageError
from edgesdk.package.building import build_package, package_name, read_package
from edgesdk.values.artifact import Artifact, Compilation
from edgesdk.values.package import Budget, Package, Release
from tests.unit.package.artifacts import CONTENTS, make_artifact

ROOT = Path(__file__).parents[3]


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return make_artifact(tmp_path / "artifact")


def build(
    folder: Path, artifact: Artifact, budget: Budget | None = None, **release: Any
) -> Package:
    return build_package(
        artifact,
        folder / "artifact",
        folder / "p.edgepkg",
        Release(**release),
        budget or Budget(),
        {"max_p95_ns": 1e7},
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of two payloads, one compressed and one not, and little more."""
    folder = tmp_path_factory.mktemp("small")
    contents = {"model": b"0123456789", "golden": bytes(300), "float": b"f"}
    build(folder, make_artifact(folder / "artifact", **contents))
    return folder / "p.edgepkg"


# What is built


def test_what_is_built_is_what_is_read(tmp_path: Path, artifact: Artifact) -> None:
    package = build(tmp_path, artifact, Budget(None, 10**6, 10**6), version="2", sequence=5)
    assert read_package(tmp_path / "p.edgepkg") == package


def test_the_size_is_that_of_the_file(tmp_path: Path, artifact: Artifact) -> None:
    assert build(tmp_path, artifact).size_bytes == (tmp_path / "p.edgepkg").stat().st_size


def test_the_manifest_says_what_it_was_made_from(tmp_path: Path, artifact: Artifact) -> None:
    manifest = build(tmp_path, artifact, Budget(1 << 20, 1 << 21, 1 << 22)).manifest
    assert (manifest.name, manifest.version, manifest.sequence) == ("digits", "0.1.0", 1)
    assert manifest.compatibility.target == "raspberry-pi-5"
    assert manifest.compatibility.architectures == ("aarch64",)
    assert manifest.compatibility.runtime_min_version == "1.18"
    assert (manifest.inputs, manifest.outputs) == (artifact.inputs, artifact.outputs)
    assert (manifest.limits.installed_bytes, manifest.limits.peak_ram_bytes) == (1 << 21, 1 << 22)
    assert manifest.gates == {"max_p95_ns": 1e7}
    assert manifest.provenance == {
        "plan": artifact.plan_digest,
        "model": "digits",
        "model_sha256": "a" * 64,
        "calibration_sha256": "c" * 64,
        "calibration_samples": "5",
        "precision": "w8a8",
        "compilation": "not needed",
        "toolchain.onnx": "1.23.2",
    }


@pytest.mark.parametrize(
    ("compilation", "told"),
    [
        (Compilation("not compiled", "edgetpu_compiler", reason="not on PATH"), "not compiled"),
        (Compilation("compiled", "edgetpu_compiler", "16.0"), "compiled by edgetpu_compiler 16.0"),
        (Compilation("accepted", "TensorRT-RTX", "1.3"), "accepted by TensorRT-RTX 1.3"),
        (Compilation("not needed"), "not needed"),
    ],
)
def test_the_manifest_says_whether_the_model_is_compiled(
    tmp_path: Path, artifact: Artifact, compilation: Compilation, told: str
) -> None:
    manifest = build(tmp_path, replace(artifact, compilation=compilation)).manifest
    assert manifest.provenance["compilation"] == told


def test_the_manifest_names_a_quantizer_and_a_bridge_where_there_are_any(
    tmp_path: Path, artifact: Artifact
) -> None:
    plan = replace(artifact.plan, quantizer="aimet-onnx", bridge="onnx2tf", precision="w8a16")
    provenance = build(tmp_path, replace(artifact, plan=plan)).manifest.provenance
    told = [provenance[key] for key in ("precision", "quantizer", "bridge")]
    assert told == ["w8a16", "aimet-onnx", "onnx2tf"]
    assert not {"quantizer", "bridge"} & set(build(tmp_path, artifact).manifest.provenance)


@pytest.mark.parametrize(
    ("include_float", "roles"),
    [(False, ["model", "golden"]), (True, ["model", "golden", "float"])],
)
def test_the_float_model_travels_when_asked_to(
    tmp_path: Path, artifact: Artifact, include_float: bool, roles: list[str]
) -> None:
    manifest = build(tmp_path, artifact, include_float=include_float).manifest
    assert [file.role for file in manifest.files] == roles


def test_only_what_shrinks_is_compressed(tmp_path: Path, artifact: Artifact) -> None:
    files = {
        file.role: file for file in build(tmp_path, artifact, include_float=True).manifest.files
    }
    assert files["model"].codec == "none"
    assert files["float"].codec == "zlib"
    assert files["float"].stored_bytes < 100


def test_files_are_hashed_whole_and_in_chunks(tmp_path: Path, artifact: Artifact) -> None:
    files = {file.role: file for file in build(tmp_path, artifact).manifest.files}
    assert files["golden"].sha256 == hashlib.sha256(CONTENTS["golden"]).hexdigest()
    assert len(files["golden"].chunks) == 2
    assert files["model"].chunks == (hashlib.sha256(CONTENTS["model"]).hexdigest(),)


# Determinism


def test_the_same_artifact_gives_the_same_bytes(tmp_path: Path, artifact: Artifact) -> None:
    build(tmp_path, artifact)
    first = (tmp_path / "p.edgepkg").read_bytes()
    for file in (tmp_path / "artifact").iterdir():
        os.utime(file, (0, 0))
    build(tmp_path, artifact)
    assert (tmp_path / "p.edgepkg").read_bytes() == first


def test_another_process_gives_the_same_bytes(tmp_path: Path, artifact: Artifact) -> None:
    build(tmp_path, artifact)
    program = (
        "import sys; from pathlib import Path\n"
        "from edgesdk.convert.conversion import read_artifact\n"
        "from edgesdk.package.building import build_package\n"
        "from edgesdk.values.package import Budget, Release\n"
        "d = Path(sys.argv[1])\n"
        "build_package(read_artifact(d), d, Path(sys.argv[2]), Release(), Budget(),"
        " {'max_p95_ns': 1e7})\n"
    )
    other = tmp_path / "other.edgepkg"
    subprocess.run(
        [sys.executable, "-c", program, tmp_path / "artifact", other],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"},
    )
    assert other.read_bytes() == (tmp_path / "p.edgepkg").read_bytes()


@pytest.mark.parametrize(
    "release", [{"name": "other"}, {"version": "9"}, {"sequence": 2}, {"include_float": True}]
)
def test_another_release_is_another_package(
    tmp_path: Path, artifact: Artifact, release: dict[str, Any]
) -> None:
    one, two = build(tmp_path, artifact), build(tmp_path, artifact, **release)
    assert one.manifest.package_id != two.manifest.package_id


# What is not built


@pytest.mark.parametrize("name", ["a b", "../up", ".hidden", "a/b", "ä", "x" * 200, "-x", "a\n"])
def test_a_name_that_is_not_allowed_is_refused(
    tmp_path: Path, artifact: Artifact, name: str
) -> None:
    with pytest.raises(PackageError) as caught:
        build(tmp_path, artifact, name=name)
    assert f"found the package name {name!r}, expected letters, digits" in caught.value.message
    assert caught.value.hint == "choose one with --name"
    assert not (tmp_path / "p.edgepkg").exists()


def test_a_negative_sequence_is_refused(tmp_path: Path, artifact: Artifact) -> None:
    with pytest.raises(PackageError, match="found the sequence number -1, expected 0 or more"):
        build(tmp_path, artifact, sequence=-1)


@pytest.mark.parametrize("role", ["model", "golden"])
def test_a_file_that_changed_since_the_conversion_is_refused(
    tmp_path: Path, artifact: Artifact, role: str
) -> None:
    (tmp_path / "artifact" / f"{role}.bin").write_bytes(b"other")
    with pytest.raises(PackageError, match=f"{role}.bin has changed since the conversion"):
        build(tmp_path, artifact)
    assert not (tmp_path / "p.edgepkg").exists()


def test_a_missing_file_is_refused(tmp_path: Path, artifact: Artifact) -> None:
    (tmp_path / "artifact" / "model.bin").unlink()
    with pytest.raises(PackageError, match=r"model.bin cannot be read: No such file"):
        build(tmp_path, artifact)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, artifact: Artifact) -> None:
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "p.edgepkg"
    with pytest.raises(PackageError) as caught:
        build_package(artifact, tmp_path / "artifact", output, Release(), Budget(), {})
    assert caught.value.message == f"{output} cannot be written: File exists"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_keeps_the_older_package(
    tmp_path: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (tmp_path / "p.edgepkg").write_bytes(b"older")

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PackageError if isinstance(error, OSError) else KeyboardInterrupt):
        build(tmp_path, artifact)
    assert (tmp_path / "p.edgepkg").read_bytes() == b"older"
    assert {path.name for path in tmp_path.iterdir()} == {"artifact", "p.edgepkg"}


# What is read


def read_bytes(folder: Path, content: bytes) -> Package:
    path = folder / "read.edgepkg"
    path.write_bytes(content)
    return read_package(path)


def test_every_flipped_byte_is_found(small: Path, tmp_path: Path) -> None:
    sound = small.read_bytes()
    path = tmp_path / "damaged.edgepkg"
    path.write_bytes(sound)
    unnoticed = []
    with path.open("r+b", buffering=0) as stream:
        for place, byte in enumerate(sound):
            os.pwrite(stream.fileno(), bytes([byte ^ 1 << place % 8]), place)
            try:
                read_package(path)
                unnoticed.append(place)
            except PackageError:
                os.pwrite(stream.fileno(), bytes([byte]), place)
    assert unnoticed == []


def test_every_truncation_is_found(small: Path, tmp_path: Path) -> None:
    sound = small.read_bytes()
    for length in range(0, len(sound), 31):
        with pytest.raises(PackageError, match="is not a sound package"):
            read_bytes(tmp_path, sound[:length])


@pytest.mark.parametrize("more", [b"\0", b"x", bytes(512), bytes(10240)])
def test_anything_after_the_end_is_found(small: Path, tmp_path: Path, more: bytes) -> None:
    with pytest.raises(PackageError, match="found bytes after the end of the archive"):
        read_bytes(tmp_path, small.read_bytes() + more)


@settings(max_examples=200)
@given(st.data())
def test_no_edit_of_a_few_bytes_goes_unnoticed(
    small: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    sound = small.read_bytes()
    start = data.draw(st.integers(0, len(sound)))
    end = data.draw(st.integers(start, min(len(sound), start + 20)))
    other = sound[:start] + data.draw(st.binary(max_size=20)) + sound[end:]
    if other != sound:
        with pytest.raises(PackageError):
            read_bytes(tmp_path_factory.getbasetemp(), other)


@pytest.mark.parametrize("content", [b"", b"no package", bytes(4096), b"PK\x03\x04" * 500])
def test_what_is_no_package_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PackageError) as caught:
        read_bytes(tmp_path, content)
    assert caught.value.message.startswith(f"{tmp_path / 'read.edgepkg'} is not a sound package: ")
    assert caught.value.hint == "build or copy it again"
    assert caught.value.exit_code == ExitCode.BAD_INPUT


@pytest.mark.parametrize("name", ["missing.edgepkg", ""])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(PackageError, match=r"cannot be read: (No such file|Is a directory)"):
        read_package(tmp_path / name)


@pytest.mark.parametrize("version", ["", "1\n2", "\x1b[2J", "x" * 65])
def test_a_version_that_would_act_on_a_terminal_is_refused(
    tmp_path: Path, artifact: Artifact, version: str
) -> None:
    with pytest.raises(PackageError, match="expected 1 to 64 printable characters"):
        build_package(
            artifact,
            tmp_path / "artifact",
            tmp_path / "p.edgepkg",
            Release(version=version),
            Budget(),
            {},
        )


def test_missing_folders_on_the_way_are_made(tmp_path: Path, artifact: Artifact) -> None:
    output = tmp_path / "new" / "folder" / "p.edgepkg"
    build_package(artifact, tmp_path / "artifact", output, Release(), Budget(), {})
    assert output.is_file()


@pytest.mark.parametrize(
    ("model", "name"),
    [("mob net", "mob-net"), ("a/b;c", "a-b-c"), ("größe", "gr-e"), ("...", "model")],
)
def test_a_model_name_that_no_package_may_have_is_mended(model: str, name: str) -> None:
    assert package_name(Release(), model) == name
