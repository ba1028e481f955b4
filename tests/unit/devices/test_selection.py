from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgesdk.devices import inventory
from edgesdk.devices.inventory import Device
from edgesdk.devices.selection import change_tags, checked_tags, is_selection, select
from edgesdk.errors import UnknownDevice, UsageError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


def device(name: str, *tags: str) -> Device:
    return Device(name, "10.0.0.7", 22, "pi", "raspberry-pi-5", KEY, tags=tags)


LAB = (
    device("desk"),
    device("pi-1", "pi5", "lab-a"),
    device("pi-2", "pi5"),
    device("rubik-1", "lab-a"),
)


@pytest.mark.parametrize(
    ("text", "names"),
    {
        "all": ["desk", "pi-1", "pi-2", "rubik-1"],
        "tag:pi5": ["pi-1", "pi-2"],
        "tag:lab-a": ["pi-1", "rubik-1"],
        "pi-*": ["pi-1", "pi-2"],
        "pi-[2-9]": ["pi-2"],
        "rubik-1,desk": ["desk", "rubik-1"],
        "tag:pi5, pi-1 ,desk": ["desk", "pi-1", "pi-2"],
        "desk": ["desk"],
    }.items(),
)
def test_selects_each_once_in_the_order_of_the_inventory(text: str, names: list[str]) -> None:
    assert [each.name for each in select(LAB, text)] == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tag:nothing", "no device has the tag 'nothing'"),
        ("x-*", "no device's name matches 'x-\\*'"),
        ("pi-1,pi-l", "no device is called 'pi-l'; did you mean"),
        ("tag:lab-a,tag:nothing", "no device has the tag"),
    ],
)
def test_a_part_that_means_nothing_is_no_silence(text: str, message: str) -> None:
    with pytest.raises(UnknownDevice, match=message):
        select(LAB, text)


def test_all_of_nothing_is_an_error() -> None:
    with pytest.raises(UnknownDevice, match="no device is enrolled"):
        select((), "all")


def test_an_empty_part_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="empty name"):
        select(LAB, "desk,")


@pytest.mark.parametrize("text", ["all", "tag:pi5", "pi-*", "a,b", "pi-?", "pi-[1]"])
def test_a_selection(text: str) -> None:
    assert is_selection(text)


@pytest.mark.parametrize("text", ["desk", "pi-1", "all-day", "tag"])
def test_a_name_is_none(text: str) -> None:
    assert not is_selection(text)


# ---- tags ----------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    inventory.save(tmp_path / "devices.json", LAB)
    return tmp_path / "devices.json"


def test_tags_are_given_and_taken(path: Path) -> None:
    changed = change_tags(path, "pi-1", ["+new", "-lab-a", "-never-had"])
    assert changed.tags == ("new", "pi5")
    assert inventory.get(path, "pi-1") == changed
    assert inventory.get(path, "pi-2") == LAB[2]


@pytest.mark.parametrize("change", ["new", "+", "-", "+a,b", "+tag:x", "+ x"])
def test_what_is_no_change_is_refused_and_changes_nothing(path: Path, change: str) -> None:
    with pytest.raises(UsageError):
        change_tags(path, "pi-1", ["+fine", change])
    assert inventory.load(path) == LAB


def test_a_tag_given_twice_is_there_once() -> None:
    assert checked_tags(["b", "a", "b"]) == ("a", "b")


def test_enrolling_again_keeps_the_tags(path: Path) -> None:
    inventory.add(path, replace(LAB[1], tags=("more",)))
    assert inventory.get(path, "pi-1").tags == ("lab-a", "more", "pi5")


def test_an_inventory_from_before_there_were_tags_is_read(path: Path) -> None:
    document = json.loads(path.read_text())
    for each in document["devices"]:
        del each["tags"]
    path.write_text(json.dumps(document))
    assert {each.tags for each in inventory.load(path)} == {()}
