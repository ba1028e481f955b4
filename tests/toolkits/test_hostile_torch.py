"""PyTorch programs that would act on the machine when run: nothing is touched. Honest ones pass."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from edgesdk.errors import ModelError
from edgesdk.models.formats.jobs.torch_operators import ATEN
from edgesdk.models.opening import open_model
from tests.toolkits.checks import make, skip_without

skip_without("torch", "torch")
pytestmark = [pytest.mark.toolkit, pytest.mark.timeout(900)]

KEPT = bytes(16)
WORDS = frozenset(
    {"UPLO", "a", "api_name", "approximate", "assert_msg", "b", "driver", "el", "equation"}
    | {"indexing", "interpolation", "mode", "norm", "ord", "p", "pad_mode", "padding"}
    | {"padding_side", "reduce", "rounding_mode", "self", "separator", "side", "string", "substr"}
)
"""What PyTorch calls the words and texts that its arithmetic takes; a path is `filename`."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "victim").write_bytes(KEPT)
    make("make_hostile_torch.py", str(folder), str(folder / "victim"))
    (folder / "victim").write_bytes(KEPT)
    return folder


def test_a_program_that_maps_a_file_and_writes_to_it_is_refused(models: Path) -> None:
    with pytest.raises(ModelError, match=r"uses the operator torch.ops.aten.from_file.default"):
        open_model(models / "file.pt2")
    assert (models / "victim").read_bytes() == KEPT


@pytest.mark.parametrize(
    "target", ["torch.ops.aten.save.default", "torch.ops.higher_order.call_torchbind"]
)
def test_an_operator_that_is_put_in_is_refused(models: Path, tmp_path: Path, target: str) -> None:
    changed = tmp_path / "changed.pt2"
    with zipfile.ZipFile(models / "honest.pt2") as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("models/model.json"):
                program = json.loads(content)
                program["graph_module"]["graph"]["nodes"][0]["target"] = target
                content = json.dumps(program).encode()
            new.writestr(entry.filename, content)
    with pytest.raises(ModelError, match=f"uses the operator {target}"):
        open_model(changed)


def test_a_network_of_known_operators_passes(models: Path) -> None:
    assert open_model(models / "honest.pt2").outputs[0].shape == (1, 5)


def test_no_operator_that_passes_takes_a_path() -> None:
    """Asked of PyTorch itself: words are names of modes, and equations."""
    import torch

    schemas = [each for each in torch._C._jit_get_all_schemas() if each.name.startswith("aten::")]
    texts = {
        argument.name
        for each in schemas
        if each.name.removeprefix("aten::").removesuffix("_") in ATEN
        for argument in each.arguments
        if "str" in str(argument.type)
    }
    assert texts <= WORDS


def test_the_operator_that_maps_files_would_have_been_found() -> None:
    import torch

    schema = torch.ops.aten.from_file.default._schema
    assert [a.name for a in schema.arguments if "str" in str(a.type)] == ["filename"]
    assert "filename" not in WORDS
