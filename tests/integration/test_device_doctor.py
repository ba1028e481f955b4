"""device ls, show and doctor over real SSH, as a user runs them."""

from __future__ import annotations

import json
import os
import platform
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from device_agent.manifest import Compatibility, Lock
from edgesdk.devices.inventory import Device
from edgesdk.devices.virtual import VirtualDevice
from tests.cli import CALIBRATION, DIGITS, Cli, this_machine
from tests.pythons import OLD, version_name
from tests.sealed import seal

TARGET = this_machine()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def device(cli: Cli, virtual_device: VirtualDevice) -> Iterator[VirtualDevice]:
    cli.enrol(virtual_device.as_device("bench", TARGET))
    yield virtual_device


def ids(document: Any) -> dict[str, str]:
    return {each["id"]: each["severity"] for each in document["findings"]}


def test_a_device_that_fits(cli: Cli, device: VirtualDevice) -> None:
    before = device.logins
    done = cli("device", "doctor", "bench")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == (
        "ok: bench (virtual: its hardware was not compared) can do what its target "
        f"{TARGET} asks (1 note)"
    )
    assert device.logins == before + 1, "one visit"


def test_its_json_has_everything_it_rests_on(cli: Cli, device: VirtualDevice) -> None:
    told = cli("device", "doctor", "bench", "--json").json
    assert list(told) == [
        *("device", "target", "package", "virtual", "able", "findings"),
        *("environment", "inspection"),
    ]
    assert (told["device"], told["target"], told["package"]) == ("bench", TARGET, "")
    assert told["able"] is True
    (finding,) = told["findings"]
    assert list(finding) == ["id", "severity", "says", "found", "expected", "remedy"]
    assert finding["id"] == "package"
    own = told["inspection"]["pythons"][0]
    assert own["own"] is True
    assert own["version"] == platform.python_version()


def test_a_board_that_is_not_what_its_descriptor_says_is_exit_code_4(
    cli: Cli, virtual_device: VirtualDevice
) -> None:
    other = "raspberry-pi-5" if TARGET == "generic-x86-64" else "intel-n100"
    cli.enrol(virtual_device.as_device("bench", other))
    done = cli("device", "doctor", "bench", "--json")
    assert done.code == 4
    assert done.json["able"] is False
    assert ids(done.json)["architecture"] == "error"
    text = cli("device", "doctor", "bench")
    assert text.code == 4
    assert "error: bench is not what its descriptor says: it is " in text.out
    assert f"cannot do what its target {other} asks: 1 error" in text.out


def test_an_installed_package_is_compared_by_what_it_was_made_with(
    cli: Cli, device: VirtualDevice
) -> None:
    """The whole line: converted, packaged, pushed, and compared by the lock it carries."""
    converted = cli(
        *("convert", DIGITS / "digits.onnx", "-t", TARGET, "--calibration", CALIBRATION),
        *("-o", "out/artifact"),
    )
    assert converted.code == 0, converted.err
    assert cli("package", "out/artifact", "-o", "out/digits.edgepkg", "--unsigned").code == 0
    lock = cli("inspect", "out/digits.edgepkg", "--json").json["head"]["manifest"]["lock"]
    assert lock["kernels"] == ["cpu"]
    assert (lock["compiler"], lock["edgetpu_runtime"], lock["tensorrt"]) == ("", None, "")
    pushed = cli("push", "out/digits.edgepkg", "--device", "bench", "--allow-unsigned")
    assert pushed.code == 0, pushed.err
    told = cli("device", "doctor", "bench", "--json")
    assert told.code == 0
    assert told.json["package"] == "digits 0.1.0"
    assert told.json["findings"] == []
    assert told.json["inspection"]["package"]["lock"] == lock
    (manifest,) = (device.home / ".edgesdk" / "store").glob("*/manifest.json")
    manifest.write_text("{")
    told = cli("device", "doctor", "bench", "--json")
    assert told.code == 4
    assert ids(told.json) == {"package-damaged": "error"}


def test_a_package_that_is_not_installed_is_exit_code_4(cli: Cli, device: VirtualDevice) -> None:
    told = cli("device", "doctor", "bench", "--installed", "nope", "--json")
    assert told.code == 4
    assert ids(told.json)["package-missing"] == "error"
    assert told.json["able"] is False


def test_one_package_is_compared_at_a_time(cli: Cli, device: VirtualDevice) -> None:
    before = device.logins
    done = cli("device", "doctor", "bench", "--installed", "a", "--package", "b.edgepkg")
    assert done.code == 2, done.err
    assert "one package at a time" in done.err
    assert device.logins == before


