"""Delta size as a ratio to the full file, beside bsdiff, xdelta3, zstd and detools.

    python benchmarks/delta.py                        # synthetic INT8 weights
    python benchmarks/delta.py --trained networks/    # made by delta_networks.py, quantized here
    python benchmarks/delta.py --pair OLD NEW         # files of yours
    python benchmarks/delta.py --pair OLD.bin NEW.bin --described-by OLD.xml NEW.xml

All are made in one run from the same two files. Ratios are to the new file packed with xz, and with
zlib as packages have it. Ours is then applied in a process of its own for each `--python`, which
says how long that takes and the most memory it held. A tool that is not installed is a line "not
measured". A run that was cut off goes on where it was: what is in the file of `--results` is not
measured again, and networks stay quantized beside the float ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import lzma
import shutil
import statistics
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from edgesdk.package.delta import make_delta

ROOT = Path(__file__).parents[1]
STAGES = (
    (1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1),
)  # fmt: skip
"""Expansion, channels, blocks of MobileNetV2; table 2 of arXiv:1801.04381."""
DESCRIBED_BY = ("base_described_by", "described_by")
APPLY = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from device_agent.delta import apply
class Out:
    size = 0
    def write(self, piece):
        self.size += len(piece)
started = time.perf_counter()
out = Out()
with open(sys.argv[2], "rb") as patch, open(sys.argv[3], "rb") as base:
    apply(patch, base, out.write)
seconds = time.perf_counter() - started
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
peak = int(line.split()[1]) * 1024
print(json.dumps({"seconds": seconds, "peak_bytes": peak, "size": out.size}))
"""

Weights = list[npt.NDArray[np.float64]]
Tool = Callable[[Path, Path, Path], Sequence[str]]
TOOLS: dict[str, Tool] = {
    "bsdiff": lambda old, new, out: ("bsdiff", str(old), str(new), str(out)),
    "xdelta3": lambda old, new, out: ("xdelta3", "-9", "-S", "djw", "-f", "-B", "268435456", "-e",
                                      "-s", str(old), str(new), str(out)),
    "zstd": lambda old, new, out: ("zstd", "-19", "--ultra", "--long=27", "-q", "-f",
                                   f"--patch-from={old}", str(new), "-o", str(out)),
    "detools": lambda old, new, out: ("detools", "create_patch", "-c", "lzma", str(old), str(new),
                                      str(out)),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Row:
    """One pair of files.

    Args:
        xz_bytes, zlib_bytes: the new file, packed.
        peers: patch sizes; None where the tool is missing or failed.
    """

    case: str
    new_bytes: int
    xz_bytes: int
    zlib_bytes: int
    codec: str
    patch_bytes: int
    peers: dict[str, int | None]
    applied: dict[str, dict[str, float]]


def measure(
    case: str, old: bytes, new: bytes, pythons: Sequence[str], models: Sequence[bytes] = ()
) -> Row:
    """Make all deltas of one pair, and apply ours.

    Args:
        models: the two that describe the files, where these are weights beside a model.
    """
    delta = make_delta(old, new, **dict(zip(DESCRIBED_BY, models, strict=False)))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("old", "new", "patch")]
        for path, data in zip(paths, (old, new, delta.patch), strict=True):
            path.write_bytes(data)
        return Row(
            case,
            len(new),
            len(lzma.compress(new, preset=9)),
            len(zlib.compress(new, 9)),
            delta.codec,
            len(delta.patch),
            {name: _peer(tool(*paths[:2], Path(folder, name))) for name, tool in TOOLS.items()},
            {python: _applied(python, paths[2], paths[0]) for python in pythons},
        )


def _peer(command: Sequence[str]) -> int | None:
    program = shutil.which(command[0]) or shutil.which(command[0], path=Path(sys.executable).parent)
    if program is None:
        return None
    done = subprocess.run([program, *command[1:]], capture_output=True, check=False)
    if done.returncode:
        print(f"{command[0]} failed: {done.stderr.decode().strip()}", file=sys.stderr)
        return None
    return Path(command[-1]).stat().st_size


def _applied(python: str, patch: Path, base: Path) -> dict[str, float]:
    """Median time of five, and peak memory."""
    command = [python, "-I", "-c", APPLY, str(ROOT), str(patch), str(base)]
    runs = [json.loads(subprocess.check_output(command)) for _ in range(5)]
    seconds = statistics.median(run["seconds"] for run in runs)
    return {"seconds": seconds, "peak_bytes": max(run["peak_bytes"] for run in runs)}


