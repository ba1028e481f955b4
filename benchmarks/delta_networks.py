"""Train the networks that `delta.py --trained` compares: one, and what became of it in updates.

It needs PyTorch and scikit-learn, which the SDK does not, and runs apart from the benchmark:

    python benchmarks/delta_networks.py --images images.npz --out networks/

`networks/digits` is the example's network. `networks/mobilenet` has MobileNetV2's blocks and its
2.2 million weights, and learns the images: `train` and `test` (uint8, NHWC, 32 x 32), `train_label`
and `test_label`; without a file scikit-learn's digits, widened to its input. Every file is a float
ONNX model with its batch normalizations folded away, and has a twin for LiteRT where litert_torch
is installed.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import sys
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


def frozen_norms(net: nn.Module) -> nn.Module:
    """Keep the statistics of its batch normalizations, as fine-tuning on little data does."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train = lambda mode=True, norm=module: norm  # type: ignore[method-assign]
    return net


def updates(base: Network, images: Images, epochs: int) -> Iterator[tuple[str, Network]]:
    """What becomes of a network, gentlest first."""
    classes = base.classify.out_features
    few = max(1, epochs // 6)

    def tuned(rate: float, prepare: Callable[[Network], None] = lambda net: None) -> Network:
        net = copy.deepcopy(base).eval()
        prepare(net)
        train(frozen_norms(net.eval()), images, few, rate)
        return net

    def freeze(net: Network) -> None:
        net.features.requires_grad_(False)

    def new_head(net: Network) -> None:
        net.classify = nn.Linear(net.classify.in_features, classes + 2)

    yield "head-tuned", tuned(0.01, freeze)
    yield "tuned-gently", tuned(0.0005)
    yield "tuned", tuned(0.004)
    yield "tuned-hard", tuned(0.03)
    yield "new-head", tuned(0.004, new_head)
    yield "grown", grown(base, images, few)
    torch.manual_seed(1)
    yield "from-scratch", train(Network(classes), images, epochs, 0.1)  # type: ignore[misc]


def grown(base: Network, images: Images, epochs: int) -> Network:
    """The network with a block more, which begins as next to nothing beside its input."""
    net = Network(base.classify.out_features, extra_block=True)
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
    nets = {"base": base}
    for name, rate in (("tuned-gently", 1e-5), ("tuned", 1e-4), ("tuned-hard", 1e-3)):
        nets[name] = _tuned_digits(copy.deepcopy(base), splits["train"], rate)
    for name, net in nets.items():
        example.export_onnx(net.eval(), out / f"{name}.onnx")
        if importlib.util.find_spec("litert_torch"):
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


def mobilenet(out: Path, images: Path | None, epochs: int) -> None:
    """The larger network and what becomes of it."""
    train_images, test_images = read_images(images)
    out.mkdir(parents=True, exist_ok=True)
    calibration = train_images.image[:256].numpy()
    np.savez(out / "calibration.npz", **{"first/image": calibration[:128]})
    np.savez(out / "recalibration.npz", **{"first/image": calibration[128:]})
    base = Network(int(train_images.label.max()) + 1)
    train(base, train_images, epochs, 0.1)
    scores = {"base": accuracy(base, test_images)}
    export(base, out / "base")
    for name, net in updates(base, train_images, epochs):
        scores[name] = accuracy(net, test_images)
        print(f"{name}: {scores[name]:.3f} of the test images right")
        export(net, out / name)
    (out / "accuracy.json").write_text(json.dumps(scores, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, help=".npz with train, test and their labels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", choices=("digits", "mobilenet"))
    arguments = parser.parse_args()
    # More threads than idle cores wait for one another.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if arguments.only != "mobilenet":
        digits(arguments.out / "digits")
    if arguments.only != "digits":
        mobilenet(arguments.out / "mobilenet", arguments.images, arguments.epochs)


if __name__ == "__main__":
    main()
