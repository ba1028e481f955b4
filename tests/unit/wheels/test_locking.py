"""Wheels are chosen once for a kind of board, by pip and from a folder, and kept with their hashes.

No test here asks an index: `--wheels` is `pip download --no-index`, the same pip.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from boards import PI

from device_agent.runtime_messages import WheelFile
from device_agent.unpacking import unpack
from edgesdk.errors import NoWheels, ToolchainMissing, UsageError, WheelFolderError
from edgesdk.progress import Silent
from edgesdk.wheels import locking, pip
from edgesdk.wheels.locking import Chosen, choose, wheel_folder
from edgesdk.wheels.ways import INSTALLABLE, installed_as, ways_for
from tests.wheel_files import EMPTY_RUNTIME, wheel_bytes

AARCH64 = "manylinux_2_17_aarch64"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept from one test to the next."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of wheels."""
    made = tmp_path / "wheels"
    made.mkdir()
    return made


def put(
    folder: Path,
    name: str = "ai_edge_litert",
    version: str = "2.1.0",
    tag: str = f"cp39-cp39-{AARCH64}",
    requires: Sequence[str] = (),
) -> Path:
    path = folder / f"{name}-{version}-{tag}.whl"
    path.write_bytes(wheel_bytes(name, version, EMPTY_RUNTIME, tags=[tag], requires=requires))
    return path


def chosen(folder: Path | None, minimum: str = "", *, renew: bool = False) -> Chosen:
    return choose("litert", PI, minimum, Silent(), source=folder, renew=renew)


def test_the_newest_that_fits_the_board_is_taken(folder: Path) -> None:
    put(folder, version="2.0.0")
    right = put(folder, version="2.1.0")
    put(folder, version="2.2.0", tag=f"cp310-cp310-{AARCH64}")
    put(folder, version="2.2.0", tag="cp39-cp39-manylinux_2_36_aarch64")
    put(folder, version="2.2.0", tag="cp39-cp39-manylinux_2_17_x86_64")
    (pinned,) = chosen(folder).lock.wheels
    assert pinned.file == right.name
    assert pinned.sha256 == hashlib.sha256(right.read_bytes()).hexdigest()


def test_what_only_the_board_needs_comes_too(folder: Path) -> None:
    put(folder, requires=["only-old; python_version < '3.10'", "only-new; python_version > '3.10'"])
    put(folder, "only_old", "1.0", "py3-none-any")
    put(folder, "only_new", "1.0", "py3-none-any")
    names = [each.name for each in chosen(folder).lock.wheels]
    assert names == ["ai-edge-litert", "only-old"]


def test_where_the_first_way_has_no_wheel_the_next_is_tried(folder: Path) -> None:
    put(folder, "tflite_runtime", "2.14.0", requires=["numpy>=1.23"])
    put(folder, "numpy", "1.26.4")
    put(folder, "numpy", "2.0.2")
    lock = chosen(folder).lock
    assert [(each.name, each.version) for each in lock.wheels] == [
        ("tflite-runtime", "2.14.0"),
        ("numpy", "1.26.4"),
    ]
    assert lock.requirements == ("tflite-runtime", "numpy<2")


def test_none_that_fits_is_one_sentence_with_the_tags_and_what_there_is(folder: Path) -> None:
    put(folder, version="2.0.0")
    put(folder, version="2.2.0", tag=f"cp310-cp310-{AARCH64}")
    with pytest.raises(NoWheels) as caught:
        chosen(folder, minimum="2.1")
    error = caught.value
    assert "no wheel of ai-edge-litert>=2.1" in error.message
    assert "fits Python 3.9.2 (cp39), aarch64, glibc 2.31" in error.message
    wanted, fitting, there, other = error.details
    assert "manylinux_2_31_aarch64 down to linux_aarch64" in wanted
    assert fitting.endswith(": 2.0.0")
    assert "ai_edge_litert-2.2.0-cp310-cp310-manylinux_2_17_aarch64.whl" in there
    assert "tflite-runtime" in other
    assert error.hint


def test_no_folder_and_no_wheel_in_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(WheelFolderError, match="found no folder"):
        wheel_folder(tmp_path / "nothing")
    with pytest.raises(WheelFolderError, match="found no wheel in"):
        wheel_folder(tmp_path)


def test_a_dependency_that_is_nowhere_is_named(folder: Path) -> None:
    put(folder, requires=["lacking>=3"])
    with pytest.raises(NoWheels) as caught:
        chosen(folder)
    assert "lacking>=3" in str(caught.value)