# --- synthetic weights ---


def synthetic() -> Iterator[tuple[str, bytes, bytes]]:
    """INT8 weights of MobileNetV2's shapes, one scale a channel, and what becomes of them."""
    random = np.random.default_rng(0)
    weights = _weights(random)
    spread = [w.std(axis=1, keepdims=True) for w in weights]

    def noisy(part: float, layers: slice = slice(None)) -> Weights:
        places = range(len(weights))[layers]
        return [
            w + random.normal(size=w.shape) * s * part if place in places else w
            for place, (w, s) in enumerate(zip(weights, spread, strict=True))
        ]

    base = _network(weights)
    other = np.random.default_rng(1)
    yield "fine-tune, 1 % noise", base, _network(noisy(0.01))
    yield "fine-tune, 5 % noise", base, _network(noisy(0.05))
    yield "recalibrated activations", base, _network(weights, seed=1)
    yield "weight clip moved 3 %", base, _network(weights, clip=0.97)
    yield "head fine-tuned 5 %", base, _network(noisy(0.05, slice(-1, None)))
    yield "new head", base, _network([*weights[:-1], _weights(other)[-1]])
    yield "trained from scratch", base, _network(_weights(other))


def _weights(random: np.random.Generator) -> Weights:
    shapes, channels = [(32, 27)], 32
    for expand, width, repeats in STAGES:
        for _ in range(repeats):
            wide = channels * expand
            shapes += [(wide, channels)] * (expand > 1) + [(wide, 9), (width, wide)]
            channels = width
    shapes += [(1280, 320), (1000, 1280)]
    spread = [np.exp(random.normal(0, 0.3, (rows, 1))) / columns**0.5 for rows, columns in shapes]
    return [random.normal(size=s) * each for s, each in zip(shapes, spread, strict=True)]


def _network(weights: Weights, clip: float = 1.0, seed: int = 0) -> bytes:
    """An ONNX file of these weights, quantized, with scales of activations between."""
    random = np.random.default_rng(seed)
    nodes, constants = [], []
    for place, w in enumerate(weights):
        scale = (np.abs(w).max(axis=1) * clip / 127).astype(np.float32)
        q = np.clip(np.rint(w / scale[:, None]), -127, 127).astype(np.int8)
        names = [f"layer{place}/{part}" for part in ("weight", "scale", "zero", "out")]
        zeros = np.zeros(len(w), np.int8)
        arrays = (q.reshape(*q.shape, 1, 1), scale, zeros)
        constants += [numpy_helper.from_array(a, n) for a, n in zip(arrays, names, strict=False)]
        nodes.append(helper.make_node("DequantizeLinear", names[:3], names[3:], axis=0))
        scale_of_output = np.float32(random.uniform(0.01, 0.1))
        zero = np.int8(random.integers(-128, 127))
        for value, part in ((scale_of_output, "out_scale"), (zero, "out_zero")):
            constants.append(numpy_helper.from_array(np.asarray(value), f"layer{place}/{part}"))
    out = helper.make_tensor_value_info("layer0/out", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "synthetic", [], [out], constants)
    return helper.make_model(graph).SerializeToString(deterministic=True)


# --- trained networks ---

UPDATES = (
    "head-tuned", "tuned-gently", "tuned", "tuned-hard", "new-head", "grown", "from-scratch",
)  # fmt: skip
"""What `delta_networks.py` makes of a network; the example's has some of them."""


def trained(folder: Path) -> Iterator[tuple[str, bytes, bytes]]:
    """The networks of `delta_networks.py`, quantized by every toolkit here, against the first."""
    from delta_quantizers import QUANTIZERS

    for place in sorted(path.parent for path in folder.glob("*/base.onnx")):
        updates = [name for name in UPDATES if (place / f"{name}.onnx").exists()]
        for quantizer in QUANTIZERS:
            base = quantized(place, quantizer, "base", "calibration")
            if base is None:
                print(f"{place.name}, {quantizer}: not measured", file=sys.stderr)
                continue
            cases = [("recalibrated", "base", "recalibration")]
            cases += [(name, name, "calibration") for name in updates]
            for case, name, calibration in cases:
                new = quantized(place, quantizer, name, calibration)
                if new is not None:
                    yield f"{place.name} | {quantizer} | {case}", base, new


