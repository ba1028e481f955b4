"""What an application gets from the guarded runner, with real runtimes and real failures."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent.fallbacks import counts
from device_agent.guard import FAILED_RUNS
from device_agent.guarded import CannotRun, GuardedModel, NoPackage
from device_agent.manifest import Band, Fallback, InputStatistics, Port
from tests.pythons import NEW, version_name
from tests.unit.device_agent.guarded_packages import (
    INPUT,
    MODEL_ADDS,
    ON_ALL,
    TWIN_ADDS,
    Device,
    adding,
    counting,
    golden,
)

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "examples" / "digits"
LIKE_INPUT = InputStatistics(
    "x", 20, Band(0.0, 10.0), Band(1.0, 5.0), Band(0.5, 2.0), Band(0.5, 2.0), 0.0
)
WITH_OOD = replace(ON_ALL, when=("load", "parity", "ood"), inputs=(LIKE_INPUT,))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "device")


@pytest.fixture
def contents(tmp_path: Path) -> dict[str, bytes]:
    """A sound package's files."""
    return {
        "model": adding(MODEL_ADDS, tmp_path),
        "float": adding(TWIN_ADDS, tmp_path),
        "golden": golden(MODEL_ADDS),
    }


def opened(device: Device, isolated: bool = False, **options: float) -> GuardedModel:
    return GuardedModel.open("adder", str(device.root), isolated=isolated, **options)  # type: ignore[arg-type]


def counted(device: Device, package_id: str) -> dict[str, int]:
    return counts(str(device.root), package_id)


# ---- a sound package -----------------------------------------------------------------------------


@pytest.mark.parametrize("isolated", [False, True], ids=["in process", "isolated"])
def test_a_sound_model_answers_itself_and_nothing_is_counted(
    device: Device, contents: dict[str, bytes], isolated: bool
) -> None:
    package_id = device.install(contents)
    with opened(device, isolated) as model:
        answer = model.run([INPUT])
        assert (answer.model, answer.reason, model.trouble) == ("model", "", None)
        assert answer.outputs[0].tolist() == (INPUT + MODEL_ADDS).tolist()
        assert model.parity is not None and model.parity.values == 8
    assert counted(device, package_id) == {}


def test_inputs_come_by_name_or_in_order(device: Device, contents: dict[str, bytes]) -> None:
    device.install(contents)
    with opened(device) as model:
        by_name, in_order = model.run({"x": INPUT}), model.run([INPUT])
    assert by_name.outputs[0].tolist() == in_order.outputs[0].tolist()


@pytest.mark.parametrize(
    "inputs", [[], [INPUT, INPUT], {"z": INPUT}, [INPUT[:, :3]], [[1, 2, 3, 4]]]
)
def test_inputs_that_do_not_fit_are_the_applications_error_and_no_fallback(
    device: Device, contents: dict[str, bytes], inputs: object
) -> None:
    package_id = device.install(contents)
    with opened(device) as model, pytest.raises(ValueError, match="expected"):
        model.run(inputs)  # type: ignore[arg-type]
    assert counted(device, package_id) == {}


def test_the_package_is_found_by_name_by_link_and_by_folder(
    device: Device, contents: dict[str, bytes]
) -> None:
    package_id = device.install(contents)
    for place in ("adder", f"{device.root}/models/adder", f"{device.root}/store/{package_id}"):
        with GuardedModel.open(place, str(device.root)) as model:
            assert model.package_id == package_id


def test_where_no_package_is_the_error_names_the_path(device: Device) -> None:
    with pytest.raises(NoPackage, match=r"models/adder leads to no package \(No such file"):
        opened(device)


def test_a_manifest_that_is_not_its_folders_is_refused(
    device: Device, contents: dict[str, bytes]
) -> None:
    package_id = device.install(contents)
    path = device.root / "store" / package_id / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"version":"1"', b'"version":"2"'))
    with pytest.raises(NoPackage, match="push the package again"):
        opened(device)


# ---- the model does not load ---------------------------------------------------------------------


@pytest.mark.parametrize("isolated", [False, True], ids=["in process", "isolated"])
def test_a_model_file_that_has_changed_on_disk_is_not_loaded(
    device: Device, contents: dict[str, bytes], isolated: bool
) -> None:
    package_id = device.install(contents)
    path = device.file(package_id, "model")
    path.write_bytes(adding(MODEL_ADDS + 1, device.root))
    with opened(device, isolated) as model:
        answer = model.run([INPUT])
        model.run([INPUT])
    assert (answer.model, answer.reason) == ("float", "load_failed")
    assert "model.bin is not as its manifest says" in answer.detail
    assert answer.outputs[0].tolist() == (INPUT + TWIN_ADDS).tolist()
    assert counted(device, package_id) == {"load_failed": 2}


