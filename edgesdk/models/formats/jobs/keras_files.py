"""Keras files looked at before Keras opens them: the version that wrote them, and what they name.

A Keras file's configuration can name any Python object and hold byte code (Lambda layers), which
loading would import or run. Only what keras_names.py lists passes; nothing is imported here.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import keras_names as names
from .archives import BROKEN, require_bounded
from .protocol import Refused
from .tensorflow_operators import STATELESS

_ZIP = b"PK\x03\x04"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ROOMS = frozenset(
    {"activations", "constraints", "dtype_policies", "initializers", "layers", "models"}
    | {"losses", "metrics", "mixed_precision", "ops", "optimizers", "quantizers", "regularizers"}
)
_REASONS = dict.fromkeys(
    ("Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"),
    "which is Python code that is not run here",
) | dict.fromkeys(
    ("TFSMLayer", "TextVectorization", "StringLookup", "IntegerLookup"), "which reads another file"
)
"""What is refused most often, said in its own words."""
_OPERATOR_LAYERS = frozenset(
    {"TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty"}
    | {"TensorFlowOpLayer"}
)
_NAMED = names.FUNCTIONS | names.OBJECTS | names.LAYERS
_KNOWN = _NAMED | names.OPERATIONS | names.TRAINING | names.DATA | _OPERATOR_LAYERS | {"function"}
_NAMING = ("activation", "_initializer", "_regularizer", "_constraint")
"""Ends of the keys whose value may be the name of a function."""
_LARGEST_CONFIG_BYTES = 256 * 2**20


@dataclass(frozen=True)
class KerasFile:
    """What a file says of itself.

    Args:
        legacy: written by Keras 2, which tf_keras reads.
        config: of the model, as it stands in the file.
    """

    legacy: bool
    config: Any


def inspect(path: str, label: str) -> KerasFile:
    """Read and check the configuration.

    Raises:
        Refused: no Keras file, weights only, or it names what is not Keras's own.
    """
    with open(path, "rb") as stream:
        start = stream.read(8)
    if start.startswith(_ZIP):
        version, config = _in_zip(path, label)
    elif start == _HDF5:
        version, config = _in_hdf5(path, label)
    else:
        raise Refused(
            "model",
            f"{label} is not a Keras file: it begins with {start[:4]!r}, "
            "expected a .keras archive or an HDF5 file",
        )
    if isinstance(config, dict):
        # How it was trained is not read: `compile=False`.
        config = {key: value for key, value in config.items() if key != "compile_config"}
    for foreign in _foreign(config):
        raise Refused("model", f"{label} {foreign}", _hint(foreign))
    return KerasFile(legacy=version.split(".")[0] in ("1", "2"), config=config)


def _hint(foreign: str) -> str:
    if " layer " in foreign:
        return "replace it by other layers of Keras, or export the model as a SavedModel"
    return "export the model as a SavedModel (model.export(folder)), which needs no Python objects"


def _in_zip(path: str, label: str) -> tuple[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            require_bounded(archive, path, label)
            members = {entry.filename: entry for entry in archive.infolist()}
            for name in ("config.json", "metadata.json"):
                if name not in members:
                    raise Refused(
                        "model",
                        f"{label} is not a Keras file: it is an archive without {name}",
                        "save it with model.save('model.keras')",
                    )
                if members[name].file_size > _LARGEST_CONFIG_BYTES:
                    raise Refused("model", f"{label} holds a {name} of more than 256 MiB")
            for name in members:
                if name.endswith(".h5"):
                    with archive.open(name) as stored:
                        _require_inside(stored, label)
            metadata = json.loads(archive.read("metadata.json"))
            return str(metadata["keras_version"]), json.loads(archive.read("config.json"))
    except (*BROKEN, OSError) as error:
        raise _broken(label, error) from error


def _in_hdf5(path: str, label: str) -> tuple[str, Any]:
    import h5py

    try:
        _require_inside(path, label)
        with h5py.File(path, "r") as stored:
            if "model_config" not in stored.attrs:
                raise Refused(
                    "model",
                    f"{label} holds weights only, expected a whole model",
                    "save it with model.save(), not model.save_weights()",
                )
            # Keras 1 and early Keras 2 wrote no version.
            version = stored.attrs.get("keras_version", "2")
            return _text(version), json.loads(_text(stored.attrs["model_config"]))
    except (*BROKEN, OSError) as error:
        raise _broken(label, error) from error


def _broken(label: str, error: Exception) -> Refused:
    return Refused(
        "model",
        f"{label} is broken: {error or type(error).__name__}",
        "save it again, or check that the download is complete",
    )


def _require_inside(stored: Any, label: str) -> None:
    """Weights that lie in the file itself: HDF5 may point to any other file of the machine.

    Raises:
        Refused: one lies elsewhere.
    """
    import h5py

    with h5py.File(stored, "r") as file:
        groups = [file["/"]]
        seen = set()
        while groups:
            group = groups.pop()
            for name in group:
                link = group.get(name, getlink=True)
                inside = isinstance(link, h5py.HardLink)
                found = group[name] if inside else None
                if isinstance(found, h5py.Dataset):
                    inside = not found.external and not found.is_virtual
                if not inside:
                    raise Refused("model", f"{label} takes the weights {name!r} from another place")
                if isinstance(found, h5py.Group) and found.id not in seen:
                    seen.add(found.id)
                    groups.append(found)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _foreign(config: Any) -> Iterator[str]:
    """What a configuration names that is not Keras's own, as the end of a sentence."""
    if isinstance(config, list):
        for each in config:
            yield from _foreign(each)
    elif isinstance(config, dict):
        yield from _foreign_object(config)
        for value in config.values():
            yield from _foreign(value)


