"""The report's words and numbers as text, the same for terminal and page. Lays nothing out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from device_agent.model_messages import Opened
from device_agent.preprocessing import Stages
from edgesdk.text import plain
from edgesdk.units import format_ns
from edgesdk.values.energy import Energy
from edgesdk.values.metric import MetricSummary
from edgesdk.values.report import Findings, PackageSummary, Report, converted_name, role_name
from edgesdk.values.results import MeasuredDevice, Role
from edgesdk.values.stages import Stage
from edgesdk.values.verdict import Estimate, Unit, Verdict, written

NOT_MEASURED = "not measured"
_VIRTUAL_NOTICE = (
    "These latencies and this memory are the workstation's that runs the virtual device. They say"
    " nothing about a board's speed."
)
_EMULATED_NOTICE = (
    "Emulated aarch64 (qemu-user), latency not a device's: emulation is some hundred times slower,"
    " and takes memory of its own. What was computed is what aarch64 code computes."
)
ASSUMPTIONS = (
    "Each interval holds with 95 % confidence on its own, if the timed turns and the samples are"
    " independent draws of what the device will meet. Judging several gates, or many classes, one"
    " in twenty intervals is expected to miss."
)


def stand_in(device: MeasuredDevice) -> str:
    """What kind of device it is in place of a board: "virtual", "emulated"; "" for a board."""
    return "emulated" if device.emulated else "virtual" if device.virtual else ""


def device_tag(device: MeasuredDevice) -> str:
    """What follows a figure of it: " (virtual)", " (emulated)"; "" for a board."""
    word = stand_in(device)
    return f" ({word})" if word else ""


def device_kind(device: MeasuredDevice) -> str:
    """What follows its name: ", a virtual device", ", an emulated device"; "" for a board."""
    words = {"virtual": ", a virtual device", "emulated": ", an emulated device", "": ""}
    return words[stand_in(device)]


def notice(device: MeasuredDevice) -> str:
    """What its latencies and its memory are instead of a board's; "" for a board."""
    return {"emulated": _EMULATED_NOTICE, "virtual": _VIRTUAL_NOTICE, "": ""}[stand_in(device)]


def title(report: Report) -> str:
    """What the report is about, in one line."""
    name = converted_name(report.precision)
    return plain(f"{report.model.name} in {name} on {report.results.device.name}")


def subtitle(report: Report) -> str:
    """What it was converted for, in one line."""
    return plain(f"Converted for {report.target.name}")


def latency_title(findings: Findings, role: Role) -> str:
    """Name of a model's latency: "Float latency", "INT8 latency"."""
    return f"{role_name(role, findings.precision)} latency"


def findings_title(findings: Findings) -> str:
    """What was measured, in one line."""
    installed = findings.results.installed
    return plain(f"{installed.name} {installed.version}, converted for {installed.target}")


def signature_text(signed_by: str) -> str:
    """Who vouches for a package: "signed by anna", or that nobody does."""
    return plain(f"signed by {signed_by}") if signed_by else "NOT SIGNED"


def travel_text(package: PackageSummary) -> str:
    """What is to be known of a package beside its size: "signed by anna, sequence 7, a delta"."""
    delta = ", a delta against an earlier one" if package.delta else ""
    return f"{signature_text(package.signed_by)}, sequence {package.sequence}{delta}"


def value_text(estimate: Estimate | None, unit: Unit) -> str:
    """The estimate with its symbol, as fine as its interval lets it be told."""
    if estimate is None:
        return NOT_MEASURED
    symbol, (value, *_) = _written(estimate, unit)
    return f"{value} {symbol}".rstrip()


def interval_text(estimate: Estimate | None, unit: Unit) -> str:
    """The interval's ends on the same scale as the value; empty without an interval."""
    if estimate is None or estimate.interval is None:
        return ""
    symbol, (_, low, high) = _written(estimate, unit)
    return f"{low} to {high} {symbol}".rstrip()


