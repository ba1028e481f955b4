"""What devices say of their accelerators, from files as real ones have them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from device_agent.accelerators import parse_cuda_release, parse_tegra_release, read_accelerators
from device_agent.codec import from_dict, to_dict
from device_agent.environment import read_environment
from device_agent.environment_messages import Accelerators, Environment
from device_agent.system_files import find_library, library_release

ORIN = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed\n"


def write(root: Path, **files: str) -> None:
    """Write files; "__" in a name stands for "/", "_dot_" for "."."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (ORIN, "36.4.3"),
        ("# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref\n", "32.7.1"),
        ("", ""),
        ("something else", ""),
    ],
)
def test_jetson_linux(text: str, release: str) -> None:
    assert parse_tegra_release(text) == release


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ('{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}', "12.6.11"),
        ("CUDA Version 10.2.300\n", "10.2.300"),
        ("", ""),
        ("{}", ""),
        ("[1]", ""),
        ('{"cuda": {"version": 12}}', ""),
    ],
)
def test_cuda(text: str, release: str) -> None:
    assert parse_cuda_release(text) == release


def test_a_jetson(tmp_path: Path) -> None:
    write(
        tmp_path,
        etc__nv_tegra_release=ORIN,
        usr__local__cuda__version_dot_json='{"cuda": {"version": "12.6.11"}}',
        sys__devices__soc0__family="Tegra\n",
        sys__devices__soc0__machine="NVIDIA Jetson Orin Nano Developer Kit\n",
        sys__devices__soc0__soc_id="35\n",
    )
    folder = tmp_path / "usr" / "lib" / "aarch64-linux-gnu"
    folder.mkdir(parents=True)
    for name in ("libnvinfer.so.10", "libnvinfer.so.10.3.0", "libnvinfer.so.9.2.0"):
        (folder / name).touch()
    assert read_accelerators(str(tmp_path)) == Accelerators(
        soc="Tegra, NVIDIA Jetson Orin Nano Developer Kit, 35",
        l4t="36.4.3",
        cuda="12.6.11",
        tensorrt="10.3.0",
    )


def test_edge_tpus(tmp_path: Path) -> None:
    devices = {
        "usb/devices/1-1": {"idVendor": "1a6e", "idProduct": "089a"},
        "usb/devices/2-1": {"idVendor": "18d1", "idProduct": "9302"},
        "usb/devices/3-1": {"idVendor": "18d1", "idProduct": "4ee7"},
        "usb/devices/3-1:1.0": {},
        "pci/devices/0000:01:00.0": {"vendor": "0x1ac1", "device": "0x089a"},
        "pci/devices/0000:00:00.0": {"vendor": "0x8086", "device": "0x089a"},
    }
    for name, files in devices.items():
        folder = tmp_path / "sys" / "bus" / name
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file).write_text(text + "\n")
    assert read_accelerators(str(tmp_path)).edge_tpus == ("usb", "usb", "pcie")


def test_a_device_that_says_nothing(tmp_path: Path) -> None:
    assert read_accelerators(str(tmp_path)) == Accelerators()


def test_accelerators_travel_with_the_environment(tmp_path: Path) -> None:
    found = read_environment(str(tmp_path))
    assert from_dict(Environment, to_dict(found)) == found


def test_an_older_agent_says_nothing_of_accelerators(tmp_path: Path) -> None:
    data = asdict(read_environment(str(tmp_path)))
    del data["accelerators"]
    assert from_dict(Environment, data).accelerators == Accelerators()


# ---- shared libraries ----------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["usr/lib", "usr/local/lib", "usr/lib/aarch64-linux-gnu"])
def test_a_library_in_a_usual_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "libedgetpu.so.1").touch()
    found = find_library("libedgetpu.so.1", str(tmp_path))
    assert found == str(tmp_path / folder / "libedgetpu.so.1")


def test_a_library_in_the_loaders_cache(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "opt").mkdir()
    entries = b"glibc-ld.so.cache1.1\0\0libedgetpu.so.1\0/opt/libedgetpu.so.1\0libc.so.6\0"
    (tmp_path / "etc" / "ld.so.cache").write_bytes(entries)
    assert find_library("libedgetpu.so.1", str(tmp_path)) == "", "the cache may be stale"
    (tmp_path / "opt" / "libedgetpu.so.1").touch()
    found = find_library("libedgetpu.so.1", str(tmp_path))
    assert found == str(tmp_path / "opt" / "libedgetpu.so.1")
    assert find_library("libedgetpu.so", str(tmp_path)) == ""


def test_a_library_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libedgetpu.so.1").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f":{tmp_path}:/elsewhere")
    assert find_library("libedgetpu.so.1") == str(tmp_path / "libedgetpu.so.1")


def test_this_machines_c_library_is_found() -> None:
    assert find_library("libc.so.6") or not Path("/etc/ld.so.cache").exists()


def test_releases_are_compared_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "usr" / "lib").mkdir(parents=True)
    for name in ("libx.so", "libx.so.9.12.0", "libx.so.10.3.0", "libx.so.10.3.0.bak", "libx.so.8"):
        (tmp_path / "usr" / "lib" / name).touch()
    assert library_release("libx.so", str(tmp_path)) == "10.3.0"
