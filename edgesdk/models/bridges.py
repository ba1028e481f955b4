"""Which tool brings a model of one format to the format that a toolchain reads: a light table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from edgesdk.distributions import is_installed
from edgesdk.environments import Isolated, python_version
from edgesdk.errors import IncompatibleTarget, ToolchainMissing
from edgesdk.models.types import Format

LoweredFormat = Literal["onnx", "tflite"]

_REQUIREMENTS = Path(__file__).parent / "formats" / "jobs"


@dataclass(frozen=True, slots=True)
class Bridge:
    """A way from one format to another.

    Args:
        source: the format it takes.
        to: the format it gives.
        tool: what converts.
        job: its script in `formats/jobs/`.
        distributions: whose versions determine what it writes.
        requirement: what to `pip install` for it; of an isolated tool, for what is needed here.
        isolated: an environment of its own, for a tool that cannot share ours.
        optional: distributions that some models need; their versions count where installed.
    """

    source: Format
    to: LoweredFormat
    tool: str
    job: str
    distributions: tuple[str, ...]
    requirement: str
    isolated: Isolated | None = None
    optional: tuple[str, ...] = ()

    def versions(self) -> dict[str, str]:
        """Versions of its distributions: those installed, or those pinned for its environment.

        Of an environment the other pins and the Python count, too: the digest of its requirements
        stands for them as "TOOL-requirements", its Python as "TOOL-python".

        Raises:
            ToolchainMissing: one of them is not installed, or there is no Python for them.
        """
        if self.isolated is not None:
            return self._versions_in(self.isolated)
        try:
            found = {name: version(name) for name in self.distributions}
        except PackageNotFoundError as error:
            raise ToolchainMissing(
                f"bringing a {self.source} model to {self.to} needs {error.name}, "
                "which is not installed",
                hint=f'install it with: pip install "{self.requirement}"',
            ) from error
        return found | {name: version(name) for name in self.optional if is_installed(name)}

    def _versions_in(self, isolated: Isolated) -> dict[str, str]:
        pins = isolated.versions()
        return {
            **{name: pins[name] for name in self.distributions},
            f"{isolated.name}-requirements": f"sha256:{isolated.sha256()[:16]}",
            f"{isolated.name}-python": python_version(isolated),
        }


ONNX2TF = Isolated("onnx2tf", _REQUIREMENTS / "onnx2tf.txt", ("3.12", "3.11", "3.13"))
"""Its pins cannot be met beside ours: numpy, onnx and LiteRT of other versions."""

_TENSORFLOW = ("tensorflow", "keras")
_KERAS = "edgesdk[keras]"

BRIDGES: Mapping[tuple[Format, LoweredFormat], Bridge] = {
    (bridge.source, bridge.to): bridge
    for bridge in (
        Bridge(
            source="keras",
            to="tflite",
            tool="TFLiteConverter",
            job="from_tensorflow",
            distributions=_TENSORFLOW,
            requirement=_KERAS,
            optional=("tf-keras",),
        ),
        Bridge(
            source="savedmodel",
            to="tflite",
            tool="TFLiteConverter",
            job="from_tensorflow",
            distributions=("tensorflow",),
            requirement=_KERAS,
        ),
        Bridge(
            source="keras",
            to="onnx",
            tool="tf2onnx",
            job="from_tensorflow",
            distributions=(*_TENSORFLOW, "tf2onnx", "onnx"),
            requirement=_KERAS,
            optional=("tf-keras",),
        ),
        Bridge(
            source="savedmodel",
            to="onnx",
            tool="tf2onnx",
            job="from_tensorflow",
            distributions=("tensorflow", "tf2onnx", "onnx"),
            requirement=_KERAS,
        ),
        Bridge(
            source="torch",
            to="onnx",
            tool="torch.onnx",
            job="from_torch",
            distributions=("torch", "onnxscript", "onnx"),
            requirement="edgesdk[torch]",
        ),
        Bridge(
            source="torch",
            to="tflite",
            tool="litert-torch",
            job="from_torch",
            distributions=("torch", "litert-torch", "litert-converter"),
            requirement="edgesdk[torch-litert]",
        ),
        Bridge(
            source="onnx",
            to="tflite",
            tool="onnx2tf",
            job="from_onnx",
            distributions=("onnx2tf", "onnx"),
            requirement="edgesdk[onnx]",
            isolated=ONNX2TF,
        ),
        Bridge(
            source="tflite",
            to="onnx",
            tool="tf2onnx",
            job="from_tflite",
            distributions=("tensorflow", "tf2onnx", "onnx"),
            requirement=_KERAS,
        ),
    )
}


def find_bridge(source: Format, to: LoweredFormat) -> Bridge:
    """The way from `source` to `to`.

    Raises:
        IncompatibleTarget: there is none.
    """
    if (source, to) not in BRIDGES:
        raise IncompatibleTarget(f"found a {source} model, which nothing here brings to {to}")
    return BRIDGES[source, to]
