"""What a `torch.export` program may hold: data, known operators, fixed sizes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgesdk.models.formats.jobs.protocol import Refused
from edgesdk.models.formats.jobs.torch_archives import checked_copy

Program = dict[str, Any]
SPEC = '[1, {"type": "builtins.tuple", "context": "null", "children_spec": []}]'


def program(**changes: object) -> Program:
    node = {"target": "torch.ops.aten.conv2d.default", "inputs": [{"arg": {"as_int": 1}}]}
    graph = {"nodes": [node | changes], "in_spec": SPEC}
    return {"graph_module": {"graph": graph}, "range_constraints": {}, "guards_code": ["evil()"]}


def archive(path: Path, content: Program, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as written:
        written.writestr("net/models/model.json", json.dumps(content))
        written.writestr("net/data/weights/weight_0", b"\x00" * 8)
        written.writestr("net/archive_format", "pt2")
        for name, value in files.items():
            written.writestr("net/" + name.replace("__", "/"), value)
    return path


def refusal(path: Path, folder: Path) -> str:
    with pytest.raises(Refused) as error:
        checked_copy(str(path), folder, path.name)
    assert error.value.kind == "model"
    return error.value.message


def test_the_copy_holds_the_data_and_no_guards(tmp_path: Path) -> None:
    copy = checked_copy(str(archive(tmp_path / "m.pt2", program())), tmp_path, "m.pt2")
    with zipfile.ZipFile(copy) as read:
        assert read.read("checked/data/weights/weight_0") == b"\x00" * 8
        assert json.loads(read.read("checked/models/model.json"))["guards_code"] == []


def test_what_is_not_a_programs_is_left_out(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt2", program(), extra__evil=b"x", data__weights__x=b"x")
    with zipfile.ZipFile(checked_copy(str(path), tmp_path, "m.pt2")) as read:
        assert sorted(read.namelist()) == [
            "checked/archive_format",
            "checked/data/weights/weight_0",
            "checked/models/model.json",
        ]


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.load_library",
        "torch.ops.aten.os.path.join",
        "torch.hub.load",
        "_operator.methodcaller",
        "ours.mine",
        "#extension:x",
        "torch.ops.ours.mine.default",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten.set_.source_Storage",
        "torch.ops.aten.relu.__class__",
        "torch.ops.aten._print.default",
        "torch.ops.prims.copy_to.default",
        "torch.ops.torchvision.write_file.default",
        "torch.ops.higher_order.call_torchbind",
        "torch.ops.higher_order.inline_asm_elementwise",
        "math.factorial",
    ],
)
def test_an_operator_that_is_not_pytorchs_is_refused(tmp_path: Path, target: str) -> None:
    path = archive(tmp_path / "m.pt2", program(target=target))
    assert refusal(path, tmp_path) == (
        f"m.pt2 uses the operator {target}, which is not among PyTorch's arithmetic known here"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": [{"as_expr": {"expr_str": "s0", "hint": None}}]},
        {"deep": {"inner": [{"expr_str": "__import__('os')"}]}},
    ],
)
def test_symbolic_sizes_are_refused_unread(tmp_path: Path, changes: Program) -> None:
    path = archive(tmp_path / "m.pt2", program(**changes))
    assert "has dynamic shapes" in refusal(path, tmp_path)


def test_ranges_of_sizes_are_refused(tmp_path: Path) -> None:
    content = program() | {"range_constraints": {"s0": {"min_val": 1, "max_val": 8}}}
    assert "has dynamic shapes" in refusal(archive(tmp_path / "m.pt2", content), tmp_path)


def test_containers_that_are_made_by_import_are_refused(tmp_path: Path) -> None:
    spec = '[1, {"type": "collections.defaultdict", "context": "os", "children_spec": []}]'
    path = archive(tmp_path / "m.pt2", program(out_spec=spec))
    assert "takes or gives a collections.defaultdict" in refusal(path, tmp_path)


def test_compiled_code_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt2", program(), data__aotinductor__model__x=b"")
    assert "holds compiled code" in refusal(path, tmp_path)


@pytest.mark.parametrize("kind", ["custom", "opaque"])
def test_python_objects_are_refused(tmp_path: Path, kind: str) -> None:
    path = archive(tmp_path / "m.pt2", program(), **{f"data__constants__{kind}_obj_0": b""})
    assert f"holds a Python object (data/constants/{kind}_obj_0)" in refusal(path, tmp_path)


def test_a_torch_save_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as written:
        written.writestr("m/data.pkl", b"")
    assert refusal(path, tmp_path) == (
        "m.pt2 is a torch.save file, expected a torch.export program"
    )


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(b"\x80\x04")
    assert "m.pt2 is broken" in refusal(path, tmp_path)


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.relu_.default",
        "torch.ops.aten.copy_.default",
        "torch.ops.aten._softmax.default",
        "torch.ops.aten.scaled_dot_product_attention.default",
        "torch.ops.prims.convert_element_type.default",
        "torch.ops.quantized_decomposed.quantize_per_tensor.default",
        "torch.ops.torchvision.nms.default",
        "torch.ops.higher_order.wrap_with_set_grad_enabled",
        "_operator.getitem",
    ],
)
def test_arithmetic_passes(tmp_path: Path, target: str) -> None:
    path = archive(tmp_path / "m.pt2", program(target=target))
    assert checked_copy(str(path), tmp_path, "m.pt2").is_file()


def test_an_archive_that_grows_without_bound_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt2", program())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as written:
        written.writestr("net/data/weights/weight_1", bytes(65 * 2**20))
    assert "would grow to 65 MiB when unpacked" in refusal(path, tmp_path)


def test_damage_inside_a_compressed_file_is_a_broken_model(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("net/models/model.json", json.dumps(program()))
    content = bytearray(path.read_bytes())
    start = content.index(b"model.json") + len(b"model.json")
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    assert "m.pt2 is broken" in refusal(path, tmp_path)


def test_an_encrypted_archive_is_a_broken_model(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt2", program())
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            content[start + offset] |= 1
    path.write_bytes(content)
    assert "m.pt2 is broken" in refusal(path, tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """PyTorch's reader and Python's may each take another one of them."""
    path = archive(tmp_path / "m.pt2", program())
    with zipfile.ZipFile(path, "a") as written, pytest.warns(UserWarning, match="Duplicate"):
        written.writestr("net/models/model.json", "{}")
    assert "a file of the same name twice" in refusal(path, tmp_path)
