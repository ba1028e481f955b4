"""From picture to answer on a device: one input everywhere, timed in stages, within budgets."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from device_agent.guarded import GuardedModel
from device_agent.model_messages import OpenModel
from device_agent.stage_messages import BenchStages
from edgesdk.devices.agent import AgentSession
from edgesdk.devices.ssh import connect
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.errors import AgentError
from edgesdk.progress import Silent
from tests.cli import DIGITS, ROOT, Cli, this_machine

SCHEMA = json.loads((ROOT / "edgesdk" / "report" / "report.schema.json").read_text())
EXAMPLE = ROOT / "examples" / "on_device" / "camera.py"

PROJECT = """\
[preprocessing]
color = "gray"
resize = [8, 8]
interpolation = "box"
scale = 0.00392156862745098
layout = "nchw"
source = [48, 64]

[postprocessing]
softmax = true
top_k = 3
"""
QUICK = ("--seconds", "0.2")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's first test images as PNGs of 32 x 32, one folder a class."""
    folder = tmp_path_factory.mktemp("pictures")
    with np.load(DIGITS / "digits.npz") as arrays:
        images, labels = arrays["test/image"][:120, 0], arrays["test/label"][:120]
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        gray = np.rint(image * 255).astype(np.uint8).repeat(4, 0).repeat(4, 1)
        Image.fromarray(gray).convert("RGB").save(folder / str(label) / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualDevice]:
    with VirtualDevice(tmp_path_factory.mktemp("virtual")) as device:
        yield device


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory, device: VirtualDevice, pictures: Path) -> Cli:
    """A project whose package is on the device."""
    cli = Cli(tmp_path_factory.mktemp("project"))
    cli.enrol(device.as_device("bench", this_machine()))
    (cli.folder / "edgesdk.toml").write_text(PROJECT)
    ship(cli, pictures, "--io", "int8")
    return cli


def run(cli: Cli, *arguments: str | Path, code: int = 0) -> Any:
    done = cli(*arguments, "--json")
    assert done.code == code, done.err
    return done.json


def ship(cli: Cli, pictures: Path, *more: str) -> None:
    run(
        cli, "convert", DIGITS / "digits.tflite", "--target", this_machine(),
        "--calibration", pictures, "-o", "artifact", *more,
    )  # fmt: skip
    run(cli, "package", "artifact", "-o", "digits.edgepkg", "--name", "digits", "--unsigned")
    run(cli, "push", "digits.edgepkg", "--device", "bench", "--allow-unsigned")


def test_the_stages_are_timed_and_the_device_makes_the_input_that_we_make(cli: Cli) -> None:
    found = run(cli, "bench", "--device", "bench", *QUICK)
    stages = found["results"]["stages"]["benched"]
    assert found["stages"]["steady"] and found["stages"]["same_input"]
    assert stages["input_sha256"] == found["results"]["stages"]["expected_input_sha256"]
    assert len(stages["preprocess_ns"]) == sum(stages["block_sizes"]) >= 400
    p50 = {each["stage"]: each["p50"]["value"] for each in found["stages"]["latencies"]}
    assert all(value > 0 for value in p50.values())
    assert p50["end_to_end"] > max(p50["preprocess"], p50["inference"], p50["postprocess"])
    assert found["results"]["installed"]["stages"]["postprocessing"]["top_k"] == 3


def test_the_devices_input_is_the_one_worked_out_by_hand(cli: Cli) -> None:
    """Gray, the mean of blocks of 6 x 8, and the INT8 steps of the model's input."""
    found = run(cli, "bench", "--device", "bench", *QUICK)
    (port,) = found["results"]["runs"][-1]["opened"]["inputs"]
    content = hashlib.shake_256(b"edgesdk picture 1").digest(48 * 64 * 3)
    rgb = np.frombuffer(content, np.uint8).reshape(48, 64, 3).astype(np.int64)
    gray = (rgb @ np.array([19595, 38470, 7471]) + 0x8000) >> 16
    across = np.floor(gray.reshape(48, 8, 8).mean(2) + 0.5)
    means = np.floor(across.reshape(8, 6, 8).mean(1) + 0.5)
    steps = np.rint(means / 255 / port["scale"]) + port["zero_point"]
    stored = np.clip(steps, -128, 127).astype(np.int8)
    expected = hashlib.sha256(stored.tobytes()).hexdigest()
    assert found["results"]["stages"]["benched"]["input_sha256"] == expected


