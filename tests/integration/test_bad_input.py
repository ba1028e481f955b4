"""Every bad input: one clear sentence, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgesdk.devices.virtual import VirtualDevice
from tests.agent_processes import agent_processes
from tests.cli import CALIBRATION, DIGITS, TEST, Cli, Done, this_machine

MODEL = DIGITS / "digits.onnx"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def device(cli: Cli, virtual_device: VirtualDevice) -> Iterator[VirtualDevice]:
    cli.enrol(virtual_device.as_device("bench", this_machine()))
    yield virtual_device


def convert(
    cli: Cli, model: Path | str = MODEL, calibration: str = CALIBRATION, *more: str
) -> Done:
    return cli(
        *("convert", model, "--target", "raspberry-pi-5"),
        *("--calibration", calibration, "-o", "out", *more),
    )


def refused(done: Done, code: int, *words: str) -> None:
    """One sentence of error with these words, no traceback, that exit code."""
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert done.err.count("error:") == 1
    text = " ".join(done.err.split())
    for word in words:
        assert word in text


def nothing_written(cli: Cli) -> None:
    assert not (cli.folder / "out").exists()
    assert not [path for path in cli.folder.rglob("*") if path.name.startswith(".out")]


# Targets and models.


def test_an_unknown_target_suggests_the_nearest(cli: Cli) -> None:
    done = cli("convert", MODEL, "-t", "rasberry-pi-5", "--calibration", CALIBRATION, "-o", "out")
    refused(done, 3, "rasberry-pi-5", "raspberry-pi-5", "edgesdk target ls")
    nothing_written(cli)


def test_a_missing_model(cli: Cli) -> None:
    refused(convert(cli, "no.onnx"), 3, "no.onnx", "expected a model file")
    nothing_written(cli)


@pytest.mark.parametrize("name", ["digits.onnx", "digits.tflite"])
@pytest.mark.parametrize("kept", [0, 100, 100_000])
def test_a_truncated_model(cli: Cli, name: str, kept: int) -> None:
    (cli.folder / name).write_bytes((DIGITS / name).read_bytes()[:kept])
    refused(convert(cli, name), 3, name)
    nothing_written(cli)


@pytest.mark.parametrize("name", ["noise.onnx", "noise.tflite"])
def test_a_file_that_is_no_model(cli: Cli, name: str) -> None:
    (cli.folder / name).write_bytes(np.random.default_rng(0).bytes(5000))
    refused(convert(cli, name), 3, name)


def test_a_dynamic_dimension_names_itself_and_the_flag_that_fixes_it(cli: Cli) -> None:
    proto = onnx.load(str(MODEL))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]
    onnx.save(proto, str(cli.folder / "dynamic.onnx"))
    refused(
        convert(cli, "dynamic.onnx"),
        3,
        *("'image'", "dimension 0 ('batch') is dynamic", "--input-shape image=1,1,8,8"),
    )
    nothing_written(cli)
    fixed = convert(cli, "dynamic.onnx", CALIBRATION, "--input-shape", "image=1,1,8,8")
    assert fixed.code == 0, fixed.err


# Data.


def image(count: int = 4) -> np.ndarray:
    return np.random.default_rng(1).random((count, 1, 8, 8), np.float32)


def nan_at_the_end() -> np.ndarray:
    values = image()
    values[-1, 0, 7, 7] = np.nan
    return values


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": image(0)}, ["no samples"]),
        ({"image": image().reshape(4, 8, 8)}, ["[4, 8, 8]", "[n, 1, 1, 8, 8] or [n, 1, 8, 8]"]),
        ({"image": image().astype(np.float64)}, ["float64", "expected float32", "astype"]),
        ({"image": nan_at_the_end()}, ["sample 3", "NaN"]),
        ({"picture": image()}, ["no array for the model's input 'image'", "picture"]),
        ({"test/image": image()}, ["data.npz#test"]),
    ],
    ids=["empty", "shape", "dtype", "nan", "name", "split"],
)
def test_calibration_that_does_not_fit(
    cli: Cli, arrays: dict[str, np.ndarray], words: list[str]
) -> None:
    np.savez(cli.folder / "data.npz", **arrays)
    refused(convert(cli, MODEL, "data.npz"), 3, *words)
    nothing_written(cli)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([0, 1, 2, 10]), ["label 10", "0 to 9"]),
        (np.array([0.0, 1.0, 2.0, 3.0]), ["float64", "expected one integer"]),
        (np.eye(4, dtype=np.int64), ["argmax"]),
        (np.array([0, 1, 2]), ["label: 3", "image: 4"]),
    ],
    ids=["range", "dtype", "one-hot", "count"],
)
def test_labels_that_do_not_fit(
    cli: Cli, device: VirtualDevice, labels: np.ndarray, words: list[str]
) -> None:
    np.savez(cli.folder / "data.npz", image=image(), label=labels)
    done = cli(
        *("deploy", MODEL, "--device", "bench", "--calibration", CALIBRATION),
        *("--dataset", "data.npz", "-o", "out"),
    )
    refused(done, 3, *words)
    nothing_written(cli)
    assert not (device.home / ".edgesdk" / "store").exists()


# The command line itself.


@pytest.mark.parametrize(
    "arguments",
    [["bogus"], ["convert", "--bogus"], ["bench", "--seconds", "abc"], ["convert", "no.onnx"]],
    ids=" ".join,
)
def test_with_json_every_error_is_json_alone(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments, "--json")
    assert done.code == done.json["error"]["exit_code"]
    assert done.json["error"]["message"]


def test_what_user_code_prints_never_mixes_with_json(cli: Cli) -> None:
    (cli.folder / "noisy.py").write_text(
        "import numpy as np\nprint('on import')\n"
        "def samples():\n    print('in the function')\n"
        "    for seed in range(4):\n"
        "        random = np.random.default_rng(seed)\n"
        "        yield {'image': random.random((1, 8, 8), np.float32)}\n"
    )
    done = cli(
        *("convert", MODEL, "-t", "raspberry-pi-5", "--calibration", "noisy:samples"),
        *("-o", "out", "--json"),
    )
    assert done.code == 0, done.err
    assert done.json["artifact"]["plan"]["calibration_samples"] == 4
    assert "on import" in done.err


def test_a_name_with_colons_is_shown_as_it_is(cli: Cli) -> None:
    assert "nomod:x: the module" in convert(cli, MODEL, "nomod:x").err


# Toolchains and budgets.


@pytest.mark.parametrize(
    ("module", "name", "line"),
    [
        ("onnx", "digits.onnx", 'pip install "edgesdk[onnx]"'),
        ("onnxruntime", "digits.onnx", 'pip install "edgesdk[onnx]"'),
        ("ai_edge_litert", "digits.tflite", 'pip install "edgesdk[litert]"'),
        ("ai_edge_quantizer", "digits.tflite", 'pip install "edgesdk[litert]"'),
    ],
)
def test_a_missing_toolkit_names_the_line_that_installs_it(
    cli: Cli, module: str, name: str, line: str
) -> None:
    program = textwrap.dedent(
        f"""
        import sys
        sys.modules[{module!r}] = None
        from edgesdk.cli.main import run
        sys.exit(run(sys.argv[1:]))
        """
    )
    arguments = cli.argv("convert", DIGITS / name, "-t", "raspberry-pi-5")[3:]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--calibration", CALIBRATION, "-o", "out"],
        cwd=cli.folder,
        capture_output=True,
        text=True,
    )
    refused(Done(done.returncode, done.stdout, done.stderr), 5, line)
    nothing_written(cli)


def test_a_package_over_budget_lists_what_costs_most(cli: Cli) -> None:
    assert convert(cli).code == 0
    done = cli("package", "out", "-o", "digits.edgepkg", "--package-budget", "10 KiB")
    refused(done, 3, "10240 bytes", "model.onnx", "residual.first.conv.weight")
    assert not (cli.folder / "digits.edgepkg").exists()


# Devices.


def deploy(cli: Cli, *more: str) -> Done:
    return cli(
        *("deploy", MODEL, "--device", "bench", "--calibration", CALIBRATION),
        *("--dataset", TEST, "-o", "out", "--seconds", "0.2", *more),
    )


def test_an_unknown_device(cli: Cli) -> None:
    refused(deploy(cli), 3, "bench", "edgesdk device")
    nothing_written(cli)


@pytest.mark.parametrize(
    "flags", [["--name", "a/b"], ["--version", "1\n2"]], ids=["name", "version"]
)
def test_a_release_no_package_may_have_is_refused_before_any_work(
    cli: Cli, device: VirtualDevice, flags: list[str]
) -> None:
    refused(deploy(cli, *flags), 3, "expected")
    nothing_written(cli)
    assert not (device.home / ".edgesdk" / "store").exists()


def test_a_closed_port(cli: Cli, virtual_device: VirtualDevice) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    cli.enrol(replace(virtual_device.as_device("bench", this_machine()), port=port))
    refused(deploy(cli), 4, "nothing listens", f"port {port} of 127.0.0.1")


def test_another_host_key_is_refused_and_nothing_is_written_there(
    cli: Cli, virtual_device: VirtualDevice, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with VirtualDevice(tmp_path_factory.mktemp("other")) as other:
        stranger = other.host_key
    cli.enrol(replace(virtual_device.as_device("bench", this_machine()), host_key=stranger))
    refused(deploy(cli), 4, "host key", "SHA256:")
    assert list(virtual_device.home.iterdir()) == []


def test_a_user_it_does_not_let_in(cli: Cli, virtual_device: VirtualDevice) -> None:
    cli.enrol(replace(virtual_device.as_device("bench", this_machine()), user="nobody"))
    refused(deploy(cli), 4, "nobody")


def test_a_device_without_python(
    cli: Cli, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with VirtualDevice(tmp_path_factory.mktemp("bare"), path=str(tmp_path)) as bare:
        cli.enrol(bare.as_device("bench", this_machine()))
        refused(deploy(cli), 4, "no python3", "--python")


def test_a_device_without_a_runtime(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> None:
    plain = tmp_path_factory.mktemp("plain")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", plain], check=True)
    with VirtualDevice(tmp_path_factory.mktemp("bare"), path=str(plain / "bin")) as bare:
        cli.enrol(bare.as_device("bench", this_machine()))
        cli.environment["PIP_NO_INDEX"] = "1"  # Else deploy brings one.
        refused(deploy(cli), 4, "onnxruntime", "pip install")


def test_a_package_for_another_architecture(cli: Cli, device: VirtualDevice) -> None:
    other = "raspberry-pi-5" if this_machine() == "generic-x86-64" else "generic-x86-64"
    refused(deploy(cli, "--target", other), 3, other, this_machine())
    nothing_written(cli)
    assert cli("convert", MODEL, "-t", other, "--calibration", CALIBRATION, "-o", "a").code == 0
    assert cli("package", "a", "-o", "a.edgepkg").code == 0
    refused(cli("push", "a.edgepkg", "--device", "bench"), 4, "aarch64", "x86_64")


def test_a_damaged_package_is_not_pushed(cli: Cli, device: VirtualDevice) -> None:
    assert (
        cli("convert", MODEL, "-t", this_machine(), "--calibration", CALIBRATION, "-o", "a").code
        == 0
    )
    assert cli("package", "a", "-o", "a.edgepkg").code == 0
    damaged = bytearray((cli.folder / "a.edgepkg").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (cli.folder / "a.edgepkg").write_bytes(damaged)
    refused(cli("push", "a.edgepkg", "--device", "bench"), 3, "a.edgepkg")
    assert not (device.home / ".edgesdk" / "store").exists()


def test_nothing_installed_to_measure(cli: Cli, device: VirtualDevice) -> None:
    refused(cli("bench", "--device", "bench"), 4, "edgesdk push")


# Interruptions.


@pytest.mark.parametrize("after_s", [0.0, 0.5, 1.0, 2.0, 3.5])
def test_ctrl_c_at_any_point_leaves_nothing_half_written(
    cli: Cli, device: VirtualDevice, after_s: float
) -> None:
    assert cli("key", "new").code == 0
    running = cli.start(
        *("deploy", MODEL, "--device", "bench", "--calibration", CALIBRATION),
        *("--dataset", TEST, "-o", "out", "--seconds", "20"),
    )
    assert running.stderr is not None
    assert "reading the data" in running.stderr.readline()
    time.sleep(after_s)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130, err
    assert "interrupted; nothing half-written is in use" in err
    assert "Traceback" not in err
    out = cli.folder / "out"
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]
    assert not (out / "report.json").exists()
    again = deploy(cli)
    assert again.code == 0, again.err


def test_sigterm_is_as_clean_as_ctrl_c(cli: Cli, device: VirtualDevice) -> None:
    assert cli("key", "new").code == 0
    running = cli.start(
        *("deploy", MODEL, "--device", "bench", "--calibration", CALIBRATION),
        *("-o", "out", "--seconds", "20", "--json"),
    )
    assert running.stderr is not None
    assert "reading the data" in running.stderr.readline()
    time.sleep(1.0)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 143, err
    assert json.loads(out)["error"]["exit_code"] == 143
    assert not list((cli.folder / "out").rglob(".*"))


def test_an_agent_killed_while_it_measures(cli: Cli, device: VirtualDevice) -> None:
    running = cli.start(
        *("deploy", MODEL, "--device", "bench", "--calibration", CALIBRATION),
        *("-o", "out", "--seconds", "20"),
    )
    deadline = time.monotonic() + 60
    while not agents_of(device, "worker"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for agent in agents_of(device, "serve"):
        subprocess.run(["kill", "-9", str(agent)], check=False)
    out, err = running.communicate(timeout=30)
    refused(Done(running.returncode, out, err), 4, "the agent on the device ended")
    assert not (cli.folder / "out" / "report.json").exists()


def agents_of(device: VirtualDevice, doing: str) -> list[int]:
    return [pid for pid, role in agent_processes(device.home).items() if role == doing]


# Devices, runtimes, leases and sweeps: what is wrong with the command is said before anybody is
# visited, by the exit codes that README lists.


SWEEP = ("sweep", MODEL, "-t", "raspberry-pi-5", "--calibration", CALIBRATION, "-o", "out")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (("device", "show", "nope"), 3, "no device is called 'nope'"),
        (("device", "doctor", "bench", "--package", "gone.edgepkg"), 3, "cannot be read"),
        (("device", "doctor", "tag:none"), 3, "no device has the tag 'none'"),
        (("device", "lease", "bench", "--for", "soon"), 2, "expected a duration"),
        (("device", "lease", "bench", "--for", "0 s"), 2, "found '0 s', expected"),
        (("device", "lease", "bench", "--for", "8 d"), 2, "at most 7 days"),
        (("device", "release", "nope"), 3, "no device is called 'nope'"),
        (("device", "emulate", "--disk", "1 GiB"), 2, "--disk is for --kind arm64"),
        (("device", "emulate", "--kind", "arm64", "--disk", "1 KiB"), 2, "or more"),
        (("device", "emulate", "--target", "nosuch"), 3, "there is no target 'nosuch'"),
        (("agent", "install", "bench", "--runtime", "nosuch"), 2, "found runtime 'nosuch'"),
        (("agent", "install", "bench", "--wheels", "gone"), 3, "found no folder gone"),
        (("agent", "install", "bench", "--wheels", "."), 3, "found no wheel in ."),
        (("agent", "uninstall", "bench", "--runtime", "nosuch"), 2, "found runtime 'nosuch'"),
        (("agent", "ls", "nope"), 3, "no device is called 'nope'"),
        (("runs", "ls", "--since", "soon"), 2, "found --since soon"),
        (("runs", "show", "7"), 3, "found no run 7"),
        (("compare", "1", "2"), 3, "found no run"),
        ((*SWEEP, "--dask", "nonsense"), 2, "found --dask nonsense"),
        ((*SWEEP, "--dask", "tcp://host:port"), 2, "expected a scheduler such as"),
        ((*SWEEP, "-d", "nope"), 3, "no device is called 'nope'"),
    ],
    ids=lambda value: " ".join(map(str, value[:4])) if isinstance(value, tuple) else None,
)
def test_a_command_about_devices_that_cannot_be(
    cli: Cli, device: VirtualDevice, command: tuple[str, ...], code: int, words: str
) -> None:
    before = device.logins
    refused(cli(*command), code, words)
    assert device.logins == before
    nothing_written(cli)
