"""What the doctor says of boards that are as they should be, and of boards that are not."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from device_agent.environment_messages import Accelerators, RuntimeVersion
from device_agent.inspection_messages import (
    CoreKind,
    EdgeTpuLibrary,
    Node,
    PythonFound,
    Qnn,
    Sensor,
    Storage,
)
from device_agent.manifest import Compatibility, Lock
from tests.unit.doctor.examined_boards import GIB, TARGETS, built, changed, examined, findings

MIB = 2**20
PI = "raspberry-pi-5"
MINI = "coral-dev-board-mini"
NANO = "jetson-orin-nano"
DRAGON = "snapdragon"


@pytest.mark.parametrize("board", TARGETS)
def test_nothing_is_wrong_with_a_board_that_is_as_it_should_be(board: str, tmp_path: Path) -> None:
    assert findings(examined(board, tmp_path), TARGETS[board], built(board)) == {}


def only(found: dict[str, Any], id_: str, severity: str) -> Any:
    """The one finding there is."""
    assert list(found) == [id_]
    assert found[id_].severity == severity
    return found[id_]


# ---- a board that is not what its descriptor says ------------------------------------------------


def test_a_board_that_is_not_what_its_descriptor_says(tmp_path: Path) -> None:
    pi_4 = examined(
        PI,
        tmp_path,
        cores=(CoreKind("Cortex-A72", 4, 1_800_000_000),),
        board="Raspberry Pi 4 Model B Rev 1.5",
    )
    found = findings(pi_4, PI)
    assert found["cores"].severity == "error"
    assert found["cores"].says == (
        "bench-3 is not what its descriptor says: it has 4x Cortex-A72, and raspberry-pi-5 has "
        "4x Cortex-A76"
    )
    assert "edgesdk device add ... --target ID --replace" in found["cores"].remedy
    assert found["board"].severity == "warning"
    assert found["board"].says == (
        "bench-3 calls itself Raspberry Pi 4 Model B Rev 1.5, and is enrolled as raspberry-pi-5"
    )


def test_another_architecture_is_all_that_is_said_of_the_hardware(tmp_path: Path) -> None:
    found = findings(examined(PI, tmp_path, machine="x86_64"), PI)
    only(found, "architecture", "error")
    assert found["architecture"].found == "x86_64"


def test_a_32_bit_system_on_a_64_bit_kernel(tmp_path: Path) -> None:
    told = only(findings(examined(PI, tmp_path, pointer_bits=32), PI), "userland", "error")
    assert (told.found, told.expected) == ("32-bit Python", "64-bit Python")


def test_cores_that_are_off(tmp_path: Path) -> None:
    nano = examined(NANO, tmp_path, cores=(CoreKind("Cortex-A78AE", 4),))
    told = only(findings(nano, TARGETS[NANO]), "cores-off", "warning")
    assert (told.found, told.expected) == ("4x Cortex-A78AE", "6x Cortex-A78AE")


def test_cores_that_the_kernel_does_not_name_are_not_compared(tmp_path: Path) -> None:
    unnamed = (CoreKind("implementer 0x51 part 0x804", 8),)
    told = only(findings(examined(PI, tmp_path, cores=unnamed), PI), "not-compared", "note")
    assert told.says.startswith("bench-3 does not tell its cores, so that was not compared with")


def test_a_board_that_tells_nothing_of_itself_is_not_said_to_fit(tmp_path: Path) -> None:
    silent = examined(PI, tmp_path, cores=(), board=None, memory_total_bytes=None)
    told = only(findings(silent, PI), "not-compared", "note")
    assert told.expected == f"the name and cores and memory of {PI}"


def test_less_memory_than_any_board_of_the_kind_is_sold_with(tmp_path: Path) -> None:
    told = findings(examined(PI, tmp_path, memory_total_bytes=500 * MIB), PI)["memory"]
    assert (told.severity, told.found, told.expected) == ("warning", "500 MiB", "at least 1.00 GiB")
    assert "memory" not in findings(examined(PI, tmp_path / "b", memory_total_bytes=GIB), PI)


def test_of_a_virtual_device_the_hardware_is_this_machines(tmp_path: Path) -> None:
    virtual = examined(
        PI, tmp_path, virtual=True, cores=(CoreKind("Cortex-A72", 1),), board=None, sensors=()
    )
    assert findings(virtual, PI) == {}


# ---- runtimes ------------------------------------------------------------------------------------


def test_no_runtime(tmp_path: Path) -> None:
    found = examined(PI, tmp_path, runtimes=(), pythons=())
    told = only(findings(found, PI, built(PI)), "runtime", "error")
    assert (told.found, told.expected) == ("no runtime", "litert 1.0 or onnxruntime 1.18 or newer")
    assert "pip install 'ai-edge-litert>=1.0'" in told.remedy


def test_a_runtime_that_another_python_has_is_pointed_at(tmp_path: Path) -> None:
    environment = PythonFound("/home/pi/env/bin/python", "3.11.2", {"onnxruntime": "1.20.0"})
    old = PythonFound("/usr/bin/python3", "3.11", {"onnxruntime": "1.2.0"})
    found = examined(PI, tmp_path, runtimes=(), pythons=(old, environment))
    told = only(findings(found, PI), "runtime", "error")
    assert told.remedy == (
        "/home/pi/env/bin/python has it: edgesdk device add bench-3 ... --python "
        "/home/pi/env/bin/python --replace"
    )


def test_a_runtime_without_numpy(tmp_path: Path) -> None:
    own = PythonFound("/usr/bin/python3", "3.11.2", {"ai-edge-litert": "2.1.0"}, own=True)
    told = only(findings(examined(PI, tmp_path, pythons=(own,)), PI), "numpy", "error")
    assert "/usr/bin/python3" in told.remedy
    elsewhere = replace(own, runtimes={})
    assert findings(examined(PI, tmp_path / "b", pythons=(elsewhere,)), PI) == {}


def test_the_litert_that_does_not_use_xnnpack(tmp_path: Path) -> None:
    runtimes = (RuntimeVersion("litert", "tflite-runtime", "2.14.0"),)
    slow = examined(PI, tmp_path, runtimes=runtimes)
    only(findings(slow, PI), "slow-runtime", "note")
    made = built(PI, lock=Lock(kernels=("xnnpack",)))
    told = findings(slow, PI, made)["golden-kernels"]
    assert (told.severity, told.found, told.expected) == ("warning", "builtin", "xnnpack")


def test_an_agents_python_that_its_target_finds_too_old(tmp_path: Path) -> None:
    told = findings(examined(PI, tmp_path, python="3.6.9"), PI)["python"]
    assert (told.severity, told.expected) == ("error", "Python 3.7 or newer")


def test_pypis_pycoral(tmp_path: Path) -> None:
    impostor = PythonFound(
        "/usr/bin/python3", "3.9", {}, numpy="1.26.4", impostors=("pycoral 0.2.0",), own=True
    )
    found = examined(MINI, tmp_path, pythons=(impostor,))
    told = only(findings(found, TARGETS[MINI]), "impostor-pycoral", "warning")
    assert told.says == (
        "the pycoral that /usr/bin/python3 on bench-3 has is an unrelated program for the Allen "
        "Coral Atlas, not the Edge TPU's"
    )
    assert told.remedy.startswith("pip uninstall pycoral")


# ---- Edge TPU ------------------------------------------------------------------------------------


def test_no_edge_tpu(tmp_path: Path) -> None:
    found = examined(MINI, tmp_path, accelerators=Accelerators(), nodes=())
    only(findings(found, TARGETS[MINI]), "edgetpu", "error")


def test_an_edge_tpu_without_a_device_file(tmp_path: Path) -> None:
    only(findings(examined(MINI, tmp_path, nodes=()), TARGETS[MINI]), "edgetpu-node", "error")


def test_no_libedgetpu(tmp_path: Path) -> None:
    told = only(
        findings(examined(MINI, tmp_path, edgetpu=None), TARGETS[MINI]), "libedgetpu", "error"
    )
    assert "libedgetpu1-std" in told.remedy


@pytest.mark.parametrize(
    ("group", "remedy"),
    [
        ("plugdev", "sudo usermod -aG plugdev pi there, and log in anew"),
        ("root", "give it a group with a udev rule"),
    ],
)
def test_an_edge_tpu_that_the_user_may_not_use(tmp_path: Path, group: str, remedy: str) -> None:
    nodes = (Node("edgetpu", "/dev/bus/usb/001/003", False, group),)
    found = examined(MINI, tmp_path, nodes=nodes, groups=("pi",))
    told = only(findings(found, TARGETS[MINI]), "edgetpu-permission", "error")
    assert told.says == "pi may not use /dev/bus/usb/001/003 on bench-3"
    assert remedy in told.remedy


def test_one_of_two_edge_tpus_is_enough(tmp_path: Path) -> None:
    nodes = (
        Node("edgetpu", "/dev/apex_0", False, "apex"),
        Node("edgetpu", "/dev/apex_1", True, "x"),
    )
    assert findings(examined(MINI, tmp_path, nodes=nodes), TARGETS[MINI]) == {}


def test_a_model_compiled_for_a_newer_edge_tpu_runtime(tmp_path: Path) -> None:
    made = built(MINI, lock=Lock(("builtin",), "edgetpu_compiler", "16.0", edgetpu_runtime=14))
    old = EdgeTpuLibrary("/usr/lib/libedgetpu.so.1", "13.0", 13)
    found = examined(MINI, tmp_path, edgetpu=old)
    told = only(findings(found, TARGETS[MINI], made), "package-edgetpu-runtime", "error")
    assert (told.found, told.expected) == ("13", "14 or newer")
    unknown = changed(found, edgetpu=replace(old, runtime=None))
    only(findings(unknown, TARGETS[MINI], made), "libedgetpu-untold", "note")


def test_a_model_that_was_not_compiled(tmp_path: Path) -> None:
    made = built(MINI, provenance={"compilation": "not compiled"})
    only(findings(examined(MINI, tmp_path), TARGETS[MINI], made), "package-not-compiled", "warning")


# ---- Hexagon -------------------------------------------------------------------------------------


def test_another_snapdragon(tmp_path: Path) -> None:
    other = Accelerators(soc="Snapdragon, SM8650, 557")
    told = findings(examined(DRAGON, tmp_path, accelerators=other), TARGETS[DRAGON])["soc"]
    assert told.severity == "error"
    assert told.says == (
        "bench-3 is not what its descriptor says: its chip is Snapdragon, SM8650, 557, and qcs6490 "
        "has Qualcomm QCS6490"
    )


def test_no_libraries_for_any_hexagon(tmp_path: Path) -> None:
    bare = examined(DRAGON, tmp_path, qnn=Qnn((), ()))
    only(findings(bare, TARGETS[DRAGON], built(DRAGON)), "qnn-libraries", "warning")


def test_libraries_for_another_hexagon(tmp_path: Path) -> None:
    found = examined(DRAGON, tmp_path, qnn=Qnn(("/usr/lib/libQnnHtp.so",), ("73", "75")))
    told = only(findings(found, TARGETS[DRAGON]), "qnn-arch", "error")
    assert told.expected == "libQnnHtpV68Stub.so"


@pytest.mark.parametrize(
    ("nodes", "id_"),
    [
        ((), "htp-node"),
        ((Node("htp", "/dev/fastrpc-cdsp", False, "fastrpc"),), "htp-permission"),
    ],
)
def test_a_hexagon_that_cannot_be_reached(tmp_path: Path, nodes: Any, id_: str) -> None:
    only(findings(examined(DRAGON, tmp_path, nodes=nodes), TARGETS[DRAGON]), id_, "error")


def test_a_model_compiled_by_a_newer_qairt_or_for_another_hexagon(tmp_path: Path) -> None:
    lock = Lock(("cpu",), "onnxruntime-qnn", "2.9.0", htp_arch=68, htp_soc_model=93)
    found = examined(DRAGON, tmp_path)
    told = only(
        findings(found, TARGETS[DRAGON], built(DRAGON, lock=lock)), "package-qnn-version", "error"
    )
    assert (told.found, told.expected) == ("onnxruntime-qnn 2.7.0", "2.9.0 or newer")
    other = replace(lock, compiler_version="2.7.0", htp_arch=73)
    only(findings(found, TARGETS[DRAGON], built(DRAGON, lock=other)), "package-htp-arch", "error")


# ---- Jetson --------------------------------------------------------------------------------------


def test_another_jetpack(tmp_path: Path) -> None:
    told = only(
        findings(examined(NANO, tmp_path, jetpack="6.1"), TARGETS[NANO]), "jetpack", "warning"
    )
    assert told.says == (
        "bench-3 has JetPack 6.1 (L4T 36.4.3), and jetson-orin-nano@jp6.2 is JetPack 6.2"
    )


@pytest.mark.parametrize(("l4t", "differs"), [("35.6.4", True), ("36.4.4", False)])
def test_a_jetson_without_the_jetpack_package_is_judged_by_its_l4t(
    tmp_path: Path, l4t: str, differs: bool
) -> None:
    accelerators = Accelerators(l4t=l4t, cuda="12.6", tensorrt="10.3.0")
    found = examined(NANO, tmp_path, jetpack="", accelerators=accelerators)
    assert ("jetpack" in findings(found, TARGETS[NANO])) is differs


def test_another_tensorrt_than_the_package_was_made_for(tmp_path: Path) -> None:
    accelerators = Accelerators(l4t="36.4.3", cuda="12.6", tensorrt="8.6.2")
    found = examined(NANO, tmp_path, accelerators=accelerators)
    lock = Lock(("cpu",), tensorrt="10.3", jetpack="6.2")
    told = findings(found, TARGETS[NANO], built(NANO, lock=lock))
    assert set(told) == {"tensorrt-version", "package-tensorrt"}
    assert told["package-tensorrt"].expected == "10.3"


def test_no_jetson(tmp_path: Path) -> None:
    found = examined(NANO, tmp_path, accelerators=Accelerators())
    only(findings(found, TARGETS[NANO]), "jetson", "error")


# ---- packages ------------------------------------------------------------------------------------


def test_a_package_for_another_target(tmp_path: Path) -> None:
    made = built(PI, compatibility=Compatibility("rock-5b", ("aarch64",), "litert", "1.0"))
    told = only(findings(examined(PI, tmp_path), PI, made), "package-target", "warning")
    assert (told.found, told.expected) == (PI, "rock-5b")


def test_a_package_for_another_architecture_or_board(tmp_path: Path) -> None:
    made = built(
        PI, compatibility=Compatibility(PI, ("x86_64",), "litert", "1.0", ("Rock 5B", "Rock 5A"))
    )
    told = findings(examined(PI, tmp_path), PI, made)
    assert {each: told[each].severity for each in told} == {
        "package-architecture": "error",
        "package-board": "error",
    }
    assert told["package-board"].expected == "Rock 5B or Rock 5A"


def test_a_package_whose_runtime_is_not_there_or_too_old(tmp_path: Path) -> None:
    made = built(PI, compatibility=Compatibility(PI, ("aarch64",), "onnxruntime", "1.18"))
    only(findings(examined(PI, tmp_path), PI, made), "package-runtime", "error")
    newer = built(PI, compatibility=Compatibility(PI, ("aarch64",), "litert", "9.0"))
    told = only(findings(examined(PI, tmp_path / "2"), PI, newer), "package-runtime", "error")
    assert told.found == "ai-edge-litert 2.1.0"


def test_a_runtime_older_than_the_one_that_made_the_golden_outputs(tmp_path: Path) -> None:
    made = built(PI, provenance={"toolchain.ai-edge-litert": "2.3.0"})
    told = only(findings(examined(PI, tmp_path), PI, made), "runtime-older", "note")
    assert (told.found, told.expected) == ("ai-edge-litert 2.1.0", "ai-edge-litert 2.3.0")


def test_a_package_that_does_not_fit_on_the_disk_or_into_memory(tmp_path: Path) -> None:
    made = built(PI, installed_bytes=20 * GIB, peak_ram_bytes=4 * GIB)
    found = examined(PI, tmp_path)
    told = findings(found, PI, made)
    assert (told["package-room"].severity, told["package-memory"].severity) == ("error", "warning")
    there = changed(found, package=made)
    assert "package-room" not in findings(there, PI, made), "it is there already"


# ---- the state it is in --------------------------------------------------------------------------

SMALL = Storage("system", "/", "/dev/mmcblk0p2", "SD card", "ext4", 8 * GIB, 100 * MIB, False)


@pytest.mark.parametrize(
    ("changes", "id_", "severity", "found"),
    [
        ({"clock_ahead_s": -86400.0 * 20000}, "clock", "warning", "-1728000000 s"),
        ({"clock_ahead_s": 3700.0}, "clock", "warning", "+3700 s"),
        ({"storage": (SMALL,)}, "disk", "warning", "100 MiB"),
        ({"governor": "powersave"}, "governor", "warning", "powersave"),
        ({"governor": "conservative,schedutil"}, "governor", "warning", "conservative"),
        ({"host_key_type": "ssh-rsa"}, "host-key", "note", "ssh-rsa"),
        ({"musl": True, "libc": ""}, "libc", "warning", "musl"),
        ({"sensors": ()}, "sensors", "note", "no sensor"),
        (
            {"sensors": (Sensor("gpu", 85.0), Sensor("cpu", 91.0))},
            "heat",
            "warning",
            "91 degrees Celsius",
        ),
        ({"store_problem": "/home/pi: Read-only"}, "store", "error", "/home/pi: Read-only"),
        (
            {"storage": (replace(SMALL, of="store", kind="memory", free_bytes=GIB),)},
            "store-in-memory",
            "warning",
            "ext4",
        ),
        (
            {"storage": (replace(SMALL, read_only=True),)},
            "read-only",
            "note",
            "read-only",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_states(
    changes: dict[str, Any], id_: str, severity: str, found: str, tmp_path: Path
) -> None:
    told = only(findings(examined(PI, tmp_path, **changes), PI), id_, severity)
    assert told.found == found
    assert "bench-3" in told.says


def test_a_package_that_was_asked_for_and_is_not_there_is_an_error(tmp_path: Path) -> None:
    told = only(findings(examined(PI, tmp_path, asked="nope"), PI), "package-missing", "error")
    assert told.says == "no package 'nope' is installed on bench-3"


def test_an_installed_package_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    damaged = {"package_problem": "state.json is damaged", "package_code": "storage"}
    for package in (None, built(PI)):
        board = examined(PI, tmp_path / str(package is None), **damaged)
        told = only(findings(board, PI, package), "package-damaged", "error")
        assert "state.json is damaged" in told.says


def test_a_clock_in_words(tmp_path: Path) -> None:
    told = findings(examined(PI, tmp_path, clock_ahead_s=-86400.0 * 400), PI)["clock"]
    assert told.says.startswith("the clock of bench-3 is 400 days behind this machine's")
    assert findings(examined(PI, tmp_path / "b", clock_ahead_s=30.0), PI) == {}


def test_little_memory_and_no_swap(tmp_path: Path) -> None:
    little = {"memory_total_bytes": 900 * MIB, "swap_bytes": 0}
    assert findings(examined(PI, tmp_path, **little), PI)["swap"].severity == "note"
    assert findings(examined(PI, tmp_path / "b", **{**little, "swap_bytes": GIB}), PI) == {}


def test_governors_that_follow_the_load_are_no_finding(tmp_path: Path) -> None:
    assert findings(examined(PI, tmp_path, governor="ondemand"), PI) == {}
    assert findings(examined(PI, tmp_path / "b", governor=None), PI) == {}


def test_errors_come_first(tmp_path: Path) -> None:
    found = examined(
        PI, tmp_path, sensors=(), governor="powersave", store_problem="it is read-only"
    )
    told = findings(found, PI)
    assert [each.severity for each in told.values()] == ["error", "warning", "note"]


def test_every_finding_is_in_the_documentation() -> None:
    root = Path(__file__).parents[3]
    page = (root / "docs" / "devices.md").read_text()
    ids = set()
    for path in (root / "edgesdk" / "doctor").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(ast.Name("Finding"), [ast.Constant(id_), *_]):
                    ids.add(str(id_))
    assert len(ids) > 30
    assert {each for each in ids if f"`{each}`" not in page} == set()
