"""Train the digits example and write the four files that the examples and tests read.

It writes `digits.npz` (images and labels, in three disjoint splits), `digits.onnx` and
`digits.tflite` (the same float weights twice) and `accuracy.json` (the top-1 accuracy of both
files on the test split, measured by ONNX Runtime and LiteRT on the files just written).

It does not quantize, tune hyperparameters or pick a checkpoint: it trains for a fixed number of
epochs on the training split and exports the last weights. The calibration and test splits are
never trained on. Runs with the packages of `requirements.txt` on one machine give the same
bytes; another CPU may round differently and so end in slightly different weights.
"""

import argparse
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import litert_torch
import numpy as np
import onnx
import onnxruntime
import torch
from ai_edge_litert.interpreter import Interpreter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

SEED = 0
CALIBRATION_IMAGES = 160
TEST_IMAGES = 640
EPOCHS = 60
BATCH_IMAGES = 32
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
INPUT_SHAPE = (1, 1, 8, 8)  # NCHW
OPSET = 18
PACKAGES = (
    "ai-edge-litert",
    "litert-torch",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "scikit-learn",
    "torch",
)


@dataclass(frozen=True)
class Split:
    """Images, float32 of shape (N, 1, 8, 8) in 0..1, and their labels, int64 of shape (N,)."""

    image: np.ndarray
    label: np.ndarray


def load_splits() -> dict[str, Split]:
    """Split scikit-learn's copy of the digits, stratified by class, the same way every time."""
    digits = load_digits()
    image = (digits.images / 16.0).astype(np.float32)[:, np.newaxis]
    label = digits.target.astype(np.int64)
    rest, test = train_test_split(
        np.arange(len(label)), test_size=TEST_IMAGES, stratify=label, random_state=SEED
    )
    train, calibration = train_test_split(
        rest, test_size=CALIBRATION_IMAGES, stratify=label[rest], random_state=SEED
    )
    rows = {"train": train, "calibration": calibration, "test": test}
    return {name: Split(image[index], label[index]) for name, index in rows.items()}


def write_splits(path: Path, splits: Mapping[str, Split]) -> None:
    """Write the splits as `<split>/image` and `<split>/label`."""
    arrays = {}
    for name, split in splits.items():
        arrays[f"{name}/image"] = split.image
        arrays[f"{name}/label"] = split.label
    np.savez_compressed(path, **arrays)


class ConvNorm(nn.Module):
    """A 3x3 convolution and its batch normalization, which `fold` merges into one convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))

    def fold(self) -> None:
        self.conv = fuse_conv_bn_eval(self.conv, self.norm)
        self.norm = nn.Identity()


class Residual(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class DigitsNet(nn.Module):
    """A small residual network: (N, 1, 8, 8) images to (N, 10) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(1, 32)
        self.halve = nn.MaxPool2d(2)
        self.widen = ConvNorm(32, 64)
        self.residual = Residual(64)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.halve(torch.relu(self.stem(image)))
        x = self.residual(torch.relu(self.widen(x)))
        return self.classify(self.pool(x).flatten(1))


class NamedOutput(nn.Module):
    """The network with its output in a dict: that is how LiteRT Torch learns the output's name."""

    def __init__(self, net: DigitsNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": self.net(image)}


def shift_at_random(image: Tensor) -> Tensor:
    """Move each image by -1, 0 or 1 pixel along both axes; what enters at the edge is 0."""
    count = len(image)
    windows = functional.pad(image, (1, 1, 1, 1)).unfold(2, 8, 1).unfold(3, 8, 1)
    return windows[torch.arange(count), :, torch.randint(3, (count,)), torch.randint(3, (count,))]


def train(split: Split) -> DigitsNet:
    """Train a network and return it in evaluation mode, batch normalization folded away."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    images, labels = torch.from_numpy(split.image), torch.from_numpy(split.label)
    net = DigitsNet()
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=WEIGHT_DECAY)
    batches_per_epoch = -(-len(images) // BATCH_IMAGES)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=EPOCHS * batches_per_epoch
    )
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH_IMAGES):
            loss = functional.cross_entropy(net(shift_at_random(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return fold(net.eval())


def fold(net: DigitsNet) -> DigitsNet:
    """Merge every batch normalization into its convolution, once, so both exports share it."""
    for module in net.modules():
        if isinstance(module, ConvNorm):
            module.fold()
    return net


def export_onnx(net: DigitsNet, path: Path) -> None:
    """Write one self-contained ONNX file: static shape, weights inside, no build-machine paths."""
    program = torch.onnx.export(
        net,
        (torch.zeros(INPUT_SHAPE),),
        input_names=["image"],
        output_names=["logits"],
        opset_version=OPSET,
        dynamo=True,
    )
    model = program.model_proto
    strip_metadata(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def strip_metadata(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about itself, stack traces with file paths among it."""
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (model, graph, *graph.node, *values):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def export_tflite(net: DigitsNet, path: Path) -> None:
    """Write the same network for LiteRT, with the same NCHW input shape."""
    named = NamedOutput(net).eval()
    converted = litert_torch.convert(named, sample_kwargs={"image": torch.zeros(INPUT_SHAPE)})
    converted.export(str(path))


def onnx_logits(path: Path, images: np.ndarray) -> np.ndarray:
    """Run (N, 1, 8, 8) images one by one through ONNX Runtime; returns (N, 10) logits."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["logits"], {"image": one[None]})[0] for one in images])


def tflite_logits(path: Path, images: np.ndarray) -> np.ndarray:
    """Run (N, 1, 8, 8) images one by one through LiteRT; returns (N, 10) logits."""
    run = Interpreter(str(path), num_threads=1).get_signature_runner()
    return np.concatenate([run(image=one[None])["logits"] for one in images])


def measure(
    path: Path, infer: Callable[[Path, np.ndarray], np.ndarray], split: Split
) -> dict[str, int | float | str]:
    """Count the images that a model file gets right, and say which file it was."""
    correct = int((infer(path, split.image).argmax(axis=1) == split.label).sum())
    count = len(split.label)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"n": count, "correct": correct, "top1": correct / count, "sha256": digest}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and export the digits example.")
    parser.add_argument("--out", type=Path, required=True, help="existing folder to write into")
    out: Path = parser.parse_args().out

    splits = load_splits()
    write_splits(out / "digits.npz", splits)
    net = train(splits["train"])
    export_onnx(net, out / "digits.onnx")
    export_tflite(net, out / "digits.tflite")
    accuracy = {
        "split": "test",
        "models": {
            "digits.onnx": measure(out / "digits.onnx", onnx_logits, splits["test"]),
            "digits.tflite": measure(out / "digits.tflite", tflite_logits, splits["test"]),
        },
        "seed": SEED,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    text = json.dumps(accuracy, indent=2)
    (out / "accuracy.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
