"""A long run as one HTML page, by the same rules as the report's: no network, no script."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template

from edgesdk.report.curves import endurance_chart
from edgesdk.report.endurance_words import (
    KEPT,
    endurance_facts,
    endurance_remarks,
    endurance_title,
    gate_facts,
)
from edgesdk.report.wording import notice, stand_in
from edgesdk.text import plain
from edgesdk.values.endurance import Endurance


def render_endurance(found: Endurance) -> str:
    """The whole page. Every text in it is escaped, whatever it holds."""
    return _template().render(
        found=found,
        title=endurance_title(found),
        facts=(*endurance_facts(found), *gate_facts(found)),
        remarks=endurance_remarks(found),
        chart=endurance_chart(found),
        kept=KEPT,
        notice=notice,
        stand_in=stand_in,
    )


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: plain(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    source = files("edgesdk.report").joinpath("endurance.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)
