"""Rows 34 to 40: packages that nobody should believe, or that are not for this device."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent import sshsig
from device_agent.archive import Head
from device_agent.clock import format_utc, parse_utc
from device_agent.codec import canonical
from device_agent.sshsig import Signature
from device_agent.trust import DELTA_NAMESPACE, OVERRIDE_NAMESPACE, PACKAGE_NAMESPACE
from device_agent.trust_messages import Override
from edgesdk import api
from edgesdk.errors import AgentError, NotTrusted, PackageError
from edgesdk.keys.signing import open_signer
from edgesdk.values.package import Package
from tests.faults.bench import DEVICE, Bench
from tests.faults.matrix import fault
from tests.faults.releases import Releases, stored_chunks
from tests.faults.test_b_resources import PATCH, patched

ORDER_OF_25519 = 2**252 + 27742317777372353535851937790883648493
SOONER_OR_LATER = "2099-01-01T00:00:00Z"
LONG_AGO = "2026-01-01T00:00:00Z"


def is_refused(bench: Bench, package: Package, code: str, *words: str, **permissions: bool) -> None:
    """By the device, before anything of the package has travelled; it stays as it was."""
    error = bench.refuses(package, **permissions)
    assert error.code == code, error
    for word in words:
        assert word in str(error)
    assert list((bench.store / "incoming").iterdir()) == []


def resigned(releases: Releases, package: Package, signatures: bytes) -> Package:
    """The package with other signatures."""
    return releases.sealed(Head(package.manifest, signatures), package)


# ---- 34 and 35: who signed ---------------------------------------------------------------------


@fault(34, "pushed without a signature, also with --allow-unsigned on a device that is no lab's")
def test_unsigned(old: Bench, releases: Releases) -> None:
    unsigned = releases(2, signed=False)
    is_refused(old, unsigned, "untrusted", "without a signature")
    is_refused(old, unsigned, "untrusted", "not enrolled as a lab device", unsigned=True)
    old.is_as_before("1.0")
    old.takes(releases(2))


@fault(34, "signed by a key that the device was never told of")
def test_an_unknown_key(old_virtual: Bench, releases: Releases, tmp_path: Path) -> None:
    old = old_virtual
    stranger = releases.stranger(tmp_path / "stranger")
    manifest = releases(2).manifest
    signature = stranger.sign(canonical(manifest), PACKAGE_NAMESPACE)
    is_refused(old, resigned(releases, releases(2), signature), "untrusted", "is not trusted")
    old.is_as_before("1.0")
    old.takes(releases(2))


@fault(
    34,
    "signed by a key that was revoked since",
    "refused; what another trusted key signed is taken",
)
def test_a_revoked_key(old_virtual: Bench, releases: Releases) -> None:
    old = old_virtual
    api.new_key("second")
    api.revoke_key("maker")
    is_refused(old, releases(2), "untrusted", "maker", "revoked")
    old.is_as_before("1.0")
    second = open_signer(old.cli.home / "keys" / "second")
    signature = second.sign(canonical(releases(2).manifest), PACKAGE_NAMESPACE)
    old.takes(resigned(releases, releases(2), signature))


@fault(34, "signed by a key whose time is over")
def test_an_expired_key(old_virtual: Bench, releases: Releases) -> None:
    old = old_virtual
    end = format_utc(int(time.time()) + 4)
    api.new_key("brief", expires=end)
    brief = open_signer(old.cli.home / "keys" / "brief")
    signature = brief.sign(canonical(releases(2).manifest), PACKAGE_NAMESPACE)
    package = resigned(releases, releases(2), signature)
    time.sleep(max(0.0, parse_utc(end) - time.time()) + 0.5)
    is_refused(old, package, "untrusted", "brief", "expired since")
    old.is_as_before("1.0")
    old.takes(releases(2))


@fault(34, "signed for another purpose, and another manifest's signature")
def test_a_signature_of_something_else(old_virtual: Bench, releases: Releases) -> None:
    old = old_virtual
    message = canonical(releases(2).manifest)
    for namespace in (DELTA_NAMESPACE, OVERRIDE_NAMESPACE, "file", "git"):
        signature = releases.signer.sign(message, namespace)
        package = resigned(releases, releases(2), signature)
        is_refused(old, package, "untrusted", f"made for {namespace!r}")
    package = resigned(releases, releases(2), releases(1).head.signatures)
    is_refused(old, package, "untrusted", "does not match")
    old.is_as_before("1.0")
    old.takes(releases(2))


@fault(
    35,
    "S beyond the group's order, small-order points, other sizes and spellings, too many",
)
def test_malformed_signatures(old: Bench, releases: Releases) -> None:
    new = releases(2)
    sound = new.head.signatures
    spoilt = malformed(sound)
    assert len(spoilt) > 25
    with old.session() as agent:
        for what, signatures in spoilt.items():
            package = replace(new, head=Head(new.manifest, signatures))
            error = old.fails(lambda package=package: agent.offer(package), AgentError)
            assert error.code == "untrusted", (what, error)
    old.is_as_before("1.0")
    old.takes(new)


def malformed(sound: bytes) -> dict[str, bytes]:
    """Signatures that must not hold, made of one that does."""
    said = sshsig.parse(sound)
    proof = said.signature[-64:]
    point, scalar = proof[:32], int.from_bytes(proof[32:], "little")

    def with_proof(proof: bytes) -> bytes:
        return written(replace(said, signature=sshsig.plain_signature(proof)))

    zero, one = bytes(32), (1).to_bytes(32, "little")
    order_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
    not_canonical = (2**255 - 18).to_bytes(32, "little")
    scalars = {
        "S + L": scalar + ORDER_OF_25519,
        "S = L": ORDER_OF_25519,
        "S = 0": 0,
        "S = 2^256 - 1": 2**256 - 1,
        "S + 2L": scalar + 2 * ORDER_OF_25519,
    }
    found = {
        what: with_proof(point + value.to_bytes(32, "little")) for what, value in scalars.items()
    }
    for what, r in {
        "0": zero,
        "1": one,
        "of order 8": order_8,
        "not canonical": not_canonical,
    }.items():
        found[f"R {what}"] = with_proof(r + proof[32:])
        found[f"R {what}, S = 0"] = with_proof(r + zero)
        key = sshsig._string(b"ssh-ed25519") + sshsig._string(r)
        found[f"key {what}"] = written(replace(said, public_key=key))
    for size in (0, 1, 63, 65, 128):
        found[f"{size} bytes"] = with_proof((proof * 2)[:size])
    found["all zero"] = with_proof(bytes(64))
    found["rsa"] = written(replace(said, public_key=sshsig._string(b"ssh-rsa")))
    found["another hash"] = written(replace(said, hash_algorithm="md5"))
    found["Windows lines"] = sound.replace(b"\n", b"\r\n")
    found["one line"] = sound.replace(b"\n", b"", 3)
    found["not base64"] = sound.replace(b"A", b"*", 1)
    found["a space behind"] = sound + b" "
    found["text before"] = b"x" + sound
    found["the first half"] = sound[: len(sound) // 2]
    found["a broken one beside"] = sound + found["S + L"]
    found["nine of them"] = sound * 9
    return found


def written(signature: Signature) -> bytes:
    """The armored form, whatever it says."""
    return sshsig.armor(signature)


# ---- 36 to 38: old and mixed -------------------------------------------------------------------


@fault(
    36, "an earlier sequence is pushed", "refused; with --downgrade and a trusted key it is taken"
)
def test_a_downgrade(old: Bench, releases: Releases) -> None:
    old.push(releases(3))
    is_refused(old, releases(2), "downgrade", "found sequence 2", "at least 4")
    old.is_as_before("3.0")
    old.takes(releases(2), downgrade=True)


@fault(
    36, "a signed permission is used again: in the same session, in another, for another package"
)
def test_a_permission_is_used_again(old_virtual: Bench, releases: Releases) -> None:
    old = old_virtual
    old.push(releases(3))

    def permission(nonce: str, package: Package) -> str:
        wanted = canonical(Override(package.manifest.package_id, nonce))
        return releases.signer.sign(wanted, OVERRIDE_NAMESPACE).decode()

    with old.session() as agent:
        used = permission(agent.challenge(), releases(2))
        agent.offer(releases(2), override=used)
        with pytest.raises(AgentError) as again:
            agent.offer(releases(2), override=used)
        other = permission(agent.challenge(), releases(4))
        with pytest.raises(AgentError) as for_another:
            agent.offer(releases(2), override=other)
    with old.session() as agent:
        agent.challenge()
        with pytest.raises(AgentError) as elsewhere:
            agent.offer(releases(2), override=used)
    for caught in (again, for_another, elsewhere):
        assert caught.value.code == "untrusted"
    old.is_as_before("3.0")


@fault(36, "a rollback to what the current package forbids to go back to")
def test_a_rollback_below_the_floor(old_virtual: Bench, releases: Releases) -> None:
    old = old_virtual
    old.push(releases(3, min_sequence=3))
    error = old.fails(lambda: api.rollback(DEVICE), AgentError)
    assert error.code == "downgrade"
    old.is_as_before("3.0")


@fault(37, "a package is pushed, and verified on the workstation, after its expiry")
def test_an_expired_manifest(old_virtual: Bench, releases: Releases) -> None:
    old = old_virtual
    stale = releases(2, expires=LONG_AGO)
    is_refused(old, stale, "expired", LONG_AGO)
    assert old.fails(lambda: api.verify(stale.path), NotTrusted).code == "expired"
    old.is_as_before("1.0")
    old.takes(releases(2))


@fault(
    38, "one package's manifest and signature with another's files, as far as the host lets them"
)
def test_another_payload(old_virtual: Bench, releases: Releases) -> None:
    old = old_virtual
    new = releases(2)
    stored = stored_chunks(new)
    for name in (file.path for file in new.manifest.files):
        chunks = stored[name]
        other = [bytes(reversed(chunks[0])), *chunks[1:]]
        mixed = releases.written(new.head, {**stored, name: other})
        old.fails(lambda mixed=mixed: old.push(mixed), PackageError)
        with old.session() as agent:
            error = old.fails(lambda agent=agent, mixed=mixed: old.send(agent, mixed), AgentError)
        assert error.code == "corrupt_package"
    old.is_as_before("1.0")
    old.takes(new)


@fault(38, "one delta's signature on another's; a delta of another package")
def test_another_delta(old_virtual: Bench, releases: Releases) -> None:
    one = patched(releases, releases(1), releases(2))
    two = patched(releases, releases(1), releases(3))
    head = replace(one.head, delta_signatures=two.head.delta_signatures)
    patches = {file.path: [PATCH] for file in one.manifest.files}
    is_refused(old_virtual, releases.written(head, patches), "untrusted", "does not match")
    unsigned = replace(one.head, delta_signatures=b"")
    is_refused(old_virtual, releases.written(unsigned, patches), "untrusted", "no signature")
    old_virtual.is_as_before("1.0")
    old_virtual.takes(releases(2))


# ---- 39 and 40: where and when -----------------------------------------------------------------


@fault(39, "made for another board, architecture, runtime, and a later version of the runtime")
def test_another_device(old_virtual: Bench, releases: Releases) -> None:
    old = old_virtual
    new = releases(2)
    wanted = new.manifest.compatibility
    for code, words, changes in (
        ("incompatible", "found the board", {"boards": ("Raspberry Pi 5 Model B",)}),
        ("incompatible", "expected riscv64", {"architectures": ("riscv64",)}),
        ("no_runtime", "has no tensorrt", {"runtime": "tensorrt"}),
        ("no_runtime", "has no onnxruntime>=99.0", {"runtime_min_version": "99.0"}),
    ):
        compatibility = replace(wanted, **changes)  # type: ignore[arg-type]
        package = releases.changed(new, compatibility=compatibility)
        is_refused(old, package, code, words)
    old.is_as_before("1.0")
    old.takes(new)


@fault(
    40,
    "the agent's clock says 1970, and 2100",
    "what has not expired is taken, its expiry told as unknown; what has is refused, by the host's "
    "clock; a lower sequence is refused",
)
@pytest.mark.parametrize("year", [1970, 2100])
def test_a_wrong_clock(old_virtual: Bench, releases: Releases, year: int) -> None:
    old = old_virtual
    old.order("clock", "begin", argument=parse_utc(f"{year}-01-01T00:00:00Z") + 60)
    lasting = releases(3, expires=SOONER_OR_LATER)
    with old.session() as agent:
        assert agent.offer(lasting).expiry == "unknown"
    assert old.struck()
    old.push(lasting)
    is_refused(old, releases(4, expires=LONG_AGO), "expired")
    is_refused(old, releases(2), "downgrade")
    old.is_as_before("3.0")