def quantized(place: Path, quantizer: str, name: str, calibration: str) -> bytes | None:
    """The INT8 file, as it was made before or now; None where a toolkit is missing."""
    from delta_quantizers import QUANTIZERS

    made = place / "quantized" / f"{quantizer}, {name}, {calibration}"
    if made.exists():
        return made.read_bytes()
    content = QUANTIZERS[quantizer](place, name, calibration)
    if content is not None:
        made.parent.mkdir(exist_ok=True)
        unfinished = made.with_suffix(".part")
        unfinished.write_bytes(content)
        unfinished.replace(made)
    return content


# --- output ---


def show(row: Row) -> None:
    """One line of the table."""
    peers = [
        "not measured" if size is None else f"{size / row.xz_bytes:.3f}"
        for size in row.peers.values()
    ]
    ours = f"{row.patch_bytes / row.xz_bytes:.3f}"
    to_zlib = f"{row.patch_bytes / row.zlib_bytes:.3f}"
    best = min((size for size in row.peers.values() if size), default=None)
    against = "-" if best is None else f"{row.patch_bytes / best:.2f}"
    applied = [
        f"{each['seconds']:.2f} s, {each['peak_bytes'] / 2**20:.0f} MiB"
        for each in row.applied.values()
    ]
    cells = [
        row.case.replace(" | ", ", "),
        f"{row.new_bytes:,}",
        *peers,
        ours,
        to_zlib,
        against,
        *applied,
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def summary(rows: Sequence[Row]) -> None:
    """A line for each network and quantizer: ours, and in brackets the smallest of the others."""
    ratios: dict[str, dict[str, str]] = {}
    for row in rows:
        network, quantizer, case = row.case.split(" | ")
        best = min((size for size in row.peers.values() if size), default=None)
        others = "not measured" if best is None else f"{best / row.xz_bytes:.4f}"
        cell = f"{row.patch_bytes / row.xz_bytes:.4f} ({others})"
        ratios.setdefault(f"{network}, {quantizer}", {})[case] = cell
    cases = ("recalibrated", *UPDATES)
    print("\n| quantized by | " + " | ".join(cases) + " |" + "\n" + "|---" * (len(cases) + 1) + "|")
    for line, cells in ratios.items():
        print(f"| {line} | " + " | ".join(cells.get(case, "-") for case in cases) + " |")


def read_results(path: Path | None) -> dict[str, Row]:
    """Rows measured before, by case."""
    if path is None or not path.exists():
        return {}
    rows = [Row(**json.loads(line)) for line in path.read_text().splitlines()]
    return {row.case: row for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trained", type=Path, help="folder that delta_networks.py wrote")
    parser.add_argument("--pair", type=Path, nargs=2, metavar=("OLD", "NEW"))
    parser.add_argument("--described-by", type=Path, nargs=2, metavar=("OLD", "NEW"))
    parser.add_argument("--python", action="append", default=[], help="interpreter to apply with")
    parser.add_argument("--results", type=Path, help="file of the raw numbers, a line a pair")
    arguments = parser.parse_args()
    pythons = arguments.python
    head = ["case", "bytes", *TOOLS, "ours", "ours to zlib", "to the best other"]
    print("| " + " | ".join([*head, *(f"applied by {Path(each).name}" for each in pythons)]) + " |")
    print("|---" * (len(head) + len(pythons)) + "|")
    if arguments.pair:
        old, new = arguments.pair
        cases = iter([(new.name, old.read_bytes(), new.read_bytes())])
    elif arguments.trained:
        cases = trained(arguments.trained)
    else:
        cases = synthetic()
    models = [path.read_bytes() for path in arguments.described_by or ()]
    known = read_results(arguments.results)
    rows = []
    for case, old_bytes, new_bytes in cases:
        row = known.get(case) or measure(case, old_bytes, new_bytes, pythons, models)
        if arguments.results and case not in known:
            with arguments.results.open("a") as results:
                results.write(json.dumps(dataclasses.asdict(row)) + "\n")
        rows.append(row)
        show(row)
    if arguments.trained:
        summary(rows)


if __name__ == "__main__":
    main()
