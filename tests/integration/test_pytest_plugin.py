"""The pytest plugin as a pytest user meets it: a project with tests, pytest run in it."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from edgesdk.devices.virtual import VirtualDevice
from tests.cli import CALIBRATION, DIGITS, TEST, Cli, this_machine

SECONDS = 0.3


@dataclass(frozen=True)
class Ran:
    """A pytest session that has ended."""

    code: int
    out: str

    def counts(self, **wanted: int) -> bool:
        last = self.out.strip().splitlines()[-1]
        return all(f"{count} {what}" in last for what, count in wanted.items())


class Project:
    """A user's project, with the device `bench-1` enrolled."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli

    def test(self, text: str, name: str = "test_model.py") -> None:
        (self.cli.folder / name).write_text("import pytest\n" + dedent(text))

    def __call__(self, *arguments: str, cwd: Path | None = None, **environment: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=cwd or self.cli.folder,
            env={**self.cli.environment, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        return Ran(done.returncode, done.stdout)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A folder with a device and a package for it, for all tests of this file."""
    cli = Cli(tmp_path_factory.mktemp("lab"))
    with VirtualDevice(cli.folder / "virtual") as device:
        cli.enrol(device.as_device("bench-1", this_machine()))
        convert = ("convert", DIGITS / "digits.onnx", "--target", this_machine())
        for step in (
            (*convert, "--calibration", CALIBRATION, "-o", "artifact"),
            ("package", "artifact", "-o", "digits.edgepkg"),
        ):
            done = cli(*step)
            assert done.code == 0, done.err
        yield cli


@pytest.fixture
def project(home: Cli, tmp_path: Path) -> Project:
    cli = Cli(tmp_path)
    cli.environment["EDGESDK_HOME"] = str(home.home)
    for name in ("digits.edgepkg", "artifact"):
        (tmp_path / name).symlink_to(home.folder / name)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    return Project(cli)


MEASURES = f"""
    @pytest.mark.edge(package="digits.edgepkg", seconds={SECONDS}, {{gates}})
    def test_promise(edge_measurement):
        edge_measurement.assert_gates()
"""
ON_BENCH_1 = ("--edgesdk-device", "bench-1")


def properties(path: Path) -> dict[str, str]:
    tree = ElementTree.parse(path)
    return {each.attrib["name"]: each.attrib["value"] for each in tree.iter("property")}


def test_without_a_device_such_tests_are_skipped_and_say_what_to_do(project: Project) -> None:
    project.test(MEASURES.format(gates="max_p95='1 s'"))
    ran = project("-rs")
    assert ran.code == 0 and ran.counts(skipped=1)
    assert "name an enrolled one with --edgesdk-device NAME" in ran.out


def test_a_measurement_that_keeps_its_gates_passes_and_its_numbers_are_in_the_xml(
    project: Project,
) -> None:
    project.test(MEASURES.format(gates="max_p95='10 s'"))
    ran = project(*ON_BENCH_1, "--junitxml", "junit.xml")
    assert ran.code == 0 and ran.counts(passed=1), ran.out
    told = properties(project.cli.folder / "junit.xml")
    assert told["edge_device"] == "bench-1" and told["edge_kind"] == "python"
    assert told["edge_package"].startswith("digits ")
    assert float(told["edge_int8_p95_ns_low"]) <= float(told["edge_int8_p95_ns"]) < 10e9
    assert told["edge_gate_p95"].startswith("pass")
    assert float(told["edge_gate_p95_bound"]) == 10e9
    assert float(told["edge_gate_p95_measured"]) == float(told["edge_int8_p95_ns"])
    assert 10**6 < float(told["edge_int8_peak_memory_bytes"]) < 10**10
    assert "test_promise[bench-1]: p50 " in ran.out and "not a board's latency" in ran.out


def test_a_selection_names_the_devices_that_it_means(project: Project) -> None:
    project.test(MEASURES.format(gates="max_p95='10 s'"))
    ran = project("--edgesdk-device", "bench-*", "--edgesdk-device", "bench-1", "--collect-only")
    assert ran.code == 0 and ran.out.count("test_promise[bench-1]") == 1, ran.out
    ran = project("--edgesdk-device", "tag:none-such")
    assert ran.code == 4 and "no device has the tag 'none-such'" in ran.out


def test_a_gate_that_fails_is_an_assertion_with_the_table(project: Project) -> None:
    project.test(MEASURES.format(gates="max_p95='1 ns'"))
    ran = project(*ON_BENCH_1)
    assert ran.code == 1 and ran.counts(failed=1)
    assert "latency, 95th percentile" in ran.out, ran.out
    assert "site-packages" not in ran.out and "findings.exit_code" not in ran.out


def test_a_test_without_any_gate_does_not_pass_by_accident(project: Project) -> None:
    project.test("""
        from edgesdk.pytest_plugin.measurement import Measurement
        import dataclasses

        @pytest.mark.edge(package="digits.edgepkg", seconds=0.3)
        def test_nothing_asked(edge_measurement):
            bare = dataclasses.replace(edge_measurement.findings, verdicts=())
            Measurement(bare).assert_gates()
    """)
    ran = project(*ON_BENCH_1)
    assert ran.counts(failed=1) and "no gate to pass" in ran.out


def test_accuracy_is_measured_on_the_markers_data(project: Project) -> None:
    project.test(f"""
        @pytest.mark.edge(
            package="digits.edgepkg", model="artifact", dataset={TEST!r},
            max_accuracy_drop_points=50,
        )
        def test_accuracy(edge_accuracy):
            edge_accuracy.assert_gates()
            assert edge_accuracy.accuracy_drop_points < 50
    """)
    ran = project(*ON_BENCH_1, "--junitxml", "junit.xml")
    assert ran.code == 0, ran.out
    told = properties(project.cli.folder / "junit.xml")
    assert float(told["edge_float_accuracy_percent"]) > 80
    assert int(told["edge_accuracy_samples"]) > 100


def test_a_test_for_another_target_is_skipped_by_name(project: Project) -> None:
    project.test("""
        @pytest.mark.edge(target="raspberry-pi-5")
        def test_orin(edge_device):
            assert False
    """)
    ran = project(*ON_BENCH_1, "-rs")
    assert ran.code == 0 and ran.counts(skipped=1)
    assert f"bench-1 is a {this_machine()}, the test is for raspberry-pi-5" in ran.out


def test_a_device_is_chosen_by_k_and_a_test_runs_once_for_each(project: Project, home: Cli) -> None:
    with VirtualDevice(project.cli.folder / "second") as device:
        home.enrol(device.as_device("bench-2", this_machine()))
        project.test("def test_is_there(edge_device):\n    print(edge_device.name)\n")
        both = (*ON_BENCH_1, "--edgesdk-device", "bench-2", "-v")
        assert project(*both).counts(passed=2)
        only = project(*both, "-k", "bench-2")
        assert only.counts(passed=1, deselected=1) and "test_is_there[bench-2]" in only.out


def test_a_name_that_is_none_ends_the_session_with_a_suggestion(project: Project) -> None:
    project.test("def test_is_there(edge_device): pass\n")
    ran = project("--edgesdk-device", "bench-1x")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "no device is called 'bench-1x'; did you mean 'bench-1'?" in ran.out


def test_a_keyword_that_is_none_names_those_there_are(project: Project) -> None:
    project.test("""
        @pytest.mark.edge(max_p59="1 ms")
        def test_typo(edge_device): pass
        def test_plain(): pass
    """)
    assert project().counts(passed=1, skipped=1)
    ran = project(*ON_BENCH_1)
    assert ran.counts(passed=1, error=1) and "Traceback" not in ran.out
    assert "found max_p59 in pytest.mark.edge(...), expected any of target, package" in ran.out


@pytest.mark.parametrize(
    ("keywords", "why"),
    [
        ("seconds='x'", "found seconds='x'"),
        ("target=3", "found target=3"),
        ("target='raspberry-pi-55'", "raspberry-pi-55"),
        ("max_p95=5", "found max_p95=5"),
        ("max_accuracy_drop_points=1", "which the fixture edge_accuracy judges"),
    ],
)
def test_a_marker_that_does_not_hold_is_its_tests_error(
    project: Project, keywords: str, why: str
) -> None:
    project.test(f"""
        @pytest.mark.edge(package="digits.edgepkg", {keywords})
        def test_wrong(edge_measurement): edge_measurement.assert_gates()
    """)
    ran = project(*ON_BENCH_1)
    assert why in ran.out and "Traceback" not in ran.out
    assert ran.counts(error=1) and "another exception" not in ran.out, ran.out


def test_a_device_out_of_reach_is_one_sentence_and_is_tried_once(
    project: Project, home: Cli
) -> None:
    with VirtualDevice(project.cli.folder / "gone") as device:
        home.enrol(device.as_device("bench-off", this_machine()))
    project.test("""
        def test_one(edge_device): pass
        def test_two(edge_device): pass
    """)
    ran = project("--edgesdk-device", "bench-off")
    assert ran.counts(errors=2) and "Traceback" not in ran.out
    assert "bench-off" in ran.out and "paramiko" not in ran.out


def test_somebody_elses_device_is_not_used(project: Project, home: Cli) -> None:
    home.environment["EDGESDK_OWNER"] = "anna@desk"
    project.test("def test_is_there(edge_device): pass\n")
    try:
        assert home("device", "lease", "bench-1", "--for", "10 min").code == 0
        ran = project(*ON_BENCH_1, EDGESDK_OWNER="bob@bench")
        assert ran.counts(error=1) and "anna@desk" in ran.out
        assert "wait for it: --edgesdk-wait '10 min'" in ran.out and "--wait" not in ran.out
        assert project(*ON_BENCH_1, EDGESDK_OWNER="anna@desk").counts(passed=1)
        again = project(*ON_BENCH_1, EDGESDK_OWNER="bob@bench")
        assert again.counts(error=1), "a lease that the user took is not given back by a session"
    finally:
        home("device", "release", "bench-1")
        del home.environment["EDGESDK_OWNER"]


def test_the_lease_is_given_back_at_the_end(project: Project, home: Cli) -> None:
    project.test("""
        from edgesdk import api
        def test_is_ours(edge_device):
            (lease,) = api.show_device(edge_device.name).leases
            assert lease.kept and lease.purpose == "tests with pytest"
    """)
    assert project(*ON_BENCH_1).counts(passed=1)
    assert home("device", "show", "bench-1", "--json").json["leases"] == []


def test_paths_in_markers_are_found_from_any_folder(project: Project) -> None:
    (project.cli.folder / "deep").mkdir()
    project.test("""
        @pytest.mark.edge(package="digits.edgepkg")
        def test_installed(edge_package):
            assert edge_package.name == "digits" and edge_package.state == "current"
    """)
    ran = project(*ON_BENCH_1, "..", cwd=project.cli.folder / "deep")
    assert ran.counts(passed=1), ran.out


def test_a_session_without_devices_imports_nothing_heavy() -> None:
    program = (
        "import sys, pytest, edgesdk.pytest_plugin\n"
        "print(sorted({'numpy', 'paramiko', 'cattrs', 'rich', 'typer'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