def test_each_stage_has_a_budget(cli: Cli) -> None:
    found = run(
        cli, "bench", "--device", "bench", *QUICK, "--max-preprocess-p95", "10 s",
        "--max-inference-p95", "10 s", "--max-postprocess-p95", "1 ns",
        "--max-end-to-end-p95", "10 s", code=1,
    )  # fmt: skip
    status = {verdict["gate"]: verdict["status"] for verdict in found["verdicts"]}
    assert (
        status.items()
        >= {
            "preprocess_p95": "pass",
            "inference_p95": "pass",
            "postprocess_p95": "fail",
            "end_to_end_p95": "pass",
        }.items()
    )


def test_the_terminal_shows_them(cli: Cli) -> None:
    done = cli("bench", "--device", "bench", *QUICK)
    assert "Picture to answer (virtual)" in done.out
    assert "preprocessing" in done.out and "pictures of 48 x 64, to 8 x 8, box" in done.out


def test_pictures_prepared_on_the_device_get_the_classes_that_ours_get(
    cli: Cli, pictures: Path
) -> None:
    arguments = ("eval", "--device", "bench", "--dataset", pictures, "--model", "artifact")
    ours = run(cli, *arguments)["results"]["predictions"]
    theirs = run(cli, *arguments, "--on-device-preprocessing")["results"]["predictions"]
    assert (ours.pop("prepared"), theirs.pop("prepared")) == ("workstation", "device")
    assert ours == theirs


def test_a_project_that_declares_otherwise_is_refused(cli: Cli, pictures: Path) -> None:
    other = cli.folder / "other.toml"
    other.write_text('color = "gray"\nresize = [8, 8]\nlayout = "nchw"\n')
    refused = cli(
        *("eval", "--device", "bench", "--dataset", pictures, "--model", "artifact"),
        *("--on-device-preprocessing", "--preprocessing", other),
    )
    assert refused.code == 2 and "declares the preprocessing" in refused.err
    refused = cli("package", "artifact", "-o", "other.edgepkg", "--preprocessing", other)
    assert refused.code == 2 and "converted with the preprocessing" in refused.err


def test_an_application_runs_what_was_measured(
    cli: Cli, device: VirtualDevice, pictures: Path
) -> None:
    arguments = ("eval", "--device", "bench", "--dataset", pictures, "--model", "artifact")
    classes = run(cli, *arguments)["results"]["predictions"]["int8_top1"]
    found = []
    with GuardedModel.open("digits", str(device.home / ".edgesdk")) as model:
        for path in sorted(pictures.glob("*/*.png")):
            answer = model.run_picture(np.asarray(Image.open(path)))
            indices, shares = answer.outputs
            assert indices.shape == shares.shape == (1, 3)
            found.append(int(indices[0, 0]))
    assert found == classes


def test_the_example_reads_frames_and_answers(
    cli: Cli, device: VirtualDevice, pictures: Path
) -> None:
    paths = sorted(pictures.glob("*/*.png"))[:40:8]
    frames = [Image.open(path).resize((64, 48), Image.Resampling.NEAREST) for path in paths]
    done = subprocess.run(
        [sys.executable, EXAMPLE, "digits", device.home / ".edgesdk"],
        input=b"".join(frame.tobytes() for frame in frames),
        capture_output=True,
        timeout=120,
        check=True,
        cwd=cli.folder,
    )
    lines = done.stdout.decode().splitlines()
    assert len(lines) == len(paths)
    with GuardedModel.open("digits", str(device.home / ".edgesdk")) as model:
        for line, frame in zip(lines, frames, strict=True):
            indices, _ = model.run_picture(np.asarray(frame)).outputs
            assert line.startswith(f"model {indices.tolist()}")


