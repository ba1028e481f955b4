"""Facts about gates: what each judges, what it says when it cannot, and what comes of all."""

from __future__ import annotations

import dataclasses

import pytest

from edgesdk.errors import ExitCode, UsageError
from edgesdk.flows.package import travelling
from edgesdk.targets.types import GateBounds
from edgesdk.validate.gates import Gates, exit_code, judge, outcome, resolve_gates
from edgesdk.values.package import Budget
from edgesdk.values.results import Predictions, Results
from edgesdk.values.verdict import Status, Verdict
from tests.unit.report.example import example_latency, example_results


def verdict(results: Results, package_bytes: int | None = None, **gates: float) -> Verdict:
    (only,) = judge(results, Gates(**gates), package_bytes=package_bytes)  # type: ignore[arg-type]
    return only


def with_int8(**latency: object) -> Results:
    slow, fast = example_results().runs
    changed = dataclasses.replace(fast.latency, **latency)  # type: ignore[arg-type]
    return example_results(runs=(slow, dataclasses.replace(fast, latency=changed)))


def with_parity(**changes: object) -> Results:
    parity = example_results().parity
    assert parity is not None
    return example_results(parity=dataclasses.replace(parity, **changes))  # type: ignore[arg-type]


def test_a_later_layer_wins_field_by_field() -> None:
    gates = resolve_gates(
        GateBounds(max_accuracy_drop_points=2.0, max_p95="10 ms"),
        GateBounds(max_p95="20 ms", max_peak_ram="64 MiB"),
        GateBounds(max_accuracy_drop_points=0.0),
    )
    assert gates.bounds() == {
        "max_accuracy_drop_points": 0.0,
        "max_p95_ns": 20_000_000,
        "max_peak_ram_bytes": 64 * 2**20,
    }


def test_what_the_first_layer_sets_alone_was_not_asked_for() -> None:
    target = GateBounds(max_accuracy_drop_points=2.0, max_p95="10 ms")
    assert resolve_gates(target).asked == ()
    asked = resolve_gates(
        target, GateBounds(max_p95="20 ms"), GateBounds(max_parity_mismatch_percent=0.0)
    ).asked
    assert asked == ("p95", "parity")


@pytest.mark.parametrize(
    ("layer", "gate"),
    [
        (GateBounds(max_accuracy_drop_points=1.0), "accuracy_drop"),
        (GateBounds(max_p95="1 ms"), "p95"),
        (GateBounds(max_peak_ram="1 MiB"), "peak_ram"),
        (GateBounds(max_parity_mismatch_percent=1.0), "parity"),
    ],
)
def test_a_verdict_tells_whether_it_was_asked_for(layer: GateBounds, gate: str) -> None:
    (asked,) = judge(example_results(), resolve_gates(GateBounds(), layer))
    (default,) = judge(example_results(), resolve_gates(layer))
    assert (asked.gate, asked.asked) == (gate, True)
    assert (default.gate, default.asked) == (gate, False)


def test_a_package_carries_bounds_only() -> None:
    gates = resolve_gates(GateBounds(), GateBounds(max_accuracy_drop_points=1))
    assert travelling(gates) == {"max_accuracy_drop_points": 1.0}


def test_the_budget_sets_package_size_and_peak_ram() -> None:
    gates = resolve_gates(budget=Budget(package_bytes=1000, peak_ram_bytes=2000))
    assert gates == Gates(max_package_bytes=1000, max_peak_ram_bytes=2000)


def test_a_peak_ram_gate_goes_before_the_budget() -> None:
    gates = resolve_gates(GateBounds(max_peak_ram="1 KiB"), budget=Budget(peak_ram_bytes=2000))
    assert gates.max_peak_ram_bytes == 1024


def test_no_layers_mean_no_gates() -> None:
    assert resolve_gates() == Gates()
    assert judge(example_results(), Gates(), package_bytes=1) == ()


@pytest.mark.parametrize(
    "bounds",
    [
        GateBounds(max_p95="fast"),
        GateBounds(max_p95="10 MiB"),
        GateBounds(max_peak_ram="10 ms"),
        GateBounds(max_accuracy_drop_points=float("nan")),
        GateBounds(max_parity_mismatch_percent=float("inf")),
    ],
)
def test_a_bound_that_makes_no_sense_is_the_users_error(bounds: GateBounds) -> None:
    with pytest.raises(UsageError):
        resolve_gates(bounds)


