"""May a package on trial be used? What is asked of it, what is seen, and what is said."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agent_packages import package_of
from device_store import Device, fails
from guarded_packages import MODEL_ADDS, X, Y, adding, golden

from device_agent import health
from device_agent.health import HealthChecker, run_command
from device_agent.installing import Installer
from device_agent.manifest import Compatibility, HealthCheck, Limits
from device_agent.package_messages import Committed, Health
from device_agent.protocol import Progress
from device_agent.watchdog import LOADING_S
from edgesdk.devices.bootstrap import build_agent
from tests.signers import OWNER

pytest.importorskip("onnxruntime")

ANYTHING = HealthCheck()
STRICT = HealthCheck(max_parity_mismatch_percent=0.0, max_latency_ns=10**9)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's zipapp, which workers are started from."""
    path = tmp_path_factory.mktemp("agent") / "agent.pyz"
    path.write_bytes(build_agent().zipapp)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return adding(MODEL_ADDS, tmp_path_factory.mktemp("model"))


@pytest.fixture
def device(tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setattr(health, "_WARM_UP_S", 0.05)
    monkeypatch.setattr(health, "_TIMED_S", 0.05)
    opened = Device(tmp_path / "device", lab=True)
    opened.installer = Installer(opened.store, str(program))
    yield opened
    opened.close()


def packed(
    model: bytes, check: HealthCheck | None, golden: bytes | None = None, **changes: Any
) -> bytes:
    contents = {"model": model, **({} if golden is None else {"golden": golden})}
    fields = {
        "compatibility": Compatibility("here", (), "onnxruntime", "1.14"),
        "inputs": (X,),
        "outputs": (Y,),
        "health": check,
        "signer": OWNER,
    }
    return package_of(contents, **{**fields, **changes})


def committed(device: Device, package: bytes) -> Committed:
    return device.install(package, allow_unsigned=True)


def refused(device: Device, package: bytes) -> str:
    """What is wrong with it, without the words around it."""
    failure = fails("unhealthy", lambda: committed(device, package))
    assert failure.hint == "the device is as it was before"
    assert device.store.state().trial is None
    head, _, why = failure.message.partition(": ")
    assert head == "the package is not healthy on this device, and is not used"
    return why


def test_what_asks_for_nothing_is_not_run(device: Device) -> None:
    assert committed(device, packed(b"no model at all", None)).health is None


def test_a_healthy_package_says_what_was_seen(device: Device, model: bytes) -> None:
    found = committed(device, packed(model, STRICT, golden(MODEL_ADDS))).health
    assert found is not None
    assert found.parity_mismatch_percent == 0.0
    assert found.runs >= 5 and 0 < (found.latency_ns or 0) < 10**8
    assert (found.peak_rss_bytes or 0) > 10 * 2**20
    assert found.command_status is None


def test_progress_is_told_meanwhile(device: Device, model: bytes) -> None:
    told: list[Progress] = []
    installed = device.try_out(packed(model, STRICT, golden(MODEL_ADDS)))
    device.installer.commit(installed.package_id, told.append)
    assert (told[0].what, told[0].silence_s > LOADING_S) == ("checking the health", True)


def test_a_model_that_does_not_load_is_unhealthy(device: Device) -> None:
    assert "its model does not run here: " in refused(device, packed(b"nonsense", ANYTHING))


def test_without_golden_vectors_it_need_only_load(device: Device, model: bytes) -> None:
    strict = dataclasses.replace(STRICT, max_latency_ns=0)
    assert committed(device, packed(model, strict)).health == Health()


def test_outputs_that_are_off_are_unhealthy(device: Device, model: bytes) -> None:
    package = packed(model, STRICT, golden(MODEL_ADDS + 1))
    assert refused(device, package) == "found 100 golden values off, in percent, expected at most 0"
    lenient = dataclasses.replace(STRICT, max_parity_mismatch_percent=100.0)
    found = committed(device, packed(model, lenient, golden(MODEL_ADDS + 1))).health
    assert found is not None and found.parity_mismatch_percent == 100.0


def test_where_no_bound_is_set_what_is_off_is_only_told(device: Device, model: bytes) -> None:
    found = committed(device, packed(model, ANYTHING, golden(MODEL_ADDS + 1))).health
    assert found is not None and found.parity_mismatch_percent == 100.0


def test_vectors_for_other_kernels_tell_nothing(device: Device, model: bytes) -> None:
    found = committed(device, packed(model, STRICT, golden(MODEL_ADDS, "htp"))).health
    assert found is not None and found.parity_mismatch_percent is None
    assert found.latency_ns is not None, "but it can be timed with them"


def test_vectors_that_cannot_be_read_are_unhealthy(device: Device, model: bytes) -> None:
    assert "golden vectors cannot be read" in refused(device, packed(model, STRICT, b"no npz"))


def test_a_slow_package_is_unhealthy(device: Device, model: bytes) -> None:
    strict = dataclasses.replace(STRICT, max_latency_ns=1)
    why = refused(device, packed(model, strict, golden(MODEL_ADDS)))
    assert why.endswith(" us median latency, expected at most 0.001")


def test_a_hungry_package_is_unhealthy(device: Device, model: bytes) -> None:
    limits = Limits(peak_ram_bytes=2**20)
    why = refused(device, packed(model, STRICT, golden(MODEL_ADDS), limits=limits))
    assert why.endswith(" MiB peak memory, expected at most 1")


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("os.kill(os.getpid(), 11)", "the process running model 'trial' was ended by SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("sys.exit('no such instruction')", "its last words: no such instruction"),
        ("print('nonsense', flush=True); time.sleep(60)", "stopped making sense"),
    ],
)
def test_a_runtime_that_crashes_is_unhealthy(
    device: Device, model: bytes, tmp_path: Path, ending: str, words: str
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(f"import os, sys, time\nsys.stdin.buffer.readline()\n{ending}\n")
    device.installer = Installer(device.store, str(worker))
    why = refused(device, packed(model, STRICT, golden(MODEL_ADDS)))
    assert why.startswith("its model does not run here: ") and words in why


# ---- the user's own check ------------------------------------------------------------------------


def test_a_command_that_may_take_long_is_announced_before_it_begins(
    device: Device, model: bytes
) -> None:
    told: list[Progress] = []
    installed = device.try_out(packed(model, asking("true", seconds=3000.0)))
    device.installer.commit(installed.package_id, told.append)
    assert told[-1].silence_s > 3000.0


def asking(*command: str, seconds: float = 20.0) -> HealthCheck:
    return HealthCheck(command=command, command_seconds=seconds)


def test_a_command_that_passes(device: Device, model: bytes) -> None:
    found = committed(device, packed(model, asking("test", "-s", "model.bin"))).health
    assert found == Health(command_status=0)


def test_a_command_finds_the_package(device: Device, model: bytes, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = f'echo "$PWD" > {told}; echo "$EDGESDK_PACKAGE $EDGESDK_MODEL" >> {told}'
    package_id = committed(device, packed(model, asking("sh", "-c", script))).installed.package_id
    folder = device.root / "store" / package_id
    assert told.read_text().split() == [str(folder), str(folder), str(folder / "model.bin")]


def test_a_command_that_fails_is_unhealthy_and_heard(device: Device, model: bytes) -> None:
    check = asking("sh", "-c", "echo too dark in here >&2; exit 3")
    assert refused(device, packed(model, check)) == (
        "its command ended with exit status 3, expected 0; its last words: too dark in here"
    )


def test_a_command_that_a_signal_ends_is_unhealthy(device: Device, model: bytes) -> None:
    why = refused(device, packed(model, asking("sh", "-c", "kill -SEGV $$")))
    assert "its command ended with exit status -11, expected 0" in why


def test_a_command_that_is_not_there_is_unhealthy(device: Device, model: bytes) -> None:
    why = refused(device, packed(model, asking("no-such-command")))
    assert why == "its command 'no-such-command' cannot be started: No such file or directory"


def test_a_command_that_hangs_is_unhealthy(device: Device, model: bytes) -> None:
    began = time.monotonic()
    why = refused(device, packed(model, asking("sleep", "300", seconds=0.3)))
    assert why == "its command was not done after 0.3 s"
    assert time.monotonic() - began < 30


def test_the_command_of_an_unsigned_package_is_not_run(
    device: Device, model: bytes, tmp_path: Path
) -> None:
    check = asking("touch", str(tmp_path / "ran"))
    why = refused(device, packed(model, check, signer=None))
    assert "is not signed: who asks for that?" in why
    assert not (tmp_path / "ran").exists()


def test_the_command_comes_last_and_only_for_what_is_healthy_so_far(
    device: Device, model: bytes, tmp_path: Path
) -> None:
    check = dataclasses.replace(STRICT, command=("touch", str(tmp_path / "ran")))
    refused(device, packed(model, check, golden(MODEL_ADDS + 1)))
    assert not (tmp_path / "ran").exists()


def test_nothing_that_a_command_started_outlives_it(tmp_path: Path) -> None:
    script = f"sleep 300 & echo $! > {tmp_path / 'pid'}; exit 0"
    began = time.monotonic()
    # The child holds the pipe that is read to its end, until it is killed at the deadline.
    fails("unhealthy", lambda: run_command(("sh", "-c", script), str(tmp_path), "m", 1.0))
    assert time.monotonic() - began < 30
    assert not lives(int((tmp_path / "pid").read_text()))


def test_what_lets_go_of_the_output_is_killed_all_the_same(tmp_path: Path) -> None:
    script = f"sleep 300 >/dev/null 2>&1 & echo $! > {tmp_path / 'pid'}; echo done"
    assert run_command(("sh", "-c", script), str(tmp_path), "m", 20.0) == (0, "done")
    assert not lives(int((tmp_path / "pid").read_text()))


def lives(pid: int) -> bool:
    """A zombie whose parent has not looked does not."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.01)
    return True


def test_only_the_last_words_are_kept(tmp_path: Path) -> None:
    talk = ("sh", "-c", "seq 100000; echo bye")
    status, words = run_command(talk, str(tmp_path), "m", 20.0)
    assert status == 0 and words.endswith("bye") and len(words) <= 200


def test_a_command_gets_no_input(tmp_path: Path) -> None:
    assert run_command(("cat",), str(tmp_path), "m", 20.0) == (0, "")


def test_words_that_are_no_text_are_kept_as_far_as_they_are(tmp_path: Path) -> None:
    _, words = run_command(("printf", "\\377abc"), str(tmp_path), "m", 20.0)
    assert words == "\ufffdabc"


def test_a_worker_does_not_outlive_the_check(device: Device, model: bytes, program: Path) -> None:
    committed(device, packed(model, STRICT, golden(MODEL_ADDS)))
    marks = str(program).encode(), b"worker"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            assert not set(marks) <= set(words)


def test_the_median_is_of_the_timed_runs() -> None:
    assert health._median([]) is None
    assert health._median([5]) == 5
    assert health._median([9, 1, 5]) == 5
    assert health._median(list(np.arange(100))) == 50


def test_a_checker_refuses_a_package_that_was_tampered_with(
    device: Device, model: bytes, program: Path
) -> None:
    """Between its installation and its trial."""
    installed = device.try_out(packed(model, STRICT, golden(MODEL_ADDS)))
    folder = device.root / "store" / installed.package_id
    (folder / "model.bin").write_bytes(model + b"x")
    checker = HealthChecker(
        device.store.packages,
        installed.package_id,
        signed=True,
        engines=device.store.engines,
        folders=(),
        program=str(program),
        tell=lambda _: None,
    )
    fails("storage", checker.check)