def _written(estimate: Estimate, unit: Unit) -> tuple[str, tuple[str, ...]]:
    interval = estimate.interval
    return written(
        unit, estimate.value, *(() if interval is None else (interval.low, interval.high))
    )


def count_text(n: int, one: str) -> str:
    """A count with its noun: "1 run", "2,000 samples"."""
    return f"{n:,} {one}{'' if n == 1 else 's'}"


def evidence_text(estimate: Estimate, unit: Unit) -> str:
    """What the estimate rests on: its interval and n, or that it is a single reading."""
    if estimate.n == 1:
        return "one reading"
    return f"{interval_text(estimate, unit) or 'no interval'}, n = {estimate.n:,}"


def size_change(before_bytes: int, after_bytes: int) -> str:
    """How much smaller or larger: "3.3 times smaller", "1.1 times larger"."""
    if after_bytes > before_bytes:
        ratio, word = after_bytes / before_bytes, "larger"
    else:
        ratio, word = before_bytes / after_bytes, "smaller"
    return f"{ratio:.1f} times {word}" if f"{ratio:.1f}" != "1.0" else "about the same size"


def shortened(name: str, most: int = 60) -> str:
    """The name with its middle left out where it is longer than `most` characters."""
    if len(name) <= most:
        return name
    head = most // 2
    return f"{name[:head]}…{name[len(name) - (most - head - 1) :]}"


def p_text(p: float) -> str:
    """A p-value to two digits: "0.031", "below 0.0001"."""
    return "below 0.0001" if p < 0.0001 else f"{p:.2g}"


def headline(findings: Findings) -> str:
    """The outcome in a word or three; a pass that leaves gates unmeasured is one in part."""
    unmeasured = any(verdict.status == "not measured" for verdict in findings.verdicts)
    return "pass in part" if findings.outcome == "pass" and unmeasured else findings.outcome


def summary(findings: Findings) -> str:
    """The outcome in words."""
    return " ".join(_sentences(findings))


def _sentences(findings: Findings) -> Iterator[str]:
    verdicts = findings.verdicts
    doubtful = [verdict for verdict in verdicts if _is_close(verdict)]
    if not verdicts:
        yield "No gate was set, so nothing was judged."
    elif all(verdict.status == "pass" for verdict in verdicts):
        passed = "The gate passed" if len(verdicts) == 1 else f"All {len(verdicts)} gates passed"
        subject = "it" if len(verdicts) == 1 else f"{len(doubtful)} of them"
        yield f"{passed}, but {_too_close(subject, len(doubtful))}" if doubtful else f"{passed}."
        return
    for kind, one, many in _VERBS:
        named = [_lower_first(verdict.title) for verdict in verdicts if _kind(verdict) == kind]
        if named:
            share = "The gate" if len(verdicts) == 1 else f"{len(named)} of {len(verdicts)} gates"
            yield f"{share} {one if len(named) == 1 else many}: {', '.join(named)}."
    if doubtful:
        subject = "The verdict" if len(verdicts) == 1 else f"{len(doubtful)} of the verdicts"
        yield _too_close(subject, len(doubtful))


def _is_close(verdict: Verdict) -> bool:
    """The interval reaches across the bound."""
    interval = None if verdict.measured is None else verdict.measured.interval
    is_judged = verdict.status in ("pass", "fail")
    return is_judged and interval is not None and interval.low <= verdict.bound < interval.high


def _too_close(subject: str, count: int) -> str:
    verb, object_ = ("is", "it") if count == 1 else ("are", "them")
    return f"{subject} {verb} too close to call: measuring again could turn {object_}."


def _kind(verdict: Verdict) -> str:
    return "missed" if verdict.missed else verdict.status


_VERBS = (
    ("fail", "failed", "failed"),
    ("invalid", "is invalid", "are invalid"),
    ("missed", "was asked for but not measured", "were asked for but not measured"),
    ("not measured", "was not measured", "were not measured"),
)


