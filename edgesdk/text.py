"""Text that came from elsewhere, made safe to show."""

from __future__ import annotations


def plain(text: str) -> str:
    """Text without what a terminal or page would act on: controls, bidi marks."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