def test_a_package_file_is_compared_before_it_is_pushed(cli: Cli, device: VirtualDevice) -> None:
    package = seal(
        cli.folder / "htp.edgepkg",
        {"model": b"context"},
        compatibility=Compatibility("qcs6490", ("aarch64",), "qnn", "9.9"),
        lock=Lock(("cpu",), "onnxruntime-qnn", "9.9.0", htp_arch=68, htp_soc_model=93),
    )
    told = cli("device", "doctor", "bench", "--package", package.path, "--json")
    assert told.code == 4
    found = ids(told.json)
    assert found["package-target"] == "warning"
    assert found["package-runtime"] == "error"
    assert told.json["inspection"]["package"] is None, "nothing was installed"
    assert cli("device", "doctor", "bench", "--package", "gone.edgepkg").code == 3


def test_pypis_pycoral_on_the_device_and_on_the_workstation(
    cli: Cli, device: VirtualDevice
) -> None:
    folder = cli.folder / "packages"
    (folder / "pycoral").mkdir(parents=True)
    (folder / "pycoral" / "__init__.py").touch()
    metadata = folder / "pycoral-0.2.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pycoral\nVersion: 0.2.0\n")
    cli.environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(folder), os.environ.get("PYTHONPATH", "")])
    )
    environment = device.home / "env" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").symlink_to(sys.executable)
    (device.home / "env" / "pyvenv.cfg").write_text("version = 3.9.2\n")
    site = device.home / "env" / "lib" / "python3.9" / "site-packages"
    (site / "pycoral-0.2.0.dist-info").mkdir(parents=True)
    told = cli("device", "doctor", "bench", "--json")
    assert told.code == 0, "a warning only"
    found = ids(told.json)
    assert found["impostor-pycoral"] == found["impostor-pycoral-here"] == "warning"
    (folder / "pycoral" / "utils").mkdir()
    (folder / "pycoral" / "utils" / "edgetpu.py").touch()
    (site / "pycoral" / "utils").mkdir(parents=True)
    (site / "pycoral" / "utils" / "edgetpu.py").touch()
    assert set(ids(cli("device", "doctor", "bench", "--json").json)) == {"package"}


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written(cli: Cli, device: VirtualDevice) -> None:
    device.home.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        told = cli("device", "doctor", "bench", "--json")
    finally:
        device.home.chmod(stat.S_IRWXU)
    assert told.code == 4
    assert ids(told.json)["store"] == "error"


def test_a_store_that_others_may_write_keeps_nothing(cli: Cli, device: VirtualDevice) -> None:
    """Root is refused by this one, too."""
    store = device.home / ".edgesdk"
    store.write_text("a file in the place of the folder")
    told = cli("device", "doctor", "bench", "--json")
    assert told.code == 4, told.err
    assert ids(told.json)["store"] == "error"
    assert str(store) in told.json["inspection"]["store_problem"]


@pytest.mark.parametrize("python", OLD[:1], ids=version_name)
def test_a_python_that_is_too_old_for_the_agent(
    cli: Cli, virtual_device: VirtualDevice, python: Path
) -> None:
    device = virtual_device.as_device("bench", TARGET)
    cli.enrol(replace(device, python=str(python)))
    done = cli("device", "doctor", "bench")
    assert done.code == 4
    assert "expected 3.7 or newer" in done.err
    assert "--python PATH" in done.err


def test_ls_tells_what_was_seen_last_without_contacting_anybody(
    cli: Cli, device: VirtualDevice
) -> None:
    assert cli("device", "ls", "--json").json[0]["last_seen"] is None
    assert "never" in cli("device", "ls").out
    assert cli("device", "show", "bench").code == 0
    assert cli("device", "ls", "--json").json[0]["last_seen"]["able"] is None
    assert cli("device", "doctor", "bench").code == 0
    before = device.logins
    seen = cli("device", "ls", "--json").json[0]["last_seen"]
    assert (seen["able"], seen["errors"]) == (True, [])
    assert "able" in cli("device", "ls").out
    assert device.logins == before
    cli("device", "show", "bench")
    assert cli("device", "ls", "--json").json[0]["last_seen"]["able"] is True, "the last verdict"


def test_what_was_seen_of_another_device_of_that_name_is_not_shown(
    cli: Cli, device: VirtualDevice, session_virtual_device: VirtualDevice
) -> None:
    assert cli("device", "show", "bench").code == 0
    cli.enrol(session_virtual_device.as_device("bench", TARGET))
    assert cli("device", "ls", "--json").json[0]["last_seen"] is None


def test_show_is_the_whole_inspection(cli: Cli, sshd_device: Device) -> None:
    cli.enrol(sshd_device)
    done = cli("device", "show", "openssh")
    assert done.code == 0, done.err
    for word in ("cores", "storage", "of the store:", "(runs the agent)", "user "):
        assert word in done.out
    shown = cli("device", "show", "openssh", "--json").json
    assert json.dumps(shown["inspection"]["cores"])
    assert shown["inspection"]["storage"][1]["total_bytes"] > 0