@pytest.mark.parametrize(
    ("gates", "value"),
    [
        ({"max_accuracy_drop_points": 0.6}, 0.6),
        ({"max_peak_ram_bytes": 48_500_000}, 48_500_000),
        ({"max_parity_mismatch_percent": 0.3125}, 0.3125),
        ({"max_package_bytes": 5000}, 5000),
    ],
)
def test_a_value_on_the_bound_passes_and_just_above_it_fails(
    gates: dict[str, float], value: float
) -> None:
    (name, bound), *_ = gates.items()
    passed = verdict(example_results(), 5000, **{name: bound})
    assert passed.measured is not None and passed.measured.value == pytest.approx(value)
    assert passed.status == "pass"
    assert verdict(example_results(), 5000, **{name: bound * 0.999}).status == "fail"


def test_latency_is_judged_by_its_95th_percentile() -> None:
    found = verdict(example_results(), max_p95_ns=5_000_000)
    assert found.status == "pass" and found.reason == ""
    assert found.measured is not None and found.measured.n == 600
    assert verdict(example_results(), max_p95_ns=3_000_000).status == "fail"


def test_a_lucky_pass_is_called_uncertain() -> None:
    found = verdict(example_results(), max_accuracy_drop_points=1.0)
    assert found.status == "pass"
    assert found.reason == "within uncertainty: the 95 % interval reaches 1.10 points"


def test_an_unlucky_fail_is_called_uncertain() -> None:
    found = verdict(example_results(), max_accuracy_drop_points=0.5)
    assert found.status == "fail"
    assert found.reason == "within uncertainty: the 95 % interval reaches down to 0.21 points"


@pytest.mark.parametrize("bound", [0.1, 5.0])
def test_a_clear_verdict_needs_no_reason(bound: float) -> None:
    assert verdict(example_results(), max_accuracy_drop_points=bound).reason == ""


def test_int8_that_is_more_accurate_passes_a_bound_of_nothing_lost() -> None:
    better = Predictions((0,) * 100, (1,) * 10 + (0,) * 90, (0,) * 100)
    found = verdict(example_results(predictions=better), max_accuracy_drop_points=0.0)
    assert found.status == "pass"
    assert found.measured is not None and found.measured.value == pytest.approx(-10)


@pytest.mark.parametrize(
    ("results", "gates", "reason"),
    [
        (
            example_results(predictions=None),
            {"max_accuracy_drop_points": 1.0},
            "no labelled data were run on the device",
        ),
        (
            example_results(predictions=Predictions(None, (1,), (1,))),
            {"max_accuracy_drop_points": 1.0},
            "the data carry no labels",
        ),
        (example_results(runs=()), {"max_p95_ns": 1}, "the converted model was not timed"),
        (
            with_int8(samples_ns=(5,) * 71, block_sizes=(71,)),
            {"max_p95_ns": 10},
            "found 71 runs; a 95 % interval of this percentile needs 72",
        ),
        (example_results(runs=()), {"max_peak_ram_bytes": 1}, "the converted model was not run"),
        (
            with_int8(peak_rss_bytes=None),
            {"max_peak_ram_bytes": 1},
            "the device does not tell a process's peak memory",
        ),
        (
            example_results(parity=None),
            {"max_parity_mismatch_percent": 1.0},
            "the golden vectors were not run",
        ),
        (
            with_parity(values=0, kernel_path="cpu", golden_runtime_kernels=("xnnpack",)),
            {"max_parity_mismatch_percent": 1.0},
            "the device computes with cpu; the package has golden vectors for xnnpack",
        ),
        (
            with_parity(values=0, kernel_path="cpu", golden_runtime_kernels=()),
            {"max_parity_mismatch_percent": 1.0},
            "the device computes with cpu; the package has golden vectors for no kernel path",
        ),
        (example_results(), {"max_package_bytes": 1}, "no package is at hand"),
    ],
)
def test_what_is_missing_is_not_measured_and_says_why(
    results: Results, gates: dict[str, float], reason: str
) -> None:
    found = verdict(results, None, **gates)
    assert (found.status, found.measured, found.reason) == ("not measured", None, reason)


