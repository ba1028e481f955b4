"""An emulated arm64 Debian as a device, from the command line: real aarch64 code, real OpenSSH.

The first run makes the Debian, which takes some minutes and the network; it is kept in the user's
cache. The runtimes come from the package index each time.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from edgesdk.devices import inventory
from edgesdk.devices.emulation import processor, requirements
from edgesdk.devices.emulation.arm64 import Arm64Device
from edgesdk.devices.inventory import Device
from edgesdk.devices.ssh import connect
from edgesdk.errors import DeviceError, ToolchainMissing
from edgesdk.progress import Silent
from tests.cli import CALIBRATION, DIGITS, ROOT, TEST, Cli
from tests.process_trees import await_gone, descendants

pytestmark = [pytest.mark.aarch64, pytest.mark.network, pytest.mark.timeout(1800)]

CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
"""The user's, which the tests hide; read before they do."""
INSTALL_S = 600
OUTPUTS = ROOT / "tests" / "model_outputs.py"
RUNTIMES = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime"}


@pytest.fixture(scope="module", autouse=True)
def machine() -> None:
    try:
        requirements.require()
    except ToolchainMissing as error:
        pytest.skip(str(error))


def booted(cli: Cli, name: str) -> subprocess.Popen[str]:
    """`edgesdk device emulate --kind arm64`, started; it answers."""
    cached = Cli(cli.folder)
    cached.environment["XDG_CACHE_HOME"] = CACHE
    process = cached.start("device", "emulate", "--kind", "arm64", "--name", name)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "Ctrl-C stops it" in line:
            return process
    raise AssertionError("".join(said))


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    return Cli(tmp_path_factory.mktemp("arm64"))


@pytest.fixture(scope="module")
def device(cli: Cli) -> Iterator[Device]:
    """A booted one, with the runtimes of this machine in their aarch64 form."""
    process = booted(cli, "emulated")
    try:
        install_runtimes(cli, "emulated")
        yield inventory.get(cli.home / "devices.json", "emulated")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert cli("device", "ls", "--json").json == []


def install_runtimes(cli: Cli, name: str) -> None:
    """Of the versions that are here, so that the outputs can be compared."""
    pins = cli.folder / "pins.txt"
    pins.write_text("".join(f"{each}=={version(each)}\n" for each in RUNTIMES.values()))
    wanted = [word for runtime in RUNTIMES for word in ("--runtime", runtime)]
    done = subprocess.run(
        cli.argv("agent", "install", name, *wanted),
        env={**cli.environment, "PIP_CONSTRAINT": str(pins)},
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    with np.load(DIGITS / "digits.npz") as arrays:
        found: np.ndarray = arrays["test/image"]
        return found


def test_it_is_an_aarch64_machine_of_its_own(cli: Cli, device: Device) -> None:
    found = cli("device", "show", device.name, "--json").json["environment"]
    assert (found["machine"], found["cpu_model"]) == ("aarch64", processor.NAME)
    assert found["cpu_count"] == len(os.sched_getaffinity(0))
    with connect(device) as transport:
        done = transport.run(["ps", "-e", "-o", "user="], deadline_s=60)
        host = transport.run(["hostname"], deadline_s=60)
    assert set(done.stdout.decode().split()) == {"root", "edge"}
    assert len(done.stdout.splitlines()) < 20, "the workstation's processes are not seen"
    assert host.stdout == b"edge-arm64\n"


def test_its_runtimes_are_those_of_this_machine(cli: Cli, device: Device) -> None:
    found = cli("device", "show", device.name, "--json").json["environment"]["runtimes"]
    versions = {each["package"]: each["version"] for each in found}
    assert versions == {package: version(package) for package in RUNTIMES.values()}


def shipped(cli: Cli, model: str, *more: str) -> Path:
    """Convert, package under the format's name, and push; the converted file."""
    kind = model.partition(".")[2]
    artifact, package = cli.folder / f"artifact-{kind}", cli.folder / f"{kind}.edgepkg"
    for command in (
        ("convert", DIGITS / model, "--target", "generic-arm64", "--calibration", CALIBRATION,
         "-o", artifact, *more),
        ("package", artifact, "--name", f"digits-{kind}", "-o", package),
        ("push", package, "--device", "emulated"),
    ):  # fmt: skip
        done = cli(*command)
        assert done.code == 0, done.err
    return artifact / f"model.{kind}"


def outputs_here(runtime: str, model: Path, inputs: bytes) -> tuple[np.ndarray, str]:
    argv = [sys.executable, OUTPUTS, runtime, model]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, input=inputs, capture_output=True, check=True, env=environ)
    return np.load(io.BytesIO(done.stdout)), done.stderr.decode()


def outputs_there(
    device: Device, runtime: str, model: str, inputs: bytes
) -> tuple[np.ndarray, str]:
    argv = ["python3", "-c", OUTPUTS.read_text(), runtime, model, "~/.edgesdk"]
    with connect(device) as transport:
        done = transport.run(argv, stdin=inputs, deadline_s=600)
    assert done.returncode == 0, done.stderr
    return np.load(io.BytesIO(done.stdout)), done.stderr


