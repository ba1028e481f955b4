"""The agent without a host: what it answers whoever types its commands on the device."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent_packages import noise, package_of

from device_agent import local
from device_agent.codec import canonical
from device_agent.environment_messages import RuntimeVersion
from device_agent.manifest import CHUNK_BYTES, Compatibility
from tests.signers import BELIEVES_OWNER as TRUST
from tests.signers import OWNER

HERE = Compatibility("here", (), "onnxruntime", "")


def run(root: Path, *argv: str | Path) -> int:
    return local.main([*map(str, argv), "--root", str(root)], "no program")


@pytest.fixture
def first(tmp_path: Path) -> Path:
    path = tmp_path / "1.json"
    path.write_bytes(canonical(TRUST))
    return path


def package(folder: Path, content: bytes) -> Path:
    path = folder / "a.edgepkg"
    path.write_bytes(content)
    return path


def test_a_refusal_says_what_to_do(
    root: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, "trust-local", first) == 0
    unsigned = package(tmp_path, package_of({"model": b"x"}, compatibility=HERE))
    assert run(root, "install-local", unsigned) == 1
    said = capsys.readouterr().err
    assert "untrusted: found a package without a signature" in said
    assert "next: sign it" in said


@pytest.mark.parametrize("command", ["install-local", "trust-local"])
def test_a_file_that_cannot_be_read_is_named(
    root: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, command, tmp_path) == 1
    words = f"storage: {tmp_path}: Is a directory, expected a file that can be read\n"
    assert capsys.readouterr().err == words


def test_no_root_is_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        local.main(["installed-local", "--root", ""], "no program")
    assert "found no folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["1.json", "1.sig"])
def test_a_trust_that_is_no_text_is_no_crash(
    root: Path, first: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first.with_name(name).write_bytes(b"\xff")
    assert run(root, "trust-local", first) == 1
    assert f"{name} is no part of a trust: it is not text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "advice"),
    [("state.json", "push every package again"), ("trust.json", "whom to believe")],
)
@pytest.mark.parametrize("damage", [b"", b"{}", b'{"lab":fal', bytes(9)])
def test_damage_to_what_it_keeps_is_said_with_what_to_do(
    root: Path,
    first: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    advice: str,
    damage: bytes,
) -> None:
    assert run(root, "trust-local", first) == 0
    (root / name).write_bytes(damage)
    signed = package(tmp_path, package_of({"model": b"x"}, OWNER, compatibility=HERE))
    assert run(root, "install-local", signed) == 1
    said = capsys.readouterr().err
    assert f"storage: {root / name} is damaged on the device" in said
    assert advice in said and "push the package again" not in said
    assert (root / name).read_bytes() == damage


def test_a_device_that_nobody_enrolled_is_no_lab(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unsigned = package(tmp_path, package_of({"model": b"x"}, compatibility=HERE))
    assert run(root, "install-local", "--allow-unsigned", unsigned) == 1
    assert "not enrolled as a lab device" in capsys.readouterr().err


def test_a_lab_device_takes_an_unsigned_package_when_told_to(
    root: Path,
    first: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = (RuntimeVersion("onnxruntime", "onnxruntime", "1.20"),)
    monkeypatch.setattr("device_agent.runtimes.discover", lambda *_: found)
    assert run(root, "trust-local", "--lab", first) == 0
    unsigned = package(tmp_path, package_of({"model": b"x"}, compatibility=HERE))
    assert run(root, "install-local", unsigned) == 1
    assert "--allow-unsigned" in capsys.readouterr().err
    assert run(root, "install-local", "--allow-unsigned", unsigned) == 0
    assert '"signed_by": ""' in capsys.readouterr().out


def test_what_had_come_and_was_damaged_since_comes_again_at_once(
    root: Path,
    first: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An updater whose install fails would roll the fleet back."""
    found = (RuntimeVersion("onnxruntime", "onnxruntime", "1.20"),)
    monkeypatch.setattr("device_agent.runtimes.discover", lambda *_: found)
    assert run(root, "trust-local", first) == 0
    content = package_of({"model": noise(3 * CHUNK_BYTES)}, OWNER, compatibility=HERE)
    signed = package(tmp_path, content[: len(content) - CHUNK_BYTES])
    assert run(root, "install-local", signed) == 1
    (partial,) = root.glob("incoming/*/files/model.bin")
    partial.write_bytes(bytes(partial.stat().st_size))
    signed.write_bytes(content)
    assert run(root, "install-local", signed) == 0
    assert '"signed_by": "owner"' in capsys.readouterr().out