@pytest.mark.parametrize("isolated", [False, True], ids=["in process", "isolated"])
def test_a_model_that_its_runtime_refuses_falls_back(
    device: Device, contents: dict[str, bytes], isolated: bool
) -> None:
    device.install({**contents, "model": b"no model at all"})
    with opened(device, isolated) as model:
        answer = model.run([INPUT])
    assert (answer.model, answer.reason) == ("float", "load_failed")
    assert "refuses the model" in answer.detail


def test_a_delegate_that_is_missing_falls_back_to_the_cpu(device: Device) -> None:
    package_id = install_for_edge_tpu(device)
    with GuardedModel.open("adder", str(device.root)) as model:
        answer = model.run([np.zeros((1, 1, 8, 8), np.float32)])
    assert (answer.model, answer.reason) == ("float", "load_failed")
    assert "libedgetpu.so.1" in answer.detail
    assert answer.outputs[0].shape == (1, 10)
    assert counted(device, package_id) == {"load_failed": 1}


CRASHING_DELEGATE = """
#include <stddef.h>
void *tflite_plugin_create_delegate(char **k, char **v, size_t n, void (*report)(const char *)) {
    *(volatile int *)0 = 1;
    return NULL;
}
void tflite_plugin_destroy_delegate(void *delegate) {}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler for a broken delegate")
def test_a_delegate_that_crashes_is_a_counted_fallback_and_not_the_applications_end(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "crashing.c"
    source.write_text(CRASHING_DELEGATE)
    library = tmp_path / "libedgetpu.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    package_id = install_for_edge_tpu(device)
    with GuardedModel.open("adder", str(device.root), isolated=True) as model:
        answer = model.run([np.zeros((1, 1, 8, 8), np.float32)])
    assert (answer.model, answer.reason) == ("float", "load_failed")
    assert "was ended by SIGSEGV" in answer.detail
    assert counted(device, package_id) == {"load_failed": 1}


def install_for_edge_tpu(device: Device) -> str:
    """A file that says it was compiled for an Edge TPU, and its float twin for the CPU."""
    twin = (DIGITS / "digits.tflite").read_bytes()
    return device.install(
        {"model": twin + b"edgetpu-custom-op", "float": twin},
        runtime="edgetpu",
        fallback=Fallback("float", "litert", ("load",)),
        inputs=(Port("serving_default_image", (1, 1, 8, 8), "float32"),),
        outputs=(Port("serving_default_logits_output", (1, 10), "float32"),),
    )


def test_without_a_rule_a_model_that_does_not_load_is_an_error(
    device: Device, contents: dict[str, bytes]
) -> None:
    device.install({**contents, "model": b"no model"}, fallback=None)
    with pytest.raises(CannotRun, match="the package has no fallback for that"):
        opened(device)


def test_a_rule_for_another_cause_does_not_count(
    device: Device, contents: dict[str, bytes]
) -> None:
    device.install({**contents, "model": b"no model"}, fallback=replace(ON_ALL, when=("parity",)))
    with pytest.raises(CannotRun, match="the package has no fallback for that"):
        opened(device)


def test_a_twin_that_has_changed_on_disk_is_not_run_either(
    device: Device, contents: dict[str, bytes]
) -> None:
    package_id = device.install({**contents, "model": b"no model"})
    device.file(package_id, "float").write_bytes(b"nor this")
    with pytest.raises(CannotRun, match=r"nor does the fallback load: .*float\.bin is not as"):
        opened(device)


# ---- parity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolated", [False, True], ids=["in process", "isolated"])
def test_golden_outputs_that_are_off_fall_back(
    device: Device, contents: dict[str, bytes], isolated: bool
) -> None:
    package_id = device.install({**contents, "golden": golden(MODEL_ADDS + 1)})
    with opened(device, isolated) as model:
        answer = model.run([INPUT])
    assert (answer.model, answer.reason) == ("float", "parity_failed")
    assert answer.detail.startswith("found 100 percent of the golden output values")
    assert counted(device, package_id) == {"parity_failed": 1}


def test_the_rule_bounds_how_many_may_be_off(device: Device, contents: dict[str, bytes]) -> None:
    lenient = replace(ON_ALL, max_parity_mismatch_percent=100.0)
    device.install({**contents, "golden": golden(MODEL_ADDS + 1)}, fallback=lenient)
    with opened(device) as model:
        assert model.run([INPUT]).model == "model"


def test_parity_is_not_asked_of_a_model_whose_rule_does_not_name_it(
    device: Device, contents: dict[str, bytes]
) -> None:
    device.install(
        {**contents, "golden": golden(MODEL_ADDS + 1)}, fallback=replace(ON_ALL, when=("load",))
    )
    with opened(device) as model:
        assert (model.run([INPUT]).model, model.parity) == ("model", None)


def test_golden_vectors_of_other_kernels_compare_nothing_and_condemn_nobody(
    device: Device, contents: dict[str, bytes]
) -> None:
    device.install({**contents, "golden": golden(MODEL_ADDS + 1, kernel="htp")})
    with opened(device) as model:
        assert model.parity is not None and model.parity.values == 0
        assert model.run([INPUT]).model == "model"


def test_golden_vectors_that_are_damaged_vouch_for_nothing(
    device: Device, contents: dict[str, bytes]
) -> None:
    package_id = device.install(contents)
    device.file(package_id, "golden").write_bytes(golden(TWIN_ADDS))
    with opened(device) as model:
        answer = model.run([INPUT])
    assert (answer.model, answer.reason) == ("float", "parity_failed")
    assert "golden.bin is not as its manifest says" in answer.detail


# ---- out of distribution -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([6.0, 5.0, 6.0, 7.0], "found mean 6, expected 1 to 5"),
        ([2.0, 2.0, 2.0, 2.0], "found deviation 0, expected 0.5 to 2"),
        ([1.0, 4.0, 1.0, 4.0], "found roughness 3, expected 0.5 to 2"),
        ([3.0, 1.0, 0.5, -0.5], "found 25 percent of its values outside of 0 to 10"),
        ([np.nan, 2.0, 3.0, 4.0], "found mean nan"),
        ([np.inf, 2.0, 3.0, 4.0], "found mean inf"),
    ],
    ids=["mean", "deviation", "roughness", "range", "NaN", "infinity"],
)
def test_an_odd_input_falls_back_and_the_answer_says_what_is_odd(
    device: Device, contents: dict[str, bytes], values: list[float], words: str
) -> None:
    package_id = device.install(contents, fallback=WITH_OOD)
    with opened(device) as model:
        answer = model.run([np.array([values], np.float32)])
        assert model.run([INPUT]).model == "model"
    assert (answer.model, answer.reason) == ("float", "out_of_distribution")
    assert answer.detail.startswith("x: " + words)
    assert counted(device, package_id) == {"out_of_distribution": 1}


def test_stored_values_are_looked_at_as_the_real_numbers_they_stand_for(
    device: Device, contents: dict[str, bytes]
) -> None:
    quantized = Port("x", (1, 4), "int8", 0.5, -3)
    device.install(contents, fallback=WITH_OOD, inputs=(quantized,))
    with opened(device) as model:
        # The file takes floats; the manifest's port makes 1 2 3 4 of these.
        like = model.run([np.array([[-1, 1, 3, 5]], np.int8)])
        odd = model.run([np.array([[101, 103, 105, 107]], np.int8)])
    assert like.model == "model"
    assert like.outputs[0].tolist() == (INPUT + MODEL_ADDS).tolist()
    assert (odd.model, odd.detail[:14]) == ("float", "x: found mean ")
    assert odd.outputs[0].tolist() == [[52 + TWIN_ADDS + step for step in range(4)]]


# ---- a run fails ---------------------------------------------------------------------------------


def test_a_worker_that_dies_is_a_counted_fallback_and_is_started_again(
    device: Device, contents: dict[str, bytes]
) -> None:
    package_id = device.install(contents)
    with opened(device, isolated=True) as model:
        assert model.run([INPUT]).model == "model"
        kill_worker(signal.SIGSEGV)
        answer = model.run([INPUT])
        assert (answer.model, answer.reason) == ("float", "run_failed")
        assert "was ended by SIGSEGV" in answer.detail
        assert answer.outputs[0].tolist() == (INPUT + TWIN_ADDS).tolist()
        assert model.run([INPUT]).model == "model"
    assert counted(device, package_id) == {"run_failed": 1}
    assert workers() == []


def test_a_run_that_hangs_is_ended_in_time(device: Device, tmp_path: Path) -> None:
    contents = {"model": counting(tmp_path), "float": adding(TWIN_ADDS, tmp_path)}
    device.install(contents, fallback=replace(ON_ALL, when=("load",)))
    with opened(device, isolated=True, max_run_s=1.0) as model:
        assert model.run([INPUT]).outputs[0].tolist() == (INPUT + 4).tolist()
        start = time.monotonic()
        answer = model.run([np.full((1, 4), 2.0**40, np.float32)])
        assert time.monotonic() - start < 20
    assert (answer.model, answer.reason) == ("float", "run_failed")
    assert answer.detail.endswith("it had run for more than 1 s")


def test_an_interrupted_run_leaves_no_answer_for_the_next_one(
    device: Device, tmp_path: Path
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    contents = {"model": counting(tmp_path), "float": adding(TWIN_ADDS, tmp_path)}
    device.install(contents, fallback=replace(ON_ALL, when=("load",)))
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with opened(device, isolated=True) as model:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(KeyboardInterrupt):
                model.run([np.full((1, 4), 2.0**40, np.float32)])
            answer = model.run([INPUT])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert answer.model == "model"
    assert answer.outputs[0].tolist() == (INPUT + 4).tolist()


def test_a_model_that_fails_run_after_run_is_given_up_until_it_is_reloaded(
    device: Device, contents: dict[str, bytes]
) -> None:
    package_id = device.install(contents)
    with opened(device, isolated=True) as model:
        for _ in range(FAILED_RUNS):
            assert model.trouble is None
            for pid in workers():
                os.kill(pid, signal.SIGKILL)
            device.file(package_id, "model").unlink(missing_ok=True)
            assert model.run([INPUT]).model == "float"
        assert model.trouble is not None and model.trouble.reason == "run_failed"
        assert model.run([INPUT]).model == "float"
        device.file(package_id, "model").write_bytes(contents["model"])
        assert model.run([INPUT]).model == "float"
        model.reload()
        assert model.run([INPUT]).model == "model"
    assert counted(device, package_id) == {"run_failed": FAILED_RUNS + 2}


def workers() -> list[int]:
    """Processes started by this one that run a model."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [
        int(pid) for pid in children if b"device_agent" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def kill_worker(number: int) -> None:
    (pid,) = workers()
    os.kill(pid, number)


