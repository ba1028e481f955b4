"""A place of a labgrid lab in the place of a device's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgesdk.devices import inventory, places
from edgesdk.devices.places import Place


@contextmanager
def device_of_place(
    name: str,
    *,
    coordinator: str = "",
    wait_s: float = 0.0,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[str]:
    """Acquire a place of a labgrid lab and release it after; the name of the device it is.

    The device must be enrolled at the place's address: its host key is verified there as ever.

    Args:
        coordinator: "HOST:PORT"; labgrid's usual one unless given.
        wait_s: how long to wait for a place that someone else has.
        say: told whom it waits for.

    Raises:
        ToolchainMissing: labgrid is not installed.
        UnknownDevice: no device is enrolled there.
        DeviceError: labgrid does not give us the place.
    """
    place = Place(name, coordinator)
    with places.acquired(place, wait_s=wait_s, say=say) as address:
        devices = inventory.load(inventory.default_path())
        yield places.device_at(place, address, devices).name
