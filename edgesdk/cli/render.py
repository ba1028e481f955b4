"""Results as a person reads them in a terminal; reports are `edgesdk.report.terminal`'s."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent.environment_messages import PRIVATE
from edgesdk.choices import stand_in
from edgesdk.cli import render_check, render_doctor, render_lab
from edgesdk.cli.output import table
from edgesdk.report.wording import stages_text
from edgesdk.text import plain
from edgesdk.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from device_agent.environment_messages import Environment, RuntimeVersion
    from device_agent.manifest import Lock, Port
    from device_agent.package_messages import Committed, Health, Installed, Inventory
    from edgesdk.choices import DeviceKind
    from edgesdk.convert.conversion import Conversion
    from edgesdk.devices.enrol import Visited
    from edgesdk.devices.inventory import Device
    from edgesdk.targets.types import Target
    from edgesdk.values.artifact import Artifact, OperatorPrecision
    from edgesdk.values.endurance import Endurance
    from edgesdk.values.package import Package, Verification
    from edgesdk.values.report import Findings, Report

_TENSORS = 10
_EQUAL_DB = 200.0
"""What stands for no difference at all; see `edgesdk.values.artifact.TensorError`."""


def report(console: Console, shown: Report) -> None:
    """A deployment's report."""
    from edgesdk.report.terminal import render_terminal

    console.print(render_terminal(shown))


def findings(console: Console, shown: Findings) -> None:
    """What was measured of an installed package."""
    from edgesdk.report.terminal import render_findings

    console.print(render_findings(shown))


def endurance(console: Console, shown: Endurance) -> None:
    """A long run without a pause."""
    from edgesdk.report.endurance_terminal import render_endurance_text

    console.print(render_endurance_text(shown))


def written(console: Console, path: Path) -> None:
    """A file that was written."""
    console.print(f"wrote {path}", markup=False)


def conversion(console: Console, done: Conversion) -> None:
    """What a conversion made, or that it had been made before."""
    if done.cached:
        _line(console, f"{done.directory} already holds this conversion: nothing was done")
    artifact(console, done.artifact)
    if not done.cached:
        _line(console, f"wrote {done.directory}")


def artifact(console: Console, shown: Artifact, all_tensors: bool = False) -> None:
    """Sizes, precisions and errors of a converted model."""
    plan = shown.plan
    before, after = shown.file("float").size_bytes, shown.loaded_bytes
    _line(
        console,
        f"{plan.model_name} for {plan.target_id} ({plan.runtime.name}): "
        f"{format_bytes(before)} float, {format_bytes(after)} {plan.precision} "
        f"({after / before:.2f}x)",
    )
    _precisions(console, shown.operators)
    render_check.placement(console, shown)
    errors = shown.tensor_errors if all_tensors else shown.tensor_errors[:_TENSORS]
    furthest = table(
        "Activations furthest from the float model, on the calibration data",
        *("tensor", "SQNR", "largest error"),
        right=("SQNR", "largest error"),
    )
    for error in errors:
        sqnr = _sqnr(error.sqnr_db)
        furthest.add_row(_plain(error.name), sqnr, f"{error.max_abs_error:.4g}")
    console.print(furthest)
    if all_tensors:
        console.print(_sizes(shown))


def _sqnr(decibels: float | None) -> str:
    if decibels is None:
        return "all zero"
    return "equal" if decibels >= _EQUAL_DB else f"{decibels:.1f} dB"


def _precisions(console: Console, operators: Sequence[OperatorPrecision]) -> None:
    counts = Counter(operator.precision for operator in operators)
    others = sorted(set(counts) - {"int8", "float32", "-"})
    parts = [f"{counts['int8']} operators in INT8", f"{counts['float32']} in float32"]
    parts += [f"{counts[precision]} in {precision}" for precision in others]
    _line(console, ", ".join(parts) + f", {counts['-']} that only move or convert data")
    for operator in operators:
        if operator.reason:
            told = f"{operator.type} {operator.name}: {operator.reason}"
            _line(console, f"  in {operator.precision}: {told}")


