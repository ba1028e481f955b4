"""Train the networks that `delta.py --trained` compares: one, and what became of it in updates.

It needs PyTorch, which the SDK does not, and runs apart from the benchmark:

    python benchmarks/delta_networks.py --images images.npz --out networks/

`images.npz` holds `train` and `test` (uint8, NHWC), `train_label` and `test_label`. Without it the
network learns scikit-learn's digits, widened to its input. The network has MobileNetV2's blocks
and, at width 1.0, its 2.2 million weights. Every file is a float ONNX model with its batch
normalizations folded away, and each has a twin for LiteRT where litert_torch is installed.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
from collections.abc import Callable, Iterator
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


@dataclass(frozen=True)
class Images:
    """(N, 3, 32, 32) float32 around 0, and their labels."""

    image: Tensor
    label: Tensor


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


def read_images(path: Path | None) -> tuple[Images, Images]:
    """The training and test images."""
    if path is None:
        return _digits()
    with np.load(path) as arrays:
        return tuple(  # type: ignore[return-value]
            Images(
                (torch.from_numpy(arrays[split]).permute(0, 3, 1, 2).float() - 127.5) / 64,
                torch.from_numpy(arrays[f"{split}_label"]).long(),
            )
            for split in ("train", "test")
        )


def _digits() -> tuple[Images, Images]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images).float()[:, None] / 4 - 2
    image = functional.interpolate(small, (SIDE, SIDE), mode="bilinear").expand(-1, 3, -1, -1)
    label = torch.from_numpy(digits.target).long()
    return Images(image[:1200], label[:1200]), Images(image[1200:], label[1200:])


def batches(images: Images) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled, half of them mirrored, each moved by up to 3 pixels."""
    for rows in torch.randperm(len(images.label)).split(BATCH):
        image = images.image[rows]
        down, right = (int(value) for value in torch.randint(-3, 4, (2,)))
        image = torch.roll(image, (down, right), (2, 3))
        flip = torch.rand(len(rows)) < 0.5
        yield torch.where(flip[:, None, None, None], image.flip(3), image), images.label[rows]


def train(net: nn.Module, images: Images, epochs: int, rate: float) -> nn.Module:
    """SGD with momentum and weight decay, the rate falling to 0; all that wants a gradient."""
    steps = epochs * -(-len(images.label) // BATCH)
    wanted = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(wanted, rate, momentum=0.9, weight_decay=1e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    net.train()
    for epoch in range(epochs):
        total = 0.0
        for image, label in batches(images):
            loss = functional.cross_entropy(net(image), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss)
        print(f"  epoch {epoch + 1} of {epochs}: loss {total * BATCH / len(images.label):.3f}")
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


def export(net: Network, path: Path) -> None:
    """Write it as ONNX, and for LiteRT where that toolkit is installed."""
    plain = folded(net)
    sample = (torch.zeros(1, 3, SIDE, SIDE),)
    program = torch.onnx.export(
        plain, sample, input_names=["image"], output_names=["logits"], opset_version=18
    )
    model = program.model_proto
    for part in (model, model.graph, *model.graph.node):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, str(path.with_suffix(".onnx")))
    if importlib.util.find_spec("litert_torch"):
        import litert_torch

        litert_torch.convert(plain, sample).export(str(path.with_suffix(".tflite")))


def updates(base: Network, images: Images, epochs: int) -> Iterator[tuple[str, Network]]:
    """What becomes of a network, gentlest first."""
    classes = base.classify.out_features

    def tuned(rate: float, prepare: Callable[[Network], None] = lambda net: None) -> Network:
        net = copy.deepcopy(base)
        prepare(net)
        train(net, images, max(1, epochs // 6), rate)
        return net

    def freeze(net: Network) -> None:
        net.features.requires_grad_(False)
        # Without this its batch normalizations would go on averaging.
        net.features.train = lambda mode=True: net.features  # type: ignore[method-assign]
        net.features.eval = lambda: net.features  # type: ignore[method-assign]
        for module in net.features.modules():
            module.training = False

    def new_head(net: Network) -> None:
        net.classify = nn.Linear(1280, classes + 2)

    def grow(net: Network) -> None:
        grown = Network(classes, extra_block=True)
        there = grown.state_dict()
        kept = {name: value for name, value in net.state_dict().items() if name in there}
        grown.load_state_dict(
            {
                name: kept[name] if name in kept and kept[name].shape == value.shape else value
                for name, value in there.items()
            }
        )
        net.features, net.classify = grown.features, grown.classify

    yield "head-tuned", tuned(0.01, freeze)
    yield "tuned-gently", tuned(0.0005)
    yield "tuned", tuned(0.005)
    yield "tuned-hard", tuned(0.03)
    yield "new-head", tuned(0.005, new_head)
    yield "grown", tuned(0.005, grow)
    torch.manual_seed(1)
    yield "from-scratch", train(Network(classes), images, epochs, 0.1)  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    train_images, test_images = read_images(arguments.images)
    arguments.out.mkdir(parents=True, exist_ok=True)
    calibration = train_images.image[:160].numpy()
    np.savez(arguments.out / "calibration.npz", **{"first/image": calibration[:128]})
    other = train_images.image[160:288].numpy()
    np.savez(arguments.out / "recalibration.npz", **{"first/image": other})
    classes = int(train_images.label.max()) + 1
    base = Network(classes)
    train(base, train_images, arguments.epochs, 0.1)
    scores = {"base": accuracy(base, test_images)}
    export(base, arguments.out / "base")
    for name, net in updates(base, train_images, arguments.epochs):
        scores[name] = accuracy(net, test_images)
        print(f"{name}: {scores[name]:.3f} of the test images right")
        export(net, arguments.out / name)
    (arguments.out / "accuracy.json").write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
