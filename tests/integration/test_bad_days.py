"""Bad days on a board as a user sees them: each really happens, has its sentence and its exit code.

The board is this machine's OpenSSH in namespaces of its own, enrolled as a board, so that all that
is said of boards is said of it. docs/bad-days.md has the table.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgesdk.testing.fault_proxy import FaultProxy
from tests.cli import CALIBRATION, DIGITS, TEST, Cli, Done, this_machine
from tests.namespaced_board import NamespacedBoard

BENCH = ("bench", "--device", "pi")
GATE = ("--max-p95", "10 s")
ELSEWHERE = {"x86_64": "raspberry-pi-5", "aarch64": "generic-x86-64"}
CGROUPS = Path("/sys/fs/cgroup")

JUMPING_CLOCK = """\
import os, time
def jumping(real, second):
    return lambda: real() + 3600 * second * os.path.exists(os.environ["JUMP"])
time.time, time.time_ns = jumping(time.time, 1), jumping(time.time_ns, 10**9)
"""
"""Loaded by every Python of the board: its wall clock is ahead where that file is. A stand-in: no
test may set the clock of the machine that it runs on."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad-days")


@pytest.fixture(scope="module")
def board(folder: Path) -> Iterator[NamespacedBoard]:
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(JUMPING_CLOCK)
    environment = {"PYTHONPATH": str(folder / "site"), "JUMP": str(folder / "jump")}
    (folder / "board").mkdir()
    board = NamespacedBoard(folder / "board", environment=environment)
    board.set_sensor("thermal_zone0", type="cpu-thermal\n", temp="51000\n")
    board.set_sensor("cooling_device0", type="cpufreq-cpu0\n", cur_state="0\n")
    with board:
        yield board


@pytest.fixture(scope="module")
def ann(folder: Path, board: NamespacedBoard) -> Cli:
    """A user whose package is on the board."""
    ann = user(folder / "ann", board)
    target = ("--target", this_machine())
    convert = ("convert", DIGITS / "digits.tflite", *target, "--calibration", CALIBRATION)
    for command in (
        (*convert, "-o", "artifact"),
        ("package", "artifact", "-o", "digits.edgepkg", "--name", "digits", "--unsigned"),
        ("push", "digits.edgepkg", "--device", "pi", "--allow-unsigned"),
    ):
        done = ann(*command)
        assert done.code == 0, done.err
    return ann


def user(folder: Path, board: NamespacedBoard) -> Cli:
    folder.mkdir()
    cli = Cli(folder)
    cli.enrol(board.as_device("pi"))
    cli.environment["EDGESDK_OWNER"] = f"{folder.name}@desk"
    return cli


def meanwhile(cli: Cli, board: NamespacedBoard, act: Callable[[], object], *command: str) -> Done:
    """Run a command, and do something while it measures."""
    with cli.start(*command) as process:
        assert process.stderr is not None and process.stdout is not None
        said = ""
        for line in process.stderr:
            said += line
            if "measuring latency" in line:
                break
        act()
        out, err = process.communicate(timeout=120)
    return Done(process.returncode, out, said + err)


def refused(done: Done, *words: str) -> None:
    """It ended as a device's failure, in one sentence and without a traceback."""
    said = " ".join(done.err.split())
    assert done.code == 4, said
    assert "Traceback" not in done.err
    for each in words:
        assert each in said


# ---- restarts, networks, users -------------------------------------------------------------------


@pytest.mark.parametrize("programs_first", [False, True], ids=["power gone", "shut down"])
def test_a_board_that_restarts_is_named(
    ann: Cli, board: NamespacedBoard, programs_first: bool
) -> None:
    board.set_off_s(1.0)
    restart = lambda: board.restart(programs_first=programs_first)  # noqa: E731
    done = meanwhile(ann, board, restart, *BENCH, "--seconds", "8")
    refused(done, "pi restarted while it was measured, so there is no result", "journalctl")
    after = ann(*BENCH, "--seconds", "0.2")
    assert after.code == 0, "no lease and no lock is left: " + after.err


def test_a_board_that_restarts_in_a_deployment_keeps_what_it_had(
    ann: Cli, board: NamespacedBoard
) -> None:
    board.set_off_s(1.0)
    deploy = ("deploy", DIGITS / "digits.onnx", "--device", "pi", "--calibration", CALIBRATION)
    rest = ("--name", "trial", "--unsigned", "-o", "deployed", "--seconds", "8")
    done = meanwhile(ann, board, board.restart, *map(str, deploy), *rest)
    refused(done, "pi restarted while it was measured", "the package on trial is not in use there")
    (digits, trial) = json.loads(ann("device", "installed", "pi", "--json").out)["packages"]
    assert (digits["name"], digits["state"]) == ("digits", "current")
    assert (trial["name"], trial["state"]) == ("trial", "")


