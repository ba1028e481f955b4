"""What an inspection says of boards whose files are planted, and of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from device_agent.board_files import mount_of, parse_cores, parse_mounts, read_storage
from device_agent.codec import from_dict, to_dict
from device_agent.inspection import (
    debian_packages,
    inspect,
    parse_edgetpu_runtime,
    parse_power_modes,
)
from device_agent.inspection_messages import (
    CoreKind,
    EdgeTpuLibrary,
    Inspection,
    Node,
    PythonFound,
    Qnn,
    Sensor,
    Unread,
)
from device_agent.system_tree import SystemTree
from tests.unit.device_agent import boards
from tests.unit.device_agent.old_pythons import name, pythons, said

ROOT = Path(__file__).parents[3]
RUNTIME_14 = "BuildLabel(COMPILER=6.3.0 20170516,DATE=redacted,TIME=redacted), RuntimeVersion(14)"


def inspection(plant: Callable[[Path], Path], root: Path, said: str = RUNTIME_14) -> Inspection:
    return inspect("/store", root=str(plant(root)), home="/home/pi", ask_edgetpu=lambda _: said)


def others(found: Inspection) -> list[PythonFound]:
    return [python for python in found.pythons if not python.own]


# ---- boards --------------------------------------------------------------------------------------


def test_a_raspberry_pi_5(tmp_path: Path) -> None:
    found = inspection(boards.raspberry_pi_5, tmp_path)
    assert found.cores == (CoreKind("Cortex-A76", 4, 2_400_000_000),)
    assert [(each.of, each.device, each.kind) for each in found.storage] == [
        ("system", "/dev/mmcblk0p2", "SD card"),
        ("store", "/dev/mmcblk0p2", "SD card"),
    ]
    assert found.sensors == (Sensor("cpu-thermal", 48.3),)
    assert found.swap_bytes == 524272 * 1024
    assert (found.jetpack, found.power_mode, found.edgetpu) == ("", "", None)
    assert found.unread == ()


def test_every_python_of_a_board_and_what_it_holds(tmp_path: Path) -> None:
    system, environment = others(inspection(boards.raspberry_pi_5, tmp_path))
    assert system == PythonFound("/usr/bin/python3", "3.11", {}, numpy="1.24.2")
    assert environment.path == "/home/pi/env/bin/python"
    assert (environment.version, environment.numpy) == ("3.11.2", "2.2.1")
    assert environment.runtimes == {"ai-edge-litert": "2.1.0"}


def test_pypis_pycoral_is_recognised_and_corals_is_not_mistaken_for_it(tmp_path: Path) -> None:
    _, environment = others(inspection(boards.raspberry_pi_5, tmp_path / "pi"))
    assert environment.impostors == ("pycoral 0.2.0",)
    (mendel,) = others(inspection(boards.coral_dev_board_mini, tmp_path / "mini"))
    assert mendel.impostors == ()
    assert mendel.runtimes == {"tflite-runtime": "2.5.0"}


def test_a_coral_dev_board_mini(tmp_path: Path) -> None:
    found = inspection(boards.coral_dev_board_mini, tmp_path)
    assert found.cores == (CoreKind("Cortex-A35", 4),)
    library = str(tmp_path / "usr/lib/aarch64-linux-gnu/libedgetpu.so.1")
    assert found.edgetpu == EdgeTpuLibrary(library, package="15.0", runtime=14)
    assert [(node.of, node.path) for node in found.nodes] == [("edgetpu", "/dev/bus/usb/001/003")]
    assert {each.kind for each in found.storage} == {"eMMC"}
    assert found.swap_bytes == 0


def test_a_jetson_with_jetpack_6(tmp_path: Path) -> None:
    found = inspection(boards.jetson_orin_nano, tmp_path)
    assert found.cores == (CoreKind("Cortex-A78AE", 6),)
    assert found.jetpack == "6.2"
    assert (found.power_mode, found.power_modes) == ("25W", ("15W", "25W", "MAXN_SUPER"))
    assert {each.kind for each in found.storage} == {"NVMe"}
    assert [(node.of, node.path) for node in found.nodes] == [("gpu", "/dev/nvmap")]
    assert found.opencl == (str(tmp_path / "usr/lib/aarch64-linux-gnu/libOpenCL.so.1"),)
    (system,) = others(found)
    assert (system.runtimes, system.numpy) == ({"tensorrt": "10.3.0"}, "1.21.5")


def test_a_snapdragon(tmp_path: Path) -> None:
    found = inspection(boards.snapdragon, tmp_path)
    assert found.cores == (
        CoreKind("Cortex-A55", 4, 1_958_400_000),
        CoreKind("Cortex-A78", 3, 2_400_000_000),
        CoreKind("Cortex-A78", 1, 2_707_200_000),
    )
    assert found.qnn == Qnn((str(tmp_path / "usr/lib/libQnnHtp.so"),), ("68", "73"))
    assert [(node.of, node.path) for node in found.nodes] == [("htp", "/dev/fastrpc-cdsp")]
    assert {each.kind for each in found.storage} == {"SSD"}


def test_a_bare_container(tmp_path: Path) -> None:
    found = inspection(boards.container, tmp_path)
    assert found.cores == (CoreKind("Intel(R) N100", 1),)
    assert found.musl
    assert [(each.filesystem, each.kind, each.read_only) for each in found.storage] == [
        ("overlay", "overlay", True)
    ] * 2
    assert (found.sensors, found.nodes, found.opencl) == ((), (), ())


# ---- what cannot be read -------------------------------------------------------------------------


def test_what_must_be_there_and_is_not_is_said(tmp_path: Path) -> None:
    found = inspection(lambda root: root, tmp_path)
    assert {(each.what, each.why) for each in found.unread} == {
        ("CPU cores", "there is no /proc/cpuinfo"),
        ("memory", "there is no /proc/meminfo"),
        ("storage", "there is no /proc/self/mountinfo"),
    }
    assert (found.cores, found.swap_bytes, found.storage) == ((), None, ())


def test_a_file_that_is_there_and_fails_is_said_with_the_reason(tmp_path: Path) -> None:
    boards.raspberry_pi_5(tmp_path)
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").unlink()
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").mkdir()
    found = inspection(lambda root: root, tmp_path)
    temp = "/sys/class/thermal/thermal_zone0/temp"
    assert found.unread == (Unread(temp, f"{temp}: Is a directory"),)
    assert found.sensors == (Sensor("cpu-thermal", None),)


def test_a_jetson_that_never_chose_a_power_mode(tmp_path: Path) -> None:
    boards.jetson_orin_nano(tmp_path)
    (tmp_path / "var/lib/nvpmodel/status").unlink()
    found = inspection(lambda root: root, tmp_path)
    assert found.power_mode == ""
    assert Unread("power mode", "there is no /var/lib/nvpmodel/status") in found.unread


def test_a_full_disk_that_does_not_answer(tmp_path: Path) -> None:
    def refuse(path: str) -> os.statvfs_result:
        raise OSError(5, "Input/output error")

    tree = SystemTree(str(boards.raspberry_pi_5(tmp_path)))
    system, _ = read_storage(tree, "/store", refuse)
    assert (system.total_bytes, system.free_bytes) == (None, None)
    assert tree.unread == (Unread("storage of /", "Input/output error"),)


@pytest.mark.skipif(os.getuid() != 0, reason="needs somebody else to be")
def test_a_device_file_of_others_is_not_usable() -> None:
    """Not below pytest's own folder, which nobody else may enter."""
    program = (
        "import os, sys, json\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "from device_agent.board_files import read_nodes\n"
        "from device_agent.system_tree import SystemTree\n"
        "from device_agent.codec import to_dict\n"
        "print(json.dumps([to_dict(node) for node in read_nodes(SystemTree(sys.argv[1]))]))\n"
    )
    folder = Path(f"/tmp/edgesdk-nodes-{os.getpid()}")
    try:
        boards.plant(folder, {"dev/apex_0": "", "dev/fastrpc-cdsp": ""})
        (folder / "dev/apex_0").chmod(0o660)
        (folder / "dev/fastrpc-cdsp").chmod(0o666)
        # Imported before the identity changes: the checkout may be closed to others, too.
        program = program.replace("os.setgroups", "import device_agent.board_files; os.setgroups")
        done = subprocess.run(
            [sys.executable, "-c", program, folder], capture_output=True, text=True, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        nodes = [from_dict(Node, each) for each in json.loads(done.stdout)]
        assert nodes == [
            Node("edgetpu", "/dev/apex_0", False, "root"),
            Node("htp", "/dev/fastrpc-cdsp", True, "root"),
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ---- libedgetpu ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (RUNTIME_14, 14),
        ("BuildLabel(N/A), RuntimeVersion(13)", 13),
        ("something else", None),
        ("", None),
    ],
)
def test_runtime_versions(text: str, version: int | None) -> None:
    assert parse_edgetpu_runtime(text) == version


