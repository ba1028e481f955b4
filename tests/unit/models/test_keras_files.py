"""What a Keras file may name: Keras's own layers and nothing else. Nothing is imported for it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgesdk.models.formats.jobs.keras_files import inspect
from edgesdk.models.formats.jobs.protocol import Refused

Config = dict[str, Any]


def layer(kind: str, module: str | None = "keras.layers", **config: object) -> Config:
    return {
        "module": module,
        "class_name": kind,
        "config": {"name": "it", **config},
        "registered_name": None,
    }


def archive(path: Path, *layers: Config, version: str = "3.15.1", **extra: object) -> Path:
    config = layer("Sequential", "keras", layers=list(layers)) | extra
    with zipfile.ZipFile(path, "w") as written:
        written.writestr("metadata.json", json.dumps({"keras_version": version}))
        written.writestr("config.json", json.dumps(config))
    return path


def refusal(path: Path) -> Refused:
    with pytest.raises(Refused) as error:
        inspect(str(path), path.name)
    assert error.value.kind == "model"
    return error.value


DENSE = layer("Dense", kernel_initializer=layer("Zeros", "keras.initializers"))


def test_a_model_of_keras_own_layers_passes(tmp_path: Path) -> None:
    assert not inspect(str(archive(tmp_path / "m.keras", DENSE)), "m.keras").legacy


@pytest.mark.parametrize(("version", "legacy"), [("2.15.0", True), ("3.0.0", False)])
def test_the_version_that_wrote_it_says_who_reads_it(
    tmp_path: Path, version: str, legacy: bool
) -> None:
    path = archive(tmp_path / "m.keras", DENSE, version=version)
    assert inspect(str(path), "m.keras").legacy is legacy


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (layer("Lambda"), "holds the Lambda layer 'it'"),
        (layer("Dense", activation=layer("__lambda__", None)), "holds the lambda layer 'it'"),
        (layer("TorchModuleWrapper"), "holds the TorchModuleWrapper layer 'it'"),
        (layer("TFSMLayer"), "which reads another file"),
        (layer("TFOpLambda", function="io.write_file"), "tf.io.write_file"),
        (layer("system", "os"), "'system' of the module 'os'"),
        (layer("get_file", "keras.utils"), "'get_file' of the module 'keras.utils'"),
        (layer("x", "kerasx.layers"), "of the module 'kerasx.layers'"),
        (layer("Dense") | {"registered_name": "ours>Mine"}, "the custom object 'Mine'"),
        (layer("Model", "keras", inner=[layer("system", "os")]), "'system' of the module 'os'"),
        (layer("Model", "keras", compile_config=layer("f", "os")), "'f' of the module 'os'"),
    ],
)
def test_what_is_not_keras_own_is_refused(tmp_path: Path, found: Config, message: str) -> None:
    refused = refusal(archive(tmp_path / "m.keras", DENSE, found))
    assert message in refused.message


@pytest.mark.parametrize(
    "function",
    [
        "keras.utils.get_file",
        "keras.models.load_model",
        "keras.utils.load_img",
        "keras.backend.print_tensor",
        "autograph.to_code",
        "print",
        "nn.fixed_unigram_candidate_sampler",
        "raw_ops.WriteFile",
        "compat.v1.gfile.Remove",
        "compat.v1.train.write_graph",
        "map_fn",
        None,
        ["math.add"],
    ],
)
@pytest.mark.parametrize("kind", ["TFOpLambda", "SlicingOpLambda"])
def test_a_function_that_is_no_arithmetic_is_refused(
    tmp_path: Path, kind: str, function: object
) -> None:
    refused = refusal(archive(tmp_path / "m.keras", layer(kind, function=function)))
    assert f"the operator layer 'it' of tf.{function}, which is no arithmetic" in refused.message


@pytest.mark.parametrize(
    "found",
    [
        layer("ClassMethod", cls_symbol="data.Dataset", method_name="from_tensor"),
        layer("InstanceMethod", attr_name="__reduce__"),
        layer("InstanceProperty", attr_name="__class__"),
        layer("TensorFlowOpLayer", node_def={"op": "WriteFile"}),
        layer("TensorFlowOpLayer", node_def="\x0a\x01x\x12\x09WriteFile"),
    ],
)
def test_a_member_or_operator_that_is_no_arithmetic_is_refused(
    tmp_path: Path, found: Config
) -> None:
    assert "which is no arithmetic" in refusal(archive(tmp_path / "m.keras", found)).message


EVIL = layer("TFOpLambda", function="keras.utils.get_file")


@pytest.mark.parametrize(
    "nest",
    [
        layer("TimeDistributed", layer=EVIL),
        layer("Bidirectional", layer=layer("RNN", cell=EVIL), backward_layer=layer("LSTM")),
        layer("Wrapper", layer=layer("Wrapper", layer=EVIL)),
        layer("Functional", "keras", layers=[layer("Sequential", "keras", layers=[EVIL])]),
        layer("StackedRNNCells", cells=[layer("LSTMCell"), EVIL]),
        layer("Dense", kernel_initializer=EVIL),
        {"__passive_serialization__": True, "value": [[EVIL]]},
    ],
)
def test_what_lies_deep_inside_is_seen(tmp_path: Path, nest: Config) -> None:
    assert "tf.keras.utils.get_file" in refusal(archive(tmp_path / "m.keras", nest)).message


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (layer("DropoutWrapper", None, function="b64"), "holds 'DropoutWrapper'"),
        (layer("ResidualWrapper", None, residual_fn="b64"), "holds 'ResidualWrapper'"),
        (layer("__typespec__", "tensorflow"), "of the module 'tensorflow'"),
        (layer("CompositeTensor", None), "holds 'CompositeTensor'"),
        (layer("DenseFeatures", None), "holds 'DenseFeatures'"),
        (layer("Map", "keras.src.ops.core"), "holds 'Map'"),
        (layer("load_model", "keras.models"), "holds 'load_model'"),
        (layer("utils.get_file", "keras"), "holds 'utils.get_file'"),
        (layer("StringLookup", vocabulary="/etc/passwd"), "which reads another file"),
        (layer("Dense", activation="get_file"), "the custom object 'get_file' (activation)"),
        (layer("function", "builtins") | {"config": "eval"}, "the custom object 'eval'"),
        ({"class_name": {"a": 1}, "config": {}}, "which is no name"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path: Path, found: Config, message: str) -> None:
    assert message in refusal(archive(tmp_path / "m.keras", found)).message


def test_how_it_was_trained_is_not_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras", DENSE, compile_config=layer("our_loss", "ours"))
    assert not inspect(str(path), "m.keras").legacy


@pytest.mark.parametrize(
    "layer_of_keras",
    [
        layer("TFOpLambda", function="math.add"),
        layer("BatchNormalization", "tf_keras.src.layers.normalization"),
        layer("Functional", "keras.src.models.functional"),
        layer("DTypePolicy", "keras"),
        layer("function", "builtins") | {"config": "relu"},
        layer("Add", "keras.src.ops.numpy"),
        layer("TFOpLambda", function="__operators__.add"),
        layer("TFOpLambda", function="compat.v1.transpose"),
        layer("SlicingOpLambda", function="__operators__.getitem"),
        layer("InstanceMethod", attr_name="to_tensor"),
        layer("ClassMethod", cls_symbol="RaggedTensor", method_name="from_tensor"),
        layer("TensorFlowOpLayer", node_def={"op": "AddV2"}),
        layer("Dense", activation="gelu", kernel_initializer="glorot_uniform"),
        layer("Bidirectional", layer=layer("RNN", cell=layer("LSTMCell"))),
    ],
)
def test_the_forms_that_keras_writes_pass(tmp_path: Path, layer_of_keras: Config) -> None:
    assert inspect(str(archive(tmp_path / "m.keras", layer_of_keras)), "m.keras")


def test_another_file_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(b"\x80\x04pickle")
    assert "is not a Keras file: it begins with" in refusal(path).message


def test_another_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as written:
        written.writestr("word/document.xml", "")
    assert "it is an archive without config.json" in refusal(path).message


@pytest.mark.parametrize("cut", [10, 200])
def test_a_file_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    path = archive(tmp_path / "m.keras", DENSE)
    path.write_bytes(path.read_bytes()[:cut])
    assert "m.keras is broken" in refusal(path).message


def test_an_archive_that_grows_without_bound_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras", DENSE)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as written:
        written.writestr("model.weights.h5", bytes(65 * 2**20))
    assert "would grow to 65 MiB when unpacked" in refusal(path).message


def test_a_configuration_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as written:
        written.writestr("metadata.json", "{")
        written.writestr("config.json", "{")
    assert "m.keras is broken" in refusal(path).message
