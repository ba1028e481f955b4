"""Targets by name or by file: finds descriptors, resolves what they extend, reads them strictly.

A descriptor is a TOML file whose name is the target's id. A file whose name starts with "_" is a
base: others inherit it through `extends`, it is never a target itself. What a descriptor must hold
is in `types` (shape) and `checks` (values); what a budget or gate means is decided elsewhere.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgesdk.errors import MalformedFile, TargetError
from edgesdk.serial import from_dict, read_toml
from edgesdk.targets.checks import id_problems, value_problems
from edgesdk.targets.types import Target

_HOW_TO = "docs/add-a-target.md shows a complete descriptor"


def load_target(name: str | Path) -> Target:
    """The target of that id, or the one a descriptor file of the user's own describes.

    Args:
        name: an id from `target_ids`, or a path that ends in ".toml".

    Raises:
        TargetError: no such target, or its descriptor does not hold.
    """
    if isinstance(name, Path) or name.endswith(".toml"):
        return check_descriptor(Path(name))
    files = _target_files()
    if name not in files:
        raise _unknown(name, files)
    return check_descriptor(files[name])


def list_targets() -> tuple[Target, ...]:
    """Every built-in target, by id.

    Raises:
        TargetError: one of the descriptors does not hold.
    """
    return tuple(check_descriptor(path) for path in _target_files().values())


def target_ids() -> tuple[str, ...]:
    """The ids of the built-in targets, sorted; no descriptor is read."""
    return tuple(_target_files())


def check_descriptor(path: Path) -> Target:
    """Read one descriptor strictly.

    Raises:
        TargetError: with one detail line a problem, each ending in its path.
    """
    if path.stem.startswith("_"):
        raise TargetError(f"{path} is a base for other descriptors, not a target", hint=_HOW_TO)
    tree = _resolve(path)
    problems = [*id_problems(path.stem), *_clashes(path), *_family(path, tree)]
    try:
        target = from_dict(Target, {**tree, "id": path.stem}, origin=str(path))
    except MalformedFile as error:
        problems += error.details
        target = None
    problems += value_problems(tree)
    if problems or target is None:
        raise TargetError(f"{path} does not hold", details=problems, hint=_HOW_TO)
    return target


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `override` laid over it: tables merge key by key, all else is replaced whole."""
    merged = dict(base)
    for key, value in override.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merge(below, value)
        merged[key] = value
    return merged


def catalogue() -> Path:
    """The folder of built-in descriptors: in an installed wheel, or the checkout's `targets/`."""
    installed = Path(__file__).parent / "catalogue"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "targets"


def _resolve(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A descriptor's data with everything it extends merged under it.

    Args:
        below: the files that led here, for the message about a cycle.
    """
    if path.resolve() in below:
        chain = " -> ".join(step.name for step in (*below, path.resolve()))
        raise TargetError(f"descriptors extend one another in a circle: {chain}")
    tree = dict(_read(path))
    base = tree.pop("extends", None)
    if base is None:
        return tree
    return merge(_resolve(_base_file(path, base), (*below, path.resolve())), tree)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return read_toml(path)
    except MalformedFile as error:
        raise TargetError(error.message, hint=_HOW_TO) from error


def _base_file(path: Path, base: Any) -> Path:
    if not (isinstance(base, str) and base.startswith("_")):
        raise TargetError(
            f"{path} does not hold",
            details=[f"found {base!r}, expected the name of a base such as '_arm-cpu' @ $.extends"],
        )
    beside = path.with_name(f"{base}.toml")
    if beside.is_file():
        return beside
    files = _catalogue_files()
    if base not in files:
        bases = ", ".join(name for name in files if name.startswith("_"))
        raise TargetError(f"{path} extends {base!r}, which is not there", hint=f"bases: {bases}")
    return files[base]


def _catalogue_files() -> dict[str, Path]:
    """Descriptors and bases by name, sorted.

    Raises:
        TargetError: two files have one name.
    """
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(catalogue().glob("*/*.toml"), key=lambda path: path.stem):
        found[path.stem].append(path)
    clashes = [f"{name}: {_listed(paths)}" for name, paths in found.items() if len(paths) > 1]
    if clashes:
        raise TargetError("one id must have one descriptor", details=clashes)
    return {name: paths[0] for name, paths in found.items()}


def _target_files() -> dict[str, Path]:
    return {name: path for name, path in _catalogue_files().items() if not name.startswith("_")}


def _clashes(path: Path) -> Iterable[str]:
    builtin = _catalogue_files().get(path.stem)
    if builtin is not None and builtin.resolve() != path.resolve():
        yield f"{path.stem!r} is the id of {builtin} already, choose another @ file name"


def _family(path: Path, tree: Mapping[str, Any]) -> Iterable[str]:
    folder = path.resolve().parent
    if folder.parent == catalogue().resolve() and tree.get("family") not in (None, folder.name):
        yield f"found {tree['family']!r}, expected {folder.name!r}, its folder @ $.family"


def _listed(paths: Iterable[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _unknown(name: str, known: Iterable[str]) -> TargetError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    suggestion = f"did you mean {' or '.join(near)}? " if near else ""
    return TargetError(
        f"there is no target {name!r}",
        hint=f"{suggestion}`edgesdk target ls` lists them; a path ending in .toml names your own",
    )
