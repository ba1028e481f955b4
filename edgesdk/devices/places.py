"""Places of a labgrid lab: acquired from its coordinator, used, released.

Through `labgrid-client`, labgrid's documented command line (docs/adr/0029), one short program a
step. Of a place, its NetworkService is used: the address and the user to log in as. What else
labgrid can do with it, such as switching its power, is left to labgrid.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgesdk import processes
from edgesdk.devices.inventory import SSH_PORT, Address, Device
from edgesdk.errors import DeviceError, ToolchainMissing, UnknownDevice
from edgesdk.processes import Ended

_CLIENT = "labgrid-client"
_DEADLINE_S = 60.0
_POLL_S = 2.0
_SERVICE = "NetworkService"
_ERROR = "Error: "

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """A place of a lab.

    Args:
        name: as labgrid has it.
        coordinator: "HOST:PORT"; "" is what labgrid itself takes: `$LG_COORDINATOR`, or port 20408
            of this machine.
    """

    name: str
    coordinator: str = ""

    def __str__(self) -> str:
        return f"place {self.name}"


@contextmanager
def acquired(place: Place, *, wait_s: float = 0.0, say: Say = lambda _: None) -> Iterator[Address]:
    """The address of a place that is ours while the block lasts.

    One that this user has acquired before is used, and stays acquired.

    Args:
        wait_s: how long to wait for one that is someone else's.
        say: told whom we wait for.

    Raises:
        ToolchainMissing: labgrid is not installed.
        DeviceError: the coordinator does not answer, does not know the place, gives it to someone
            else, or it has no NetworkService.
    """
    client = _Client(place)
    is_ours_already = not _acquire(client, wait_s, say)
    try:
        yield _address(place, client.run("env"))
    finally:
        if not is_ours_already:
            client.run("release")


def device_at(place: Place, address: Address, devices: Sequence[Device]) -> Device:
    """The enrolled device that a place holds: only its host key is believed there.

    Raises:
        UnknownDevice: none is enrolled at that address.
    """
    found = [device for device in devices if device.address == address]
    if not found:
        raise UnknownDevice(
            f"{place} is at {address}, where no device is enrolled, so its host key is not known",
            hint=f"edgesdk device add {place.name} --address {address} --target ID pins it",
        )
    return min(found, key=lambda device: device.name != place.name)


class _Client:
    """Runs labgrid-client for one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        at = ("--coordinator", place.coordinator) if place.coordinator else ()
        self._argv = (_program(), *at, f"--place={place.name}")

    def attempt(self, verb: str) -> Ended:
        """Run it, whatever comes of it."""
        environ = {**os.environ, "GRPC_VERBOSITY": "NONE"}
        return processes.run_to_end([*self._argv, verb], _DEADLINE_S, environ=environ)

    def run(self, verb: str) -> str:
        """What it says.

        Raises:
            DeviceError: it failed.
        """
        ended = self.attempt(verb)
        if not ended.succeeded:
            raise self.failure(verb, ended)
        return ended.said

    def failure(self, verb: str, ended: Ended) -> DeviceError:
        """The error for one that failed, in labgrid's own words."""
        told = [line.partition(_ERROR)[2] for line in ended.tail(20) if _ERROR in line]
        words = told[-1] if told else ended.sentence(_CLIENT, _DEADLINE_S)
        where = self._place.coordinator or os.environ.get("LG_COORDINATOR", "its usual address")
        return DeviceError(
            f"labgrid does not {verb} {self._place}: {words}",
            hint=f"labgrid-client who tells who has what; the coordinator was asked at {where}",
        )


def _program() -> str:
    """Beside our interpreter first: a virtual environment need not be activated."""
    beside = Path(sys.executable).parent / _CLIENT
    found = str(beside) if beside.is_file() else shutil.which(_CLIENT)
    if found is None:
        raise ToolchainMissing(
            "places are labgrid's, which is not installed", hint='pip install "edgesdk[labgrid]"'
        )
    return found


def _acquire(client: _Client, wait_s: float, say: Say) -> bool:
    """Whether we acquired it now; False where it was ours."""
    end_s, told = time.monotonic() + wait_s, ""
    while not (ended := client.attempt("acquire")).succeeded:
        if client.attempt("env").succeeded:  # Only whoever has it is told that.
            return False
        failure = client.failure("acquire", ended)
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise failure
        if told != failure.message:
            told = failure.message
            say(f"{told}; waiting for it")
        time.sleep(min(left_s, _POLL_S * random.uniform(0.5, 1.5)))
    return True


def _address(place: Place, said: str) -> Address:
    """Of the NetworkService in a labgrid environment.

    Raises:
        DeviceError: there is none, or more than one.
    """
    import yaml  # labgrid needs it, too; others do not

    text = said[said.index("targets:") :] if "targets:" in said else ""
    try:
        target = yaml.safe_load(text)["targets"][place.name]
        services = [each[_SERVICE] for each in target["resources"] if _SERVICE in each]
        (service,) = services
        return Address(service["username"], service["address"], service.get("port", SSH_PORT))
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DeviceError(
            f"{place} has no {_SERVICE} of its own, which says where it is and whom to log in as",
            hint="export one with labgrid-exporter and match it: labgrid-client add-match",
        ) from error
