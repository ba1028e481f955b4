"""Operators to which the recipe gives another precision, and what the account says of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgesdk.errors import ModelError
from edgesdk.values.recipe import Override

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


def overridden(
    operators: Sequence[tuple[str, str]], keep_float: Sequence[str], overrides: Sequence[Override]
) -> dict[str, str]:
    """Operator name to the precision that the recipe gives it; the others are not there.

    Args:
        operators: (name, type) of each, in graph order.
        keep_float: patterns of names; what they match stays in float whatever the overrides say.
        overrides: a later one wins.

    Raises:
        ModelError: a pattern or an override matches none.
    """
    found: dict[str, str] = {}
    for override in overrides:
        matched = [name for name, kind in operators if _matches(override, name, kind)]
        if not matched:
            raise ModelError(
                f"the override to {override.precision} of {_described(override)} matches no "
                "operator of the model",
                hint="its operators are "
                + ", ".join(f"{name} ({kind})" for name, kind in operators[:_LISTED]),
            )
        found |= dict.fromkeys(matched, override.precision)
    kept = kept_in_float([name for name, _ in operators], keep_float)
    return found | dict.fromkeys(kept, "float32")


def _matches(override: Override, name: str, kind: str) -> bool:
    by_name = override.name is None or re.fullmatch(override.name, name) is not None
    return by_name and override.type in (None, kind)


def _described(override: Override) -> str:
    asked = (("name", override.name), ("type", override.type))
    return " and ".join(f"{what} {value!r}" for what, value in asked if value is not None)
