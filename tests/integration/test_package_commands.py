"""`edgesdk package`, `verify`, `push` and what follows, as a user runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device_agent.manifest import Compatibility, HealthCheck
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.keys.signing import open_signer
from edgesdk.package.building import full_path
from edgesdk.package.reading import read_package
from edgesdk.values.package import Package
from tests.cli import Cli, Done, this_machine
from tests.sealed import seal, seal_delta
from tests.signers import STRANGER
from tests.unit.package.artifacts import make_artifact

HERE = Compatibility("here", (), "onnxruntime", "1.14")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def device(cli: Cli, virtual_device: VirtualDevice) -> Iterator[VirtualDevice]:
    cli.enrol(virtual_device.as_device("bench", this_machine()))
    yield virtual_device


@pytest.fixture
def artifact(cli: Cli) -> str:
    make_artifact(cli.folder / "artifact")
    return "artifact"


def good(done: Done) -> Done:
    assert done.code == 0, done.err
    return done


def refused(done: Done, code: int, *words: str) -> None:
    """One sentence of error with these words, no traceback, that exit code."""
    assert done.code == code, done.err
    assert "Traceback" not in done.err and done.err.count("error:") == 1
    text = " ".join(done.err.split())
    for word in words:
        assert word in text


def sealed(
    cli: Cli, name: str = "a.edgepkg", key: str | None = "default", **changes: Any
) -> Package:
    """A package of no toolchain's, signed with a key of the user's."""
    signer = None if key is None else open_signer(cli.home / "keys" / key)
    fields = {"compatibility": HERE, **changes}
    return seal(cli.folder / name, signer=signer, **fields)


# ---- package -------------------------------------------------------------------------------------


def packed(cli: Cli, *flags: str, name: str = "a.edgepkg") -> Package:
    good(cli("package", "artifact", "-o", name, *flags))
    return read_package(cli.folder / name)


def test_a_package_is_signed_unless_told_otherwise(cli: Cli, artifact: str) -> None:
    first = good(cli("package", artifact, "-o", "a.edgepkg"))
    assert "you had no key to sign with: made default" in first.err
    assert "Back up" in first.err
    assert "signed    yes" in first.out
    again = good(cli("package", artifact, "-o", "a.edgepkg"))
    assert again.err == "", "said once"
    assert not packed(cli, "--unsigned").head.signatures


def test_a_key_may_be_named(cli: Cli, artifact: str) -> None:
    good(cli("key", "new", "anna"))
    good(cli("key", "new", "ben"))
    refused(cli("package", artifact, "-o", "a.edgepkg"), 2, "anna, ben")
    packed(cli, "--key", "ben")
    assert "by ben (SHA256:" in good(cli("verify", "a.edgepkg")).out
    packed(cli, "--key", str(cli.home / "keys" / "anna"))
    assert "by anna (SHA256:" in good(cli("verify", "a.edgepkg")).out


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--key", "nobody"), 3, "found key 'nobody'"),
        (("--key", "a", "--unsigned"), 2, "found both the key a and --unsigned"),
        (("--expires", "2020-01-01"), 2, "which has passed"),
        (("--expires", "soon"), 2, "found expiry 'soon'"),
        (("--min-sequence", "2"), 3, "with a least one of 2"),
        (("--sequence", "-1"), 2, "Invalid value"),
        (("--health-latency", "quick"), 2, "quick"),
        (("--health-command", "sh -c 'exit"), 2, "expected every quote closed"),
        (("--base", "nothing.edgepkg"), 3, "nothing.edgepkg cannot be read"),
    ],
)
def test_what_cannot_be_packaged_is_refused(
    cli: Cli, artifact: str, flags: tuple[str, ...], code: int, words: str
) -> None:
    done = cli("package", artifact, "-o", "a.edgepkg", *flags)
    assert done.code == code, done.err
    assert words in " ".join(done.err.split()) and "Traceback" not in done.err
    assert not (cli.folder / "a.edgepkg").exists()


def test_every_flag_reaches_the_manifest(cli: Cli, artifact: str) -> None:
    manifest = packed(
        *(cli, "--name", "faces", "--version", "2.1", "--sequence", "9", "--min-sequence", "7"),
        *("--expires", "2099-06-30", "--board", "Raspberry Pi 5", "--board", "Compute Module 5"),
        *("--health-latency", "20 ms", "--health-command", "sh -c 'test -s model.bin'"),
        *("--delta-budget", "1 MiB", "--unsigned"),
    ).manifest
    assert (manifest.name, manifest.version) == ("faces", "2.1")
    assert (manifest.sequence, manifest.min_sequence) == (9, 7)
    assert manifest.expires == "2099-06-30T00:00:00Z"
    assert manifest.compatibility.boards == ("Raspberry Pi 5", "Compute Module 5")
    assert manifest.health is not None
    assert manifest.health.max_latency_ns == 20_000_000
    assert manifest.health.command == ("sh", "-c", "test -s model.bin")
    assert manifest.limits.delta_bytes == 2**20


def test_the_project_file_stands_in_for_flags(cli: Cli, artifact: str) -> None:
    (cli.folder / "edgesdk.toml").write_text(
        '[package]\nname = "faces"\nsequence = 4\nmin_sequence = 2\nexpires = "2099-06-30"\n'
        'boards = ["Raspberry Pi 5"]\nmax_latency = "20 ms"\nhealth_command = ["true"]\n'
    )
    manifest = packed(cli, "--unsigned", "--min-sequence", "3").manifest
    assert (manifest.name, manifest.sequence, manifest.min_sequence) == ("faces", 4, 3)
    assert manifest.expires == "2099-06-30T00:00:00Z"
    assert manifest.health is not None and manifest.health.command == ("true",)


def test_a_base_makes_a_delta_with_the_full_package_beside_it(cli: Cli, artifact: str) -> None:
    packed(cli, name="old.edgepkg")
    done = good(
        cli("package", artifact, "-o", "new.edgepkg", "--sequence", "2", "--base", "old.edgepkg")
    )
    assert "delta     against" in done.out
    assert "full      new.full.edgepkg" in done.out
    assert "downgrade" not in done.err
    flags = ("--sequence", "0", "--base", "old.edgepkg")
    older = good(cli("package", artifact, "-o", "older.edgepkg", *flags))
    assert "found sequence 0, and the base has 1: a device that has the base" in older.err
    delta, full = (read_package(cli.folder / f"new{kind}.edgepkg") for kind in ("", ".full"))
    assert delta.manifest == full.manifest
    assert delta.size_bytes < full.size_bytes / 2
    assert good(cli("inspect", "new.edgepkg")).code == 0
    refused(
        cli("package", artifact, "-o", "third.edgepkg", "--base", "new.edgepkg"),
        *(3, "is a delta itself", "new.full.edgepkg"),
    )


def test_the_same_package_twice_is_the_same_bytes(cli: Cli, artifact: str) -> None:
    packed(cli, "--expires", "2099-06-30", name="a.edgepkg")
    packed(cli, "--expires", "2099-06-30", name="b.edgepkg")
    one, two = ((cli.folder / name).read_bytes() for name in ("a.edgepkg", "b.edgepkg"))
    assert one == two


# ---- verify --------------------------------------------------------------------------------------


@pytest.fixture
def keyed(cli: Cli) -> Cli:
    good(cli("key", "new"))
    return cli


def test_a_good_package_is_told_why(keyed: Cli) -> None:
    package = sealed(keyed, expires="2099-06-30T00:00:00Z")
    text = good(keyed("verify", "a.edgepkg")).out
    assert f"bytes            all {package.size_bytes} are as the manifest says" in text
    assert "by default (SHA256:" in text and "who is trusted here" in text
    assert "expiry           2099-06-30T00:00:00Z, still to come" in text
    assert package.manifest.package_id in text
    checks = good(keyed("verify", "a.edgepkg", "--json")).json["checks"]
    assert [check["what"] for check in checks] == ["bytes", "signature", "expiry"]


def test_a_damaged_package_is_refused(keyed: Cli) -> None:
    path = sealed(keyed).path
    content = bytearray(path.read_bytes())
    content[-600] ^= 1
    path.write_bytes(content)
    refused(keyed("verify", "a.edgepkg"), 3, "is not a sound package", "build or copy it again")


def test_an_unsigned_package_is_refused_unless_allowed(keyed: Cli) -> None:
    sealed(keyed, key=None)
    refused(keyed("verify", "a.edgepkg"), 3, "found a package without a signature")
    text = good(keyed("verify", "a.edgepkg", "--allow-unsigned")).out
    assert "signature        none: it is unsigned, which was allowed" in text


def test_allowing_unsigned_packages_does_not_allow_bad_signatures(keyed: Cli) -> None:
    seal(keyed.folder / "a.edgepkg", signer=STRANGER, compatibility=HERE)
    refused(keyed("verify", "a.edgepkg", "--allow-unsigned"), 3, "which is not trusted")


def test_a_package_signed_by_a_stranger_is_refused(keyed: Cli) -> None:
    seal(keyed.folder / "a.edgepkg", signer=STRANGER, compatibility=HERE)
    said = ("signed by SHA256:", "the keys of trust version 1 are default SHA256:")
    refused(keyed("verify", "a.edgepkg"), 3, *said)


def test_a_package_signed_by_a_revoked_key_is_refused(keyed: Cli) -> None:
    sealed(keyed)
    good(keyed("key", "new", "second"))
    good(keyed("key", "revoke", "default"))
    refused(keyed("verify", "a.edgepkg"), 3, "signed by default (SHA256:", "revoked")


def test_an_expired_package_is_refused(keyed: Cli) -> None:
    sealed(keyed, expires="2020-01-01T00:00:00Z")
    refused(keyed("verify", "a.edgepkg"), 3, "the package expired on 2020-01-01T00:00:00Z")


def test_where_nobody_is_trusted_nothing_can_be_judged(cli: Cli) -> None:
    seal(cli.folder / "a.edgepkg", signer=STRANGER, compatibility=HERE)
    refused(cli("verify", "a.edgepkg"), 3, "there is no trust here", "edgesdk key trust")
    assert not (cli.home / "keys").exists(), "verifying makes no key"


def test_a_delta_s_own_signature_is_checked(keyed: Cli) -> None:
    base, signer = sealed(keyed), open_signer(keyed.home / "keys" / "default")
    path = keyed.folder / "delta.edgepkg"
    seal_delta(path, base, signer=signer, compatibility=HERE, sequence=4)
    text = good(keyed("verify", "delta.edgepkg")).out
    assert "delta signature  by default" in text
    assert f"made against package {base.manifest.package_id}; not applied here" in text
    seal_delta(path, base, signer=STRANGER, compatibility=HERE, sequence=4)
    refused(keyed("verify", "delta.edgepkg"), 3, "which is not trusted")


@pytest.mark.parametrize("name", ["missing.edgepkg", "."])
def test_what_is_no_file_is_said(cli: Cli, name: str) -> None:
    refused(cli("verify", name), 3, "cannot be read")


# ---- push and what follows -----------------------------------------------------------------------


def test_from_a_push_to_a_return(keyed: Cli, device: VirtualDevice) -> None:
    sealed(keyed, "one.edgepkg", version="1", sequence=1)
    sealed(keyed, "two.edgepkg", version="2", sequence=2)
    assert "no package is installed" in good(keyed("device", "installed", "bench")).out
    first = good(keyed("push", "one.edgepkg", "-d", "bench")).out
    assert "digits 1 installed" in first and "signed   by default" in first
    assert "was already installed" in good(keyed("push", "one.edgepkg", "-d", "bench")).out
    second = good(keyed("push", "two.edgepkg", "-d", "bench", "--json")).json
    assert second["installed"]["state"] == "current" and second["previous"]
    listed = good(keyed("device", "installed", "bench", "--json")).json
    assert [(each["version"], each["state"]) for each in listed["packages"]] == [
        *(("2", "current"), ("1", "previous")),
    ]
    assert "digits 1 is the current package" in good(keyed("rollback", "-d", "bench")).out
    refused(keyed("push", "missing.edgepkg", "-d", "bench"), 3, "cannot be read")


def test_an_unhealthy_package_is_exit_code_1(keyed: Cli, device: VirtualDevice) -> None:
    sealed(keyed, "one.edgepkg", version="1", sequence=1)
    good(keyed("push", "one.edgepkg", "-d", "bench"))
    sealed(keyed, "two.edgepkg", version="2", sequence=2, health=HealthCheck())
    refused(
        keyed("push", "two.edgepkg", "-d", "bench"),
        *(1, "is not healthy on this device", "the device is as it was before"),
    )
    listed = good(keyed("device", "installed", "bench", "--json")).json["packages"]
    assert [each["version"] for each in listed if each["state"] == "current"] == ["1"]


def test_what_a_device_refuses_is_exit_code_4(keyed: Cli, device: VirtualDevice) -> None:
    sealed(keyed, "five.edgepkg", sequence=5)
    good(keyed("push", "five.edgepkg", "-d", "bench"))
    sealed(keyed, "four.edgepkg", sequence=4)
    refused(keyed("push", "four.edgepkg", "-d", "bench"), 4, "expected at least 5", "--downgrade")
    good(keyed("push", "four.edgepkg", "-d", "bench", "--downgrade", "--key", "default"))
    sealed(keyed, "none.edgepkg", key=None, sequence=6)
    refused(keyed("push", "none.edgepkg", "-d", "bench"), 4, "without a signature")
    told = good(keyed("push", "none.edgepkg", "-d", "bench", "--allow-unsigned")).out
    assert "NOT SIGNED" in told
    assert "NOT SIGNED" in good(keyed("device", "installed", "bench")).out


def test_a_delta_that_does_not_fit_says_what_is_sent_instead(
    keyed: Cli, device: VirtualDevice
) -> None:
    base, signer = sealed(keyed), open_signer(keyed.home / "keys" / "default")
    path = keyed.folder / "delta.edgepkg"
    seal_delta(path, base, signer=signer, compatibility=HERE, sequence=4)
    refused(keyed("push", "delta.edgepkg", "-d", "bench"), 3, str(full_path(Path("delta.edgepkg"))))
    seal(full_path(path), signer=signer, compatibility=HERE, sequence=4)
    done = good(keyed("push", "delta.edgepkg", "-d", "bench"))
    assert "sending the full package instead" in done.err


def test_a_device_that_is_added_learns_whom_to_believe(keyed: Cli, device: VirtualDevice) -> None:
    enrolled = device.as_device("bench", this_machine())
    added = keyed(
        *("device", "add", "pi", "--address", f"{enrolled.user}@{enrolled.host}:{enrolled.port}"),
        *("-t", this_machine(), "--identity", enrolled.identity_file or "", "--yes"),
    )
    good(added)
    sealed(keyed, key=None)
    refused(
        keyed("push", "a.edgepkg", "-d", "pi", "--allow-unsigned"),
        *(4, "not enrolled as a lab device"),
    )
    sealed(keyed)
    good(keyed("push", "a.edgepkg", "-d", "pi"))


def test_a_device_may_be_added_as_one_of_a_lab(keyed: Cli, device: VirtualDevice) -> None:
    enrolled = device.as_device("bench", this_machine())
    good(
        keyed(
            *("device", "add", "pi", "--lab", "--yes", "-t", this_machine()),
            *("--address", f"{enrolled.user}@{enrolled.host}:{enrolled.port}"),
            *("--identity", enrolled.identity_file or ""),
        )
    )
    sealed(keyed, key=None)
    good(keyed("push", "a.edgepkg", "-d", "pi", "--allow-unsigned"))


def test_a_device_is_made_one_of_a_lab_later_and_the_refusal_says_how(
    keyed: Cli, device: VirtualDevice
) -> None:
    enrolled = device.as_device("bench", this_machine())
    add = ("device", "add", "pi", "--yes", "-t", this_machine(), "--replace")
    add += ("--address", f"{enrolled.user}@{enrolled.host}:{enrolled.port}")
    add += ("--identity", enrolled.identity_file or "")
    good(keyed(*add))
    assert "makes it one: edgesdk device lab pi on" in good(keyed(*add, "--lab")).err
    sealed(keyed, key=None)
    refused(
        keyed("push", "a.edgepkg", "-d", "pi", "--allow-unsigned"), 4, "edgesdk device lab pi on"
    )
    assert "may take unsigned packages" in good(keyed("device", "lab", "pi", "on")).out
    good(keyed("push", "a.edgepkg", "-d", "pi", "--allow-unsigned"))
    good(keyed("device", "lab", "pi", "off"))
    refused(keyed("push", "a.edgepkg", "-d", "pi", "--allow-unsigned"), 4, "not enrolled as a lab")
