"""Facts about the report as a page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from edgesdk.report.html import render_html
from tests.unit.report.example import OTHER_SHA, SHA
from tests.unit.report.sessions import HOSTILE, LONG_NAME, REPORTS, UNHEALTHY

VOID = {"meta", "br"}


class Outline(HTMLParser):
    """Collects tags, attributes and text; fails on tags that do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += f" {data}"


def outline(name: str) -> Outline:
    return Outline(render_html(REPORTS[name]))


def words(name: str) -> str:
    return " ".join(outline(name).text.split())


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_is_a_page_whose_tags_nest(name: str) -> None:
    assert outline(name).tags[:2] == ["html", "head"]


@pytest.mark.parametrize("name", REPORTS)
def test_a_page_needs_no_script_and_no_network(name: str) -> None:
    found = outline(name)
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(found.tags)
    names = {attribute for attribute, _ in found.attributes}
    assert not any(attribute.startswith("on") for attribute in names)
    assert not names & {"src", "href", "xlink:href", "action"}
    assert "url(" not in render_html(REPORTS[name]) and "@import" not in render_html(REPORTS[name])


@pytest.mark.parametrize("name", REPORTS)
def test_ids_are_unique_and_every_label_points_at_one(name: str) -> None:
    attributes = outline(name).attributes
    ids = [value for attribute, value in attributes if attribute == "id"]
    assert len(ids) == len(set(ids))
    for attribute, value in attributes:
        if attribute == "aria-labelledby":
            assert value is not None and set(value.split()) <= set(ids)


@pytest.mark.parametrize("name", REPORTS)
def test_no_value_of_python_slips_into_a_page(name: str) -> None:
    text = words(name)
    assert not re.search(r"\bNone\b|\bnan\b|\binf\b|Estimate\(|<[a-z]+ object", text)


@pytest.mark.parametrize("name", ["hostile names", "hostile device"])
def test_hostile_names_stay_text(name: str) -> None:
    page = render_html(REPORTS[name])
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    assert HOSTILE.split("\x1b")[0] in Outline(page).text


def test_who_signed_it_and_its_sequence_are_told() -> None:
    text = words("everything passed")
    assert "The package is signed by anna, sequence 7." in text
    assert "Package signature signed by anna" in text
    assert "not in use" not in text and "Nobody vouches" not in text


def test_a_package_without_a_signature_says_so_below_the_verdict() -> None:
    text = words("not signed")
    assert "not signed Nobody vouches for this package." in text
    assert "The package is NOT SIGNED, sequence 7." in text


def test_a_package_that_is_not_in_use_says_why_below_the_verdict() -> None:
    assert f"not in use {UNHEALTHY}" in words("not in use")


def test_a_delta_is_drawn_as_what_travels() -> None:
    text = words("a delta")
    assert "The package takes 24.0 KiB of a budget of 64.0 KiB (38 %)" in text
    assert "model.tflite 20.0 KiB 83.3 % manifest and framing 4.00 KiB 16.7 %" in text
    assert "sequence 7, a delta against an earlier one" in text


def test_the_three_numbers_have_intervals_and_n() -> None:
    text = words("everything passed")
    for fact in (
        "Float latency 8.499 ms 95 % interval 8.475 to 8.531 ms median of 600 runs",
        "INT8 latency 3.127 ms 95 % interval 3.120 to 3.134 ms median of 600 runs",
        "Accuracy lost 0.60 points 95 % interval 0.21 to 1.10 points",
        "2.718 times as fast as float (2.710 to 2.735 times)",
        "on 2,000 samples",
    ):
        assert fact in text


def test_the_verdict_is_the_first_thing_said_after_the_title() -> None:
    text = words("a gate failed")
    assert "resnet8 in INT8 on bench-pi Converted for Raspberry Pi 5 fail The gate failed" in text


def test_a_model_that_is_not_compiled_says_so_and_shows_the_forecast() -> None:
    text = words("not compiled")
    for fact in (
        "Compilation not compiled: edgetpu_compiler is not on PATH",
        "Forecast 15 on edgetpu, 1 on cpu, by the rules of raspberry-pi-5",
        "Not on an accelerator, by forecast",
        "The model is not compiled: the figures are those of the uncompiled model",
    ):
        assert fact in text
    assert "Not as forecast" not in text


def test_a_compiled_model_shows_what_moved() -> None:
    text = words("compiled")
    for fact in (
        "As compiled 14 on edgetpu, 2 on cpu; 1 not as forecast",
        "Not as forecast Operator Type Forecast Compiled Why"
        " stage2/conv CONV_2D edgetpu cpu Operation version not supported",
        "Not on an accelerator, by the compiler",
    ):
        assert fact in text


