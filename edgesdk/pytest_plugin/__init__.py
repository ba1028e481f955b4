"""Tests of models on devices, with pytest: options, a marker, fixtures, numbers in JUnit XML.

    pytest --edgesdk-device pi-bench-3

    @pytest.mark.edge(target="raspberry-pi-5", package="out/digits.edgepkg", max_p95="10 ms")
    def test_digits_keeps_its_promise(edge_measurement):
        edge_measurement.assert_gates()

pytest loads this in every session, whether it is about devices or not: nothing heavy is imported,
and nothing done, before a device is named. What happens on devices is `lab`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from device_agent.protocol import ErrorCode
from edgesdk.errors import AgentError, EdgeSDKError
from edgesdk.pytest_plugin.lab import Lab
from edgesdk.pytest_plugin.marks import Asked, asked_by, require_measured
from edgesdk.pytest_plugin.measurement import Measurement, package_properties, summary_lines

if TYPE_CHECKING:
    from device_agent.package_messages import Installed
    from edgesdk.devices.inventory import Device

_NO_DEVICE = "no device: name an enrolled one with --edgesdk-device NAME"
_LAB = pytest.StashKey[Lab]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--edgesdk-...`, and the devices in pytest's own configuration."""
    group = parser.getgroup("edgesdk", "models on edge devices")
    group.addoption(
        "--edgesdk-device",
        action="append",
        metavar="NAME",
        help="run the tests of models on this enrolled device, or on those of a selection such as"
        " tag:NAME; again for another one",
    )
    group.addoption(
        "--edgesdk-package",
        metavar="FILE",
        help="the .edgepkg to install first, for tests whose marker names none",
    )
    group.addoption(
        "--edgesdk-wait",
        metavar="DURATION",
        default="0 s",
        help="how long to wait for a device that is someone else's, such as '10 min'",
    )
    parser.addini("edgesdk_devices", "devices to run on without --edgesdk-device", type="args")


def pytest_configure(config: pytest.Config) -> None:
    """Find the devices that were named; a name that is none ends the session at once."""
    config.addinivalue_line(
        "markers",
        "edge(target, package, model, dataset, seconds, threads, **gates): what a test of a model"
        " on a device needs; gates by their names in [gates] of edgesdk.toml",
    )
    names = config.getoption("edgesdk_device") or config.getini("edgesdk_devices")
    package = config.getoption("edgesdk_package")
    try:
        config.stash[_LAB] = Lab.of(
            names,
            config.rootpath,
            package=None if package is None else config.invocation_params.dir / package,
            wait=config.getoption("edgesdk_wait"),
        )
    except EdgeSDKError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give back what was leased."""
    lab = config.stash.get(_LAB, None)
    if lab is not None:
        lab.close()


def pytest_report_header(config: pytest.Config) -> str | None:
    """The devices, where any were named."""
    devices = config.stash[_LAB].devices
    told = ", ".join(f"{each.name} ({each.target}, {each.address})" for each in devices)
    return f"edgesdk devices: {told}" if told else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a device, named after it; skipped where the device is not what the test asks for."""
    if "edge_device" not in metafunc.fixturenames:
        return
    devices = metafunc.config.stash[_LAB].devices
    asked = Asked()
    with suppress(EdgeSDKError):  # Said when the test is set up: it is its own, not the session's.
        found = _asked(metafunc.definition)
        if devices:
            found.require_known()
        asked = found
    has_xdist = metafunc.config.pluginmanager.hasplugin("xdist")
    parameters = [
        pytest.param(each, id=each.name, marks=_marks(each, asked, has_xdist)) for each in devices
    ]
    none = pytest.param(None, id="no-device", marks=pytest.mark.skip(reason=_NO_DEVICE))
    metafunc.parametrize("edge_device", parameters or [none], indirect=True, scope="session")


def _marks(device: Device, asked: Asked, has_xdist: bool) -> list[pytest.MarkDecorator]:
    marks = []
    if reason := asked.why_not(device):
        marks.append(pytest.mark.skip(reason=reason))
    if has_xdist:  # With --dist loadgroup, all tests of a device run in one worker.
        marks.append(pytest.mark.xdist_group(name=f"edgesdk-{device.name}"))
    return marks


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a marker that does not hold, or that asks for what its test does not measure."""
    fixtures = getattr(item, "fixturenames", ())
    if "edge_device" in fixtures:
        with _clear_sentences():
            _asked(item).require_known()
            own = [each.kwargs for each in item.own_markers if each.name == "edge"]
            require_measured(own, fixtures)


def _asked(node: pytest.Item) -> Asked:
    return asked_by([(each.args, each.kwargs) for each in node.iter_markers("edge")])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured, a line each."""
    reports = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
    ]
    lines = summary_lines([(report.nodeid, dict(report.user_properties)) for report in reports])
    if lines:
        terminalreporter.section("measured on devices")
    for line in lines:
        terminalreporter.line(line)


@pytest.fixture(scope="session")
def edge_device(request: pytest.FixtureRequest) -> Device:
    """The device under test, leased to this session until it ends."""
    device: Device = request.param
    with _clear_sentences():
        request.config.stash[_LAB].lease(device)
    return device


@pytest.fixture
def edge_package(edge_device: Device, request: pytest.FixtureRequest) -> Installed:
    """The package under test, installed: the marker's, else --edgesdk-package, else the current."""
    with _clear_sentences():
        installed = request.config.stash[_LAB].installed(edge_device, _asked(request.node))
    request.node.user_properties.extend(package_properties(edge_device, installed))
    return installed


@pytest.fixture
def edge_measurement(
    edge_device: Device, edge_package: Installed, request: pytest.FixtureRequest
) -> Measurement:
    """Latency and memory of the package; measured once for all tests that ask for the same."""
    with _clear_sentences():
        measured = request.config.stash[_LAB].latency(edge_device, _asked(request.node))
    request.node.user_properties.extend(measured.properties())
    return measured


@pytest.fixture
def edge_accuracy(
    edge_device: Device, edge_package: Installed, request: pytest.FixtureRequest
) -> Measurement:
    """Accuracy of the package and of the marker's `model`, on the device, on its `dataset`."""
    with _clear_sentences():
        measured = request.config.stash[_LAB].accuracy(edge_device, _asked(request.node))
    request.node.user_properties.extend(measured.properties())
    return measured


@contextmanager
def _clear_sentences() -> Iterator[None]:
    """An error of the user's or the device's is its own sentence: our call stack says nothing."""
    try:
        yield
    except EdgeSDKError as error:  # Suppressed, or pytest shows it as well, as what caused it.
        raise pytest.fail.Exception(_told(error), pytrace=False) from None


def _told(error: EdgeSDKError) -> str:
    """As it is, but for the advice of the command line, whose options pytest does not have."""
    if isinstance(error, AgentError) and error.code == ErrorCode.BUSY:
        return f"{error.message}\nwait for it: --edgesdk-wait '10 min'"
    return str(error)
