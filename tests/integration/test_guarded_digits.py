"""Applications on a device: packages that really travelled, switched while the application runs."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.guarded import GuardedModel
from edgesdk.devices.virtual import VirtualDevice
from tests.cli import CALIBRATION, DIGITS, ROOT, Cli, this_machine
from tests.pythons import NEW, version_name

EXAMPLES = ROOT / "examples" / "on_device"
PATIENCE_S = 60


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def store(cli: Cli, virtual_device: VirtualDevice) -> Path:
    """The device's store; the device is enrolled as "bench"."""
    cli.enrol(virtual_device.as_device("bench", this_machine()))
    return virtual_device.home / ".edgesdk"


@pytest.fixture
def images() -> np.ndarray:
    with np.load(DIGITS / "digits.npz") as arrays:
        return arrays["test/image"]


def run(cli: Cli, *arguments: str | Path) -> Any:
    done = cli(*arguments, "--json")
    assert done.code == 0, done.err
    return done.json


def convert(cli: Cli, model: str, *more: str) -> None:
    run(
        cli, "convert", DIGITS / model, "--target", this_machine(),
        "--calibration", CALIBRATION, "-o", "artifact", *more,
    )  # fmt: skip


def ship(cli: Cli, version: int, *more: str) -> str:
    """Package the artifact and make it the device's current one; its id."""
    file = f"{version}.edgepkg"
    run(
        cli, "package", "artifact", "-o", file, "--name", "digits", "--unsigned",
        "--version", str(version), "--sequence", str(version), *more,
    )  # fmt: skip
    pushed = run(cli, "push", file, "--device", "bench", "--allow-unsigned")
    package_id: str = pushed["installed"]["package_id"]
    return package_id


def fallbacks(cli: Cli, package_id: str) -> dict[str, int]:
    """What the device says, asked by the workstation."""
    listed = run(cli, "device", "installed", "bench")["packages"]
    (found,) = [each for each in listed if each["package_id"] == package_id]
    counts: dict[str, int] = found["fallbacks"]
    return counts


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inverted": lambda image: 1 - image,
    "twice as bright": lambda image: 2 * image,
    "black": lambda image: 0 * image,
    "grey levels 0 to 255": lambda image: 255 * image,
    "noise": lambda image: np.random.default_rng(0).random(image.shape, np.float32),
}


@pytest.mark.parametrize(
    ("model", "io"),
    [("digits.onnx", "float32"), ("digits.tflite", "float32"), ("digits.tflite", "int8")],
)
def test_odd_pictures_are_answered_by_the_float_twin_and_counted_on_the_device(
    cli: Cli, store: Path, images: np.ndarray, model: str, io: str
) -> None:
    convert(cli, model, "--io", io)
    package_id = ship(cli, 1, "--include-float", "--fallback", "load,parity,ood")
    with GuardedModel.open("digits", str(store)) as guarded:
        assert guarded.trouble is None
        usual = [guarded.run([image[None]]) for image in images[:100]]
        assert [answer.model for answer in usual].count("model") >= 99
        assert all(answer.outputs[0].dtype == np.float32 for answer in usual)
        odd = [answer for answer in usual if answer.reason]
        for name, change in CHANGES.items():
            for image in images[:5]:
                answer = guarded.run([change(image)[None].astype(np.float32)])
                assert (answer.model, answer.reason) == ("float", "out_of_distribution"), name
                odd.append(answer)
    assert fallbacks(cli, package_id) == {"out_of_distribution": len(odd)}


def test_the_twin_of_another_precision_stands_in_for_the_model(
    cli: Cli, store: Path, images: np.ndarray
) -> None:
    convert(cli, "digits.tflite", "--precision", "w8a16")
    os.rename(cli.folder / "artifact", cli.folder / "twin")
    convert(cli, "digits.tflite")
    package_id = ship(cli, 1, "--twin", "twin", "--fallback", "load")
    with GuardedModel.open("digits", str(store)) as guarded:
        first = guarded.run([images[:1]])
    model = store / "store" / package_id / "model.tflite"
    model.write_bytes(model.read_bytes()[:-1])
    with GuardedModel.open("digits", str(store)) as guarded:
        second = guarded.run([images[:1]])
    assert (first.model, second.model, second.reason) == ("model", "twin", "load_failed")
    assert second.outputs[0].argmax() == first.outputs[0].argmax()
    assert fallbacks(cli, package_id) == {"load_failed": 1}


class Application:
    """An example that runs, with its lines as they come."""

    def __init__(self, program: str, store: Path, python: str = sys.executable) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self.process = subprocess.Popen(
            [python, str(EXAMPLES / program), "digits", str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd="/",
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def line(self) -> str:
        return self._lines.get(timeout=PATIENCE_S)

    def ask(self, image: np.ndarray) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(image.ravel().tolist()) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.line())
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))


@pytest.fixture
def start(store: Path) -> Iterator[Callable[..., Application]]:
    running: list[Application] = []

    def start(program: str, **options: str) -> Application:
        running.append(Application(program, store, **options))
        return running[-1]

    yield start
    for each in running:
        each.end()


def test_the_guarded_application_takes_up_a_package_that_becomes_current_while_it_runs(
    cli: Cli, store: Path, images: np.ndarray, start: Callable[..., Application]
) -> None:
    convert(cli, "digits.tflite")
    ship(cli, 1, "--include-float", "--fallback", "load,parity,ood")
    application = start("guarded_app.py")
    with np.load(DIGITS / "digits.npz") as arrays:
        labels = arrays["test/label"]
    first = [application.ask(image) for image in images[:5]]
    assert [answer["class"] for answer in first] == labels[:5].tolist()
    assert {(answer["model"], answer["version"]) for answer in first} == {("model", "1")}
    second = ship(cli, 2, "--include-float", "--fallback", "load,parity,ood")
    answer = application.ask(images[0])
    assert (answer["class"], answer["version"]) == (labels[0], "2")
    odd = application.ask(1 - images[0])
    assert (odd["model"], odd["reason"]) == ("float", "out_of_distribution")
    assert fallbacks(cli, second) == {"out_of_distribution": 1}
    run(cli, "rollback", "--device", "bench")
    assert application.ask(images[0])["version"] == "1"


PYTHONS = [Path(sys.executable), *NEW]


@pytest.mark.parametrize("python", PYTHONS, ids=["this", *map(version_name, NEW)])
def test_the_ten_lines_read_the_model_and_see_it_change(
    python: Path, cli: Cli, store: Path, start: Callable[..., Application]
) -> None:
    store.joinpath("models").mkdir(parents=True)
    for version in ("1", "2"):
        folder = store / "store" / (version * 64)
        folder.mkdir(parents=True)
        files = [{"role": "golden", "path": "g"}, {"role": "model", "path": "model.tflite"}]
        (folder / "manifest.json").write_text(json.dumps({"version": version, "files": files}))
    link, aside = store / "models" / "digits", store / "link"
    link.symlink_to("../store/" + "1" * 64)
    reader = start("reader.py", python=str(python))
    assert reader.line() == f"1 {store.resolve()}/store/{'1' * 64}/model.tflite"
    aside.symlink_to("../store/" + "2" * 64)
    os.rename(aside, link)
    assert reader.line() == f"2 {store.resolve()}/store/{'2' * 64}/model.tflite"
