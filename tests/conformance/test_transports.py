"""The three transports, held to one suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgesdk.devices.inventory import Device
from edgesdk.devices.local import LocalTransport
from edgesdk.devices.ssh import connect
from edgesdk.devices.transport import Transport
from edgesdk.devices.virtual import VirtualDevice
from edgesdk.testing.transport_conformance import TransportConformance

pytestmark = pytest.mark.usefixtures("no_thread_outlives_its_test")


class TestLocal(TransportConformance):
    @pytest.fixture
    def transport(self) -> Iterator[Transport]:
        with LocalTransport() as transport:
            yield transport


class TestSshToVirtualDevice(TransportConformance):
    @pytest.fixture
    def transport(self, session_virtual_device: VirtualDevice) -> Iterator[Transport]:
        with connect(session_virtual_device.as_device("virtual", "raspberry-pi-5")) as transport:
            yield transport


class TestSshToOpenSsh(TransportConformance):
    @pytest.fixture
    def transport(self, sshd_device: Device) -> Iterator[Transport]:
        with connect(sshd_device) as transport:
            yield transport