def test_latency_that_never_settled_is_invalid_however_low() -> None:
    found = verdict(with_int8(steady=False), max_p95_ns=10**12)
    assert (found.status, found.measured) == ("invalid", None)
    assert "24 runs" in found.reason


def test_latency_of_a_throttled_device_is_invalid() -> None:
    conditions = example_results().runs[1].latency.conditions
    hot = dataclasses.replace(conditions[4], throttled=("soft temperature limit",))
    found = verdict(with_int8(conditions=(*conditions[:4], hot, *conditions[5:])), max_p95_ns=10**9)
    assert (found.status, found.measured) == ("invalid", None)
    assert "soft temperature limit" in found.reason


def test_a_float_model_that_never_settled_does_not_touch_the_int8_gate() -> None:
    slow, fast = example_results().runs
    unsettled = dataclasses.replace(slow, latency=dataclasses.replace(slow.latency, steady=False))
    assert verdict(example_results(runs=(unsettled, fast)), max_p95_ns=10**9).status == "pass"


def test_drift_makes_a_p95_verdict_uncertain() -> None:
    drifting = example_latency("int8", 3_000_000, drift=0.25)
    found = verdict(
        with_int8(samples_ns=drifting.samples_ns, block_sizes=drifting.block_sizes),
        max_p95_ns=4_100_000,
    )
    assert found.reason.startswith("within uncertainty")


@pytest.mark.parametrize(
    ("statuses", "word", "code"),
    [
        ([], "not measured", ExitCode.PASSED),
        (["not measured"], "not measured", ExitCode.PASSED),
        (["pass", "not measured"], "pass", ExitCode.PASSED),
        (["pass", "invalid", "not measured"], "invalid", ExitCode.INVALID_MEASUREMENT),
        (["pass", "invalid", "fail"], "fail", ExitCode.GATE_FAILED),
    ],
)
def test_the_gravest_verdict_decides(statuses: list[Status], word: Status, code: ExitCode) -> None:
    verdicts = [Verdict("p95", "", "ns", 1, None, status) for status in statuses]
    assert outcome(verdicts) == word
    assert exit_code(verdicts) == code


@pytest.mark.parametrize(
    ("others", "word", "code"),
    [
        ([], "not measured", ExitCode.INVALID_MEASUREMENT),
        (["pass", "not measured"], "not measured", ExitCode.INVALID_MEASUREMENT),
        (["invalid"], "invalid", ExitCode.INVALID_MEASUREMENT),
        (["invalid", "fail"], "fail", ExitCode.GATE_FAILED),
    ],
)
def test_an_asked_gate_that_was_not_measured_is_graver_than_a_pass(
    others: list[Status], word: Status, code: ExitCode
) -> None:
    asked = Verdict("parity", "", "percent", 1, None, "not measured", asked=True)
    verdicts = [*(Verdict("p95", "", "ns", 1, None, status) for status in others), asked]
    assert outcome(verdicts) == word
    assert exit_code(verdicts) == code


def test_an_asked_gate_that_was_measured_passes() -> None:
    verdicts = [Verdict("p95", "", "ns", 1, None, "pass", asked=True)]
    assert (outcome(verdicts), exit_code(verdicts)) == ("pass", ExitCode.PASSED)


def emulated(results: Results) -> Results:
    return dataclasses.replace(results, device=dataclasses.replace(results.device, kind="arm64"))


@pytest.mark.parametrize(
    ("gate", "what"), [({"max_p95_ns": 1}, "latency"), ({"max_peak_ram_bytes": 1}, "memory")]
)
def test_an_emulated_processor_is_not_judged_by_its_time_and_memory(
    gate: dict[str, float], what: str
) -> None:
    assert verdict(example_results(), **gate).status == "fail"
    found = verdict(emulated(example_results()), **gate)
    assert (found.status, found.measured) == ("not measured", None)
    assert found.reason == f"emulated aarch64 (qemu-user), {what} not a device's"


def test_it_is_judged_by_what_it_computes_and_by_the_package() -> None:
    results = emulated(example_results())
    assert verdict(results, max_parity_mismatch_percent=100).status == "pass"
    assert verdict(results, max_accuracy_drop_points=100).status == "pass"
    assert verdict(results, package_bytes=2, max_package_bytes=1).status == "fail"
