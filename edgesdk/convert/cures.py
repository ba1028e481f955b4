"""What can be done about TFLite operators that accelerators do not take, whatever the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_DECODER = "it decodes the network's outputs and always runs on the CPU, which is usual"
_DETECTIONS = (
    "it turns boxes into detections and always runs on the CPU, which is usual; cut it off the "
    "model to decode on the host yourself"
)
_SELECTS = "leave it to the CPU at the end of the model, or cut it off and select on the host"

CURES: Final[Mapping[str, str]] = {
    "TFLite_Detection_PostProcess": _DETECTIONS,
    "NON_MAX_SUPPRESSION_V4": _DETECTIONS,
    "NON_MAX_SUPPRESSION_V5": _DETECTIONS,
    "PosenetDecoderOp": _DECODER,
    "ARG_MAX": "leave it to the CPU at the end of the model, or take the largest on the host",
    "ARG_MIN": "leave it to the CPU at the end of the model, or take the smallest on the host",
    "TOPK_V2": _SELECTS,
    "GATHER": _SELECTS,
    "GATHER_ND": _SELECTS,
    "DEQUANTIZE": "give the model int8 or uint8 outputs (--io int8)",
    "LEAKY_RELU": "train with RELU or RELU6 in its place, or with PRELU of one alpha a channel",
    "HARD_SWISH": "train with RELU6 in its place",
    "ELU": "train with RELU in its place",
    "GELU": "train with RELU in its place",
    "EXP": "leave it to the host, or train with LOGISTIC or SOFTMAX, which include it",
    "DIV": "multiply by the inverse, where that is a constant",
    "SPLIT_V": "split into equal parts, or slice",
    "UNPACK": "slice and reshape in its place",
    "BATCH_MATMUL": "use FULLY_CONNECTED with constant weights, where it can be",
    "CAST": "keep to one data type between input and output",
}
"""Operator type, a custom one's own name, to one sentence."""