def test_a_network_that_drops_and_returns_is_told_from_a_restart(
    ann: Cli, board: NamespacedBoard
) -> None:
    port = board.as_device("pi").port
    with FaultProxy("127.0.0.1", port, cut_after_bytes_down=25_000, faulty_connections=1) as proxy:
        ann.enrol(board.as_device("far", port=proxy.port))
        done = ann("bench", "--device", "far", "--seconds", "1")
    refused(done, "far is back and did not restart, so there is no result", "run the command again")
    assert "paramiko" not in done.err


def test_a_push_that_breaks_off_says_how_to_go_on(ann: Cli, board: NamespacedBoard) -> None:
    made = ann(
        *("package", "artifact", "-o", "next.edgepkg", "--name", "digits", "--sequence", "9"),
        "--unsigned",
    )
    assert made.code == 0, made.err
    push = ("push", "next.edgepkg", "--device", "far", "--allow-unsigned")
    port = board.as_device("pi").port
    with FaultProxy("127.0.0.1", port, cut_after_bytes=12_000, faulty_connections=1) as proxy:
        ann.enrol(board.as_device("far", port=proxy.port))
        refused(ann(*push), "was lost", "push again: it goes on where it broke off")
        assert ann(*push).code == 0


def test_two_users_of_one_board(ann: Cli, board: NamespacedBoard, folder: Path) -> None:
    bob = user(folder / "bob", board)
    second: list[Done] = []
    first = meanwhile(ann, board, lambda: second.append(bob(*BENCH)), *BENCH, "--seconds", "8")
    assert first.code == 0, first.err
    refused(second[0], "leased by ann@desk", "for a measurement of latency", "--wait 10m")


def test_a_board_that_is_not_what_its_descriptor_says(ann: Cli, board: NamespacedBoard) -> None:
    elsewhere = ELSEWHERE[os.uname().machine]
    ann.enrol(board.as_device("odd", target=elsewhere))
    words = f"found {os.uname().machine} on odd, the target {elsewhere} is"
    refused(ann("bench", "--device", "odd"), words)
    refused(ann("bench", "--device", "odd", "--sustained", "5s"), words)
    refused(ann("eval", "--device", "odd", "--dataset", TEST, "--model", "artifact"), words)


# ---- crashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGILL", "SIGBUS", "SIGABRT", "SIGTERM"])
def test_a_runtime_that_crashes_is_named_by_its_signal(
    ann: Cli, board: NamespacedBoard, name: str
) -> None:
    crash = lambda: board.kill("worker", signal.Signals[name])  # noqa: E731
    done = meanwhile(ann, board, crash, *BENCH, "--seconds", "8")
    refused(done, f"the process running model 'int8' was ended by {name} in ", "next: ")


def test_an_agent_that_is_killed_is_told_from_a_restart(ann: Cli, board: NamespacedBoard) -> None:
    kill = lambda: board.kill("serve", signal.SIGKILL)  # noqa: E731
    done = meanwhile(ann, board, kill, *BENCH, "--seconds", "8")
    refused(done, "the agent on the device ended in the middle of its work (killed by a signal)")
    assert "restarted" not in done.err


# ---- what makes a measurement none ---------------------------------------------------------------


def spoilt(done: Done, words: str) -> None:
    """The gate is not judged, and says why."""
    assert done.code == 6, done.err
    (gate,) = (each for each in done.json["verdicts"] if each["gate"] == "p95")
    assert (gate["status"], gate["measured"]) == ("invalid", None)
    assert words in gate["reason"]


@contextlib.contextmanager
def alternating(first: Callable[[], object], second: Callable[[], object]) -> Iterator[None]:
    """One thing and then the other, each for half a second, so that turns see both."""
    over = threading.Event()

    def alternate() -> None:
        while not over.is_set():
            first()
            over.wait(0.5)
            second()
            over.wait(0.5)

    thread = threading.Thread(target=alternate)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


MEASURED = (*BENCH, "--seconds", "3", *GATE, "--json")


def test_a_board_that_throttles(ann: Cli, board: NamespacedBoard) -> None:
    hot = lambda: board.set_sensor("cooling_device0", cur_state="3\n")  # noqa: E731
    done = meanwhile(ann, board, hot, *MEASURED)
    board.set_sensor("cooling_device0", cur_state="0\n")
    spoilt(done, "the device was held back while it ran (cpufreq-cpu0 at step 3)")