def reason_text(verdict: Verdict) -> str:
    """The verdict's reason, and what follows where a gate that was asked for was not measured."""
    if verdict.missed:
        return f"{verdict.reason}; this gate was asked for, so the whole does not pass"
    return verdict.reason


def _lower_first(text: str) -> str:
    return text if text[:2].isupper() or text.startswith("INT8") else text[:1].lower() + text[1:]


def latency_problem(findings: Findings, role: Role) -> tuple[str, str]:
    """What to show instead of a latency, and why; both empty if there is one."""
    latency, validity = findings.latency(role), findings.validity(role)
    if latency is None or validity is None:
        return NOT_MEASURED, "This model was not timed."
    if not validity.is_valid:
        return "invalid", " ".join(validity.reasons)
    if latency.p50 is None:
        return NOT_MEASURED, f"{count_text(latency.n, 'run')} are too few."
    return "", ""


STAGE_NAMES: Mapping[Stage, str] = {
    "preprocess": "preprocessing",
    "inference": "inference",
    "postprocess": "postprocessing",
    "end_to_end": "picture to answer",
}


def stages_problem(findings: Findings) -> str:
    """Why the stages' figures are worth nothing; empty if they are."""
    validity = findings.stages_validity
    return "" if validity is None else " ".join(validity.reasons)


def stages_text(stages: Stages) -> str:
    """What is declared: "pictures of 480 x 640, to 224 x 224, bilinear, preprocessing 1a2b"."""
    before, after = stages.preprocessing, stages.postprocessing
    parts = (
        f"pictures of {_size(stages.source)}" if stages.source else "",
        f"shorter side to {before.shorter_side}" if before.shorter_side else "",
        f"to {_size(before.resize)}" if before.resize else "",
        before.interpolation if before.resize or before.shorter_side else "",
        f"middle {_size(before.crop)}" if before.crop else "",
        "dequantized" if after.dequantize else "",
        "softmax" if after.softmax else "",
        f"top {after.top_k}" if after.top_k else "",
        f"preprocessing {before.digest[:12]}",
    )
    return ", ".join(filter(None, parts))