def _foreign_object(config: dict[str, Any]) -> Iterator[str]:
    yield from _foreign_functions(config)
    if "class_name" not in config:
        return
    kind, name = config["class_name"], _layer_name(config)
    inner = config.get("config")
    if not isinstance(kind, str):
        yield f"holds a layer of the class {kind!r}, which is no name"
        return
    if kind in _OPERATOR_LAYERS:
        yield from _foreign_operator(kind, name, inner if isinstance(inner, dict) else {})
    elif kind == "function":
        if not isinstance(inner, str) or inner not in names.FUNCTIONS:
            yield f"holds the custom object {inner!r} (a function)"
    elif kind in _REASONS:
        yield f"holds the {kind.strip('_')} layer {name}, {_REASONS[kind]}"
    registered = config.get("registered_name")
    if isinstance(registered, str) and ">" in registered:
        yield f"holds the custom object {registered.rpartition('>')[2]!r} ({name})"
    module = config.get("module")
    if module is not None and not _is_keras(module, kind):
        yield f"holds {kind!r} of the module {module!r}, which is not Keras's own"
    if kind == "TypeSpec" and config.get("type_spec") == "tf.TensorSpec":
        return
    if kind not in _KNOWN:
        yield f"holds {kind!r} ({name}), which is not among Keras's layers that are known here"


def _foreign_functions(config: dict[str, Any]) -> Iterator[str]:
    """Functions that stand by their name alone."""
    for key, value in config.items():
        named = isinstance(value, str) and key.endswith(_NAMING)
        if named and value not in _NAMED:
            yield f"holds the custom object {value!r} ({key})"


def _foreign_operator(kind: str, name: str, inner: dict[str, Any]) -> Iterator[str]:
    """A layer of Keras 2 that calls a function, method or operator of TensorFlow by its name."""
    node = inner.get("node_def")
    if kind == "TensorFlowOpLayer":
        called = node.get("op") if isinstance(node, dict) else node
        known = isinstance(called, str) and called in STATELESS
    elif kind in ("TFOpLambda", "SlicingOpLambda"):
        called = inner.get("function")
        known = str(called).removeprefix("compat.v1.") in names.TENSORFLOW
    elif kind == "ClassMethod":
        called = f"{inner.get('cls_symbol')}.{inner.get('method_name')}"
        known = called in names.RAGGED
    else:
        called = f"<tensor>.{inner.get('attr_name')}"
        known = str(inner.get("attr_name")) in names.MEMBERS
    if not known:
        yield f"holds the operator layer {name} of tf.{called}, which is no arithmetic known here"


def _layer_name(config: dict[str, Any]) -> str:
    inner = config.get("config")
    name = inner.get("name", "") if isinstance(inner, dict) else ""
    return repr(str(name))


def _is_keras(module: object, kind: str) -> bool:
    """A class or function of a room of Keras that holds nothing but parts of networks."""
    if module == "builtins":
        # What is stored under it: functions of Keras by name, numbers, slices and the like.
        return kind in ("function", "str", "int", "float", "bool", "tuple", "slice", "dict", "list")
    parts = str(module).split(".")
    if parts[0] not in ("keras", "tf_keras"):
        return False
    rooms = [part for part in parts[1:] if part not in ("src", "engine", "api", "_tf_keras")]
    return not rooms or rooms[0] in _ROOMS or (parts[1:3] == ["src", "engine"])
