"""Artifact in, sealed package out; and a look into either."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device_agent.manifest import Manifest
from device_agent.preprocessing import Stages
from edgesdk.choices import Precision
from edgesdk.convert.conversion import read_artifact
from edgesdk.convert.planning import offered_precisions
from edgesdk.convert.toolchains import toolchains
from edgesdk.data.preprocessing import Postprocessing, Preprocessing
from edgesdk.errors import TargetError, UsageError
from edgesdk.flows.keys import parse_expiry
from edgesdk.flows.signing import Chosen, choose_signer
from edgesdk.package.budget import resolve_budget
from edgesdk.package.building import Twin, build_package
from edgesdk.package.reading import read_package
from edgesdk.targets.loading import load_target
from edgesdk.targets.types import BudgetText, GateBounds, Target
from edgesdk.validate.gates import Gates, resolve_gates
from edgesdk.values.artifact import Artifact
from edgesdk.values.package import Package, Release
from edgesdk.values.plan import ConversionPlan


@dataclass(frozen=True, slots=True)
class Signing:
    """Who signs a package.

    Args:
        key: name or file of the key; the usual one unless given, which is made if there is none.
        unsigned: nobody does.
    """

    key: str | None = None
    unsigned: bool = False

    def choose(self, say: Callable[[str], None]) -> Chosen:
        """Whoever signs.

        Raises:
            UsageError: both a key and nobody are asked for.
            SigningError: there is no such key, or it cannot be used.
        """
        if self.unsigned and self.key is not None:
            raise UsageError(
                f"found both the key {self.key} and --unsigned", hint="leave one of them out"
            )
        return Chosen(None) if self.unsigned else choose_signer(say, self.key)


def package(
    artifact: Path | str,
    output: Path | str,
    *,
    target: str | None = None,
    release: Release | None = None,
    budget: tuple[BudgetText, ...] = (),
    gates: tuple[GateBounds, ...] = (),
    base: Path | str | None = None,
    twin: Path | str | None = None,
    preprocessing: Preprocessing | None = None,
    postprocessing: Postprocessing | None = None,
    signing: Signing | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Package:
    """Seal an artifact directory into an `.edgepkg` file, signed.

    Args:
        target: whose budgets and gates are the defaults; the one it was converted for unless given.
        budget: on top of the target's, the last one winning.
        gates: likewise.
        base: an earlier package, which devices have. What travels is then a delta against it where
            that is smaller; the full package lies beside it as "NAME.full.edgepkg".
        twin: directory of another conversion of the network, such as w8a16, whose model travels,
            too; `release.fallback` says when the device runs it.
        preprocessing: what the artifact was calibrated with; says besides how large the pictures of
            the application are. Without it the artifact's own travels, without that size.
        postprocessing: what makes the answer of the outputs; only with a preprocessing.
        say: told that a first key was made, or that no device with the base would take it.

    Raises:
        BudgetExceeded: it does not fit; nothing was written.
        EdgeSDKError: the artifact, the base, the target or the key does not hold.
    """
    directory = Path(artifact)
    read = read_artifact(directory)
    descriptor = _descriptor(target, read)
    limits = resolve_budget(descriptor.budget, *budget)
    bounds = travelling(resolve_gates(descriptor.gates, *gates, budget=limits))
    chosen = (signing or Signing()).choose(say)
    earlier = None if base is None else read_package(Path(base))
    built = build_package(
        read,
        directory,
        Path(output),
        dated(release or Release()),
        limits,
        bounds,
        signer=chosen.signer,
        before_writing=chosen.keep,
        base=earlier,
        twin=None if twin is None else Twin(read_artifact(Path(twin)), Path(twin)),
        offered=offered(descriptor, read),
        stages=stages_of(read.plan, preprocessing, postprocessing),
    )
    if earlier is not None:
        _warn_of_sequence(built.manifest, earlier.manifest, say)
    return built


def _warn_of_sequence(built: Manifest, base: Manifest, say: Callable[[str], None]) -> None:
    if built.name == base.name and built.sequence <= base.sequence:
        say(
            f"found sequence {built.sequence}, and the base has {base.sequence}: a device that has "
            "the base takes this one only as a downgrade (edgesdk push --downgrade)"
        )


def stages_of(
    plan: ConversionPlan,
    preprocessing: Preprocessing | None,
    postprocessing: Postprocessing | None,
) -> Stages | None:
    """What a package of that conversion says of pictures and answers; None where nothing is.

    Raises:
        UsageError: the model was converted with another preprocessing, or with none.
    """
    after = postprocessing or Postprocessing()
    if plan.preprocessing is None and preprocessing is None:
        if after != Postprocessing():
            raise UsageError(
                "found a postprocessing and no preprocessing, expected both or neither: a package "
                "declares the way from picture to answer as a whole",
                hint="set [preprocessing] in edgesdk.toml, and convert again",
            )
        return None
    if plan.preprocessing is None or (
        preprocessing is not None and preprocessing.steps() != plan.preprocessing
    ):
        had = "none" if plan.preprocessing is None else plan.preprocessing.digest[:12]
        raise UsageError(
            f"the model was converted with the preprocessing {had}, found "
            f"{preprocessing.steps().digest[:12] if preprocessing else 'none'}",
            hint="convert again: its ranges were set with what the other one makes of pictures",
        )
    if preprocessing is None:
        return Stages(plan.preprocessing, after.steps())
    return preprocessing.stages(after)


def offered(target: Target, artifact: Artifact) -> tuple[Precision, ...]:
    """Precisions that the target offers with the toolchain that made the artifact."""
    made_by = [each for each in toolchains() if each.name == artifact.plan.backend]
    return offered_precisions(target, made_by[0]) if made_by else ()


def dated(release: Release) -> Release:
    """The release with its expiry as a package has it.

    Raises:
        UsageError: it is no date, or has passed.
    """
    return dataclasses.replace(release, expires=parse_expiry(release.expires))


def _descriptor(target: str | None, artifact: Artifact) -> Target:
    if target is not None:
        return load_target(target)
    try:
        return load_target(artifact.plan.target_id)
    except TargetError as error:
        raise TargetError(
            f"the artifact was converted for {artifact.plan.target_id!r}, which is not built in",
            hint="name its descriptor again: --target FILE.toml",
        ) from error


def travelling(gates: Gates) -> dict[str, float]:
    """The gates as a package's manifest holds them: those that are set, in base units."""
    return gates.bounds()


def inspect(path: Path | str) -> Artifact | Package:
    """Read an artifact directory or a package file and check all of it.

    Raises:
        MalformedFile: a directory without a sound `artifact.json`.
        PackageError: missing or damaged.
    """
    path = Path(path)
    return read_artifact(path) if path.is_dir() else read_package(path)