def _sizes(shown: Artifact) -> Table:
    sizes = table("Tensors by size", "tensor", "kind", "type", "size", right=("size",))
    for size in shown.tensor_sizes:
        kind = f"{size.dtype}{list(size.shape)}"
        sizes.add_row(_plain(size.name), size.kind, _plain(kind), format_bytes(size.size_bytes))
    return sizes


def package(console: Console, sealed: Package) -> None:
    """A package's name, size and content."""
    manifest = sealed.manifest
    _line(console, f"{sealed.path}: {manifest.name} {manifest.version}, checked byte by byte")
    _line(console, f"  id        {manifest.package_id}")
    _line(console, f"  size      {format_bytes(sealed.size_bytes)}")
    _line(console, f"  installed {format_bytes(sealed.installed_bytes)}")
    where = manifest.compatibility
    machines = ", ".join(where.architectures)
    _line(
        console,
        f"  for       {where.target} ({machines}), {where.runtime} >= {where.runtime_min_version}",
    )
    if made := _made(manifest.provenance):
        _line(console, f"  made      {made}")
    _package_facts(console, sealed)
    _ports(console, "inputs", manifest.inputs)
    _ports(console, "outputs", manifest.outputs)
    for file in manifest.files:
        sizes = f"{format_bytes(file.stored_bytes)} ({format_bytes(file.raw_bytes)} installed)"
        _line(console, f"  {file.role:<9} {file.path}: {sizes}")


def _package_facts(console: Console, sealed: Package) -> None:
    head, manifest = sealed.head, sealed.manifest
    signed = "yes: edgesdk verify tells by whom" if head.signatures else "no"
    _line(console, f"  signed    {signed}")
    least = f", going back to no less than {manifest.min_sequence}"
    _line(console, f"  sequence  {manifest.sequence}{least if manifest.min_sequence else ''}")
    if manifest.expires is not None:
        _line(console, f"  expires   {manifest.expires}")
    if manifest.compatibility.boards:
        _line(console, f"  boards    {', '.join(manifest.compatibility.boards)}")
    if manifest.fallback is not None:
        rule = manifest.fallback
        _line(console, f"  fallback  {rule.role} on {rule.runtime}, for {', '.join(rule.when)}")
    if manifest.stages is not None:
        _line(console, f"  pictures  {stages_text(manifest.stages)}")
    if manifest.lock is not None:
        _line(console, f"  lock      {_locked(manifest.lock)}")
    if head.delta is not None:
        _line(console, f"  delta     against {head.delta.base}")
        for each in head.delta.files:
            size = f", {format_bytes(each.stored_bytes)}" if each.stored_bytes else ""
            _line(console, f"            {each.path}: {each.codec}{size}")
    if sealed.full is not None:
        _line(console, f"  full      {sealed.full}, for devices without that package")


def verified(console: Console, done: Verification) -> None:
    """A package that can be believed, and why; or that is whole, where nobody signed it."""
    manifest = done.package.manifest
    signed = bool(done.package.head.signatures)
    verdict = "can be believed" if signed else "is whole, and NOT SIGNED by anybody"
    _line(console, f"{done.package.path}: {manifest.name} {manifest.version} {verdict}")
    for check in done.checks:
        _line(console, f"  {check.what:<16} {check.found}")
    _line(console, f"  {'id':<16} {manifest.package_id}")


def _made(provenance: Mapping[str, str]) -> str:
    """How, as far as the package says: "w8a8; compilation: not compiled; bridge: onnx2tf"."""
    told = (key for key in ("compilation", "quantizer", "bridge") if key in provenance)
    parts = (provenance.get("precision", ""), *(f"{key}: {provenance[key]}" for key in told))
    return "; ".join(filter(None, parts))