def test_a_clock_that_falls(ann: Cli, board: NamespacedBoard) -> None:
    with alternating(lambda: board.set_clock_mhz(1200.0), lambda: board.set_clock_mhz(2400.0)):
        done = ann(*MEASURED)
    spoilt(done, "the CPU clock fell from 2.40 to 1.20 GHz while it was timed")


def test_a_board_that_others_load(ann: Cli, board: NamespacedBoard) -> None:
    spin = [sys.executable, "-c", "import os\nos.nice(19)\nwhile True: pass"]
    with contextlib.ExitStack() as neighbours:
        for _ in range(os.cpu_count() or 1):
            neighbour = subprocess.Popen(spin)
            neighbours.callback(neighbour.wait)
            neighbours.callback(neighbour.kill)
        done = ann(*BENCH, "--seconds", "1", *GATE, "--json")
    spoilt(done, "it competed with other work on the device, which took")


def test_a_process_that_is_stopped_by_turns(ann: Cli, board: NamespacedBoard) -> None:
    def stop_and_go() -> None:
        while workers := board.processes("worker"):
            for number, seconds in ((signal.SIGSTOP, 0.08), (signal.SIGCONT, 0.02)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(workers[0], number)
                time.sleep(seconds)

    done = meanwhile(ann, board, stop_and_go, *BENCH, "--seconds", "2", *GATE, "--json")
    spoilt(done, "it stood still for")


@pytest.fixture
def quota() -> Iterator[Path]:
    """A control group that may have a fifth of one CPU."""
    version_1 = (CGROUPS / "cpu").is_dir()
    group = (CGROUPS / "cpu" if version_1 else CGROUPS) / f"edgesdk-test-{os.getpid()}"
    try:
        group.mkdir()
        name, text = ("cpu.cfs_quota_us", "20000") if version_1 else ("cpu.max", "20000 100000")
        (group / name).write_text(text)
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no control group for CPU time here: {error}")
    yield group
    with contextlib.suppress(OSError):
        group.rmdir()


def test_a_quota_of_cpu_time(ann: Cli, board: NamespacedBoard, quota: Path) -> None:
    def limit() -> None:
        for pid in (*board.processes("worker"), *board.processes("serve")):
            (quota / "cgroup.procs").write_text(str(pid))

    done = meanwhile(ann, board, limit, *BENCH, "--seconds", "2", *GATE, "--json")
    spoilt(done, "CPU quota")


# ---- clocks and sensors that lie -----------------------------------------------------------------


def remarks(done: Done) -> str:
    assert done.code in (0, 6), done.err
    (validity,) = done.json["validities"]
    assert validity["stamp"] != "valid"
    return " ".join(validity["remarks"])


def test_a_wall_clock_that_jumps(ann: Cli, board: NamespacedBoard, folder: Path) -> None:
    with alternating((folder / "jump").touch, (folder / "jump").unlink):
        done = ann(*MEASURED)
    assert "3600.0 s during the measurement; the latencies are" in remarks(done)
    assert "by its monotonic clock, which does not, and hold" in remarks(done)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("200000\n", "cpu-thermal: 200.0 C"),
        ("-99000\n", "cpu-thermal: -99.0 C"),
        ("banana\n", "cpu-thermal: 'banana'"),
    ],
    ids=["too hot to be true", "too cold to be true", "no number"],
)
def test_a_sensor_that_lies(ann: Cli, board: NamespacedBoard, text: str, words: str) -> None:
    lie = lambda: board.set_sensor("thermal_zone0", temp=text)  # noqa: E731
    found = remarks(meanwhile(ann, board, lie, *MEASURED))
    board.set_sensor("thermal_zone0", temp="51000\n")
    assert "Some sensors said what cannot be true, and were not used" in found
    assert words in found


def test_a_sensor_that_is_gone_on_the_way(ann: Cli, board: NamespacedBoard) -> None:
    with alternating(
        lambda: board.drop_sensor("thermal_zone0", "temp"),
        lambda: board.set_sensor("thermal_zone0", temp="51000\n"),
    ):
        done = ann(*MEASURED)
    assert "The device told its temperature in" in remarks(done)


def test_a_sensor_whose_driver_fails(ann: Cli, board: NamespacedBoard) -> None:
    """Its file is there, and reading it is an input/output error."""
    board.drop_sensor("thermal_zone0", "temp")
    board.set_sensor("thermal_zone0", temp=Path("/proc/self/mem"))
    done = ann(*BENCH, "--seconds", "0.5", "--json")
    board.drop_sensor("thermal_zone0", "temp")
    board.set_sensor("thermal_zone0", temp="51000\n")
    assert done.code == 0, done.err
    conditions = done.json["results"]["runs"][0]["latency"]["conditions"]
    assert {at["temperature_celsius"] for at in conditions} == {None}
