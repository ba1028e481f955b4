"""The rules of the house (docs/architecture.md), held against the imports that are really there."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = sorted([*(ROOT / "edgesdk").rglob("*.py"), *(ROOT / "device_agent").rglob("*.py")])

HEAVY = {
    "ai_edge_litert",
    "ai_edge_quantizer",
    "aimet_onnx",
    "aimet_torch",
    "jiwer",
    "mlflow",
    "distributed",
    "labgrid",
    "nncf",
    "onnx",
    "onnxruntime",
    "openvino",
    "oras",
    "pycocotools",
    "requests",
    "securesystemslib",
    "sklearn",
    "tensorflow",
    "tensorrt",
    "tensorrt_rtx",
    "tflite_runtime",
    "torch",
    "tuf",
}
LEAVES = (
    *("edgesdk.models.formats", "edgesdk.convert.backends", "edgesdk.package.exporters"),
    "edgesdk.flows.clusters",
    *("edgesdk.history.mlflow_store", "edgesdk.metrics.libraries"),
)

STAGES = {
    *("convert", "devices", "doctor", "history", "keys", "metrics"),
    *("package", "report", "validate", "wheels"),
}
LOWER = {
    *("calibration", "data", "errors", "files", "models", "progress", "serial", "targets", "text"),
    *("choices", "distributions", "home", "interruption", "processes", "units", "values"),
}
MAY_IMPORT = {
    "__main__": {"cli"},
    "cli": {"", "api", "cli", "report", *LOWER},
    "pytest_plugin": {"api", "project", "pytest_plugin", "report", *LOWER},
    "api": {"flows", "project", *LOWER},
    "flows": {"flows", "project", *STAGES, *LOWER},
    "project": LOWER,
    "calibration": {"calibration", "choices", "errors", "files", "serial"},
    **{stage: {stage, *LOWER} for stage in STAGES},
    "testing": {"devices", "testing", *LOWER},
    "data": {"data", "errors", "models"},
    "models": {
        *("distributions", "environments", "errors", "files", "models", "processes", "progress"),
    },
    "environments": {"errors", "files", "processes", "progress"},
    "targets": {"choices", "errors", "serial", "targets", "units"},
    "values": {
        "choices",
        "calibration",
        "errors",
        "models",
        "serial",
        "targets",
        "units",
        "values",
    },
    "serial": {"errors", "files"},
    "units": {"errors"},
    "processes": {"interruption", "text"},
    "interruption": set(),
    "choices": set(),
    "distributions": set(),
    "files": set(),
    "home": set(),
    "progress": set(),
    "text": set(),
    "errors": set(),
    "": set(),
}
"""Room of edgesdk to the rooms it may import; "" is edgesdk/__init__.py."""

AGENT_CONTRACT = {
    *("archive", "clock", "codec", "documents", "ed25519", "environment_messages", "reading"),
    *("inspection_messages", "lease_messages", "manifest", "measuring_messages", "model_messages"),
    *("output_messages", "package_messages"),
    *("preprocessing", "profile_messages", "protocol", "runtime_messages"),
    *("sshsig", "stage_messages", "trust", "trust_messages"),
}
"""What the workstation may import of the agent anywhere; the rest is for the named rooms."""
AGENT_BEYOND_CONTRACT = {
    "convert": {"runtimes"},
    # Pictures are made into inputs by the very code that the device runs.
    "data": {"runtimes"},
    # What a device without hardware has started ends as a session's own programs do.
    "devices": {"", "children"},
    # A delta is made for the code that applies it, and tried with it.
    "package": {"delta", "delta_streams", "delta_tensors"},
    # Wheels are chosen for the machine that the agent would run them on.
    "wheels": {"interpreter"},
}


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node, save what is imported for the type checker's eyes only."""
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield child
            yield from nodes(child)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def room(name: str) -> str:
    return [*name.split("."), ""][1]


@pytest.mark.parametrize("path", PRODUCT, ids=module_name)
def test_heavy_toolkits_are_imported_in_the_leaf_folders_only(path: Path) -> None:
    if module_name(path).startswith((*LEAVES, "device_agent.runtimes")):
        return
    found = [(name, line) for name, line in imports(path) if name.split(".")[0] in HEAVY]
    assert found == []


@pytest.mark.parametrize(
    "path", [path for path in PRODUCT if path.is_relative_to(ROOT / "edgesdk")], ids=module_name
)
def test_rooms_import_only_what_lies_below_them(path: Path) -> None:
    name = module_name(path)
    allowed = MAY_IMPORT[room(name)]
    found = [
        (other, line)
        for other, line in imports(path)
        if other.startswith("edgesdk.") and is_module(other) and room(other) not in allowed
    ]
    assert found == []


@pytest.mark.parametrize(
    "path", [path for path in PRODUCT if path.is_relative_to(ROOT / "edgesdk")], ids=module_name
)
def test_the_workstation_uses_the_agent_through_its_contract(path: Path) -> None:
    allowed = AGENT_CONTRACT | AGENT_BEYOND_CONTRACT.get(room(module_name(path)), set())
    found = [
        (other, line)
        for other, line in imports(path)
        if other.split(".")[0] == "device_agent" and is_module(other) and room(other) not in allowed
        if other != "device_agent"
    ]
    assert found == []


@pytest.mark.parametrize(
    "path",
    [path for path in PRODUCT if path.is_relative_to(ROOT / "device_agent")],
    ids=module_name,
)
def test_the_agent_needs_the_standard_library_only(path: Path) -> None:
    allowed = {"device_agent", *sys.stdlib_module_names}
    if module_name(path).startswith("device_agent.runtimes"):
        allowed.add("numpy")
    found = [(name, line) for name, line in imports(path) if name.split(".")[0] not in allowed]
    assert found == []


@pytest.mark.parametrize(
    "path",
    [path for path in PRODUCT if path.is_relative_to(ROOT / "device_agent")],
    ids=module_name,
)
def test_the_agent_is_written_for_python_3_7(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 7))


def test_importing_all_of_edgesdk_but_the_leaves_imports_no_toolkit() -> None:
    modules = [
        module_name(path)
        for path in PRODUCT
        if not module_name(path).startswith((*LEAVES, "device_agent.runtimes."))
        and path.name != "__main__.py"
    ]
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_help_imports_nothing_slow() -> None:
    program = (
        "import sys\nfrom edgesdk.cli.main import run\nrun(['--help'])\n"
        "slow = {'numpy', 'paramiko', 'cattrs', 'jinja2', 'rich.table'}\n"
        "slow |= {'json', 'logging', 'decimal', 'edgesdk.targets.types', 'edgesdk.cli.render'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
