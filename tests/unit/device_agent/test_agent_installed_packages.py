"""Installed packages: nothing is handed out that has not just been checked."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from agent_packages import file_of, head_of, id_of, manifest_of, noise, package_of, sealed
from device_store import Device, fails

from device_agent.packages import Packages
from tests.signers import OWNER

pytestmark = pytest.mark.usefixtures("runtimes")

CONTEXT, BINARY = b"names model_ctx_qnn.bin" * 9, noise(999)
FIRST = package_of({"model": b"first" * 1000}, OWNER, sequence=1)


@pytest.fixture
def packages(device: Device) -> Packages:
    return device.store.packages


@pytest.fixture
def pair(device: Device) -> tuple[str, Path]:
    """Id and folder of an installed package whose model has a companion, and a float model."""
    entries = [
        file_of("model", CONTEXT, path="model_ctx.onnx"),
        file_of("companion", BINARY, path="model_ctx_qnn.bin"),
        file_of("float", b"float", path="float.onnx"),
    ]
    manifest = manifest_of(*(file for file, _ in entries))
    package = sealed(head_of(manifest, OWNER), {file.path: chunks for file, chunks in entries})
    package_id = device.install(package).installed.package_id
    return package_id, device.root / "store" / package_id


def test_a_companion_lies_beside_its_model_by_its_name(
    packages: Packages, pair: tuple[str, Path]
) -> None:
    package_id, folder = pair
    assert packages.verified_path(package_id, "model") == str(folder / "model_ctx.onnx")
    assert packages.verified_path(package_id, "companion") == str(folder / "model_ctx_qnn.bin")
    assert (folder / "model_ctx_qnn.bin").read_bytes() == BINARY


@pytest.mark.parametrize(
    "content",
    [b"", BINARY[:-1], BINARY + b"x", b"\0" + BINARY[1:], None],
    ids=["empty", "cut short", "longer", "changed", "absent"],
)
def test_a_model_is_not_loaded_with_a_companion_that_was_tampered_with(
    packages: Packages, pair: tuple[str, Path], content: bytes | None
) -> None:
    package_id, folder = pair
    companion = folder / "model_ctx_qnn.bin"
    if content is None:
        companion.unlink()
    else:
        companion.write_bytes(content)
    message = fails("storage", lambda: packages.verified_path(package_id, "model")).message
    assert "model_ctx_qnn.bin is not as its manifest says" in message
    assert packages.verified_path(package_id, "float"), "which does not need it"
    assert not packages.is_intact(package_id)


def test_a_companion_that_is_a_link_is_not_loaded(
    packages: Packages, pair: tuple[str, Path], tmp_path: Path
) -> None:
    package_id, folder = pair
    (tmp_path / "same").write_bytes(BINARY)
    (folder / "model_ctx_qnn.bin").unlink()
    (folder / "model_ctx_qnn.bin").symlink_to(tmp_path / "same")
    fails("storage", lambda: packages.verified_path(package_id, "model"))


def test_a_model_without_companion_needs_none(device: Device, packages: Packages) -> None:
    package_id = device.install(FIRST).installed.package_id
    assert packages.verified_path(package_id, "model")
    fails("bad_request", lambda: packages.verified_path(package_id, "companion"))


def test_a_pipe_in_a_file_s_place_does_not_hold_the_agent(
    device: Device, packages: Packages
) -> None:
    package_id = device.install(FIRST).installed.package_id
    model = device.root / "store" / package_id / "model.bin"
    model.unlink()
    os.mkfifo(model)
    fails("storage", lambda: packages.verified_path(package_id, "model"))


def test_what_is_not_there_is_not_installed(packages: Packages) -> None:
    fails("not_installed", lambda: packages.manifest("0" * 64))
    fails("bad_request", lambda: packages.manifest("../../etc"))
    assert packages.ids() == ()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text + b"\n",
        lambda text: text.replace(b"digits", b"faces!"),
        lambda text: b"",
        lambda text: b"\xff",
    ],
)
def test_a_manifest_that_is_not_the_one_of_its_id_is_damage(
    device: Device, packages: Packages, spoil: object
) -> None:
    package_id = device.install(FIRST).installed.package_id
    path = device.root / "store" / package_id / "manifest.json"
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    failure = fails("storage", lambda: packages.manifest(package_id))
    assert "damaged on the device" in failure.message
    assert failure.hint == "push the package again"
    assert not packages.is_intact(package_id)


def test_the_signatures_lie_beside_the_manifest(device: Device) -> None:
    package_id = device.install(FIRST).installed.package_id
    folder = device.root / "store" / package_id
    assert {path.name for path in folder.iterdir()} == {
        *("manifest.json", "manifest.json.sig", "model.bin"),
    }
    assert hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest() == package_id
    assert (folder / "manifest.json.sig").read_bytes().startswith(b"-----BEGIN SSH SIGNATURE")


def test_a_file_is_found_by_its_content(device: Device, packages: Packages) -> None:
    package_id = device.install(FIRST).installed.package_id
    content = b"first" * 1000
    digest = hashlib.sha256(content).hexdigest()
    found = device.root / "store" / package_id / "model.bin"
    assert packages.find_file(digest, len(content)) == str(found)
    assert packages.find_file(digest, len(content) + 1) is None
    assert packages.find_file("0" * 64, len(content)) is None


def test_a_file_that_has_changed_is_not_found_by_what_it_was(
    device: Device, packages: Packages
) -> None:
    package_id = device.install(FIRST).installed.package_id
    digest = hashlib.sha256(b"first" * 1000).hexdigest()
    (device.root / "store" / package_id / "model.bin").write_bytes(b"First" * 1000)
    assert packages.find_file(digest, 5000) is None


def test_a_damaged_package_does_not_hide_a_sound_one(device: Device, packages: Packages) -> None:
    device.install(FIRST)
    second = package_of({"model": b"first" * 1000}, OWNER, version="2", sequence=2)
    device.install(second)
    (device.root / "store" / id_of(FIRST) / "manifest.json").write_bytes(b"{")
    digest = hashlib.sha256(b"first" * 1000).hexdigest()
    assert packages.find_file(digest, 5000) == str(
        device.root / "store" / id_of(second) / "model.bin"
    )
