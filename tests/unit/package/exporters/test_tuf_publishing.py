"""Facts about publishing in a TUF repository; python-tuf's client judges it elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from device_agent.manifest import Compatibility
from edgesdk.errors import PackageError, SigningError, UsageError
from edgesdk.progress import Silent
from edgesdk.values.export import Exported
from tests.unit.package.exporters.wanting import content, wanted

tuf_repository = pytest.importorskip(
    "edgesdk.package.exporters.tuf_repository", reason="python-tuf is not installed"
)


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    return {name: _key(tmp_path / f"{name}.pem") for name in ("online", "root1", "root2", "other")}


def _key(path: Path) -> Path:
    private = Ed25519PrivateKey.generate()
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def publish(folder: Path, key: Path, *roots: Path, threshold: int = 1, **changes: Any) -> Exported:
    asked = wanted(
        folder / "repo",
        key=key,
        root_keys=roots,
        root_threshold=threshold,
        compatible=changes.pop("compatible", ()),
    )
    done: Exported = tuf_repository.export(content(folder, **changes), asked, Silent())
    return done


def metadata(folder: Path, name: str) -> Any:
    return json.loads((folder / "repo" / "metadata" / f"{name}.json").read_bytes())["signed"]


def files(folder: Path) -> set[str]:
    home = folder / "repo"
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def test_the_target_carries_what_the_package_says(tmp_path: Path, keys: dict[str, Path]) -> None:
    publish(tmp_path, keys["online"], keys["root1"])
    target = metadata(tmp_path, "1.targets")["targets"]["digits/raspberry-pi-5.edgepkg"]
    assert target["custom"].items() >= {
        ("name", "digits"),
        ("version", "1.2"),
        ("sequence", "3"),
        ("target", "raspberry-pi-5"),
        ("architectures", "aarch64"),
    }
    assert target["custom"]["package_id"] == content(tmp_path).manifest.package_id


def test_the_root_asks_for_its_threshold(tmp_path: Path, keys: dict[str, Path]) -> None:
    publish(tmp_path, keys["online"], keys["root1"], keys["root2"], threshold=2)
    roles = metadata(tmp_path, "1.root")["roles"]
    assert roles["root"]["threshold"] == 2 and len(roles["root"]["keyids"]) == 2
    assert not set(roles["root"]["keyids"]) & set(roles["targets"]["keyids"])


@pytest.mark.parametrize("threshold", [0, 3])
def test_a_threshold_that_the_keys_cannot_meet_is_refused(
    tmp_path: Path, keys: dict[str, Path], threshold: int
) -> None:
    with pytest.raises(UsageError, match="expected 1 to 2"):
        publish(tmp_path, keys["online"], keys["root1"], keys["root2"], threshold=threshold)


def test_one_key_given_twice_counts_once(tmp_path: Path, keys: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="expected 1 to 1"):
        publish(tmp_path, keys["online"], keys["root1"], keys["root1"], threshold=2)


def test_a_new_repository_needs_root_keys_and_is_not_left_half_made(
    tmp_path: Path, keys: dict[str, Path]
) -> None:
    with pytest.raises(UsageError, match="needs --root-key"):
        publish(tmp_path, keys["online"])
    assert not (tmp_path / "repo").exists()


def test_the_next_package_leaves_the_root_and_what_clients_are_reading(
    tmp_path: Path, keys: dict[str, Path]
) -> None:
    publish(tmp_path, keys["online"], keys["root1"])
    before = {name: (tmp_path / "repo" / name).read_bytes() for name in files(tmp_path)}
    publish(tmp_path, keys["online"], sequence=4)
    after = {name: (tmp_path / "repo" / name).read_bytes() for name in files(tmp_path)}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"metadata/timestamp.json"}
    assert set(after) - set(before) >= {"metadata/2.targets.json", "metadata/2.snapshot.json"}


def test_an_older_package_is_refused_and_nothing_written(
    tmp_path: Path, keys: dict[str, Path]
) -> None:
    publish(tmp_path, keys["online"], keys["root1"])
    before = files(tmp_path)
    with pytest.raises(PackageError, match="found sequence 2, and 3 published"):
        publish(tmp_path, keys["online"], sequence=2)
    assert files(tmp_path) == before


def test_the_same_package_again_renews_what_expires(tmp_path: Path, keys: dict[str, Path]) -> None:
    publish(tmp_path, keys["online"], keys["root1"])
    publish(tmp_path, keys["online"])
    assert metadata(tmp_path, "timestamp")["version"] == 2


def test_expiry_is_counted_from_the_time_that_is_given(
    tmp_path: Path, keys: dict[str, Path]
) -> None:
    publish(tmp_path, keys["online"], keys["root1"])
    assert metadata(tmp_path, "timestamp")["expires"] == "2026-06-08T12:00:00Z"
    assert metadata(tmp_path, "1.root")["expires"] == "2027-06-01T12:00:00Z"


def test_a_key_that_the_root_does_not_name_is_refused(
    tmp_path: Path, keys: dict[str, Path]
) -> None:
    publish(tmp_path, keys["online"], keys["root1"])
    before = files(tmp_path)
    with pytest.raises(SigningError, match="not the one that the repository's root names"):
        publish(tmp_path, keys["other"], sequence=4)
    assert files(tmp_path) == before


def test_root_keys_renew_the_root_and_replace_the_online_key(
    tmp_path: Path, keys: dict[str, Path]
) -> None:
    publish(tmp_path, keys["online"], keys["root1"], keys["root2"], threshold=2)
    publish(tmp_path, keys["other"], keys["root1"], keys["root2"], sequence=4)
    old, new = (metadata(tmp_path, f"{number}.root")["roles"] for number in (1, 2))
    assert old["root"] == new["root"]
    assert old["targets"]["keyids"] != new["targets"]["keyids"]


def test_another_root_than_the_repository_has_is_refused(
    tmp_path: Path, keys: dict[str, Path]
) -> None:
    """Else one who asks for two signatures would believe that two are needed."""
    publish(tmp_path, keys["online"], keys["root1"])
    before = files(tmp_path)
    with pytest.raises(UsageError, match="a --root-key that is none of the 1 of the repository"):
        publish(tmp_path, keys["online"], keys["root1"], keys["root2"], threshold=2)
    with pytest.raises(UsageError, match="found --root-threshold 2, and 1 in the repository"):
        publish(tmp_path, keys["online"], keys["root1"], threshold=2)
    assert files(tmp_path) == before


def test_too_few_root_keys_renew_nothing(tmp_path: Path, keys: dict[str, Path]) -> None:
    publish(tmp_path, keys["online"], keys["root1"], keys["root2"], threshold=2)
    before = files(tmp_path)
    with pytest.raises(SigningError, match="found 1 of the repository's root keys, expected 2"):
        publish(tmp_path, keys["online"], keys["root1"], keys["other"], sequence=4)
    assert files(tmp_path) == before


def test_metadata_that_somebody_changed_are_not_signed_again(
    tmp_path: Path, keys: dict[str, Path]
) -> None:
    publish(tmp_path, keys["online"], keys["root1"])
    path = tmp_path / "repo" / "metadata" / "1.targets.json"
    path.write_text(path.read_text().replace("aarch64", "aarch65"))
    with pytest.raises(PackageError, match="does not hold"):
        publish(tmp_path, keys["online"], sequence=4)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, keys: dict[str, Path]) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "thesis.txt").write_text("years of work")
    with pytest.raises(PackageError, match="holds no TUF repository"):
        publish(tmp_path, keys["online"], keys["root1"])
    assert files(tmp_path) == {"thesis.txt"}


def test_groups_of_devices_have_targets_of_their_own(tmp_path: Path, keys: dict[str, Path]) -> None:
    publish(tmp_path, keys["online"], keys["root1"], compatible=("canary", "rest"))
    publish(tmp_path, keys["online"], sequence=4, compatible=("canary",))
    targets = metadata(tmp_path, "2.targets")["targets"]
    assert targets["digits/canary.edgepkg"]["custom"]["sequence"] == "4"
    assert targets["digits/rest.edgepkg"]["custom"]["sequence"] == "3"


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a b"])
def test_a_group_that_no_file_can_be_called_is_refused(
    tmp_path: Path, keys: dict[str, Path], name: str
) -> None:
    with pytest.raises(UsageError, match="expected letters, digits"):
        publish(tmp_path, keys["online"], keys["root1"], compatible=(name,))


def test_a_target_with_odd_characters_has_a_plain_path(tmp_path: Path) -> None:
    of = content(tmp_path, compatibility=Compatibility("x@1.2", (), "litert", "2"))
    assert tuf_repository.target_path(of, "x@1.2") == "digits/x-1.2.edgepkg"


def test_a_key_that_is_root_and_online_is_remarked(tmp_path: Path, keys: dict[str, Path]) -> None:
    done = publish(tmp_path, keys["root1"], keys["root1"])
    assert any("both a root key and the online key" in note for note in done.notes)
