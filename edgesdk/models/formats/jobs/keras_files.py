"""Keras files looked at before Keras opens them: the version that wrote them, and what they name.

A Keras file's configuration can name any Python object and hold byte code (Lambda layers), which
loading would import or run. Only Keras's own layers pass; nothing is imported here.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .protocol import Refused

_ZIP = b"PK\x03\x04"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ROOMS = frozenset(
    {"activations", "constraints", "dtype_policies", "initializers", "layers", "models"}
    | {"losses", "metrics", "mixed_precision", "ops", "optimizers", "quantizers", "regularizers"}
)
_CODE = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
_FILES = frozenset({"TFSMLayer"})
_BEYOND_ARITHMETIC = frozenset(
    {"data", "gfile", "io", "load_library", "load_op_library", "numpy_function", "py_func"}
    | {"py_function", "raw_ops", "saved_model", "summary", "train"}
)
"""Parts of TensorFlow's names that a Keras-2 operator layer has no use for in a network."""
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
            metadata = json.loads(archive.read("metadata.json"))
            return str(metadata["keras_version"]), json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError) as error:
        raise Refused(
            "model",
            f"{label} is broken: {error}",
            "save it again, or check that the download is complete",
        ) from error


def _in_hdf5(path: str, label: str) -> tuple[str, Any]:
    import h5py

    try:
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
    except (OSError, ValueError) as error:
        raise Refused(
            "model",
            f"{label} is broken: {error}",
            "save it again, or check that the download is complete",
        ) from error


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
    kind = config.get("class_name")
    if not isinstance(kind, str):
        return
    name = _layer_name(config)
    if kind in _CODE:
        yield f"holds the {kind.strip('_')} layer {name}, which is Python code that is not run here"
    if kind in _FILES:
        yield f"holds the {kind} layer {name}, which reads another file"
    if kind == "TFOpLambda":
        function = str(dict(config.get("config") or {}).get("function", ""))
        if _BEYOND_ARITHMETIC.intersection(function.split(".")):
            yield f"holds the operator layer {name} of tf.{function}, which is no arithmetic"
    registered = config.get("registered_name")
    if isinstance(registered, str) and ">" in registered:
        yield f"holds the custom object {registered.rpartition('>')[2]!r} ({name})"
    module = config.get("module")
    if module is not None and not _is_keras(module, kind):
        yield f"holds {kind!r} of the module {module!r}, which is not Keras's own"


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