def compiled(folder: Path, source: str) -> str:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    (folder / "library.c").write_text(source)
    library = folder / "usr/lib/libedgetpu.so.1"
    library.parent.mkdir(parents=True)
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(folder / "library.c")]
    subprocess.run(command, check=True)
    return str(folder)


def test_the_library_itself_is_asked_for_its_runtime_version(tmp_path: Path) -> None:
    root = compiled(tmp_path, f'const char *edgetpu_version(void) {{ return "{RUNTIME_14}"; }}')
    found = inspect("/store", root=root, home="/root")
    assert found.edgetpu is not None
    assert found.edgetpu.runtime == 14


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("int other(void) { return 1; }", "undefined symbol"),
        ("const char *edgetpu_version(void) { return *(const char **)8; }", "exit status -11"),
    ],
    ids=["another library", "one that crashes"],
)
def test_a_library_that_cannot_say_it(tmp_path: Path, source: str, why: str) -> None:
    root = compiled(tmp_path, source)
    found = inspect("/store", root=root, home="/root")
    assert found.edgetpu is not None
    assert found.edgetpu.runtime is None
    assert (
        why
        in {each.what: each.why for each in found.unread}[
            f"runtime version of {found.edgetpu.path}"
        ]
    )


# ---- parsing -------------------------------------------------------------------------------------