def _locked(lock: Lock) -> str:
    """What the model was compiled for and judged by, as far as there is any."""
    told = (
        ("Edge TPU runtime", lock.edgetpu_runtime),
        ("Hexagon v", lock.htp_arch),
        ("SoC model", lock.htp_soc_model),
        ("TensorRT", lock.tensorrt),
        ("JetPack", lock.jetpack),
    )
    parts = (f"{title} {value}".replace("v ", "v") for title, value in told if value)
    return "; ".join((f"golden outputs of {', '.join(lock.kernels)}", *parts))


def _ports(console: Console, title: str, ports: Sequence[Port]) -> None:
    for port in ports:
        scale = "" if port.scale is None else f", scale {port.scale:.6g} zero {port.zero_point}"
        _line(console, f"  {title:<9} {port.name}: {port.dtype}{list(port.shape)}{scale}")


def inspected(console: Console, found: Artifact | Package, all_tensors: bool) -> None:
    """An artifact or a package."""
    from edgesdk.values.artifact import Artifact

    if isinstance(found, Artifact):
        artifact(console, found, all_tensors)
    else:
        package(console, found)


def installed(console: Console, receipt: Installed) -> None:
    """The package that a device uses now."""
    size = format_bytes(receipt.installed_bytes)
    _line(console, f"{receipt.name} {receipt.version} is the current package ({size})")
    _line(console, f"  id       {receipt.package_id}")
    _line(console, f"  signed   {_signer(receipt)}")


def committed(console: Console, done: Committed, kind: DeviceKind = "board") -> None:
    """What a push did; what was measured on no board is said to be so."""
    receipt = done.installed
    verb = "was already installed" if receipt.already else "installed"
    size = format_bytes(receipt.installed_bytes)
    _line(console, f"{receipt.name} {receipt.version} {verb} ({size}) and is the current package")
    _line(console, f"  id       {receipt.package_id}")
    _line(console, f"  signed   {_signer(receipt)}")
    if done.health is not None:
        where = f" ({word})" if (word := stand_in(kind)) else ""
        _line(console, f"  health   {_health(done.health)}{where}")
    if done.previous:
        _line(console, f"  previous {done.previous} (edgesdk rollback goes back to it)")


def _signer(receipt: Installed) -> str:
    return f"by {receipt.signed_by}" if receipt.signed_by else "NOT SIGNED"


def _health(health: Health) -> str:
    """What the health check saw, e.g. "median latency 7.01 us of 9 runs, its command passed"."""
    from edgesdk.values.verdict import with_symbol

    told = []
    if health.parity_mismatch_percent is not None:
        told.append(f"golden values {health.parity_mismatch_percent:.2f} % off")
    if health.latency_ns is not None:
        latency = with_symbol("ns", health.latency_ns)
        told.append(f"median latency {latency} of {health.runs} runs")
    if health.peak_rss_bytes is not None:
        told.append(f"peak memory {format_bytes(health.peak_rss_bytes)}")
    if health.command_status is not None:
        told.append("its command passed")
    return ", ".join(told) or "its model loads; nothing else could be checked"


_LOST = {
    "current": "it is the current one: push it again, or edgesdk rollback",
    "previous": "it is the previous one, which there is no going back to",
}
_UNUSED = "nothing needs it, and the next push removes it"
"""What a damaged package means, by how it stands."""


def inventory(console: Console, found: Inventory) -> None:
    """Every package on a device."""
    for lost in found.damaged:
        _line(console, f"{lost.problem}; {_LOST.get(lost.state, _UNUSED)}")
    if not found.packages:
        _line(console, "no package is installed: edgesdk push FILE --device NAME")
        return
    listed = table("", "package", "version", "sequence", "state", "signed", "size", "fallbacks")
    for each in found.packages:
        fallbacks = ", ".join(f"{why}: {count}" for why, count in sorted(each.fallbacks.items()))
        listed.add_row(
            _plain(each.name),
            _plain(each.version),
            str(each.sequence),
            each.state or "not used",
            _plain(_signer(each)),
            format_bytes(each.installed_bytes),
            _plain(fallbacks) or "none",
        )
    console.print(listed)


