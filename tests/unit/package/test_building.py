"""Facts about package files: the same bytes every time, and not one of them unchecked."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgesdk
from device_agent import sshsig
from device_agent.codec import canonical
from device_agent.manifest import CHUNK_BYTES, HealthCheck, Limits, Lock
from device_agent.trust import PACKAGE_NAMESPACE
from edgesdk.errors import PackageError, SigningError
from edgesdk.keys.signing import FileSigner
from edgesdk.package.building import build_package, package_name
from edgesdk.package.reading import read_package
from edgesdk.targets.loading import load_target
from edgesdk.values.artifact import Artifact, Compilation
from edgesdk.values.package import Budget, Package, Release
from tests.pythons import NEW, version_name
from tests.signers import OWNER
from tests.unit.package.artifacts import CONTENTS, make_artifact

ROOT = Path(__file__).parents[3]
GATES = {"max_p95_ns": 1e7}


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return make_artifact(tmp_path / "artifact")


def build(
    folder: Path,
    artifact: Artifact,
    budget: Budget | None = None,
    gates: Mapping[str, float] = GATES,
    signer: FileSigner | None = None,
    **release: Any,
) -> Package:
    return build_package(
        artifact,
        folder / "artifact",
        folder / "p.edgepkg",
        Release(**release),
        budget or Budget(),
        gates,
        signer=signer,
    )


# What is built


def test_what_is_built_is_what_is_read(tmp_path: Path, artifact: Artifact) -> None:
    for signer in (None, OWNER):
        package = build(
            *(tmp_path, artifact, Budget(None, 10**6, 10**6)),
            signer=signer,
            version="2",
            sequence=5,
        )
        assert read_package(tmp_path / "p.edgepkg") == package
        assert bool(package.head.signatures) is (signer is not None)


def test_the_size_is_that_of_the_file(tmp_path: Path, artifact: Artifact) -> None:
    assert build(tmp_path, artifact).size_bytes == (tmp_path / "p.edgepkg").stat().st_size


def test_the_manifest_says_what_it_was_made_from(tmp_path: Path, artifact: Artifact) -> None:
    manifest = build(tmp_path, artifact, Budget(1 << 20, 1 << 21, 1 << 22, 1 << 19)).manifest
    assert (manifest.name, manifest.version, manifest.sequence) == ("digits", "0.1.0", 1)
    assert manifest.compatibility.target == "raspberry-pi-5"
    assert manifest.compatibility.architectures == ("aarch64",)
    assert manifest.compatibility.runtime_min_version == "1.18"
    assert (manifest.inputs, manifest.outputs) == (artifact.inputs, artifact.outputs)
    assert manifest.limits == Limits(1 << 20, 1 << 19, 1 << 21, 1 << 22)
    assert manifest.gates == {"max_p95_ns": 1e7}
    assert manifest.provenance == {
        "edgesdk": edgesdk.__version__,
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


@pytest.mark.parametrize(
    ("target", "compilation", "lock"),
    [
        ("raspberry-pi-5", Compilation("not needed"), Lock(("cpu",))),
        (
            "coral-usb",
            Compilation("compiled", "edgetpu_compiler", "16.0", min_runtime_version=13),
            Lock(("cpu",), "edgetpu_compiler", "16.0", edgetpu_runtime=13),
        ),
        ("coral-usb", Compilation("not compiled", "edgetpu_compiler"), Lock(("cpu",))),
        (
            "qcs6490",
            Compilation("compiled", "onnxruntime-qnn", "2.7.0"),
            Lock(("cpu",), "onnxruntime-qnn", "2.7.0", htp_arch=68, htp_soc_model=93),
        ),
        ("qcs6490", Compilation("not compiled", "onnxruntime-qnn"), Lock(("cpu",))),
        (
            "jetson-orin-nano@jp6.2",
            Compilation("accepted", "TensorRT-RTX", "1.3"),
            Lock(("cpu",), "TensorRT-RTX", "1.3", tensorrt="10.3", jetpack="6.2"),
        ),
    ],
    ids=["cpu", "edgetpu", "edgetpu, not compiled", "htp", "htp, not compiled", "tensorrt"],
)
def test_the_lock_holds_what_the_model_was_compiled_for(
    tmp_path: Path, artifact: Artifact, target: str, compilation: Compilation, lock: Lock
) -> None:
    plan = replace(artifact.plan, accelerator=load_target(target).accelerator)
    made = build(tmp_path, replace(artifact, plan=plan, compilation=compilation))
    assert made.manifest.lock == lock
    assert read_package(made.path).manifest.lock == lock


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


def test_only_chunks_that_shrink_are_compressed(tmp_path: Path, artifact: Artifact) -> None:
    files = {
        file.role: file for file in build(tmp_path, artifact, include_float=True).manifest.files
    }
    assert files["model"].sizes == (3000,)
    assert files["golden"].sizes[0] == CHUNK_BYTES
    assert files["golden"].sizes[1] < 5000 and files["golden"].sizes[2] < 100
    assert files["float"].stored_bytes < 100


def test_files_are_hashed_whole_and_in_chunks(tmp_path: Path, artifact: Artifact) -> None:
    files = {file.role: file for file in build(tmp_path, artifact).manifest.files}
    assert files["golden"].sha256 == hashlib.sha256(CONTENTS["golden"]).hexdigest()
    assert len(files["golden"].chunks) == 3
    assert files["model"].chunks == (hashlib.sha256(CONTENTS["model"]).hexdigest(),)


def test_a_release_says_where_it_stands_and_what_for(tmp_path: Path, artifact: Artifact) -> None:
    manifest = build(
        *(tmp_path, artifact),
        sequence=9,
        min_sequence=4,
        expires="2099-06-30T00:00:00Z",
        boards=("Raspberry Pi 5",),
    ).manifest
    assert (manifest.sequence, manifest.min_sequence) == (9, 4)
    assert manifest.expires == "2099-06-30T00:00:00Z"
    assert manifest.compatibility.boards == ("Raspberry Pi 5",)


def test_what_a_release_does_not_say_is_not_asked_of_a_device(
    tmp_path: Path, artifact: Artifact
) -> None:
    manifest = build(tmp_path, artifact, gates={}).manifest
    assert (manifest.min_sequence, manifest.expires) == (0, None)
    assert manifest.compatibility.boards == ()
    assert manifest.limits == Limits()
    assert manifest.health == HealthCheck(), "but that it loads and runs"


def test_the_health_check_asks_for_parity_as_the_gates_do(
    tmp_path: Path, artifact: Artifact
) -> None:
    manifest = build(
        *(tmp_path, artifact),
        gates={"max_parity_mismatch_percent": 0.5, "max_p95_ns": 1e7},
        max_latency="20 ms",
        health_command=("./check", "--all"),
    ).manifest
    assert manifest.health == HealthCheck(0.5, 20_000_000, ("./check", "--all"))


# Signatures


def test_a_signature_is_of_the_manifest_and_nothing_else(
    tmp_path: Path, artifact: Artifact
) -> None:
    unsigned, signed = build(tmp_path, artifact), build(tmp_path, artifact, signer=OWNER)
    assert signed.manifest == unsigned.manifest
    text = canonical(signed.manifest)
    key = sshsig.verify(signed.head.signatures, text, PACKAGE_NAMESPACE)
    assert sshsig.key_text(key) == OWNER.public_key


def test_a_key_that_cannot_sign_writes_nothing(tmp_path: Path, artifact: Artifact) -> None:
    class Locked:
        def sign(self, message: bytes, namespace: str) -> bytes:
            raise SigningError(f"no touch for {namespace}")

    with pytest.raises(SigningError, match="no touch for edgesdk-package"):
        build_package(
            *(artifact, tmp_path / "artifact", tmp_path / "p.edgepkg", Release(), Budget(), {}),
            signer=Locked(),
        )
    assert not (tmp_path / "p.edgepkg").exists()


# Determinism


def test_the_same_artifact_gives_the_same_bytes(tmp_path: Path, artifact: Artifact) -> None:
    build(tmp_path, artifact, signer=OWNER)
    first = (tmp_path / "p.edgepkg").read_bytes()
    for file in (tmp_path / "artifact").iterdir():
        os.utime(file, (0, 0))
    build(tmp_path, artifact, signer=OWNER)
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
        " {'max_p95_ns': 1e7}, signer=None)\n"
    )
    other = tmp_path / "other.edgepkg"
    subprocess.run(
        [sys.executable, "-c", program, tmp_path / "artifact", other],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"},
    )
    assert other.read_bytes() == (tmp_path / "p.edgepkg").read_bytes()


@pytest.mark.skipif(not NEW, reason="no pyenv with other Pythons")
@pytest.mark.parametrize("python", NEW, ids=version_name)
def test_another_python_gives_the_same_bytes(
    tmp_path: Path, artifact: Artifact, python: Path
) -> None:
    """Of what makes bytes: manifest, chunks, archive. The toolchains are not there."""
    package = build(tmp_path, artifact, signer=OWNER, expires="2099-06-30T00:00:00Z")
    (tmp_path / "signature").write_bytes(package.head.signatures)
    (tmp_path / "manifest").write_bytes(canonical(package.manifest))
    program = (
        "import sys\n"
        "from device_agent import archive\n"
        "from device_agent.archive import Head, store_chunk\n"
        "from device_agent.documents import parse_manifest\n"
        "folder, out = sys.argv[1:]\n"
        "read = lambda name: open(folder + '/' + name, 'rb').read()\n"
        "head = Head(parse_manifest(read('manifest')), read('signature'))\n"
        "def stored(payload):\n"
        "    raw = read('artifact/' + payload.file.path)\n"
        "    for start in range(0, len(raw), 65536): yield store_chunk(raw[start:start + 65536])\n"
        "with open(out, 'wb') as stream: stream.writelines(archive.write_package(head, stored))\n"
    )
    other = tmp_path / "other.edgepkg"
    environment = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([python, "-c", program, tmp_path, other], check=True, env=environment)
    assert other.read_bytes() == (tmp_path / "p.edgepkg").read_bytes()


@pytest.mark.parametrize(
    "release",
    [
        {"name": "other"},
        {"version": "9"},
        {"sequence": 2},
        {"include_float": True},
        {"min_sequence": 1},
        {"expires": "2099-06-30T00:00:00Z"},
        {"boards": ("Raspberry Pi 5",)},
        {"max_latency": "1 s"},
        {"health_command": ("true",)},
    ],
    ids=str,
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


@pytest.mark.parametrize(("sequence", "least"), [(-1, 0), (0, -1), (3, 4)])
def test_sequences_that_make_no_sense_are_refused(
    tmp_path: Path, artifact: Artifact, sequence: int, least: int
) -> None:
    with pytest.raises(PackageError, match=f"found the sequence number {sequence} with a least"):
        build(tmp_path, artifact, sequence=sequence, min_sequence=least)


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
        build_package(artifact, tmp_path / "artifact", output, Release(), Budget(), {}, signer=None)
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
            signer=None,
        )


def test_missing_folders_on_the_way_are_made(tmp_path: Path, artifact: Artifact) -> None:
    output = tmp_path / "new" / "folder" / "p.edgepkg"
    build_package(artifact, tmp_path / "artifact", output, Release(), Budget(), {}, signer=None)
    assert output.is_file()


@pytest.mark.parametrize(
    ("model", "name"),
    [("mob net", "mob-net"), ("a/b;c", "a-b-c"), ("größe", "gr-e"), ("...", "model")],
)
def test_a_model_name_that_no_package_may_have_is_mended(model: str, name: str) -> None:
    assert package_name(Release(), model) == name
