"""The whole line over real SSH: from a model to a verdict on a device."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from edgesdk import api
from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice
from tests.cli import CALIBRATION, DIGITS, ROOT, TEST, Cli, Done, this_machine

SCHEMA = json.loads((ROOT / "edgesdk" / "report" / "report.schema.json").read_text())
TARGET = this_machine()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def device(cli: Cli, virtual_device: VirtualDevice) -> Iterator[VirtualDevice]:
    cli.enrol(virtual_device.as_device("bench", TARGET))
    yield virtual_device


def deploy(cli: Cli, model: str, *more: str) -> Done:
    return cli(
        *("deploy", DIGITS / model, "--device", "bench", "--calibration", CALIBRATION),
        *("--dataset", TEST, "-o", "out", "--seconds", "0.3", *more),
    )


@pytest.mark.parametrize("model", ["digits.onnx", "digits.tflite"])
def test_a_model_becomes_a_verdict(cli: Cli, device: VirtualDevice, model: str) -> None:
    done = deploy(cli, model, "--json")
    assert done.code == 0, done.err
    report = done.json
    jsonschema.validate(report, SCHEMA)
    assert report == json.loads((cli.folder / "out" / "report.json").read_text())
    assert report["outcome"] == "pass"
    assert {verdict["gate"] for verdict in report["verdicts"]} >= {"accuracy_drop", "parity"}
    assert report["results"]["device"]["kind"] == "python"
    assert len(report["results"]["predictions"]["int8_top1"]) == 640


@pytest.mark.parametrize("model", ["digits.onnx", "digits.tflite"])
def test_the_example_keeps_its_promise(cli: Cli, device: VirtualDevice, model: str) -> None:
    report = deploy(cli, model, "--json").json
    assert report["accuracy"]["drop"]["value"] <= 0.5
    assert report["model"]["int8_bytes"] <= 0.35 * report["model"]["float_bytes"]
    assert report["artifact"]["left_in_float"] == []
    recorded = json.loads((DIGITS / "accuracy.json").read_text())["models"][model]["top1"]
    assert report["accuracy"]["float_percent"]["value"] == pytest.approx(100 * recorded)


def test_a_reader_sees_the_three_numbers_and_that_the_device_is_virtual(
    cli: Cli, device: VirtualDevice
) -> None:
    done = deploy(cli, "digits.onnx")
    html = (cli.folder / "out" / "report.html").read_text()
    for word in ("Float latency", "INT8 latency", "Accuracy lost", "VIRTUAL"):
        assert word in done.out
        assert word in html or word.capitalize() in html


def test_a_failed_gate_is_exit_code_1_with_a_full_report(cli: Cli, device: VirtualDevice) -> None:
    done = deploy(cli, "digits.onnx", "--max-p95", "1 ns")
    assert done.code == 1
    assert "FAIL" in done.out
    assert json.loads((cli.folder / "out" / "report.json").read_text())["outcome"] == "fail"


def test_a_deployment_says_who_signed_and_that_the_package_is_in_use(
    cli: Cli, device: VirtualDevice
) -> None:
    done = deploy(cli, "digits.onnx", "--sequence", "4", "--expires", "2099-06-30", "--json")
    assert done.code == 0, done.err
    package = done.json["package"]
    assert (package["signed_by"], package["sequence"]) == ("default", 4)
    assert (package["delta"], package["unhealthy"]) == (False, "")
    assert done.json["results"]["installed"]["state"] == "current"
    verified = cli("verify", "out/digits.edgepkg")
    assert verified.code == 0 and "2099-06-30T00:00:00Z, still to come" in verified.out


def test_an_unsigned_deployment_says_so_everywhere(cli: Cli, device: VirtualDevice) -> None:
    done = deploy(cli, "digits.onnx", "--unsigned")
    assert done.code == 0, done.err
    assert "NOT SIGNED" in done.out
    assert "not signed" in (cli.folder / "out" / "report.html").read_text()
    assert "NOT SIGNED" in cli("bench", "--device", "bench", "--seconds", "0.2").out


def test_what_is_not_healthy_is_measured_reported_and_not_used(
    cli: Cli, device: VirtualDevice
) -> None:
    assert deploy(cli, "digits.onnx", "--version", "1", "--sequence", "1").code == 0
    worse = deploy(
        *(cli, "digits.onnx", "--version", "2", "--sequence", "2"),
        *("--health-command", "sh -c 'echo too dark in here; exit 3'"),
    )
    assert worse.code == 1
    assert "too dark in here" in worse.err and "error:" in worse.err
    report = json.loads((cli.folder / "out" / "report.json").read_text())
    jsonschema.validate(report, SCHEMA)
    assert "too dark in here" in report["package"]["unhealthy"]
    assert report["outcome"] == "pass" and report["results"]["installed"]["state"] == "trial"
    shown = cli("report", "out").out
    assert "NOT IN USE" in shown
    listed = cli("device", "installed", "bench", "--json").json["packages"]
    assert [each["version"] for each in listed if each["state"] == "current"] == ["1"]


def test_a_second_deployment_travels_as_a_delta(cli: Cli, device: VirtualDevice) -> None:
    assert deploy(cli, "digits.onnx", "--sequence", "1").code == 0
    (cli.folder / "out" / "digits.edgepkg").rename(cli.folder / "base.edgepkg")
    done = deploy(cli, "digits.onnx", "--sequence", "2", "--base", "base.edgepkg", "--json")
    assert done.code == 0, done.err
    package = done.json["package"]
    assert package["delta"] and package["size_bytes"] < package["installed_bytes"] / 4
    assert (cli.folder / "out" / "digits.full.edgepkg").is_file()
    assert "sending the full package" not in done.err


def test_without_labels_accuracy_is_not_measured(cli: Cli, device: VirtualDevice) -> None:
    done = cli(
        *("deploy", DIGITS / "digits.onnx", "--device", "bench", "--calibration", CALIBRATION),
        *("-o", "out", "--seconds", "0.3", "--json"),
    )
    assert done.code == 0, done.err
    drop = next(v for v in done.json["verdicts"] if v["gate"] == "accuracy_drop")
    assert drop["status"] == "not measured"
    assert drop["measured"] is None


def test_a_second_convert_does_nothing_and_says_so(cli: Cli) -> None:
    arguments = (
        *("convert", DIGITS / "digits.onnx", "-t", "raspberry-pi-5"),
        *("--calibration", CALIBRATION, "-o", "a"),
    )
    assert cli(*arguments).code == 0
    before = {path: path.stat().st_mtime_ns for path in (cli.folder / "a").iterdir()}
    second = cli(*arguments)
    assert "nothing was done" in second.out
    assert {path: path.stat().st_mtime_ns for path in (cli.folder / "a").iterdir()} == before


def test_each_step_by_itself(cli: Cli, device: VirtualDevice) -> None:
    model = DIGITS / "digits.tflite"
    steps: list[tuple[str | Path, ...]] = [
        ("convert", model, "-t", TARGET, "--calibration", CALIBRATION, "-o", "a"),
        ("inspect", "a", "--tensors"),
        ("package", "a", "-o", "digits.edgepkg"),
        ("inspect", "digits.edgepkg"),
        ("verify", "digits.edgepkg"),
        ("push", "digits.edgepkg", "--device", "bench"),
        ("device", "installed", "bench"),
        ("bench", "--device", "bench", "--seconds", "0.2"),
        ("bench", "--device", "bench", "--model", "a", "--seconds", "0.2"),
        ("eval", "--device", "bench", "--dataset", TEST, "--model", model),
        ("device", "show", "bench"),
    ]
    for step in steps:
        plain = cli(*step)
        assert plain.code == 0, (step, plain.err)
        assert plain.out.strip()
        machine = cli(*step, "--json")
        assert machine.code == 0, (step, machine.err)
        assert machine.json


def test_pushing_twice_writes_once(cli: Cli, device: VirtualDevice) -> None:
    cli("convert", DIGITS / "digits.onnx", "-t", TARGET, "--calibration", CALIBRATION, "-o", "a")
    cli("package", "a", "-o", "digits.edgepkg")
    assert cli("push", "digits.edgepkg", "-d", "bench", "--json").json["already"] is False
    assert cli("push", "digits.edgepkg", "-d", "bench", "--json").json["already"] is True


def test_over_openssh(cli: Cli, sshd_device: Device) -> None:
    cli.enrol(replace(sshd_device, name="bench", target=TARGET, python=sys.executable))
    done = deploy(cli, "digits.onnx", "--json")
    assert done.code == 0, done.err
    assert done.json["results"]["device"]["kind"] == "board"


def test_enrolling_over_openssh_pins_the_key(cli: Cli, sshd_device: Device) -> None:
    address = f"{sshd_device.user}@127.0.0.1:{sshd_device.port}"
    arguments: tuple[str | Path, ...] = (
        *("device", "add", "pi", "--address", address, "-t", TARGET),
        *("--identity", sshd_device.identity_file or "", "--python", sys.executable),
    )
    unseen = cli(*arguments)
    assert unseen.code == 2
    assert "SHA256:" in unseen.err
    assert not (cli.home / "devices.json").exists()
    enrolled = cli(*arguments, "--yes", "--json")
    assert enrolled.code == 0, enrolled.err
    assert {**enrolled.json, "last_seen": None} == cli("device", "ls", "--json").json[0]
    assert "warning" not in enrolled.err
    assert cli("device", "ls", "--json").json[0]["host_key"] == sshd_device.host_key
    assert cli("device", "ls").out.split().count("board") == 1
    assert cli("device", "show", "pi").code == 0
    assert cli("device", "rm", "pi").code == 0
    assert cli("device", "ls", "--json").json == []


def test_the_emulated_device_lives_as_long_as_the_command(cli: Cli) -> None:
    inner = cli.argv("device", "show", "demo", "--json")
    done = cli("device", "emulate", "--name", "demo", "--", *inner)
    assert done.code == 0, done.err
    assert done.json["device"]["kind"] == "python"
    assert cli("device", "ls", "--json").json == []
    assert cli("device", "emulate", "--", "false").code == 1
    assert cli("device", "emulate", "--", "sh", "-c", "kill -TERM $$").code == 143
    assert cli("device", "emulate", "--", "no-such-command").code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_emulated_device_ends_when_told(cli: Cli, number: signal.Signals) -> None:
    running = cli.start("device", "emulate", "--name", "demo")
    assert running.stderr is not None
    assert "answers at" in running.stderr.readline()
    assert "Ctrl-C stops it" in running.stderr.readline()
    running.send_signal(number)
    running.communicate(timeout=20)
    assert running.returncode == 0
    assert cli("device", "ls", "--json").json == []


def test_the_project_file_stands_in_for_flags(cli: Cli, device: VirtualDevice) -> None:
    done = cli(
        *("deploy", "--project", DIGITS / "edgesdk.toml", "--device", "bench"),
        *("-o", "out", "--seconds", "0.3", "--json"),
    )
    assert done.code == 0, done.err
    bounds = {verdict["gate"]: verdict["bound"] for verdict in done.json["verdicts"]}
    assert bounds["accuracy_drop"] == 0.5
    assert bounds["package_size"] == 160 * 1024


def test_init_writes_a_project_file_that_loads_and_never_overwrites(cli: Cli) -> None:
    assert cli("init").code == 0
    path = cli.folder / "edgesdk.toml"
    assert api.load_project(path).target == "raspberry-pi-5"
    path.write_text("# mine\n")
    refused = cli("init")
    assert refused.code == 3
    assert path.read_text() == "# mine\n"


def test_a_stored_report_is_shown_again(cli: Cli, device: VirtualDevice) -> None:
    first = deploy(cli, "digits.onnx")
    again = cli("report", "out", "--html", "again.html")
    assert again.code == 0
    assert again.out == first.out
    html = (cli.folder / "out" / "report.html").read_text()
    assert (cli.folder / "again.html").read_text() == html


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(cli: Cli, shell: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("edgesdk")],
        env={**cli.environment, "_EDGESDK_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "edgesdk" in done.stdout


def test_completion_knows_the_commands(cli: Cli) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("edgesdk")],
        env={
            **cli.environment,
            "_EDGESDK_COMPLETE": "complete_bash",
            "COMP_WORDS": "edgesdk dep",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["deploy"]


def test_a_target_of_ones_own_works_wherever_an_id_does(cli: Cli) -> None:
    base = "_x86-cpu" if "x86" in TARGET else "_arm-cpu"
    (cli.folder / "mine.toml").write_text(
        f'extends = "{base}"\nname = "Mine"\nvendor = "Me"\nsoc = "Unknown"\n'
        '[[compute_units]]\nid = "cpu"\nkind = "cpu"\ncore = "Unknown"\n'
    )
    inner = cli.argv(
        *("deploy", DIGITS / "digits.tflite", "--device", "mine", "--calibration", CALIBRATION),
        *("--dataset", TEST, "-o", "out", "--seconds", "0.2", "--json"),
    )
    done = cli("device", "emulate", "--name", "mine", "--target", "./mine.toml", "--", *inner)
    assert done.code == 0, done.err
    assert done.json["target"]["id"] == "mine"
