"""Operators that the recipe keeps in float: which they are, and what the account says of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgesdk.errors import ModelError

KEPT = "the recipe keeps it in float"
_LISTED = 20


def kept_in_float(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The operators whose name matches one of the recipe's patterns in full.

    Raises:
        ModelError: a pattern matches none.
    """
    for pattern in patterns:
        if not any(re.fullmatch(pattern, name) for name in names):
            raise ModelError(
                f"keep_float {pattern!r} matches no operator of the model",
                hint="its operators are called " + ", ".join(names[:_LISTED]),
            )
    return [name for name in names if any(re.fullmatch(pattern, name) for pattern in patterns)]
