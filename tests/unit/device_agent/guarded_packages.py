"""Installed packages with models that tell which of them answered."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.codec import canonical
from device_agent.durable import replace_link
from device_agent.manifest import (
    CHUNK_BYTES,
    Compatibility,
    Fallback,
    File,
    Limits,
    Manifest,
    Port,
)
from edgesdk.package.chunks import hashes
from tests.onnx_networks import Network

X = Port("x", (1, 4), "float32")
Y = Port("y", (1, 4), "float32")
ON_ALL = Fallback("float", "onnxruntime", ("load", "parity"))
INPUT = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
MODEL_ADDS, TWIN_ADDS = 10.0, 100.0


def adding(number: float, folder: Path) -> bytes:
    """An ONNX model y = x + number."""
    net = Network()
    net.node("Add", [net.input("x", (1, 4)), net.constant("c", [number])], "y")
    return net.write(folder / "adding.onnx", y=(1, 4)).read_bytes()


def counting(folder: Path) -> bytes:
    """An ONNX model that adds 1 to x, x[0] times, one after the other: as slow as is asked."""
    from onnx import TensorProto, helper

    net = Network()
    x = net.input("x", (1, 4))
    one = net.constant("one", [1.0])
    body = helper.make_graph(
        [
            helper.make_node("Add", ["before", one], ["after"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [1, 4]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [1, 4]),
        ],
    )
    net.node("ReduceMax", [x], "most", keepdims=0)
    net.node("Cast", ["most"], "times", to=TensorProto.INT64)
    net.node("Loop", ["times", "", x], "y", body=body)
    return net.write(folder / "counting.onnx", y=(1, 4)).read_bytes()


def golden(adds: float, kernel: str = "cpu") -> bytes:
    """Two golden vectors for a model that adds that."""
    inputs = np.stack([INPUT, 2 * INPUT])
    stream = io.BytesIO()
    np.savez(stream, **{"input/x": inputs, f"expected/{kernel}/y": inputs + np.float32(adds)})
    return stream.getvalue()


def manifest_of(
    contents: Mapping[str, bytes],
    *,
    fallback: Fallback | None = ON_ALL,
    runtime: str = "onnxruntime",
    inputs: Sequence[Port] = (X,),
    outputs: Sequence[Port] = (Y,),
    version: str = "1",
) -> Manifest:
    """The manifest of a package with those files, by role."""
    return Manifest(
        format="edgepkg/1",
        name="adder",
        version=version,
        sequence=1,
        compatibility=Compatibility("test", (), runtime, ""),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        files=tuple(_file(role, raw) for role, raw in contents.items()),
        limits=Limits(),
        gates={},
        provenance={},
        fallback=fallback,
    )


class Device:
    """A store's folder, filled by hand as the agent fills it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "store").mkdir(parents=True)
        (root / "models").mkdir()

    def install(
        self,
        contents: Mapping[str, bytes],
        **changes: Any,
    ) -> str:
        """Install a package and make it the current one; its id.

        Args:
            changes: as for `manifest_of`.
        """
        manifest = manifest_of(contents, **changes)
        folder = self.root / "store" / manifest.package_id
        folder.mkdir()
        (folder / "manifest.json").write_bytes(canonical(manifest))
        for role, raw in contents.items():
            (folder / f"{role}.bin").write_bytes(raw)
        self.point(manifest.package_id)
        return manifest.package_id

    def point(self, package_id: str) -> None:
        """Make a package the current one."""
        link = str(self.root / "models" / "adder")
        replace_link(link, f"../store/{package_id}", link + ".new")

    def file(self, package_id: str, role: str) -> Path:
        """Where a package's file lies."""
        return self.root / "store" / package_id / f"{role}.bin"


def _file(role: str, raw: bytes) -> File:
    chunks = [raw[at : at + CHUNK_BYTES] for at in range(0, len(raw), CHUNK_BYTES)]
    stored = [min(chunk, zlib.compress(chunk, 9), key=len) for chunk in chunks]
    return File(
        role,
        f"{role}.bin",
        len(raw),
        hashlib.sha256(raw).hexdigest(),
        tuple(map(len, stored)),
        hashes(stored, len(raw)),
    )