def _size(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


CACHE_KEPT = "cache not dropped"
"""Of a load that was to be cold on a device that keeps the file in memory."""


def cold_text(cold: Opened) -> str:
    """How long the model takes to load as after a start of the device."""
    return format_ns(cold.load_ns) + ("" if cold.cache_dropped else f" ({CACHE_KEPT})")


def energy_text(energy: Energy) -> str:
    """Joules of a run, with their interval, and by which sensor."""
    value, *ends = _joules(energy)
    symbol = value.partition(" ")[2]
    span = f" ({' to '.join(end.removesuffix(' ' + symbol) for end in ends)})" if ends else ""
    return plain(f"{value} an inference on {energy.rail}{span}, idle power too")


def joules_text(energy: Energy) -> str:
    """Joules of a run: "4.20 mJ"."""
    return _joules(energy)[0]


def _joules(energy: Energy) -> list[str]:
    """The value, and the ends of its interval if it has one, on one scale."""
    joules = energy.joules
    scale, symbol = next((each for each in _JOULES if joules.value >= each[0]), _JOULES[-1])
    ends = () if joules.interval is None else (joules.interval.low, joules.interval.high)
    return [f"{value / scale:.3g} {symbol}" for value in (joules.value, *ends)]


_JOULES = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ"))


def accuracy_problem(report: Report) -> tuple[str, str]:
    """What to show instead of the accuracy lost, and why; both empty if there is one."""
    if report.accuracy is not None:
        return "", ""
    if report.evaluation is not None and report.model.outputs[0].scores < 2:
        return NOT_MEASURED, f"{report.model.outputs[0]} is no row of class scores."
    no_data = report.agreement_percent is None and not report.metrics
    return NOT_MEASURED, "No data were run." if no_data else "The data carry no labels."


GLOSSARY = (
    (
        "INT8, w8a16, fp16",
        "How the converted model stores its numbers, instead of the float model's 32 bits: INT8 in"
        " 8; w8a16 weights in 8 and activations in 16; fp16 all in 16-bit float. The model gets"
        " smaller and usually faster, and may lose a little accuracy.",
    ),
    (
        "Latency, p50, p95, p99",
        "Time of one inference on the device: input ready to output ready. Half of the runs are"
        " faster than p50 (the median), 95 in 100 faster than p95.",
    ),
    (
        "Picture to answer",
        "Time of a whole run: the decoded picture made into the model's input, inference, and the"
        " answer made of the outputs, as the package declares. Its inference finds the caches as"
        " preprocessing left them. Decoding JPEG or PNG, and the camera, are not in it.",
    ),
    (
        "95 % interval",
        "The range the true value lies in, by a method that is right 95 times in 100. A wide one"
        " means: measure more.",
    ),
    (
        "Accuracy lost, points",
        "Share of samples the float model classified correctly minus the converted one's, in"
        " percentage points. Both ran on the device, on the same samples.",
    ),
    (
        "McNemar's test",
        "Chance of a difference at least this large if both models were equally accurate. A small"
        " number says the loss is real, not that it is large.",
    ),
    (
        "Gate",
        "A bound set beforehand. It passes or fails by the measured value; where the interval"
        " reaches across the bound, the report says so.",
    ),
    (
        "Not measured, invalid",
        "Not measured: the figure could not be taken; it neither passes nor fails, but where the"
        " gate was asked for, the whole is no pass either. Invalid: it was taken under conditions"
        " that make it worthless.",
    ),
    (
        "Golden vectors, parity",
        "Inputs and the outputs the converted model gives for them on the workstation. Parity"
        " compares the device's outputs: a value is off when it differs by more than one step of"
        " its integer scale, or 1/255 of a float output's range.",
    ),
    (
        "Kernel path",
        "Which implementation computed, such as XNNPACK or the runtime's built-in one. Results may"
        " differ in the last step between them.",
    ),
    (
        "Turn, warm-up",
        "The two models are timed in alternating turns, so that heat and background load meet both"
        " alike. Runs before the first turn, until latency stops falling, do not count.",
    ),
    (
        "Peak memory",
        "The most physical memory the process that ran the model held, its runtime included.",
    ),
    (
        "Left in float",
        "Operators that still compute in float inside the converted model, by choice or because"
        " the runtime has no narrower form.",
    ),
    (
        "Forecast, compiled, accepted, not compiled",
        "A forecast says where operators run by the rules of the target's descriptor. Compiled: the"
        " vendor's compiler made the model that was shipped, and says where they run. Accepted: it"
        " took the model, and the device compiles again for itself. Not compiled: it was not there"
        " to be asked, and the forecast is all that is known.",
    ),
    (
        "Bridge",
        "What brought the model from its own format to the one that is converted; its outputs are"
        " compared with the source model's on the same samples.",
    ),
    (
        "SQNR",
        "Signal to quantization noise of a tensor, in decibels: every 6 dB is one bit. Below about"
        " 20 dB a tensor is worth a look.",
    ),
    (
        "Signed, sequence, delta",
        "A signed package is vouched for by the owner of a key that the device trusts. The sequence"
        " orders the packages of one name: no device takes an earlier one by accident. A delta"
        " carries only what differs from a package that the device has.",
    ),
    (
        "Not in use",
        "The package did not pass the check that it asks for on the device itself. The device uses"
        " the package that it used before.",
    ),
    (
        "Virtual device",
        "Software that stands in for a board. It shows that packaging, transfer and computing work;"
        " its latencies are its workstation's.",
    ),
)


NOT_DEFINED = "not defined"
"""Of a metric that has no value for the samples it was to be measured on."""


def metric_values(findings: Findings, metric: MetricSummary) -> Iterator[tuple[str, Estimate]]:
    """Each model's name and value, of those for which the metric is defined."""
    names = ("float", converted_name(findings.precision))
    for name, estimate in zip(names, (metric.float_value, metric.int8_value), strict=True):
        if estimate is not None:
            yield name, estimate
