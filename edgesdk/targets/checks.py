"""What a descriptor's values must hold beyond their types: pure, on the plain merged data.

Each check yields one line a problem, ending in its path. The data may have any shape: wrong types
and missing keys are `edgesdk.serial`'s to report, so a check passes over what it does not know.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

from edgesdk.errors import UsageError
from edgesdk.targets.qualcomm import soc_problem
from edgesdk.targets.quantities import ATTRIBUTE, QUANTITIES, is_quantity
from edgesdk.units import parse_bytes, parse_duration_ns

Tree = Mapping[str, Any]

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(@[a-z0-9]+(\.[a-z0-9]+)*)?")
_VERSION = re.compile(r"\d+(\.\d+)*")
_TEXTS: Mapping[str, Callable[[str], int]] = {
    "$.budget.package": parse_bytes,
    "$.budget.delta": parse_bytes,
    "$.budget.installed": parse_bytes,
    "$.budget.peak_ram": parse_bytes,
    "$.gates.max_peak_ram": parse_bytes,
    "$.gates.max_p95": parse_duration_ns,
    "$.gates.max_preprocess_p95": parse_duration_ns,
    "$.gates.max_inference_p95": parse_duration_ns,
    "$.gates.max_postprocess_p95": parse_duration_ns,
    "$.gates.max_end_to_end_p95": parse_duration_ns,
}


def id_problems(target_id: str) -> Iterator[str]:
    """The file's name, without its suffix, is the id."""
    if not _ID.fullmatch(target_id):
        yield (
            f"found {target_id!r}, expected lower-case letters, digits and hyphens, "
            "and @ before a release @ file name"
        )


def value_problems(tree: Tree) -> Iterator[str]:
    """Everything that is wrong with the values of one descriptor."""
    checks = (
        _id_key,
        _sources,
        _dates,
        _figures,
        policy_problems,
        _versions,
        _lists,
        _limits,
        _htp,
    )
    for check in checks:
        yield from check(tree)


def policy_problems(tree: Tree) -> Iterator[str]:
    """What is wrong with `[budget]`, `[gates]` and `[contract]`, here or in a project file."""
    yield from _texts(tree)
    yield from _bounds(tree)
    yield from _fractions(tree)


def _id_key(tree: Tree) -> Iterator[str]:
    if "id" in tree:
        yield "the file's name is the id, remove the key @ $.id"


def _sources(tree: Tree) -> Iterator[str]:
    sources = _table(tree, "sources")
    cited = {path: key for path, key in _citations(tree) if isinstance(key, str)}
    for path, key in cited.items():
        if key not in sources:
            known = ", ".join(sources) or "none there"
            yield f"found {key!r}, expected a key of [sources] ({known}) @ {path}"
    for key in sources:
        if key not in cited.values():
            yield f"no figure names this source @ $.sources.{key}"
    for path, node in _walk(tree):
        if isinstance(node, Mapping) and node.get("features") and "features_source" not in node:
            yield f"features need a features_source @ {path}"


def _citations(tree: Tree) -> Iterator[tuple[str, Any]]:
    for path, node in _walk(tree):
        if path.endswith((".source", ".features_source")):
            yield path, node


def _dates(tree: Tree) -> Iterator[str]:
    for path, node in _walk(_table(tree, "sources"), "$.sources"):
        if path.endswith(".accessed") and isinstance(node, str) and not _is_iso_date(node):
            yield f"found {node!r}, expected a date such as '2026-11-20' @ {path}"


def _is_iso_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _figures(tree: Tree) -> Iterator[str]:
    for path, node in _walk(tree):
        if path.endswith(".value") and isinstance(node, int) and node <= 0:
            yield f"found {node}, expected more than 0 @ {path}"


def _texts(tree: Tree) -> Iterator[str]:
    for path, node in _walk(tree):
        if path in _TEXTS and isinstance(node, str):
            try:
                _TEXTS[path](node)
            except UsageError as error:
                yield f"{error.message} @ {path}"


def _bounds(tree: Tree) -> Iterator[str]:
    for path, node in _walk(_table(tree, "gates"), "$.gates"):
        if isinstance(node, float | int) and -math.inf < node < 0:
            yield f"found {node}, expected 0 or more @ {path}"


def _versions(tree: Tree) -> Iterator[str]:
    for path, node in _walk(tree):
        names_version = path.endswith((".min_version", ".min_python")) and isinstance(node, str)
        if names_version and not _VERSION.fullmatch(node):
            yield f"found {node!r}, expected a version such as '1.18' @ {path}"


def _lists(tree: Tree) -> Iterator[str]:
    for key, name in (("compute_units", "id"), ("runtimes", "name")):
        entries = tree.get(key)
        if not isinstance(entries, list):
            continue
        if not entries:
            yield f"found none, expected at least one @ $.{key}"
        names = [entry.get(name) for entry in entries if isinstance(entry, Mapping)]
        for repeated in sorted({str(text) for text in names if names.count(text) > 1}):
            yield f"{repeated!r} is there more than once @ $.{key}"


def _limits(tree: Tree) -> Iterator[str]:
    """What the limits of operators look at, and that each has one kind of bound."""
    for path, node in _walk(_table(tree, "operators"), "$.operators"):
        if not (isinstance(node, Mapping) and isinstance(node.get("quantity"), str)):
            continue
        if not is_quantity(node["quantity"]):
            known = ", ".join(sorted(QUANTITIES))
            yield (
                f"found {node['quantity']!r}, expected {ATTRIBUTE}NAME or one of {known} "
                f"@ {path}.quantity"
            )
        bounds = [bound for bound in ("at_most", "at_least", "one_of") if bound in node]
        if len(bounds) != 1:
            yield (
                f"found {' and '.join(bounds) or 'no bound'}, "
                f"expected one of at_most, at_least and one_of @ {path}"
            )


def _fractions(tree: Tree) -> Iterator[str]:
    for table in ("contract", "gates"):
        found = _table(tree, table).get("min_accelerated_fraction", 0)
        if isinstance(found, int | float) and not 0 <= found <= 1:
            yield f"found {found:g}, expected 0 to 1 @ $.{table}.min_accelerated_fraction"


def _htp(tree: Tree) -> Iterator[str]:
    htp = _table(_table(tree, "accelerator"), "htp")
    soc_model, arch = (_table(htp, key).get("value") for key in ("soc_model", "arch"))
    if isinstance(soc_model, int) and isinstance(arch, int):
        problem = soc_problem(soc_model, arch)
        if problem is not None:
            yield f"{problem} @ $.accelerator.htp"


def _table(tree: Tree, key: str) -> Tree:
    value = tree.get(key)
    return value if isinstance(value, Mapping) else {}


def _walk(node: Any, path: str = "$") -> Iterator[tuple[str, Any]]:
    """Every node of plain data with its path, the root first."""
    yield path, node
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _walk(value, f"{path}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _walk(value, f"{path}[{index}]")
