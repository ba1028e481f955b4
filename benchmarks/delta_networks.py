"""Train the networks that `delta.py --trained` compares: one, and what became of it in updates.

It needs PyTorch, which the SDK does not, and runs apart from the benchmark:

    python benchmarks/delta_networks.py train networks/ --images images.npz --device cuda
    python benchmarks/delta_networks.py export networks/
    python benchmarks/delta_networks.py digits networks/

`train` makes `networks/mobilenet`, with MobileNetV2's blocks and its 2.2 million weights, wherever
there is a fast device, and keeps the weights. `export` makes of them float ONNX models with their
batch normalizations folded away, and twins for LiteRT, on a machine that has LiteRT Torch. So has
to have one that trains `digits`, the example's network, which takes minutes without any device.

The images are `train` and `test` (uint8, NHWC, 32 x 32), `train_label` and `test_label`. The first
network learns part of them only; the updates learn all, as when new data has come in.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2))
"""Expansion, channels, repeats and stride; the last stage of MobileNetV2 follows them."""
LAST_BLOCK = (6, 320, 1, 1)
SIDE = 32
BATCH = 64
SHIFT_MAX = 4
SHARE_OF_BASE = 0.8
"""Of the training images that the first network learns."""
PRINTED_EPOCHS = 10


@dataclass(frozen=True)
class Images:
    """(N, 3, 32, 32) float32 around 0, and their labels."""

    image: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.label)

    def first(self, count: int) -> Images:
        return Images(self.image[:count], self.label[:count])


class ConvNorm(nn.Module):
    """A convolution, its batch normalization and a ReLU6, if any."""

    def __init__(self, a: int, b: int, size: int, stride: int, groups: int, relu: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(a, b, size, stride, size // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(b)
        self.act = nn.ReLU6() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))

    def fold(self) -> None:
        self.conv = fuse_conv_bn_eval(self.conv, self.norm)
        self.norm = nn.Identity()


class Bottleneck(nn.Module):
    """MobileNetV2's inverted residual."""

    def __init__(self, a: int, b: int, expand: int, stride: int) -> None:
        super().__init__()
        wide = a * expand
        first = [ConvNorm(a, wide, 1, 1, 1, True)] if expand > 1 else []
        self.body = nn.Sequential(
            *first,
            ConvNorm(wide, wide, 3, stride, wide, True),
            ConvNorm(wide, b, 1, 1, 1, False),
        )
        self.adds = stride == 1 and a == b

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