def as_int8(images: np.ndarray) -> np.ndarray:
    """Any INT8 inputs do for comparing outputs; these look like digits."""
    low, high = float(images.min()), float(images.max())
    return np.round((images - low) / (high - low) * 255 - 128).astype(np.int8)


def npy(array: np.ndarray) -> bytes:
    written = io.BytesIO()
    np.save(written, array)
    return written.getvalue()


def test_litert_computes_there_what_it_does_here_but_for_single_steps(
    cli: Cli, device: Device, images: np.ndarray
) -> None:
    model, inputs = shipped(cli, "digits.tflite", "--io", "int8"), npy(as_int8(images))
    here, kernels_here = outputs_here("litert", model, inputs)
    path = "~/.edgesdk/models/digits-tflite/model.tflite"
    there, kernels_there = outputs_there(device, "litert", path, inputs)
    assert "xnnpack" in kernels_here.split() and "xnnpack" in kernels_there.split()
    assert here.dtype == there.dtype == np.int8 and here.size == 6400
    steps = np.abs(here.astype(int) - there.astype(int))
    assert steps.max() <= 1
    assert np.count_nonzero(steps) <= 0.002 * steps.size
    assert len(np.unique(there, axis=0)) > 100


def test_onnxruntime_computes_there_exactly_what_it_does_here(
    cli: Cli, device: Device, images: np.ndarray
) -> None:
    model, inputs = shipped(cli, "digits.onnx"), npy(images)
    here, _ = outputs_here("onnxruntime", model, inputs)
    path = "~/.edgesdk/models/digits-onnx/model.onnx"
    there, _ = outputs_there(device, "onnxruntime", path, inputs)
    assert np.array_equal(here, there) and here.shape == (640, 10)
    assert len(np.unique(there, axis=0)) > 100


def test_a_deployment_judges_what_was_computed_and_not_how_fast(cli: Cli, device: Device) -> None:
    done = cli(
        *("deploy", DIGITS / "digits.tflite", "--device", device.name),
        *("--calibration", CALIBRATION, "--dataset", TEST, "-o", "out", "--seconds", "0.5"),
        *("--max-p95", "60 s", "--per-operator", "--json"),
    )
    assert done.code == 6, done.err
    report = done.json
    assert report["results"]["device"]["kind"] == "arm64"
    assert report["results"]["parity"]["kernel_path"] == "xnnpack"
    for profiled in report["results"]["profiles"]:
        assert profiled["source"].startswith("the profiler of libLiteRt.so, ai-edge-litert ")
        assert len(profiled["operators"]) > 4
    verdicts = {each["gate"]: each for each in report["verdicts"]}
    assert verdicts["parity"]["status"] == verdicts["accuracy_drop"]["status"] == "pass"
    for gate in ("p95", "peak_ram"):
        assert verdicts[gate]["status"] == "not measured" and verdicts[gate]["measured"] is None
        assert "qemu-user" in verdicts[gate]["reason"]
    shown = cli("report", "out/report.json").out
    assert "EMULATED DEVICE" in shown and "latency not a device's" in " ".join(shown.split())


def test_its_disk_can_be_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    fill = ["dd", "if=/dev/zero", "of=/home/edge/full", "bs=1M", "count=300"]
    with (
        Arm64Device(Silent(), disk_bytes=400 * 2**20) as small,
        connect(small.as_device("small", "generic-arm64")) as transport,
    ):
        done = transport.run(fill, deadline_s=120)
    assert done.returncode == 1 and "No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("cpu", "words"),
    [
        ("max", "SVE or SME is emulated"),
        ("cortex-a53", "/proc/cpuinfo promises what is not emulated"),
    ],
)
def test_a_processor_that_gives_wrong_results_is_refused(
    monkeypatch: pytest.MonkeyPatch, cpu: str, words: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    monkeypatch.setattr(processor, "CPU", cpu)
    before = descendants(os.getpid())
    with pytest.raises(DeviceError) as raised:
        Arm64Device(Silent()).start()
    assert words in str(raised.value)
    await_gone(sorted(set(descendants(os.getpid())) - set(before)))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=lambda end: end.name)
def test_it_leaves_nothing_behind_however_it_ends(tmp_path: Path, end: signal.Signals) -> None:
    cli = Cli(tmp_path)
    process = booted(cli, "gone")
    with connect(inventory.get(cli.home / "devices.json", "gone")) as transport:
        daemon = ["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo started"]
        assert transport.run(daemon, deadline_s=60).stdout == b"started\n"
    running = descendants(process.pid)
    assert any(b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in running)
    process.send_signal(end)
    process.communicate(timeout=30)
    await_gone(running)
    assert "edgesdk-arm64-" not in Path("/proc/self/mountinfo").read_text()
