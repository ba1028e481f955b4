"""Whether a device can run what is about to be made for it, told from what its agent read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from device_agent.environment_messages import Environment, RuntimeVersion
from device_agent.protocol import ErrorCode
from edgesdk.devices.inventory import Device
from edgesdk.errors import AgentError, TransportError
from edgesdk.flows.session import agent_on, lack_explained, lack_of_runtime
from edgesdk.progress import Advance
from edgesdk.targets.types import Runtime, RuntimeName
from tests.unit.report.example import example_environment, example_results

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
DEVICE = Device("bench", "192.0.2.7", 22, "pi", "raspberry-pi-5", KEY)
WANTED = (Runtime("onnxruntime", "1.18"),)


def with_runtime(version: str) -> Environment:
    found = RuntimeVersion("onnxruntime", "onnxruntime", version)
    return replace(example_environment(), runtimes=(found,))


@pytest.mark.parametrize("version", ["1.18", "1.18.0", "1.20.1", "2.0"])
def test_a_runtime_that_is_new_enough_will_do(version: str) -> None:
    assert lack_of_runtime(DEVICE, with_runtime(version), WANTED) is None


@pytest.mark.parametrize("version", ["1.17.3", "1.9", "unknown"])
def test_an_older_runtime_is_a_lack_with_the_line_that_mends_it(version: str) -> None:
    lack = lack_of_runtime(DEVICE, with_runtime(version), WANTED)
    assert lack is not None
    assert "pip install 'onnxruntime>=1.18'" in lack.hint


def test_another_runtime_does_not_make_up_for_it() -> None:
    litert = RuntimeVersion("litert", "ai-edge-litert", "2.3.0")
    environment = replace(example_environment(), runtimes=(litert,))
    lack = lack_of_runtime(DEVICE, environment, WANTED)
    assert lack is not None
    assert "has no onnxruntime>=1.18" in lack.message


@pytest.mark.parametrize(
    ("runtime", "needs", "advice"),
    [
        ("litert", "ai-edge-litert>=1.0", ("pip install 'ai-edge-litert>=1.0'", "--python PATH")),
        (
            "edgetpu",
            "ai-edge-litert>=1.0 with libedgetpu",
            (
                "pip install 'ai-edge-litert>=1.0'",
                "from Coral's package repository, sudo apt install libedgetpu1-std",
                "--python PATH",
            ),
        ),
        ("qnn", "onnxruntime-qnn>=1.0", ("pip install 'onnxruntime-qnn>=1.0'", "--python PATH")),
        (
            "tensorrt",
            "tensorrt>=1.0",
            ("JetPack", "sudo apt install python3-libnvinfer", "--python /usr/bin/python3"),
        ),
        ("openvino", "openvino>=1.0", ("pip install 'openvino>=1.0'", "--python PATH")),
    ],
)
def test_each_runtime_has_a_remedy_of_its_own(
    runtime: RuntimeName, needs: str, advice: tuple[str, ...]
) -> None:
    environment = replace(example_environment(), runtimes=())
    lack = lack_of_runtime(DEVICE, environment, (Runtime(runtime, "1.0"),))
    assert lack is not None
    assert f"has no {needs} to run converted models" in lack.message
    assert [words for words in advice if words not in lack.hint] == []


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime", "edgetpu", "qnn", "openvino"])
def test_what_we_can_bring_ourselves_is_named_first(runtime: RuntimeName) -> None:
    environment = replace(example_environment(), runtimes=())
    lack = lack_of_runtime(DEVICE, environment, (Runtime(runtime, "1.0"),))
    assert lack is not None
    assert lack.hint.startswith(f"edgesdk agent install {DEVICE.name} --runtime {runtime} brings")


def test_no_pip_brings_tensorrt() -> None:
    environment = replace(example_environment(), runtimes=())
    lack = lack_of_runtime(DEVICE, environment, (Runtime("tensorrt", "8.5.2"),))
    assert lack is not None
    assert "pip" not in lack.hint and "--python PATH" not in lack.hint
    assert "edgesdk agent install" not in lack.hint


def test_a_tensorrt_without_its_python_module_does_not_do() -> None:
    found = RuntimeVersion("tensorrt", "trtexec", "10.3")
    environment = replace(example_environment(), runtimes=(found,))
    assert lack_of_runtime(DEVICE, environment, (Runtime("tensorrt", "8.5.2"),)) is not None


def test_one_interpreter_is_told_once_for_two_runtimes() -> None:
    environment = replace(example_environment(), runtimes=())
    wanted = (Runtime("litert", "1.0"), Runtime("onnxruntime", "1.18"))
    lack = lack_of_runtime(DEVICE, environment, wanted)
    assert lack is not None
    assert "pip install 'ai-edge-litert>=1.0' or pip install 'onnxruntime>=1.18'" in lack.hint
    assert lack.hint.count("--python PATH") == 1


def test_who_waits_for_a_device_sees_that_it_is_being_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    class Shown:
        @contextmanager
        def task(self, description: str, total: int) -> Iterator[Advance]:
            told.append(description)
            yield lambda _: None

    def switched_off(_: Device) -> None:
        assert told == ["reaching bench"]
        raise TransportError("did not answer")

    monkeypatch.setattr("edgesdk.flows.session.connect", switched_off)
    with pytest.raises(TransportError), agent_on(DEVICE, progress=Shown()):
        pass


def test_a_refusal_for_want_of_a_runtime_says_what_brings_it() -> None:
    installed = replace(example_results().installed, runtime="onnxruntime")
    bare = replace(example_environment(), runtimes=())
    with (
        pytest.raises(AgentError, match=r"has no onnxruntime>=1\.0") as caught,
        lack_explained(DEVICE, bare, installed),
    ):
        raise AgentError("no such module", code=ErrorCode.NO_RUNTIME, hint="install it")
    assert caught.value.hint.startswith("edgesdk agent install bench --runtime onnxruntime")