class Network(nn.Module):
    """(N, 3, 32, 32) images to logits."""

    def __init__(self, classes: int, extra_block: bool = False) -> None:
        super().__init__()
        parts: list[nn.Module] = [ConvNorm(3, 32, 3, 1, 1, True)]
        channels = 32
        last = (LAST_BLOCK, LAST_BLOCK) if extra_block else (LAST_BLOCK,)
        for expand, width, repeats, stride in (*BLOCKS, *last):
            for index in range(repeats):
                parts.append(Bottleneck(channels, width, expand, stride if index == 0 else 1))
                channels = width
        parts.append(ConvNorm(channels, 1280, 1, 1, 1, True))
        self.features = nn.Sequential(*parts)
        self.classify = nn.Linear(1280, classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.classify(self.features(image).mean((2, 3)))


def read_images(path: Path, device: torch.device) -> tuple[Images, Images]:
    """The training and test images, shuffled, as files often have them class by class."""
    with np.load(path) as arrays:
        return _split(arrays, "train", device), _split(arrays, "test", device)


def _split(arrays: Mapping[str, np.ndarray], name: str, device: torch.device) -> Images:
    image = torch.from_numpy(arrays[name]).permute(0, 3, 1, 2).float()
    label = torch.from_numpy(arrays[f"{name}_label"]).long()
    order = torch.randperm(len(label))
    return Images(((image[order] - 127.5) / 64).to(device), label[order].to(device))


def batches(images: Images) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled, half of them mirrored, each moved by some pixels; what enters is black."""
    device = images.label.device
    places = 2 * SHIFT_MAX + 1
    for rows in torch.randperm(len(images), device=device).split(BATCH):
        count = torch.arange(len(rows), device=device)
        margin = functional.pad(images.image[rows], (SHIFT_MAX,) * 4, value=-2.0)
        windows = margin.unfold(2, SIDE, 1).unfold(3, SIDE, 1)
        down, right = torch.randint(places, (2, len(rows)), device=device)
        image = windows[count, :, down, right]
        flip = torch.rand(len(rows), device=device) < 0.5
        yield torch.where(flip[:, None, None, None], image.flip(3), image), images.label[rows]


def train(net: nn.Module, images: Images, epochs: int, rate: float) -> nn.Module:
    """SGD with momentum and weight decay, the rate falling to 0; all that wants a gradient."""
    steps = epochs * -(-len(images) // BATCH)
    wanted = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(wanted, rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    net.train()
    for epoch in range(epochs):
        total = torch.zeros((), device=images.label.device)
        for image, label in batches(images):
            loss = functional.cross_entropy(net(image), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach() * len(label)
        if (epoch + 1) % PRINTED_EPOCHS == 0 or epoch + 1 == epochs:
            loss_now = float(total) / len(images)
            print(f"  epoch {epoch + 1} of {epochs}: loss {loss_now:.3f}", flush=True)
    return net.eval()


def accuracy(net: nn.Module, images: Images) -> float:
    """Share of images that it gets right."""
    with torch.no_grad():
        parts = [net(image).argmax(1) for image in images.image.split(256)]
    return float((torch.cat(parts) == images.label).float().mean())


def folded(net: Network) -> Network:
    """A copy without batch normalization."""
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if isinstance(module, ConvNorm):
            module.fold()
    return net


def frozen_norms(net: nn.Module) -> nn.Module:
    """Keep the statistics of its batch normalizations, as fine-tuning on little data does."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train = lambda mode=True, norm=module: norm  # type: ignore[method-assign]
    return net


def updates(base: Network, images: Images, epochs: int) -> Iterator[tuple[str, Network]]:
    """What becomes of a network, gentlest first."""
    classes, device = base.classify.out_features, images.label.device
    few = max(1, epochs // 12)

    def tuned(rate: float, prepare: Callable[[Network], None] = lambda net: None) -> Network:
        net = copy.deepcopy(base).eval()
        prepare(net)
        train(frozen_norms(net.eval()), images, few, rate)
        return net

    def freeze(net: Network) -> None:
        net.features.requires_grad_(False)

    def new_head(net: Network) -> None:
        net.classify = nn.Linear(net.classify.in_features, classes + 2, device=device)

    yield "head-tuned", tuned(0.01, freeze)
    yield "tuned-gently", tuned(0.0005)
    yield "tuned", tuned(0.004)
    yield "tuned-hard", tuned(0.03)
    yield "new-head", tuned(0.004, new_head)
    yield "grown", grown(base, images, few)
    torch.manual_seed(1)
    fresh = Network(classes).to(device)
    train(fresh, images, epochs, 0.1)
    yield "from-scratch", fresh


def grown(base: Network, images: Images, epochs: int) -> Network:
    """The network with a block more, which begins as next to nothing beside its input."""
    net = Network(base.classify.out_features, extra_block=True).to(images.label.device)
    there = base.state_dict()
    # The block behind the last one has its number; what follows has another.
    moved = {f"features.{len(base.features) - 1}.": f"features.{len(base.features)}."}
    kept = {}
    for name, value in there.items():
        for old, new in moved.items():
            name = name.replace(old, new) if name.startswith(old) else name
        kept[name] = value
    net.load_state_dict(net.state_dict() | kept)
    nn.init.zeros_(net.features[len(base.features) - 1].body[-1].norm.weight)
    train(frozen_norms(net.eval()), images, epochs, 0.004)
    return net


def digits(out: Path) -> None:
    """The example's network, trained as the example does it, and tuned on."""
    path = Path(__file__).parents[1] / "examples" / "digits" / "train.py"
    spec = importlib.util.spec_from_file_location("digits_train", path)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    sys.modules["digits_train"] = example
    spec.loader.exec_module(example)
    splits = example.load_splits()
    out.mkdir(parents=True, exist_ok=True)
    calibration = splits["calibration"].image
    np.savez(out / "calibration.npz", **{"first/image": calibration[:80]})
    np.savez(out / "recalibration.npz", **{"first/image": calibration[80:]})
    base = example.train(splits["train"])
    nets = {"base": base, "head-tuned": copy.deepcopy(base)}
    nets["head-tuned"].requires_grad_(False).classify.requires_grad_(True)
    _tuned_digits(nets["head-tuned"], splits["train"], 1e-3)
    for name, rate in (("tuned-gently", 1e-5), ("tuned", 1e-4), ("tuned-hard", 1e-3)):
        nets[name] = _tuned_digits(copy.deepcopy(base), splits["train"], rate)
    example.SEED += 1
    nets["from-scratch"] = example.train(splits["train"])
    for name, net in nets.items():
        example.export_onnx(net.eval(), out / f"{name}.onnx")
        example.export_tflite(net.eval(), out / f"{name}.tflite")


def _tuned_digits(net: nn.Module, split: object, rate: float) -> nn.Module:
    """Some epochs more, batch normalization folded away before."""
    images, labels = torch.from_numpy(split.image), torch.from_numpy(split.label)  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate)
    for _ in range(8):
        for rows in torch.randperm(len(images)).split(32):
            loss = functional.cross_entropy(net(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


def mobilenet(out: Path, images: Path, epochs: int, device: torch.device) -> None:
    """Train the larger network and what becomes of it; keep their weights."""
    train_images, test_images = read_images(images, device)
    out.mkdir(parents=True, exist_ok=True)
    calibration = train_images.image[:256].cpu().numpy()
    np.savez(out / "calibration.npz", **{"first/image": calibration[:128]})
    np.savez(out / "recalibration.npz", **{"first/image": calibration[128:]})
    base = Network(int(train_images.label.max()) + 1).to(device)
    train(base, train_images.first(int(len(train_images) * SHARE_OF_BASE)), epochs, 0.1)
    scores = {}
    for name, net in itertools.chain([("base", base)], updates(base, train_images, epochs)):
        scores[name] = accuracy(net.eval(), test_images)
        print(f"{name}: {scores[name]:.3f} of the test images right", flush=True)
        torch.save(
            {key: value.cpu() for key, value in net.state_dict().items()}, out / f"{name}.pt"
        )
        (out / "accuracy.json").write_text(json.dumps(scores, indent=1) + "\n")


def export(folder: Path) -> None:
    """Write each network whose weights are there as ONNX and for LiteRT."""
    for path in sorted(folder.glob("*.pt")):
        net = folded(loaded(path))
        sample = (torch.zeros(1, 3, SIDE, SIDE),)
        program = torch.onnx.export(
            net, sample, input_names=["image"], output_names=["logits"], opset_version=18
        )
        model = program.model_proto
        for part in (model, model.graph, *model.graph.node):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
        onnx.save(model, str(path.with_suffix(".onnx")))
        import litert_torch

        litert_torch.convert(net, sample).export(str(path.with_suffix(".tflite")))


def loaded(path: Path) -> Network:
    """The network whose weights these are."""
    state = torch.load(path, weights_only=True)
    classes = len(state["classify.weight"])
    blocks = {key.split(".")[1] for key in state if key.startswith("features.")}
    plain = Network(classes)
    net = plain if len(blocks) == len(plain.features) else Network(classes, extra_block=True)
    net.load_state_dict(state)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("step", choices=("train", "export", "digits"))
    parser.add_argument("out", type=Path, help="folder of the networks")
    parser.add_argument("--images", type=Path, help=".npz with train, test and their labels")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    # More threads than idle cores wait for one another.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if arguments.step == "digits":
        digits(arguments.out / "digits")
    elif arguments.step == "export":
        export(arguments.out / "mobilenet")
    elif arguments.images is None:
        parser.error("train needs --images")
    else:
        mobilenet(arguments.out / "mobilenet", arguments.images, arguments.epochs, arguments.device)


if __name__ == "__main__":
    main()
