"""The page as a browser draws it, light and dark; skipped where no Chromium is installed."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgesdk.report.html import render_html
from edgesdk.values.report import Report
from tests.unit.report.sessions import REPORTS

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WIDTH, HEIGHT = 720, 900
SCHEMES = {"dark": 0, "light": 1}

Pixels = npt.NDArray[np.uint8]
Screenshot = Callable[[str, str], Pixels]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def screenshot(tmp_path_factory: pytest.TempPathFactory) -> Screenshot:
    """Draws a report of `REPORTS` in a colour scheme, once."""
    taken: dict[tuple[str, str], Pixels] = {}

    def take(name: str, scheme: str) -> Pixels:
        if (name, scheme) not in taken:
            folder = tmp_path_factory.mktemp("page")
            taken[name, scheme] = _draw(REPORTS[name], scheme, folder)
        return taken[name, scheme]

    return take


def _draw(report: Report, scheme: str, folder: Path) -> Pixels:
    page, picture = folder / "report.html", folder / "report.png"
    page.write_text(render_html(report), encoding="utf-8")
    subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={WIDTH},{HEIGHT}",
            f"--screenshot={picture}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return read_png(picture.read_bytes())


def read_png(data: bytes) -> Pixels:
    """Pixels of an 8-bit RGB or RGBA PNG, shape (height, width, 3); PNG specification, 9."""
    chunks = list(_chunks(data))
    width, height, depth, kind = struct.unpack(">IIBB", chunks[0][1][:10])
    assert depth == 8 and kind in (2, 6)
    step = 3 if kind == 2 else 4
    raw = zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT"))
    rows = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * step)
    above = bytes(width * step)
    lines = []
    for row in rows:
        above = _unfiltered(int(row[0]), row[1:].tobytes(), above, step)
        lines.append(np.frombuffer(above, np.uint8))
    return np.stack(lines).reshape(height, width, step)[..., :3]


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        yield name, data[at + 8 : at + 8 + size]
        at += 12 + size


def _unfiltered(kind: int, line: bytes, above: bytes, step: int) -> bytes:
    out = bytearray(line)
    for i in range(len(out)) if kind else ():
        left = out[i - step] if i >= step else 0
        corner = above[i - step] if i >= step else 0
        guess = (0, left, above[i], (left + above[i]) // 2, _paeth(left, above[i], corner))[kind]
        out[i] = (out[i] + guess) & 255
    return bytes(out)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


def share_of(pixels: Pixels, colour: tuple[int, int, int], tolerance: int = 12) -> float:
    distance = np.abs(pixels.astype(int) - colour).max(axis=2)
    return float(np.mean(distance <= tolerance))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["everything passed", "virtual device", "nothing measured"])
def test_a_page_is_drawn(screenshot: Screenshot, name: str, scheme: str) -> None:
    pixels = screenshot(name, scheme)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_it_follows_the_readers_colour_scheme(screenshot: Screenshot) -> None:
    light = screenshot("everything passed", "light")[2, 2]
    dark = screenshot("everything passed", "dark")[2, 2]
    assert min(light) > 200 and max(dark) < 60


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_virtual_device_is_seen_at_a_glance(screenshot: Screenshot, scheme: str) -> None:
    yellow = (255, 211, 77)
    assert share_of(screenshot("virtual device", scheme)[:160], yellow) > 0.2
    assert share_of(screenshot("everything passed", scheme), yellow) == 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_is_cut_off_on_the_right(screenshot: Screenshot, scheme: str) -> None:
    edge = screenshot("hostile names", scheme)[:, -4:].reshape(-1, 3)
    assert len(np.unique(edge, axis=0)) == 1
