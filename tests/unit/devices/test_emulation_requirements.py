"""What a machine lacks for emulating aarch64 is said in one sentence, with what installs it."""

from __future__ import annotations

from dataclasses import replace

from edgesdk.devices.emulation.requirements import PROGRAMS, Machine, lack

REGISTERED = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: PF\n"
ABLE = Machine(
    machine="x86_64",
    is_root=True,
    programs=frozenset(PROGRAMS),
    keyring=True,
    binfmt=REGISTERED,
)


def told(found: Machine) -> tuple[str, str]:
    error = lack(found)
    assert error is not None
    return error.message, error.hint


def test_nothing_is_said_where_nothing_is_missing() -> None:
    assert lack(ABLE) is None


def test_programs_are_named_with_their_packages() -> None:
    programs = ABLE.programs - {"mmdebstrap", "qemu-aarch64-static"}
    message, hint = told(replace(ABLE, programs=programs))
    assert message.endswith("missing here: mmdebstrap, qemu-aarch64-static")
    assert hint == "apt-get install mmdebstrap qemu-user-static"


def test_all_that_is_missing_is_one_sentence_and_one_line() -> None:
    message, hint = told(Machine("x86_64", False, frozenset(PROGRAMS) - {"zstd"}, False, ""))
    for words in ("root, for mounts", "zstd", "archive-keyring", "binfmt_misc, with flag F"):
        assert words in message
    assert hint.startswith("apt-get install binfmt-support debian-archive-keyring zstd; mount -t ")
    assert hint.endswith("update-binfmts --enable qemu-aarch64; run edgesdk as root")


def test_a_kernel_that_runs_aarch64_here_only_does_not_do() -> None:
    for binfmt in (REGISTERED.replace("PF", "P"), REGISTERED.replace("enabled", "disabled")):
        message, hint = told(replace(ABLE, binfmt=binfmt))
        assert "a kernel that starts aarch64 programs" in message
        assert "update-binfmts --enable qemu-aarch64" in hint


def test_an_aarch64_machine_has_nothing_to_emulate() -> None:
    message, hint = told(replace(ABLE, machine="aarch64"))
    assert "aarch64 itself" in message and "--kind sshd" in hint