# ---- what is kept ------------------------------------------------------------------------------


@pytest.fixture
def asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """What pip was asked for, with a folder in the place of the index."""
    heard: list[Sequence[str]] = []
    download = pip.download

    def instead(*arguments: object) -> tuple[Path, ...]:
        heard.append(arguments[2])  # type: ignore[arg-type]
        return download(*arguments[:4], folder, arguments[5])  # type: ignore[arg-type]

    monkeypatch.setattr(locking, "download", instead)
    return heard


def test_a_choice_is_kept_for_the_next_board_of_its_kind(
    folder: Path, asked: list[Sequence[str]]
) -> None:
    put(folder)
    first = chosen(None)
    put(folder, version="2.1.5")
    again = chosen(None)
    assert (first.kept, again.kept) == (False, True)
    assert again.lock == first.lock and len(asked) == 1


def test_another_board_is_chosen_for_anew(folder: Path, asked: list[Sequence[str]]) -> None:
    put(folder)
    chosen(None)
    newer = dataclasses.replace(PI, libc_version=(2, 36))
    assert not choose("litert", newer, "", Silent()).kept
    assert len(asked) == 2


def test_renewing_takes_the_newest(folder: Path, asked: list[Sequence[str]]) -> None:
    put(folder)
    chosen(None)
    put(folder, version="2.1.5")
    (pinned,) = chosen(None, renew=True).lock.wheels
    assert pinned.version == "2.1.5"
    assert chosen(None).lock.wheels == (pinned,)


def test_a_damaged_wheel_is_fetched_again(folder: Path, asked: list[Sequence[str]]) -> None:
    put(folder)
    first = chosen(None)
    kept = first.path(first.lock.wheels[0])
    kept.write_bytes(kept.read_bytes()[:-1])
    assert not chosen(None).kept
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == first.lock.wheels[0].sha256


def test_what_fails_leaves_the_kept_choice(folder: Path, asked: list[Sequence[str]]) -> None:
    path = put(folder)
    first = chosen(None)
    path.unlink()
    with pytest.raises(NoWheels):
        chosen(None, renew=True)
    assert chosen(None).lock == first.lock


# ---- ways --------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", INSTALLABLE)
def test_each_runtime_has_a_way(runtime: str) -> None:
    assert all(way.requirements("1.0")[0].endswith(">=1.0") for way in ways_for(runtime))


def test_tensorrt_has_none_and_says_what_brings_it() -> None:
    with pytest.raises(NoWheels) as caught:
        ways_for("tensorrt")
    assert "JetPack" in caught.value.hint and "python3-libnvinfer" in caught.value.hint


def test_an_unknown_runtime_is_told_the_known_ones() -> None:
    with pytest.raises(UsageError, match="expected one of: litert, edgetpu, onnxruntime, qnn"):
        ways_for("ncnn")


def test_the_edge_tpus_runtime_is_litert() -> None:
    assert ways_for("edgetpu") == ways_for("litert")
    assert installed_as("edgetpu") == "litert"


def test_without_pip_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesdk.wheels.pip.importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("edgesdk.wheels.pip.shutil.which", lambda _: None)
    with pytest.raises(ToolchainMissing, match="needs pip") as caught:
        pip.find_pip()
    assert "ensurepip" in caught.value.hint


def test_an_index_out_of_reach_is_told_from_a_runtime_without_wheels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    with pytest.raises(NoWheels, match="cannot reach the package index") as caught:
        chosen(None, renew=True)
    assert "--wheels FOLDER" in caught.value.hint


# ---- from the index ----------------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.parametrize("runtime", ["litert", "onnxruntime", "openvino"])
def test_the_wheels_of_the_index_pass_the_devices_own_look(runtime: str, tmp_path: Path) -> None:
    board = dataclasses.replace(PI, version=(3, 11, 2), abi="cp311", libc_version=(2, 36))
    found = choose(runtime, board, "", Silent())
    for wheel in found.lock.wheels:
        target = tmp_path / wheel.sha256
        target.mkdir()
        told = WheelFile(wheel.file, wheel.sha256, wheel.size_bytes, wheel.unpacked_bytes)
        unpack(str(found.path(wheel)), str(target), told, board)
    assert found.lock.board == "Python 3.11.2 (cp311), aarch64, glibc 2.36"