# ---- another package becomes current -------------------------------------------------------------


def test_an_application_sees_the_change_and_changes_when_it_wants_to(
    device: Device, contents: dict[str, bytes], tmp_path: Path
) -> None:
    first = device.install(contents)
    with opened(device) as model:
        assert not model.changed()
        newer = {**contents, "model": adding(20.0, tmp_path), "golden": golden(20.0)}
        second = device.install(newer, version="2")
        assert model.changed() and model.package_id == first
        assert model.run([INPUT]).outputs[0].tolist() == (INPUT + MODEL_ADDS).tolist()
        model.reload()
        assert not model.changed() and model.package_id == second
        assert model.run([INPUT]).outputs[0].tolist() == (INPUT + 20.0).tolist()


def test_a_new_package_that_cannot_be_opened_leaves_the_old_one_at_work(
    device: Device, contents: dict[str, bytes]
) -> None:
    first = device.install(contents)
    with opened(device) as model:
        device.install({**contents, "model": b"no model"}, version="2", fallback=None)
        with pytest.raises(CannotRun):
            model.reload()
        assert model.package_id == first
        assert model.run([INPUT]).model == "model"


def test_a_link_that_is_gone_is_no_change(device: Device, contents: dict[str, bytes]) -> None:
    device.install(contents)
    with opened(device) as model:
        (device.root / "models" / "adder").unlink()
        assert not model.changed()
        assert model.run([INPUT]).model == "model"


