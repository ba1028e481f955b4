"""Facts about what mender-artifact is asked to write."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from edgesdk.errors import ExitCode, SigningError, ToolchainMissing
from edgesdk.package.exporters import mender
from edgesdk.package.exporters.content import Content, account
from edgesdk.progress import Silent
from edgesdk.values.export import Wanted
from tests.unit.package.exporters.wanting import content, delta_content, wanted


def asked(of: Content, wants: Wanted) -> list[tuple[str, str]]:
    """Flags with their values."""
    argv = mender.arguments(of, wants, Path("/s/digits.edgepkg"), Path("/s/made"))
    assert argv[:2] == ["write", "module-image"]
    return list(zip(argv[2::2], argv[3::2], strict=True))


def test_name_version_and_sequence_are_told(tmp_path: Path) -> None:
    found = asked(content(tmp_path), wanted())
    package_id = content(tmp_path).manifest.package_id
    assert ("--artifact-name", "digits-1.2-3") in found
    assert ("--software-version", "1.2") in found
    assert ("--provides", "edge-model.digits.sequence:3") in found
    assert ("--provides", f"edge-model.digits.package_id:{package_id}") in found


def test_the_device_type_is_the_target_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    of = content(tmp_path)
    types = [value for flag, value in asked(of, wanted()) if flag == "--device-type"]
    assert types == ["raspberry-pi-5"]
    named = asked(of, wanted(compatible=("pi5", "pi500")))
    assert [value for flag, value in named if flag == "--device-type"] == ["pi5", "pi500"]


def test_a_full_package_depends_on_nothing_and_a_delta_on_its_base(tmp_path: Path) -> None:
    assert "--depends" not in dict(asked(content(tmp_path), wanted()))
    delta = delta_content(tmp_path)
    depends = dict(asked(delta, wanted()))["--depends"]
    assert depends == f"edge-model.digits.package_id:{delta.base}"


def test_a_dot_in_the_name_does_not_make_one_package_clear_another(tmp_path: Path) -> None:
    # "clears edge-model.digits.*" would match "edge-model.digits.v2.version".
    found = dict(asked(content(tmp_path, name="digits.v2"), wanted()))
    assert found["--software-name"] == "digits-v2"


def test_of_the_key_only_the_path_is_told(tmp_path: Path) -> None:
    found = dict(asked(content(tmp_path), wanted(key=Path("/keys/mender.pem"))))
    assert found["--key"] == "/keys/mender.pem"


def test_architecture_and_runtime_are_named_as_what_mender_cannot_say(tmp_path: Path) -> None:
    of = content(tmp_path, min_sequence=1, expires="2027-01-01T00:00:00Z")
    rows = account(of, mender.expressed(of, wanted()))
    unsaid = {row.field for row in rows if not row.becomes}
    assert unsaid == {"architectures", "runtime", "min_sequence", "expires"}


def test_a_missing_tool_is_named_with_its_install_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainMissing) as caught:
        mender.export(content(tmp_path), wanted(tmp_path / "x.mender"), Silent())
    assert caught.value.hint == "sudo apt-get install mender-artifact"
    assert caught.value.exit_code == ExitCode.TOOLCHAIN
    assert not (tmp_path / "x.mender").exists()


def test_an_ed25519_key_is_refused_before_mender_meets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "mender-artifact"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho mender-artifact version 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    key = tmp_path / "key.pem"
    key.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    with pytest.raises(SigningError, match="Ed25519 key, which Mender does not sign with"):
        mender.export(content(tmp_path), wanted(tmp_path / "x.mender", key=key), Silent())
