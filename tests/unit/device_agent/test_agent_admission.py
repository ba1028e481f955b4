"""Whether a package may be installed: each refusal with its code and its sentence."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from agent_packages import delta_of, head_of_package, package_of

from device_agent.admission import Admitted, Circumstances, admit, check_device
from device_agent.archive import Head, package_bytes
from device_agent.clock import Clock
from device_agent.codec import canonical
from device_agent.environment_messages import RuntimeVersion
from device_agent.failures import AgentFailure
from device_agent.manifest import Compatibility, Limits
from device_agent.package_messages import Offer
from device_agent.state import Slot, State
from device_agent.trust import (
    DELTA_NAMESPACE,
    OVERRIDE_NAMESPACE,
    PACKAGE_NAMESPACE,
    Trust,
    TrustedKey,
)
from device_agent.trust_messages import Override
from edgesdk.keys.signing import FileSigner
from tests.signers import BELIEVES_OWNER as TRUST
from tests.signers import OWNER, STRANGER, key_called

NOW = Clock(1_800_000_000, 1_799_000_000)
"""In January 2027, and believed."""
PI = Circumstances(
    machine="aarch64",
    board="Raspberry Pi 5 Model B Rev 1.0",
    runtimes=(RuntimeVersion("onnxruntime", "onnxruntime", "1.20.1"),),
    clock=NOW,
    trust=TRUST,
    lab=False,
    nonce="4f" * 16,
)
LAB = dataclasses.replace(PI, lab=True)
NEW = dataclasses.replace(PI, trust=None)
OFFER = Offer(1)
CONTENTS = {"model": b"weights" * 9, "golden": b"vectors" * 30}


def head(signer: FileSigner | None = OWNER, **changes: Any) -> Head:
    return head_of_package(package_of(CONTENTS, signer, **changes))


def delta(signer: FileSigner | None = OWNER, **changes: Any) -> Head:
    base = package_of({**CONTENTS, "model": b"Weights" * 9}, OWNER)
    full = package_of(CONTENTS, signer, **changes)
    codecs = {"model": "bytes-delta", "golden": "same"}
    return head_of_package(delta_of(full, base, codecs, {"model": b"a patch"}, signer))


def refused(
    code: str,
    found: Head,
    offer: Offer = OFFER,
    state: State | None = None,
    device: Circumstances = PI,
) -> AgentFailure:
    with pytest.raises(AgentFailure) as caught:
        admit(found, offer, state or State(), device)
    assert caught.value.code == code
    return caught.value


def test_what_is_signed_and_suits_is_admitted() -> None:
    assert admit(head(), OFFER, State(), PI) == Admitted("owner", "none", False)
    assert admit(delta(), OFFER, State(), PI) == Admitted("owner", "none", False)


# ---- signatures ----------------------------------------------------------------------------------


def test_an_unsigned_package_needs_a_lab_device_and_the_user_s_word() -> None:
    allowed = Offer(1, allow_unsigned=True)
    assert admit(head(None), allowed, State(), LAB).signed_by == ""
    assert "not enrolled as a lab device" in refused("untrusted", head(None), allowed).message
    failure = refused("untrusted", head(None), device=LAB)
    assert failure.message == "found a package without a signature"
    assert "--allow-unsigned" in failure.hint


def test_a_lab_device_still_checks_the_signatures_that_are_there() -> None:
    allowed = Offer(1, allow_unsigned=True)
    refused("untrusted", head(STRANGER), allowed, device=LAB)


def test_a_device_that_trusts_nobody_yet_takes_no_signed_package() -> None:
    failure = refused("untrusted", head(), device=NEW)
    assert "was not told whom to believe" in failure.message
    assert "trust-local" in failure.hint


def test_a_key_that_nobody_knows_is_named() -> None:
    failure = refused("untrusted", head(STRANGER))
    assert "which is not trusted" in failure.message
    assert "edgesdk key trust" in failure.hint


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"revoked": True}, "revoked"), ({"expires": "2026-12-31T00:00:00Z"}, "expired since 2026")],
)
def test_a_key_that_is_not_believed_any_more(changes: dict[str, Any], words: str) -> None:
    gone = TrustedKey("owner", OWNER.public_key, **changes)
    other = TrustedKey("other", STRANGER.public_key)
    device = dataclasses.replace(PI, trust=Trust(2, 1, (gone, other)))
    assert words in refused("untrusted", head(), device=device).message


def test_a_signature_of_something_else_is_none() -> None:
    sound = head()
    text = canonical(sound.manifest)
    for signatures in (
        head(version="2").signatures,
        OWNER.sign(text, DELTA_NAMESPACE),
        b"-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
        b"nonsense",
    ):
        refused("untrusted", dataclasses.replace(sound, signatures=signatures))


def test_one_trusted_key_among_several_is_enough() -> None:
    text = canonical(head().manifest)
    both = STRANGER.sign(text, PACKAGE_NAMESPACE) + OWNER.sign(text, PACKAGE_NAMESPACE)
    found = dataclasses.replace(head(), signatures=both)
    assert admit(found, OFFER, State(), PI).signed_by == "owner"


def test_a_delta_is_signed_by_itself() -> None:
    sound = delta()
    assert sound.delta is not None
    for signatures in (
        b"",
        sound.signatures,
        STRANGER.sign(canonical(sound.delta), DELTA_NAMESPACE),
    ):
        refused("untrusted", dataclasses.replace(sound, delta_signatures=signatures))
    changed = dataclasses.replace(sound.delta, base="0" * 64)
    refused("untrusted", dataclasses.replace(sound, delta=changed))


# ---- expiry --------------------------------------------------------------------------------------

EXPIRES = "2027-03-01T00:00:00Z"


@pytest.mark.parametrize(
    ("clock", "expiry"),
    [(NOW, "valid"), (Clock(0, NOW.floor_s), "unknown"), (Clock(4e9, NOW.floor_s), "unknown")],
    ids=["right", "1970", "2096"],
)
def test_a_package_that_may_have_expired_is_admitted_and_told(clock: Clock, expiry: str) -> None:
    device = dataclasses.replace(PI, clock=clock)
    assert admit(head(expires=EXPIRES), OFFER, State(), device).expiry == expiry


@pytest.mark.parametrize(
    "clock",
    [Clock(1_810_000_000, NOW.floor_s), Clock(0, 1_810_000_000)],
    ids=["by the clock", "by what it knows for sure"],
)
def test_a_package_that_has_expired_is_refused(clock: Clock) -> None:
    device = dataclasses.replace(PI, clock=clock)
    failure = refused("expired", head(expires=EXPIRES), device=device)
    assert failure.message == f"the package expired on {EXPIRES}"


# ---- sequence ------------------------------------------------------------------------------------


def has_had(sequence: int, least: int = 0, current: str = "f" * 64) -> State:
    return State(slots=(Slot("digits", current, "", sequence, least),), active="digits")


@pytest.mark.parametrize("sequence", [4, 9])
def test_a_package_that_is_newer_is_admitted(sequence: int) -> None:
    assert not admit(head(sequence=sequence), OFFER, has_had(3), PI).downgrade


def test_an_older_package_is_refused() -> None:
    failure = refused("downgrade", head(sequence=2), state=has_had(3))
    assert "found sequence 2 of digits, expected at least 4" in failure.message
    assert "edgesdk rollback" in failure.hint and "--downgrade" in failure.hint


def test_the_sequence_that_is_told_would_be_admitted() -> None:
    """The previous package may come back with the highest there was, and another one may not."""
    found = head(sequence=2)
    state = dataclasses.replace(has_had(3).slots[0], previous=found.package_id)
    failure = refused("downgrade", found, state=State(slots=(state,), active="digits"))
    assert "expected at least 4" in failure.message and "--sequence 4" in failure.hint


def test_what_is_current_is_no_downgrade_however_high_the_device_has_been() -> None:
    found = head(sequence=2)
    assert not admit(found, OFFER, has_had(9, current=found.package_id), PI).downgrade


def test_packages_of_another_name_do_not_count() -> None:
    assert not admit(head(name="faces", sequence=0), OFFER, has_had(9), PI).downgrade


def override(
    found: Head, nonce: str = PI.nonce, signer: FileSigner = OWNER, **namespace: str
) -> Offer:
    text = canonical(Override(found.package_id, nonce))
    signature = signer.sign(text, namespace.get("namespace", OVERRIDE_NAMESPACE))
    return Offer(1, override=signature.decode())


def test_a_signed_override_lets_an_older_package_in() -> None:
    found = head(sequence=2)
    assert admit(found, override(found), has_had(3, 3), PI) == Admitted("owner", "none", True)


def test_an_override_that_is_not_needed_changes_nothing() -> None:
    found = head(sequence=4)
    assert not admit(found, override(found), has_had(3), PI).downgrade


def test_an_override_is_of_one_package_one_challenge_and_one_trusted_key() -> None:
    found = head(sequence=2)
    for wrong in (
        override(head(sequence=1)),
        override(found, nonce="00" * 16),
        override(found, signer=STRANGER),
        override(found, namespace=PACKAGE_NAMESPACE),
        Offer(1, override="nonsense"),
        Offer(1, override="\ud800"),
    ):
        refused("untrusted", found, wrong, has_had(3))


def test_an_override_without_a_challenge_is_none() -> None:
    found = head(sequence=2)
    device = dataclasses.replace(PI, nonce="")
    failure = refused("untrusted", found, override(found, nonce=""), has_had(3), device)
    assert failure.message == "found an override without a challenge"


def test_a_revoked_key_overrides_nothing() -> None:
    other = key_called("other")
    keys = (TrustedKey("owner", OWNER.public_key, revoked=True), TrustedKey("o", other.public_key))
    device = dataclasses.replace(PI, trust=Trust(2, 1, keys))
    found = head(other, sequence=2)
    assert "revoked" in refused("untrusted", found, override(found), has_had(3), device).message


def test_an_unsigned_package_may_be_no_downgrade_without_an_override_either() -> None:
    found = head(None, sequence=2)
    refused("downgrade", found, Offer(1, allow_unsigned=True), has_had(3), LAB)


# ---- the device ----------------------------------------------------------------------------------


def wanted(**changes: Any) -> Head:
    fields = {
        "target": "pi",
        "architectures": (),
        "runtime": "onnxruntime",
        "runtime_min_version": "1.14",
    }
    return head(compatibility=Compatibility(**{**fields, **changes}))


@pytest.mark.parametrize(
    ("architectures", "machine", "suits"),
    [
        ((), "riscv64", True),
        (("aarch64",), "aarch64", True),
        (("arm64",), "aarch64", True),
        (("aarch64",), "arm64", True),
        (("x86_64",), "AMD64", True),
        (("aarch64", "x86_64"), "x86_64", True),
        (("aarch64",), "armv7l", False),
        (("x86_64",), "aarch64", False),
    ],
)
def test_architectures(architectures: tuple[str, ...], machine: str, suits: bool) -> None:
    found, device = wanted(architectures=architectures), dataclasses.replace(PI, machine=machine)
    if suits:
        check_device(found.manifest, device)
    else:
        failure = refused("incompatible", found, device=device)
        assert failure.message == (
            f"found a device with {machine}, expected {' or '.join(architectures)}"
        )
        assert failure.hint == "the package was made for pi: convert for this device"


@pytest.mark.parametrize(
    ("boards", "board", "suits"),
    [
        ((), None, True),
        (("Raspberry Pi 5",), "Raspberry Pi 5 Model B Rev 1.0", True),
        (("Coral", "Raspberry Pi 5"), "Raspberry Pi 5 Model B Rev 1.0", True),
        (("Raspberry Pi 5",), "Raspberry Pi 4 Model B", False),
        (("Raspberry Pi 5 Model B",), "Raspberry Pi 5", False),
        (("Raspberry Pi 5",), None, False),
    ],
)
def test_boards(boards: tuple[str, ...], board: str | None, suits: bool) -> None:
    found, device = wanted(boards=boards), dataclasses.replace(PI, board=board)
    if suits:
        check_device(found.manifest, device)
    else:
        failure = refused("incompatible", found, device=device)
        assert f"found the board {board or 'without a name'}, expected" in failure.message


@pytest.mark.parametrize(
    ("runtime", "least", "suits"),
    [
        ("onnxruntime", "", True),
        ("onnxruntime", "1.20", True),
        ("onnxruntime", "1.20.2", False),
        ("onnxruntime", "1.100", False),
        ("onnxruntime", "01.20.0", True),
        ("onnxruntime", "9" * 5000, False),
        ("litert", "", False),
    ],
)
def test_runtimes(runtime: str, least: str, suits: bool) -> None:
    found = wanted(runtime=runtime, runtime_min_version=least)
    if suits:
        check_device(found.manifest, PI)
    else:
        message = refused("no_runtime", found).message
        assert f"expected {runtime} {least} or newer" in message
        assert ("onnxruntime 1.20.1" in message) == (runtime == "onnxruntime")


def test_any_of_several_copies_of_a_runtime_will_do() -> None:
    newer = RuntimeVersion("onnxruntime", "onnxruntime-gpu", "1.23")
    check_device(
        wanted(runtime_min_version="1.22").manifest,
        dataclasses.replace(PI, runtimes=(*PI.runtimes, newer)),
    )


# ---- budgets -------------------------------------------------------------------------------------


def test_budgets_are_checked_again_on_the_device() -> None:
    raw = head().manifest.raw_bytes
    admit(head(limits=Limits(installed_bytes=raw)), OFFER, State(), PI)
    failure = refused("over_budget", head(limits=Limits(installed_bytes=raw - 1)))
    assert failure.message == f"found {raw} bytes to install, expected at most {raw - 1}"


@pytest.mark.parametrize(
    ("make", "field", "other", "words"),
    [
        (head, "package_bytes", "delta_bytes", "in the package"),
        (delta, "delta_bytes", "package_bytes", "in the delta package"),
    ],
)
def test_a_delta_has_a_budget_of_its_own(make: Any, field: str, other: str, words: str) -> None:
    # The budgets stand in the manifest, whose size they change: as many digits, the same size.
    size = package_bytes(make(limits=Limits(**{field: 9999})))
    assert 1000 < size < 9999
    admit(make(limits=Limits(**{field: size, other: 1})), OFFER, State(), PI)
    assert words in refused("over_budget", make(limits=Limits(**{field: size - 1}))).message


# ---- the order -----------------------------------------------------------------------------------


def test_nobody_learns_more_than_whoever_may_install() -> None:
    """A stranger's package is "untrusted", whatever else is wrong with it."""
    everything = {
        "sequence": 0,
        "expires": "2020-01-01T00:00:00Z",
        "compatibility": Compatibility("x", ("sparc",), "litert", "99"),
        "limits": Limits(1, 1, 1),
    }
    codes = []
    changes = dict(everything)
    for signer, fixed in ((STRANGER, ""), (OWNER, ""), (OWNER, "expires"), (OWNER, "sequence")):
        if fixed == "sequence":
            changes[fixed] = 4
        else:
            changes.pop(fixed, None)
        with pytest.raises(AgentFailure) as caught:
            admit(head(signer, **changes), OFFER, has_had(3), PI)
        codes.append(caught.value.code)
    assert codes == ["untrusted", "expired", "downgrade", "incompatible"]
