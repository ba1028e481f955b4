"""Real packages of the example network, signed, made once a session and kept."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent import archive, reading
from device_agent.archive import Head
from device_agent.codec import canonical
from device_agent.manifest import (
    CHUNK_BYTES,
    FORMAT,
    Compatibility,
    File,
    Limits,
    Manifest,
    Port,
)
from device_agent.trust import PACKAGE_NAMESPACE
from edgesdk import api
from edgesdk.choices import Method
from edgesdk.convert.conversion import read_artifact
from edgesdk.keys.signing import Signer, open_signer
from edgesdk.package.building import build_package
from edgesdk.package.chunks import hashes
from edgesdk.package.reading import read_contents, read_package
from edgesdk.values.package import Budget, Package, Release
from edgesdk.values.recipe import Recipe
from tests.cli import CALIBRATION, DIGITS, this_machine

NAME = "digits"
MORE_TO_SEND: Mapping[str, Any] = {"include_float": True, "fallback": ()}
"""The float model, which nothing runs: so that there are several files of several chunks."""


class Releases:
    """Versions of one network, and the workstation's keys that sign them.

    Args:
        folder: for the artifacts, the packages and the keys.
        target: id of the target that they are for.
    """

    def __init__(self, folder: Path, target: str) -> None:
        self.target = target
        self._folder = folder
        self._count = 0
        self.home = folder / "home"
        self._artifact = folder / "artifact"
        self._retrained = folder / "retrained"
        with _home(self.home):
            api.new_key("maker")
            self._convert(self._artifact, "minmax")
            self._convert(self._retrained, "percentile")

    @functools.cached_property
    def signer(self) -> Signer:
        """Whom every device under test believes."""
        return open_signer(self.home / "keys" / "maker")

    @functools.cache  # noqa: B019 (lives as long as the session)
    def __call__(
        self, sequence: int = 1, *, golden: bool = False, signed: bool = True, **release: Any
    ) -> Package:
        """A package.

        Args:
            golden: with the vectors that its health check runs; that takes two seconds more.
            release: fields of `Release`.
        """
        fields = {**MORE_TO_SEND, "version": f"{sequence}.0", **release}
        return self.build(
            self.path(f"{sequence}"),
            Budget(),
            Release(name=NAME, sequence=sequence, **fields),
            golden=golden,
            signer=self.signer if signed else None,
        )

    def build(
        self,
        output: Path,
        budget: Budget,
        release: Release | None = None,
        *,
        golden: bool = False,
        signer: Signer | None = None,
        base: Package | None = None,
        retrained: bool = False,
    ) -> Package:
        """A package as `edgesdk package` builds it."""
        folder = self._retrained if retrained else self._artifact
        artifact = read_artifact(folder)
        kept = tuple(file for file in artifact.files if golden or file.role != "golden")
        artifact = dataclasses.replace(artifact, files=kept)
        return build_package(
            artifact, folder, output, release or Release(), budget, {}, signer=signer, base=base
        )

    @functools.cached_property
    def retrained(self) -> Package:
        """A package 1.0 with another model, which no device has."""
        release = Release(name=NAME, version="1.0", **MORE_TO_SEND)
        path = self.path("retrained")
        return self.build(path, Budget(), release, signer=self.signer, retrained=True)

    def delta(self, sequence: int, *, base: Package | None = None) -> Package:
        """A package as a delta, against 1.0 unless told; the full one lies beside it."""
        version = f"{sequence}.0"
        release = Release(name=NAME, sequence=sequence, version=version, **MORE_TO_SEND)
        made = self.build(
            self.path("delta"),
            Budget(),
            release,
            signer=self.signer,
            base=base or self(1),
            retrained=base is None,
        )
        assert made.head.delta is not None
        assert {file.codec for file in made.head.delta.files} - {"full", "same"}
        return made

    def _convert(self, artifact: Path, method: Method) -> None:
        recipe = Recipe(range_method=method)
        api.convert(DIGITS / "digits.onnx", self.target, CALIBRATION, artifact, recipe=recipe)

    def stranger(self, home: Path) -> Signer:
        """A signer whom no device believes."""
        with _home(home):
            api.new_key("stranger")
        return open_signer(home / "keys" / "stranger")

    def path(self, stem: str) -> Path:
        """A new file name."""
        self._count += 1
        return self._folder / f"{stem}-{self._count}.edgepkg"

    def changed(self, package: Package, *, signed: bool = True, **fields: Any) -> Package:
        """The package with another manifest; it has the same files."""
        manifest = dataclasses.replace(package.manifest, **fields)
        signatures = self.sign(manifest) if signed else b""
        return self.sealed(Head(manifest, signatures), package)

    def sign(self, manifest: Manifest) -> bytes:
        """The signature that everybody believes."""
        return self.signer.sign(canonical(manifest), PACKAGE_NAMESPACE)

    def sealed(self, head: Head, files: Package) -> Package:
        """A package with any head that can be written, and the payloads of another."""
        return self.written(head, stored_chunks(files))

    def written(self, head: Head, stored: Mapping[str, Sequence[bytes]]) -> Package:
        """A package file of a head and the chunks of each file."""
        path = self.path("written")
        pieces = archive.write_package(head, lambda payload: stored[payload.file.path])
        path.write_bytes(b"".join(pieces))
        return Package(path, head, path.stat().st_size)

    def read(self, content: bytes) -> Package:
        """A package from its bytes."""
        path = self.path("bytes")
        path.write_bytes(content)
        return read_package(path)


def stored_chunks(package: Package) -> dict[str, list[bytes]]:
    """Of each file, the chunks as they travel."""
    contents = read_contents(package.path)
    size = CHUNK_BYTES
    return {
        path: [archive.store_chunk(raw[at : at + size]) for at in range(0, len(raw), size)]
        for path, raw in contents.items()
    }


def tiny(releases: Releases, **fields: Any) -> bytes:
    """The bytes of a signed package of some KiB, whose model is no model."""
    noise = np.random.default_rng(7)
    files = [file_of("model", noise.bytes(600)), file_of("golden", noise.bytes(200), "golden.npz")]
    stored = {file.path: chunks for file, chunks in files}
    manifest = Manifest(
        **{
            "format": FORMAT,
            "name": NAME,
            "version": "1.0",
            "sequence": 2,
            "compatibility": Compatibility(this_machine(), (), "onnxruntime", "1.14"),
            "inputs": (Port("x", (1, 4), "float32"),),
            "outputs": (Port("y", (1, 2), "float32"),),
            "files": tuple(file for file, _ in files),
            "limits": Limits(),
            "gates": {},
            "provenance": {},
            **fields,
        }
    )
    head = Head(manifest, releases.sign(manifest))
    return b"".join(archive.write_package(head, lambda payload: stored[payload.file.path]))


def file_of(role: str, raw: bytes, path: str = "model.onnx") -> tuple[File, list[bytes]]:
    """A manifest's entry for some content, and the chunks that travel."""
    chunks = [
        archive.store_chunk(raw[at : at + CHUNK_BYTES]) for at in range(0, len(raw), CHUNK_BYTES)
    ]
    sizes = tuple(map(len, chunks))
    file = File(role, path, len(raw), sha256(raw), sizes, hashes(chunks, len(raw)))
    return file, chunks


def sha256(raw: bytes) -> str:
    """In hex."""
    return hashlib.sha256(raw).hexdigest()


def reader(content: bytes) -> reading.Read:
    """The bytes as a stream."""
    return io.BytesIO(content).read


@contextmanager
def _home(path: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGESDK_HOME", str(path))
        yield
