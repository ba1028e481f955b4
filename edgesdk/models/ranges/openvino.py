"""The constants of an OpenVINO model's `.bin`, as its `.xml` describes them.

A quantized constant is followed by Convert, Subtract of the zero-point where there is one, and
Multiply by the scales; their constants lie in the same file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from edgesdk.models.ranges.types import ITEM_BITS, Floats, Layout, TensorRange, apart

_TYPES = {
    **{"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "i4": "int4"},
    **{"u4": "uint4", "i8": "int8", "u8": "uint8", "i16": "int16", "u16": "uint16"},
    **{"i32": "int32", "u32": "uint32", "i64": "int64", "u64": "uint64", "boolean": "bool"},
}
_XML_MAX_BYTES = 64 * 1024 * 1024
_STEPS = ("Convert", "Subtract", "Multiply")


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    kind: str
    data: Mapping[str, str]


def read_layout(content: bytes, described_by: bytes) -> Layout:
    """The constants in `content`, the `.bin`."""
    # Entities could make a small file a large one; OpenVINO's files have none.
    if len(described_by) > _XML_MAX_BYTES or re.search(rb"<!(ENTITY|DOCTYPE)", described_by):
        return Layout()
    try:
        root = ElementTree.fromstring(described_by)
        nodes = {layer.attrib["id"]: _node(layer) for layer in root.iterfind("./layers/layer")}
        edges = [
            (edge.attrib["from-layer"], edge.attrib["to-layer"])
            for edge in root.iterfind("./edges/edge")
        ]
        ranges = {key: _range(node) for key, node in nodes.items() if node.kind == "Const"}
    except (ElementTree.ParseError, KeyError, ValueError):
        return Layout()
    readers: dict[str, str] = {}
    feeds: dict[str, list[str]] = {}
    for source, sink in edges:
        readers.setdefault(source, sink)
        feeds.setdefault(sink, []).append(source)
    found = [
        _scaled(key, each, nodes, readers, feeds, ranges)
        for key, each in ranges.items()
        if each is not None
    ]
    used = {scale.start for each in found for scale in each.scales if scale.count > 1}
    vectors = [Floats(each.start, each.size // 4) for each in found if each.start in used]
    kept = [each for each in found if each.start not in used]
    return apart(kept, vectors, len(content))


def _node(layer: ElementTree.Element) -> _Node:
    data = layer.find("data")
    attributes = {} if data is None else dict(data.attrib)
    return _Node(layer.attrib.get("name", ""), layer.attrib["type"], attributes)


def _range(node: _Node) -> TensorRange | None:
    dtype = _TYPES.get(node.data["element_type"], "")
    shape = tuple(int(size) for size in node.data["shape"].split(",") if size.strip())
    start, size = int(node.data["offset"]), int(node.data["size"])
    if not dtype or -(-math.prod(shape) * ITEM_BITS[dtype] // 8) != size or start < 0:
        return None
    return TensorRange(node.name, node.name, dtype, shape, start, size)


def _scaled(
    key: str,
    tensor: TensorRange,
    nodes: Mapping[str, _Node],
    readers: Mapping[str, str],
    feeds: Mapping[str, list[str]],
    ranges: Mapping[str, TensorRange | None],
) -> TensorRange:
    """The tensor with the layer that reads it and, of small integers, its scales."""
    here = key
    while readers.get(here) in nodes and nodes[readers[here]].kind in _STEPS:
        before, here = here, readers[here]
        scales = next((ranges.get(each) for each in feeds[here] if each != before), None)
        if nodes[here].kind != "Multiply" or scales is None or scales.dtype != "float32":
            continue
        if tensor.dtype not in ("int8", "uint8", "int4", "uint4"):
            continue
        axes = [axis for axis, size in enumerate(scales.shape) if size > 1]
        count = math.prod(scales.shape)
        if count > 1 and (len(axes) != 1 or tensor.shape[axes[0] : axes[0] + 1] != (count,)):
            continue
        return TensorRange(
            *(tensor.name, tensor.layer, tensor.dtype, tensor.shape, tensor.start, tensor.size),
            axes[0] if axes else None,
            (Floats(scales.start, count),),
            0 if tensor.dtype.startswith("int") else None,
        )
    return tensor