def test_deploy_reports_all_of_it(cli: Cli, pictures: Path) -> None:
    report = run(
        cli, "deploy", DIGITS / "digits.tflite", "--device", "bench", "--calibration", pictures,
        "--dataset", pictures, "--name", "deployed", "-o", "out", "--unsigned",
        "--max-end-to-end-p95", "10 s", *QUICK,
    )  # fmt: skip
    assert list(Draft202012Validator(SCHEMA).iter_errors(report)) == []
    declared = report["results"]["installed"]["stages"]
    assert (declared["source"], declared["preprocessing"]["interpolation"]) == ([48, 64], "box")
    digest = report["calibration"]["preprocessing"]
    assert digest == report["evaluation"]["preprocessing"] != ""
    assert not any("came as they are" in caveat for caveat in report["caveats"])
    page = (cli.folder / "out" / "report.html").read_text()
    assert "From picture to answer" in page and digest in page
    assert "on the workstation" in page


def test_what_makes_no_sense_is_refused_and_the_session_goes_on(
    cli: Cli, device: VirtualDevice
) -> None:
    silent = Silent()
    with (
        connect(device.as_device("bench", this_machine())) as transport,
        AgentSession.open(transport) as agent,
    ):
        installed = agent.current("digits")
        request = OpenModel(
            "int8", installed.runtime, "", 1, package_id=installed.package_id, role="model"
        )
        agent.open_model(request, silent)
        bench = BenchStages("int8", installed.package_id, 1, 2, 4, 0.0, 1.0, 0.1)
        for change, problem in (
            ({"key": "float"}, "no model is open as 'float'"),
            ({"package_id": "0" * 64}, "was not opened from package"),
            ({"blocks": 0}, "found 0 blocks"),
        ):
            with pytest.raises(AgentError, match=problem):
                agent.bench_stages(replace(bench, **change), silent)  # type: ignore[arg-type]
        small = [np.zeros((0, 4, 3), np.uint8)]
        with pytest.raises(AgentError, match=r"found picture = \[0, 4\]"):
            agent.predict_pictures(("int8",), installed.package_id, small, 1, silent)
        whole = [np.zeros((4, 4, 3), np.uint8)] * 2
        found = agent.predict_pictures(("int8",), installed.package_id, whole, 2, silent)
        assert len(found["int8"]) == 2
        assert len(agent.bench_stages(bench, silent).inference_ns) >= 4


WITHOUT: dict[str, Callable[[str], str]] = {
    "does not say how large": lambda text: text.replace("source = [48, 64]\n", ""),
    "declares no preprocessing": lambda _: "",
}


@pytest.mark.parametrize("reason", WITHOUT)
def test_what_is_not_declared_is_not_measured(
    cli: Cli, device: VirtualDevice, pictures: Path, tmp_path: Path, reason: str
) -> None:
    other = Cli(tmp_path)
    other.enrol(device.as_device("bench", this_machine()))
    (tmp_path / "edgesdk.toml").write_text(WITHOUT[reason](PROJECT))
    data = pictures if "large" in reason else f"{DIGITS / 'digits.npz'}#calibration"
    run(
        other, "convert", DIGITS / "digits.tflite", "--target", this_machine(),
        "--calibration", data, "-o", "artifact",
    )  # fmt: skip
    run(other, "package", "artifact", "-o", "bare.edgepkg", "--name", "bare", "--unsigned")
    found = run(
        other, "bench", "--device", "bench", "--package", "bare.edgepkg", "--allow-unsigned",
        "--max-end-to-end-p95", "1 s", *QUICK, code=6,
    )  # fmt: skip
    assert found["stages"] is None
    (verdict,) = (each for each in found["verdicts"] if each["gate"] == "end_to_end_p95")
    assert verdict["status"] == "not measured" and reason in verdict["reason"]