@pytest.mark.parametrize("name", ["w8a16", "fp16"])
def test_int8_is_not_said_of_another_precision(name: str) -> None:
    text = words(name)
    assert "INT8" not in text.split(" Words ")[0], "outside the glossary"
    assert f"{name} latency" in text and f"How the {name} model computes" in text


def test_a_virtual_device_is_unmistakable() -> None:
    page = render_html(REPORTS["virtual device"])
    assert "<title>[VIRTUAL] PASS" in page
    assert "VIRTUAL DEVICE" in page
    assert page.count('class="virtual-tag"') >= 6
    real = render_html(REPORTS["everything passed"])
    assert "VIRTUAL" not in real and 'class="virtual-tag"' not in real


def test_an_emulated_device_is_unmistakable() -> None:
    page = render_html(REPORTS["emulated device"])
    assert "<title>[EMULATED] PASS" in page
    assert "EMULATED DEVICE" in page and "latency not a device" in page
    assert page.count(">emulated</span>") >= 6 and ">virtual</span>" not in page


def test_nothing_measured_is_shown_as_such() -> None:
    text = words("nothing measured")
    for fact in (
        "Float latency not measured This model was not timed.",
        "Accuracy lost not measured No data were run.",
        "Latency was not measured.",
        "Not measured: the golden vectors were not run.",
    ):
        assert fact in text


def test_a_gate_that_was_asked_for_and_not_measured_says_so() -> None:
    page = render_html(REPORTS["an asked gate was not measured"])
    assert '<div class="verdict not-measured"><strong>not measured</strong>' in page
    assert "no labelled data were run on the device; this gate was asked for" in page
    assert "this gate was asked for" not in words("nothing measured")


def test_both_data_sets_are_told_apart_by_name_count_and_digest() -> None:
    text = words("everything passed")
    for fact in (
        f"Calibration data keywords.npz#calibration, 200 samples Calibration SHA-256 {SHA}",
        f"Evaluation data keywords.npz#test, 2,000 samples Evaluation SHA-256 {OTHER_SHA}",
    ):
        assert fact in text
    assert "Evaluation data" not in words("INT8 is larger")


def test_what_was_read_once_has_no_n() -> None:
    text = words("everything passed")
    assert text.count("one reading") == 2
    assert "n = 1 " not in text
    assert "no interval, n = 320" in text


def test_a_larger_file_is_not_said_to_have_shrunk() -> None:
    assert "went from 314 KiB to 342 KiB: 1.1 times larger." in words("INT8 is larger")


def test_a_long_tensor_name_is_shortened_and_kept_in_full_as_a_title() -> None:
    found = outline("INT8 is larger")
    assert LONG_NAME not in found.text
    assert ("title", LONG_NAME) in found.attributes
    assert ("title", "stage0/conv") not in outline("everything passed").attributes


def test_a_latency_that_never_settled_is_invalid_and_struck() -> None:
    page = render_html(REPORTS["never settled"])
    assert "INT8 latency invalid INT8 latency is invalid: it was still falling" in words(
        "never settled"
    )
    assert 'class="number struck"' in page
    assert "times as fast" not in page


def test_too_few_runs_are_not_measured() -> None:
    assert "INT8 latency not measured 3 runs are too few." in words("INT8 only, three runs")


def test_without_labels_agreement_is_told() -> None:
    assert "Both models chose the same class for 99.10 % (98.58 to 99.43 %) of 2,000" in words(
        "no labels"
    )


@pytest.mark.parametrize(
    "term", ["INT8", "p95", "95 % interval", "Golden vectors", "SQNR", "Virtual device", "Gate"]
)
def test_the_page_explains_its_words(term: str) -> None:
    page = render_html(REPORTS["everything passed"])
    assert re.search(rf"<dt>[^<]*{term}[^<]*</dt><dd>[^<]{{40,}}</dd>", page)


def luminance(colour: str) -> float:
    """WCAG 2.2 relative luminance of "#rrggbb"."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        ("ink", "paper"),
        ("soft", "paper"),
        ("soft", "page"),
        ("float", "paper"),
        ("int8", "paper"),
        ("pass", "pass-paper"),
        ("fail", "fail-paper"),
        ("invalid", "invalid-paper"),
        ("none", "none-paper"),
        ("ink", "pass-paper"),
        ("ink", "fail-paper"),
    ],
)
def test_text_stands_out_as_wcag_aa_asks(scheme: int, ink: str, paper: str) -> None:
    page = render_html(REPORTS["everything passed"])
    palettes = [
        dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{([^}]*)\}", page)
    ]
    assert contrast(palettes[scheme][ink], palettes[scheme][paper]) >= 4.5
