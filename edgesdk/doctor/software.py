"""Has it the Python and the runtime that its target needs, and are they what they are called?"""

from __future__ import annotations

from collections.abc import Iterator

from device_agent.inspection_messages import PythonFound
from device_agent.manifest import is_at_least
from edgesdk.errors import AgentError
from edgesdk.targets.types import Runtime, RuntimeName, Target
from edgesdk.values.doctor import Examined, Finding

_DISTRIBUTIONS: dict[RuntimeName, tuple[str, ...]] = {
    "litert": ("ai-edge-litert", "tflite-runtime"),
    "edgetpu": ("ai-edge-litert", "tflite-runtime"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "qnn": ("onnxruntime-qnn",),
    "tensorrt": ("tensorrt",),
    "openvino": ("openvino",),
}
"""Whose versions are compared with a target's."""
IMPOSTOR_REMEDY = (
    "pip uninstall pycoral there; edgesdk needs none (ai-edge-litert loads libedgetpu itself), and "
    "Coral's own is at https://github.com/google-coral/pycoral/releases"
)


def software_findings(
    examined: Examined, target: Target, lack: AgentError | None
) -> Iterator[Finding]:
    """Python, numpy, the runtime, pycoral.

    Args:
        lack: what to say of a device that has none of the target's runtimes; None where it has one.
    """
    python = examined.environment.python
    if not is_at_least(python, target.agent.min_python):
        yield Finding(
            "python",
            "error",
            f"{examined.device} runs the agent with Python {python}, and {target.id} needs "
            f"{target.agent.min_python} or newer",
            f"Python {python}",
            f"Python {target.agent.min_python} or newer",
            f"name another one: edgesdk device add {examined.device} ... --python PATH --replace",
        )
    if lack is not None:
        yield _no_runtime("runtime", examined, target.runtimes, lack)
    elif _needs_numpy(examined, target):
        yield Finding(
            "numpy",
            "error",
            f"the runtime of {examined.device} cannot be used: its Python has no numpy",
            "no numpy",
            "numpy",
            f"install it for {_own_path(examined)}: pip install numpy, or apt install "
            "python3-numpy for the system's Python",
        )
    yield from _slow_litert(examined)
    yield from _impostors(examined)


def _no_runtime(
    id_: str, examined: Examined, wanted: tuple[Runtime, ...], lack: AgentError
) -> Finding:
    needs = " or ".join(f"{each.name} {each.min_version}" for each in wanted)
    found = ", ".join(f"{each.package} {each.version}" for each in examined.environment.runtimes)
    elsewhere = _elsewhere(examined, wanted)
    remedy = lack.hint
    if elsewhere is not None:
        remedy = (
            f"{elsewhere.path} has it: edgesdk device add {examined.device} ... --python "
            f"{elsewhere.path} --replace"
        )
    return Finding(id_, "error", lack.message, found or "no runtime", f"{needs} or newer", remedy)


def runtime_finding(examined: Examined, wanted: Runtime, lack: AgentError) -> Finding:
    """The package's own runtime is not there."""
    return _no_runtime("package-runtime", examined, (wanted,), lack)


def _elsewhere(examined: Examined, wanted: tuple[Runtime, ...]) -> PythonFound | None:
    """Another Python of the device that would do; libedgetpu it would have to share."""
    for runtime in wanted:
        if runtime.name == "edgetpu" and examined.inspection.edgetpu is None:
            continue
        for python in examined.inspection.pythons:
            for name in _DISTRIBUTIONS[runtime.name]:
                version = python.runtimes.get(name, "")
                if version and not python.own and is_at_least(version, runtime.min_version):
                    return python
    return None


def _own(examined: Examined) -> PythonFound | None:
    return next((python for python in examined.inspection.pythons if python.own), None)


def _needs_numpy(examined: Examined, target: Target) -> bool:
    """The runtime is of the agent's Python, which has no numpy; from elsewhere it brings one."""
    own, names = _own(examined), {runtime.name for runtime in target.runtimes}
    packages = [each.package for each in examined.environment.runtimes if each.runtime in names]
    return own is not None and not own.numpy and all(name in own.runtimes for name in packages)


def _own_path(examined: Examined) -> str:
    own = _own(examined)
    return "its Python" if own is None else own.path


def _slow_litert(examined: Examined) -> Iterator[Finding]:
    """Measured: tflite-runtime 2.14 leaves INT8 to LiteRT's built-in kernels, ai-edge-litert 2.3
    gives it to XNNPACK: 0.364 against 0.037 ms for an INT8 ResNet-8 on x86-64."""
    litert = [each for each in examined.environment.runtimes if each.runtime == "litert"]
    if litert and litert[0].package.startswith("tflite-runtime"):
        yield Finding(
            "slow-runtime",
            "note",
            f"tflite-runtime on {examined.device} runs INT8 without XNNPACK, which was ten times "
            "slower where we measured it",
            f"tflite-runtime {litert[0].version}",
            "ai-edge-litert",
            "pip install ai-edge-litert there, where its Python is new enough",
        )


def _impostors(examined: Examined) -> Iterator[Finding]:
    for python in examined.inspection.pythons:
        for impostor in python.impostors:
            yield impostor_finding(f"{python.path} on {examined.device}", impostor)


def impostor_finding(whose: str, found: str, *, id_: str = "impostor-pycoral") -> Finding:
    """PyPI's pycoral in the place of Coral's."""
    return Finding(
        id_,
        "warning",
        f"the pycoral that {whose} has is an unrelated program for the Allen Coral Atlas, not the "
        "Edge TPU's",
        found,
        "pycoral with pycoral.utils.edgetpu, or none",
        IMPOSTOR_REMEDY,
    )
