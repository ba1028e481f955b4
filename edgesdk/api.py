"""The Python API: every command as a function, and the values they take.
    from edgesdk import api

    api.convert("digits.onnx", "raspberry-pi-5", "digits.npz#calibration", "out/artifact")
    api.package("out/artifact", "out/digits.edgepkg")
    api.push("out/digits.edgepkg", "pi-bench-3")

Each name is imported when it is first used, so that `edgesdk --help` stays quick. The command
`eval` is both `api.evaluate` and `api.eval`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesdk.data.preprocessing import Postprocessing as Postprocessing
    from edgesdk.data.preprocessing import Preprocessing as Preprocessing
    from edgesdk.flows.agents import agent_install as agent_install
    from edgesdk.flows.agents import agent_runtimes as agent_runtimes
    from edgesdk.flows.agents import agent_uninstall as agent_uninstall
    from edgesdk.flows.baseline import resolve_baseline as resolve_baseline
    from edgesdk.flows.check import check as check
    from edgesdk.flows.check import check_all as check_all
    from edgesdk.flows.clusters import dask_executor as dask_executor
    from edgesdk.flows.convert import convert as convert
    from edgesdk.flows.deploy import Order as Order
    from edgesdk.flows.deploy import carry_out as carry_out
    from edgesdk.flows.deploy import deploy as deploy
    from edgesdk.flows.deploy_many import Manner as Manner
    from edgesdk.flows.deploy_many import deploy_many as deploy_many
    from edgesdk.flows.devices import add_device as add_device
    from edgesdk.flows.devices import emulate as emulate
    from edgesdk.flows.devices import lease_device as lease_device
    from edgesdk.flows.devices import list_devices as list_devices
    from edgesdk.flows.devices import list_installed as list_installed
    from edgesdk.flows.devices import release_device as release_device
    from edgesdk.flows.devices import remove_device as remove_device
    from edgesdk.flows.devices import rollback as rollback
    from edgesdk.flows.devices import save_agent as save_agent
    from edgesdk.flows.devices import tag_device as tag_device
    from edgesdk.flows.diff import diff as diff
    from edgesdk.flows.doctor import doctor as doctor
    from edgesdk.flows.doctor import seen_devices as seen_devices
    from edgesdk.flows.doctor import show_device as show_device
    from edgesdk.flows.export import export as export
    from edgesdk.flows.init import init as init
    from edgesdk.flows.installing import Permissions as Permissions
    from edgesdk.flows.keys import discard_trust as discard_trust
    from edgesdk.flows.keys import list_keys as list_keys
    from edgesdk.flows.keys import new_key as new_key
    from edgesdk.flows.keys import revoke_key as revoke_key
    from edgesdk.flows.keys import set_threshold as set_threshold
    from edgesdk.flows.keys import sign_trust as sign_trust
    from edgesdk.flows.keys import trust_documents as trust_documents
    from edgesdk.flows.keys import trust_key as trust_key
    from edgesdk.flows.lab import set_lab as set_lab
    from edgesdk.flows.leasing import whoami as whoami
    from edgesdk.flows.many import CrowdHalted as CrowdHalted
    from edgesdk.flows.many import Limits as Limits
    from edgesdk.flows.many import Retry as Retry
    from edgesdk.flows.many import is_selection as is_selection
    from edgesdk.flows.many import on_devices as on_devices
    from edgesdk.flows.measure import bench as bench
    from edgesdk.flows.measure import evaluate as evaluate
    from edgesdk.flows.measure import require_evaluable as require_evaluable
    from edgesdk.flows.metrics import Asked as Asked
    from edgesdk.flows.package import Signing as Signing
    from edgesdk.flows.package import inspect as inspect
    from edgesdk.flows.package import package as package
    from edgesdk.flows.places import device_of_place as device_of_place
    from edgesdk.flows.push import push as push
    from edgesdk.flows.push import pushing as pushing
    from edgesdk.flows.report import report as report
    from edgesdk.flows.runs import accept_run as accept_run
    from edgesdk.flows.runs import compare as compare
    from edgesdk.flows.runs import export_runs as export_runs
    from edgesdk.flows.runs import find_run as find_run
    from edgesdk.flows.runs import list_runs as list_runs
    from edgesdk.flows.runs import remove_runs as remove_runs
    from edgesdk.flows.runs import show_run as show_run
    from edgesdk.flows.session import find_device as find_device
    from edgesdk.flows.session import find_devices as find_devices
    from edgesdk.flows.signing import default_signer as default_signer
    from edgesdk.flows.signing import ensure_signer as ensure_signer
    from edgesdk.flows.signing import require_trusted as require_trusted
    from edgesdk.flows.sustain import sustain as sustain
    from edgesdk.flows.sweep import SweepHalted as SweepHalted
    from edgesdk.flows.sweep import sweep as sweep
    from edgesdk.flows.verify import verify as verify
    from edgesdk.models.opening import open_model as open_model
    from edgesdk.project import load_preprocessing as load_preprocessing
    from edgesdk.project import load_project as load_project
    from edgesdk.project import load_recipe as load_recipe
    from edgesdk.targets.loading import check_descriptor as check_descriptor
    from edgesdk.targets.loading import list_targets as list_targets
    from edgesdk.targets.loading import load_target as load_target
    from edgesdk.targets.types import BudgetText as BudgetText
    from edgesdk.targets.types import Contract as Contract
    from edgesdk.targets.types import GateBounds as GateBounds
    from edgesdk.values.outcome import gravest as gravest
    from edgesdk.values.package import Release as Release
    from edgesdk.values.recipe import Recipe as Recipe
    from edgesdk.values.timing import Timing as Timing

_HOMES = {
    "gravest": "edgesdk.values.outcome",
    "Release": "edgesdk.values.package",
    "Recipe": "edgesdk.values.recipe",
    "Timing": "edgesdk.values.timing",
    "BudgetText": "edgesdk.targets.types",
    "Contract": "edgesdk.targets.types",
    "GateBounds": "edgesdk.targets.types",
    "Postprocessing": "edgesdk.data.preprocessing",
    "Preprocessing": "edgesdk.data.preprocessing",
    "agent_install": "edgesdk.flows.agents",
    "agent_runtimes": "edgesdk.flows.agents",
    "agent_uninstall": "edgesdk.flows.agents",
    "resolve_baseline": "edgesdk.flows.baseline",
    "check": "edgesdk.flows.check",
    "check_all": "edgesdk.flows.check",
    "convert": "edgesdk.flows.convert",
    "carry_out": "edgesdk.flows.deploy",
    "deploy": "edgesdk.flows.deploy",
    "deploy_many": "edgesdk.flows.deploy_many",
    "Manner": "edgesdk.flows.deploy_many",
    "Order": "edgesdk.flows.deploy",
    "add_device": "edgesdk.flows.devices",
    "emulate": "edgesdk.flows.devices",
    "lease_device": "edgesdk.flows.devices",
    "list_devices": "edgesdk.flows.devices",
    "release_device": "edgesdk.flows.devices",
    "list_installed": "edgesdk.flows.devices",
    "rollback": "edgesdk.flows.devices",
    "save_agent": "edgesdk.flows.devices",
    "Permissions": "edgesdk.flows.installing",
    "Asked": "edgesdk.flows.metrics",
    "Signing": "edgesdk.flows.package",
    "SweepHalted": "edgesdk.flows.sweep",
    "sweep": "edgesdk.flows.sweep",
    "dask_executor": "edgesdk.flows.clusters",
    "verify": "edgesdk.flows.verify",
    "remove_device": "edgesdk.flows.devices",
    "doctor": "edgesdk.flows.doctor",
    "seen_devices": "edgesdk.flows.doctor",
    "show_device": "edgesdk.flows.doctor",
    "tag_device": "edgesdk.flows.devices",
    "export": "edgesdk.flows.export",
    "init": "edgesdk.flows.init",
    "discard_trust": "edgesdk.flows.keys",
    "list_keys": "edgesdk.flows.keys",
    "new_key": "edgesdk.flows.keys",
    "revoke_key": "edgesdk.flows.keys",
    "set_threshold": "edgesdk.flows.keys",
    "sign_trust": "edgesdk.flows.keys",
    "trust_documents": "edgesdk.flows.keys",
    "trust_key": "edgesdk.flows.keys",
    "set_lab": "edgesdk.flows.lab",
    "whoami": "edgesdk.flows.leasing",
    "CrowdHalted": "edgesdk.flows.many",
    "Limits": "edgesdk.flows.many",
    "Retry": "edgesdk.flows.many",
    "on_devices": "edgesdk.flows.many",
    "is_selection": "edgesdk.flows.many",
    "bench": "edgesdk.flows.measure",
    "diff": "edgesdk.flows.diff",
    "evaluate": "edgesdk.flows.measure",
    "require_evaluable": "edgesdk.flows.measure",
    "inspect": "edgesdk.flows.package",
    "package": "edgesdk.flows.package",
    "device_of_place": "edgesdk.flows.places",
    "push": "edgesdk.flows.push",
    "pushing": "edgesdk.flows.push",
    "find_device": "edgesdk.flows.session",
    "find_devices": "edgesdk.flows.session",
    "report": "edgesdk.flows.report",
    "accept_run": "edgesdk.flows.runs",
    "compare": "edgesdk.flows.runs",
    "export_runs": "edgesdk.flows.runs",
    "find_run": "edgesdk.flows.runs",
    "list_runs": "edgesdk.flows.runs",
    "remove_runs": "edgesdk.flows.runs",
    "show_run": "edgesdk.flows.runs",
    "default_signer": "edgesdk.flows.signing",
    "ensure_signer": "edgesdk.flows.signing",
    "require_trusted": "edgesdk.flows.signing",
    "sustain": "edgesdk.flows.sustain",
    "open_model": "edgesdk.models.opening",
    "load_preprocessing": "edgesdk.project",
    "load_project": "edgesdk.project",
    "load_recipe": "edgesdk.project",
    "check_descriptor": "edgesdk.targets.loading",
    "list_targets": "edgesdk.targets.loading",
    "load_target": "edgesdk.targets.loading",
}


def __getattr__(name: str) -> Any:
    if name == "eval":
        return __getattr__("evaluate")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