def targets(console: Console, catalogue: Sequence[Target]) -> None:
    """The catalogue."""
    listed = table("", "target", "name", "machine", "runtimes", fixed="target")
    for target in catalogue:
        runtimes = ", ".join(runtime.name for runtime in target.runtimes)
        listed.add_row(target.id, target.name, target.architecture, runtimes)
    console.print(listed)


def target(console: Console, shown: Target) -> None:
    """A target, each figure with its source."""
    _line(console, f"{shown.id}: {shown.name} ({shown.vendor})")
    _line(console, f"  {shown.soc}, {shown.architecture}, family {shown.family}")
    if shown.board is not None:
        _line(console, f"  board      {shown.board.value}... [{shown.board.source}]")
    for unit in shown.compute_units:
        _line(console, f"  {unit.id}: {unit.core}")
        for title, figure, scale, symbol in (
            ("cores", unit.cores, 1, ""),
            ("clock", unit.clock_hz, 10**6, " MHz"),
        ):
            if figure is not None:
                text = f"{figure.value / scale:g}{symbol}"
                _line(console, f"    {title:<8} {text:<10} [{figure.source}]")
        if unit.features:
            _line(console, f"    features {' '.join(unit.features)} [{unit.features_source}]")
    ram = shown.memory.ram_bytes
    if ram is not None:
        _line(console, f"  RAM        {format_bytes(ram.value):<10} [{ram.source}]")
    for runtime in shown.runtimes:
        _line(console, f"  runs {runtime.name} >= {runtime.min_version}")
    budget, gates = shown.budget, shown.gates
    _line(
        console,
        f"  budgets: package {budget.package or '-'}, delta {budget.delta or '-'}, "
        f"installed {budget.installed or '-'}, peak RAM {budget.peak_ram or '-'}",
    )
    drop = gates.max_accuracy_drop_points
    _line(console, f"  gates: accuracy drop at most {'-' if drop is None else drop} points")
    if shown.notes:
        _line(console, f"  {shown.notes}")
    for key, source in shown.sources.items():
        _line(console, f"  [{key}] {source.title}, {source.kind}, read {source.accessed}")
        _line(console, f"      {source.url}")


def device(console: Console, enrolled: Device) -> None:
    """One entry of the inventory."""
    kind = stand_in(enrolled.kind) or "device"
    lab = ", may take unsigned packages" if enrolled.lab else ""
    tags = f", tagged {', '.join(enrolled.tags)}" if enrolled.tags else ""
    _line(console, f"{kind} {enrolled.name}: {enrolled.address}, {enrolled.target}{lab}{tags}")


def visited(console: Console, visit: Visited) -> None:
    """A device and what its agent read there."""
    device(console, visit.device)
    _environment(console, visit.environment)
    for held in visit.leases:
        _line(console, f"  {'leased':<10} {render_lab.whose(held)}")
    if visit.inspection is not None:
        render_doctor.details(console, visit.environment, visit.inspection)


def _environment(console: Console, found: Environment) -> None:
    def size(count: int | None) -> str:
        return "not readable" if count is None else format_bytes(count)

    runtimes = ", ".join(map(_runtime, found.runtimes))
    for title, value in (
        ("board", found.board or "not readable"),
        ("machine", f"{found.machine}, {found.cpu_count} CPUs, {found.cpu_model}"),
        ("system", f"{found.system} {found.kernel}, {found.libc}"),
        ("python", found.python),
        ("memory", f"{size(found.memory_available_bytes)} of {size(found.memory_total_bytes)}"),
        ("disk free", size(found.disk_free_bytes)),
        ("governor", found.governor or "not readable"),
        ("runtimes", runtimes or "none: edgesdk agent install brings one"),
    ):
        _line(console, f"  {title:<10} {value}")


def _runtime(found: RuntimeVersion) -> str:
    own = " (the agent's own)" if found.source == PRIVATE else ""
    return f"{found.package} {found.version}{own}"


def _line(console: Console, text: str) -> None:
    console.print(plain(text), markup=False, soft_wrap=True)


def _plain(text: str) -> str:
    return plain(text).replace("[", "\\[")
