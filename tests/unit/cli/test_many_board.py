"""What many devices say together."""

from __future__ import annotations

import pytest

from edgesdk.cli import many

NEEDED = "to see a drop of {} points with 95 % confidence, {} samples are needed"


def test_what_concerns_the_data_is_said_once_for_each_gate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say = many.say_once()
    for bound, samples in ((1, 800), (1, 750), (0.5, 3000), (1, 800)):
        say(NEEDED.format(bound, samples))
    said = capsys.readouterr().err.splitlines()
    assert said == [NEEDED.format(1, 800), NEEDED.format(0.5, 3000)]
