"""Names of what a descriptor's limits can look at; `edgesdk.convert.quantities` computes them."""

from __future__ import annotations

from typing import Final

ATTRIBUTE: Final = "attribute."
"""Before the name of an operator's own option, e.g. "attribute.stride_w"."""

QUANTITIES: Final = frozenset(
    {"version", "opset", "domain", "input_dtype", "output_dtype", "static"}
    | {"rank", "inner_rank", "output_inner_rank", "batch", "elements", "output_elements"}
    | {"inputs", "constant_inputs", "variable_inputs", "constant_parameters", "nonzero_constants"}
    | {"constant_inner_rank", "same_dilation", "dilation", "groups", "weight_rank"}
    | {"scale_height", "scale_width", "scale", "axes", "axes_batch", "axes_depth_odd"}
    | {"slice_strides", "leading_ones", "input_depth", "inputs_beside_constants", "kernel_elements"}
)
"""All but the attributes."""


def is_quantity(name: str) -> bool:
    """A limit can look at it."""
    return name in QUANTITIES or (name.startswith(ATTRIBUTE) and len(name) > len(ATTRIBUTE))
