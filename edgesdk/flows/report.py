"""A stored report: read it again, render it again."""

from __future__ import annotations

from pathlib import Path

from edgesdk.files import write_durable
from edgesdk.report.html import render_html
from edgesdk.serial import read_json
from edgesdk.values.report import Report

REPORT_FILE = "report.json"
HTML_FILE = "report.html"


def report(path: Path | str, *, html: Path | str | None = None) -> Report:
    """Read a stored report, and render it again where asked.

    Args:
        path: `report.json`, or the folder that `deploy` wrote it to.
        html: write the HTML form to this file.

    Raises:
        MalformedFile: missing, or not a report.
    """
    path = Path(path)
    stored = read_json(Report, path / REPORT_FILE if path.is_dir() else path)
    if html is not None:
        write_html(stored, Path(html))
    return stored


def write_html(report: Report, path: Path) -> None:
    """Write the report as one self-contained HTML file."""
    write_durable(path, render_html(report).encode())