def test_mounts_the_longest_wins_and_of_two_the_last() -> None:
    mounts = parse_mounts(
        "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "2 1 0:5 / /home/my\\040data rw - tmpfs tmpfs rw,size=1024k\n"
        "3 1 8:2 / /home ro - ext4 /dev/sda2 rw\n"
        "4 1 8:3 / /home rw - xfs /dev/sda3 rw\n"
        "garbage\n"
    )
    assert [mount.path for mount in mounts] == ["/", "/home/my data", "/home", "/home"]
    for path, device in (
        ("/", "/dev/sda1"),
        ("/homely", "/dev/sda1"),
        ("/home/a", "/dev/sda3"),
        ("/home/my data/x", "tmpfs"),
    ):
        mount = mount_of(path, mounts)
        assert mount is not None
        assert mount.device == device
    assert mount_of("/", []) is None


def test_cores_of_kinds_that_nobody_names() -> None:
    assert parse_cores("processor : 0\nhart : 1\nuarch : sifive,u74-mc\n") == [(0, "sifive,u74-mc")]
    assert parse_cores("processor : 0\nhart : 1\n\nprocessor : 1\n") == [(0, ""), (1, "")]
    assert parse_cores("") == []


def test_power_modes() -> None:
    assert parse_power_modes("< POWER_MODEL ID=0 NAME=MAXN >\n<POWER_MODEL ID=3 NAME=30W >\n") == {
        0: "MAXN",
        3: "30W",
    }
    assert parse_power_modes("< PARAM TYPE=FILE NAME=CPU_ONLINE >\n") == {}


def test_debian_packages_that_are_installed_only() -> None:
    text = "Package: a\nStatus: install ok installed\nVersion: 1.0-2\n\nPackage: b\n"
    assert debian_packages(text + "Status: deinstall ok config-files\nVersion: 2\n") == {
        "a": "1.0-2"
    }
    assert debian_packages("") == {}


# ---- this machine, and old Pythons ---------------------------------------------------------------


def test_this_machine(tmp_path: Path) -> None:
    found = inspect(str(tmp_path))
    own = found.pythons[0]
    assert own.own
    assert own.path == sys.executable
    assert own.numpy
    assert sum(kind.count for kind in found.cores) >= 1
    assert found.storage[1].total_bytes
    assert from_dict(Inspection, json.loads(json.dumps(to_dict(found)))) == found


def test_pycoral_of_the_agents_own_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boards.plant(tmp_path, {"pycoral-0.2.0.dist-info/": "", "pycoral/cli.py": ""})
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert inspect("/store").pythons[0].impostors == ("pycoral 0.2.0",)


@pytest.mark.parametrize("python", pythons(), ids=name)
def test_on_every_python_that_the_agent_runs_on(python: Path, tmp_path: Path) -> None:
    for board, make in boards.BOARDS.items():
        make(tmp_path / board)
    program = (
        "import json, sys\n"
        "from device_agent.inspection import inspect\n"
        "from device_agent.codec import to_dict\n"
        "for root in sys.stdin.read().split():\n"
        "    found = inspect('/store', root=root, home='/home/pi', ask_edgetpu=lambda _: '')\n"
        "    print(json.dumps(to_dict(found)))\n"
    )
    roots = "\n".join(str(tmp_path / board) for board in boards.BOARDS)
    lines = said(python, program, roots).splitlines()
    for board, line in zip(boards.BOARDS, lines, strict=True):
        there = from_dict(Inspection, json.loads(line))
        here = inspect(
            "/store", root=str(tmp_path / board), home="/home/pi", ask_edgetpu=lambda _: ""
        )
        for field in ("cores", "nodes", "qnn", "edgetpu", "jetpack", "sensors", "unread"):
            assert getattr(there, field) == getattr(here, field), (board, field)
        assert [each.kind for each in there.storage] == [each.kind for each in here.storage]
        assert others(there) == others(here)


def test_nothing_of_it_is_imported_before_it_is_asked_for() -> None:
    program = (
        "import sys\nimport device_agent.session, device_agent.program\n"
        "names = ('inspection', 'inspection_messages', 'board_files', 'python_files')\n"
        "print([name for name in names if 'device_agent.' + name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