def test_waiting_ends_with_the_change_or_when_the_time_is_up(
    device: Device, contents: dict[str, bytes]
) -> None:
    first = device.install(contents)
    device.install(contents, version="2")
    device.point(first)
    with opened(device) as model:
        assert not model.wait(timeout_s=0.05, every_s=0.01)
        threading.Timer(0.1, device.install, (contents,), {"version": "3"}).start()
        assert model.wait(timeout_s=30, every_s=0.01)


def test_watching_tells_of_each_package_once(device: Device, contents: dict[str, bytes]) -> None:
    first = device.install(contents)
    second = device.install(contents, version="2")
    device.point(first)
    with opened(device) as model:
        watched = model.watch(every_s=0.01)
        device.point(second)
        assert next(watched) == second
        threading.Timer(0.1, device.point, (first,)).start()
        assert next(watched) == first


# ---- older Pythons -------------------------------------------------------------------------------

WITHOUT_NUMPY = """
import sys
from device_agent.fallbacks import Counter, counts
from device_agent.guarded import CannotRun, GuardedModel
from device_agent.stable_path import StablePath
root = sys.argv[1]
place = StablePath("adder", root)
package = place.package()
assert place.current_id() == package.package_id
Counter(root, package.package_id).add("load_failed")
assert counts(root, package.package_id) == {"load_failed": 1}
for isolated in (False, True):
    try:
        GuardedModel.open("adder", root, isolated=isolated)
    except CannotRun as error:
        print(error)
"""


@pytest.mark.skipif(not NEW, reason="no pyenv with other Pythons")
@pytest.mark.parametrize("python", NEW, ids=version_name)
def test_without_numpy_all_but_running_works_and_the_error_says_what_is_missing(
    device: Device, contents: dict[str, bytes], python: Path
) -> None:
    device.install(contents)
    done = subprocess.run(
        [str(python), "-c", WITHOUT_NUMPY, str(device.root)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    in_process, isolated = done.stdout.splitlines()
    assert in_process == isolated
    assert "has no onnxruntime; nor does the fallback load" in in_process
