"""Facts about the Jetson targets: a module with a JetPack release each, and ids with an @."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesdk.convert.conversion import read_artifact
from edgesdk.convert.placement import place
from edgesdk.errors import TargetError
from edgesdk.models.reading import read_graph
from edgesdk.package.reading import read_package
from edgesdk.targets.checks import id_problems
from edgesdk.targets.loading import catalogue, check_descriptor, list_targets, load_target
from edgesdk.targets.types import Fact, Target
from tests.cli import Cli
from tests.onnx_networks import Network

NANO = "jetson-orin-nano@jp6.2"
JETSONS = [target for target in list_targets() if target.family == "jetson"]
every_jetson = pytest.mark.parametrize("target", JETSONS, ids=[t.id for t in JETSONS])


@pytest.mark.parametrize(
    ("name", "tensorrt", "capability"),
    [
        ("jetson-orin-nano@jp5.1", "8.5.2", "8.7"),
        ("jetson-orin-nano@jp6.2", "10.3", "8.7"),
        ("jetson-orin-nx@jp6.2", "10.3", "8.7"),
        ("jetson-agx-orin@jp5.1", "8.5.2", "8.7"),
        ("jetson-agx-orin@jp6.2", "10.3", "8.7"),
        ("jetson-xavier-nx@jp5.1", "8.5.2", "7.2"),
        ("jetson-agx-xavier@jp5.1", "8.5.2", "7.2"),
        ("jetson-thor@jp7.0", "10.13.3", "11.0"),
    ],
)
def test_a_release_has_its_tensorrt_and_a_module_its_gpu(
    name: str, tensorrt: str, capability: str
) -> None:
    found = load_target(name).accelerator.tensorrt
    assert found is not None
    assert (found.version.value, found.compute_capability.value) == (tensorrt, capability)


@every_jetson
def test_the_id_ends_in_the_release(target: Target) -> None:
    found = target.accelerator.tensorrt
    assert found is not None
    assert target.id.endswith(f"@jp{found.jetpack.value}")


@every_jetson
def test_every_fact_names_a_source_that_is_there(target: Target) -> None:
    found = target.accelerator.tensorrt
    assert found is not None
    facts: tuple[Fact, ...] = (found.jetpack, found.version, found.compute_capability)
    assert {fact.source for fact in facts} <= set(target.sources)
    assert target.operators["gpu"].source in target.sources


@every_jetson
def test_the_device_must_have_the_releases_tensorrt(target: Target) -> None:
    found = target.accelerator.tensorrt
    assert found is not None
    assert [(runtime.name, runtime.min_version) for runtime in target.runtimes] == [
        ("tensorrt", found.version.value)
    ]


@every_jetson
def test_quantization_is_symmetric(target: Target) -> None:
    scheme = target.quantization
    assert scheme.weights.symmetric
    assert scheme.activations.symmetric
    assert scheme.weights.granularity == "per-channel"


@every_jetson
def test_half_precision_is_offered_where_the_file_can_ask_for_it(target: Target) -> None:
    found = target.accelerator.tensorrt
    assert found is not None
    takes_types_from_the_file = int(found.version.value.split(".")[0]) >= 10
    assert target.precisions == (("w8a8", "fp16") if takes_types_from_the_file else ("w8a8",))


@every_jetson
def test_a_model_runs_on_the_gpu_as_a_whole(target: Target) -> None:
    assert target.operators["gpu"].no_fallback
    assert [unit.id for unit in target.compute_units] == ["gpu", "cpu"]


@pytest.mark.parametrize(
    ("release", "expected"), [("jp5.1", "cpu"), ("jp6.2", "gpu")], ids=["8.5", "10.3"]
)
def test_layer_normalization_is_new_in_tensorrt_8_6(
    tmp_path: Path, release: str, expected: str
) -> None:
    net = Network()
    x, scale = net.input("x", (1, 4)), net.constant("scale", [1.0] * 4)
    net.node("LayerNormalization", [x, scale], "y")
    graph = read_graph(net.write(tmp_path / "net.onnx", y=(1, 4)))
    (placement,) = place(graph, load_target(f"jetson-orin-nano@{release}"))
    assert placement.unit == expected


@pytest.mark.parametrize(
    ("kind", "shape", "attributes", "reason"),
    [
        ("AveragePool", (1, 2, 8), {"kernel_shape": [2]}, "2D or 3D Pooling only"),
        ("Hardmax", (1, 4), {}, ""),
        ("Unique", (4,), {}, "TensorRT 10 has no such operator"),
        (
            "MaxPool",
            (1, 2, 8, 8),
            {"kernel_shape": [2, 2], "dilations": [2, 2]},
            "`dilations` must be empty or all ones",
        ),
        ("Relu", (1, 4), {"domain": "acme"}, "TensorRT has ONNX's own operators, others need"),
    ],
)
def test_what_the_parser_lacks_stays_off_the_gpu_in_its_own_words(
    tmp_path: Path, kind: str, shape: tuple[int, ...], attributes: dict[str, object], reason: str
) -> None:
    net = Network()
    net.node(kind, [net.input("x", shape)], "y", **attributes)
    model = net.model({"y": None})
    if "domain" in attributes:
        model.opset_import.add(domain="acme", version=1)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    (placement,) = place(read_graph(tmp_path / "net.onnx"), load_target("jetson-orin-nano@jp6.2"))
    assert placement.unit == ("cpu" if reason else "gpu")
    assert placement.reason.startswith(reason)


# Ids with an @


def test_an_at_sign_stands_before_a_release() -> None:
    assert list(id_problems("jetson-orin-nano@jp6.2")) == []
    for wrong in ("jetson@", "@jp6.2", "jetson@jp6@2", "jetson@JP6.2", "jetson@jp6..2"):
        assert list(id_problems(wrong)) != [], wrong


def test_a_near_miss_is_told_the_releases() -> None:
    with pytest.raises(TargetError) as caught:
        load_target("jetson-orin-nano@jp6.3")
    assert "jetson-orin-nano@jp6.2" in caught.value.hint


def test_the_file_has_the_id_for_a_name() -> None:
    path = catalogue() / "jetson" / "jetson-orin-nano@jp6.2.toml"
    assert check_descriptor(path).id == "jetson-orin-nano@jp6.2"


def test_the_command_line_takes_them(tmp_path: Path) -> None:
    edgesdk = Cli(tmp_path)
    listed = edgesdk("target", "ls", "--json")
    assert NANO in [target["id"] for target in listed.json]
    assert edgesdk("target", "show", NANO).out.startswith(NANO)
    assert edgesdk("target", "check", catalogue() / "jetson" / f"{NANO}.toml").code == 0


def test_a_conversion_and_a_package_bear_them(tmp_path: Path) -> None:
    net = Network()
    net.node("Relu", [net.conv(net.input("x", (1, 3, 8, 8)), "c", (3, 4))], "y")
    source = net.write(tmp_path / "net.onnx", y=(1, 4, 8, 8))
    samples = np.random.default_rng(1).normal(size=(4, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "cal.npz", x=samples)
    edgesdk = Cli(tmp_path)
    done = edgesdk("convert", source, "-t", NANO, "--calibration", "cal.npz", "-o", NANO, "--json")
    assert done.code == 0, done.err
    assert read_artifact(tmp_path / NANO).plan.target_id == NANO
    assert [path.name for path in (tmp_path / NANO).glob("*.onnx")] == ["model.onnx"]
    packed = edgesdk("package", NANO, "-o", f"{NANO}.edgepkg", "--json")
    assert packed.code == 0, packed.err
    package = tmp_path / f"{NANO}.edgepkg"
    assert read_package(package).manifest.compatibility.target == NANO
