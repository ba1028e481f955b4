"""Which of a tensor's types are treated how."""

from __future__ import annotations

NIBBLES = ("int4", "uint4")
SMALL = ("int8", "uint8", "bool", "float8", *NIBBLES)
"""One byte, or half a byte, an element."""
SIGNED = ("int8", "int4")
INTEGERS = {"int16": 2, "int32": 4, "int64": 8}
"""Wide ones that may have scales, by their bytes."""
WIDTHS = INTEGERS | {
    **{"uint16": 2, "float16": 2, "bfloat16": 2, "uint32": 4, "float32": 4},
    **{"uint64": 8, "float64": 8},
}
