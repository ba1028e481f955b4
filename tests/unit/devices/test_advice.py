"""What an agent advises names the device as this workstation does."""

from __future__ import annotations

import pytest

from edgesdk.devices.advice import named
from edgesdk.devices.inventory import Device
from edgesdk.errors import AgentError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
PI = Device("pi", "192.0.2.7", 22, "ann", "raspberry-pi-5", KEY, python="/old/python", lab=True)
ENROL_PI = "edgesdk device add pi --address ann@192.0.2.7 --target raspberry-pi-5 --lab --replace"


@pytest.mark.parametrize(
    ("advised", "told"),
    [
        ("edgesdk device release DEVICE --force", "edgesdk device release pi --force"),
        (
            "name another: ENROL_DEVICE --python PATH, or see edgesdk device show DEVICE",
            f"name another: {ENROL_PI} --python PATH, or see edgesdk device show pi",
        ),
        ("set CUDA_VISIBLE_DEVICES, MY_DEVICE", "set CUDA_VISIBLE_DEVICES, MY_DEVICE"),
        ("edgesdk device add ... --python PATH", "edgesdk device add ... --python PATH"),
    ],
)
def test_only_what_stands_in_for_the_device_is_replaced(advised: str, told: str) -> None:
    with pytest.raises(AgentError) as caught, named(PI):
        raise AgentError("no", hint=advised)
    assert caught.value.hint == told
