"""Verdicts that are not made of one measurement alone, added to its findings. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from edgesdk.validate.gates import exit_code, outcome
from edgesdk.values.report import Findings
from edgesdk.values.verdict import Verdict

F = TypeVar("F", bound=Findings)


def with_verdicts(findings: F, verdicts: Sequence[Verdict]) -> F:
    """The findings, judged by these, too."""
    judged = (*findings.verdicts, *verdicts)
    return dataclasses.replace(
        findings, verdicts=judged, outcome=outcome(judged), exit_code=int(exit_code(judged))
    )
