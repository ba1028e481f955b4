"""What is wrong with a question is said before any device is visited.

The one device here answers nobody: whatever reaches for it ends with exit code 4.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from device_agent.manifest import Port
from edgesdk.cli.main import run
from edgesdk.data.preprocessing import Postprocessing, Preprocessing
from edgesdk.devices import inventory
from edgesdk.devices.inventory import Device
from edgesdk.flows.runs import history
from edgesdk.package.building import build_package
from edgesdk.values.package import Budget, Release
from tests.cli import CALIBRATION, DIGITS, TEST, this_machine
from tests.unit.history.measurements import a_long_run
from tests.unit.package.artifacts import make_artifact

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZWQgb25seSBpbiB0ZXN0cyBvZiBlZGdlc2RrISEh"
MODEL = str(DIGITS / "digits.onnx")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("EDGESDK_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    nobody = Device("nobody", "127.0.0.1", 1, "user", this_machine(), KEY)
    inventory.add(inventory.default_path(), nobody)
    (tmp_path / "mine_beforehand.py").write_text("def text(outputs): return 'a'\n")
    np.savez(tmp_path / "wide.npz", target=np.zeros((640, 3)))
    np.savez(tmp_path / "words.npz", target=np.array(["a"] * 640))
    np.savez(tmp_path / "short.npz", target=np.zeros((12, 10)))
    return tmp_path


EVAL = ("eval", "--device", "nobody", "--dataset", TEST, "--model", MODEL)
DEPLOY = (
    *("deploy", MODEL, "--device", "nobody", "--calibration", CALIBRATION, "--dataset", TEST),
    *("-o", "out"),
)
ASKED = [
    (["--metric", "accuracy"], 2, "found the metric 'accuracy', expected one of top1"),
    (["--metric", "top11"], 3, "found 10 classes, expected 11"),
    (["--metric", "f1", "--metric", "f1"], 2, "found the metric f1 more than once"),
    (["--metric", "nowhere:metric"], 3, "nowhere:metric cannot be imported"),
    (["--metric", "mine_beforehand:absent"], 3, "mine_beforehand:absent cannot be imported"),
    (["--metric", "wer"], 2, "needs to know how outputs become text"),
    (["--metric", "rmse"], 3, "the truth has no 'target'"),
    (["--metric", "rmse", "--truth", "wide.npz"], 3, "target 0 has 3 values, expected 10"),
    (["--metric", "mae", "--truth", "words.npz"], 3, "found target <U1[640], expected numbers"),
    (["--metric", "rmse", "--truth", "short.npz"], 3, "expected 640 rows, one a sample"),
    (["--metric", "rmse", "--truth", "absent.npz"], 3, "absent.npz cannot be read"),
    (["--metric", "map"], 3, "the truth has no 'boxes'"),
    (["--truth", "wide.npz"], 2, "found a truth (--truth) and no metric"),
    (["--metric", "f1", "--decode", "mine_beforehand:text"], 2, "which alone are decoded"),
    (["--metric", "f1", "--max-metric-drop", "top1=1"], 2, "found a bound for top1"),
    (["--max-metric-drop", "f1=1"], 2, "found a bound for f1"),
]


@pytest.mark.parametrize("command", [EVAL, DEPLOY], ids=["eval", "deploy"])
@pytest.mark.parametrize(("flags", "code", "said"), ASKED, ids=[" ".join(a[0]) for a in ASKED])
def test_metrics_and_their_truth(
    command: tuple[str, ...],
    flags: list[str],
    code: int,
    said: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, needed in (("map", "pycocotools"), ("wer", "jiwer"), ("f1", "sklearn")):
        if name in flags:
            pytest.importorskip(needed)
    assert run([*command, *flags]) == code
    told = capfd.readouterr().err
    assert said in told and "Traceback" not in told


def test_a_question_that_holds_does_reach_for_the_device() -> None:
    assert run([*EVAL, "--metric", "top2"]) == 4


@pytest.mark.parametrize("command", [EVAL, DEPLOY], ids=["eval", "deploy"])
def test_another_metric_than_the_projects_leaves_its_bound_out_and_says_so(
    command: tuple[str, ...], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "edgesdk.toml").write_text(
        'metrics = ["top2"]\n[gates]\nmax_metric_drop = { top2 = 1.0, top3 = 1.0 }\n'
    )
    assert run([*command, "--metric", "top3"]) == 4
    told = capfd.readouterr().err
    assert "the gate of the project file on top2 is left out: --metric takes the place" in told
    assert run([*command, "--metric", "top3", "--max-metric-drop", "1"]) == 4
    assert "is left out" not in capfd.readouterr().err
    assert run([*command]) == 2
    assert "found a bound for top3" in capfd.readouterr().err


def test_metrics_without_data_to_measure_them_on(capfd: pytest.CaptureFixture[str]) -> None:
    without = [each for each in DEPLOY if each not in ("--dataset", TEST)]
    assert run([*without, "--metric", "top1"]) == 2
    assert "found the metric top1 and no data to measure it on" in capfd.readouterr().err


def test_data_of_another_shape_than_the_model(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    np.savez(folder / "other.npz", image=np.zeros((5, 1, 9, 9), np.float32), label=np.zeros(5, int))
    with np.load(DIGITS / "digits.npz") as stored:
        name = next(k for k in stored.files if k.startswith("test/") and "label" not in k)
    np.savez(
        folder / "other.npz",
        **{name.partition("/")[2]: np.zeros((5, 9, 9), np.float32), "label": np.zeros(5, int)},
    )
    other = ["eval", "--device", "nobody", "--dataset", "other.npz", "--model", MODEL]
    assert run(other) == 3
    assert "expected [n, " in capfd.readouterr().err


@pytest.mark.parametrize(
    "command", [("bench", "--device", "nobody"), DEPLOY], ids=["bench", "deploy"]
)
@pytest.mark.parametrize(
    ("baseline", "said"),
    [("12", "found no run 12"), ("first", "found run 'first', expected its number")],
)
def test_a_baseline_that_is_not_there(
    command: tuple[str, ...], baseline: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--baseline", baseline]) == 3
    assert said in capfd.readouterr().err


def test_a_baseline_that_bench_cannot_be_held_against(capfd: pytest.CaptureFixture[str]) -> None:
    history().add(a_long_run())
    assert run(["bench", "--device", "nobody", "--baseline", "1"]) == 3
    assert "cannot be a baseline: it ran without a pause" in capfd.readouterr().err


@pytest.fixture(params=["as packaged", "otherwise", "none"])
def packaged(request: pytest.FixtureRequest, folder: Path) -> str:
    """A package of the model, and how it declares the pictures that the project has."""
    (folder / "edgesdk.toml").write_text('[preprocessing]\ncolor = "gray"\nlayout = "nchw"\n')
    for name in "ab":
        (folder / "pictures" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 9).save(folder / "pictures" / name / "1.png")
    same = Preprocessing(color="gray", layout="nchw")
    declared = {
        "as packaged": same.stages(Postprocessing()),
        "otherwise": dataclasses.replace(same, scale=0.5).stages(Postprocessing()),
        "none": None,
    }
    made = make_artifact(folder / "artifact")
    made = dataclasses.replace(made, inputs=(Port("image", (1, 1, 8, 8), "float32"),))
    where = folder / "p.edgepkg"
    build_package(
        *(made, folder / "artifact", where, Release(), Budget(), {}),
        signer=None,
        stages=declared[request.param],
    )
    return str(request.param)


def test_what_a_package_declares_of_pictures_before_it_is_sent(
    packaged: str, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("eval", "--device", "nobody", "--dataset", "pictures", "--model", MODEL)
    code = run([*command, "--package", "p.edgepkg", "--on-device-preprocessing"])
    told = capfd.readouterr().err
    words = {
        "as packaged": (4, "nothing listens on port 1"),
        "otherwise": (2, "declares the preprocessing"),
        "none": (2, "declares no preprocessing, which the device would need"),
    }
    assert code == words[packaged][0] and words[packaged][1] in told
