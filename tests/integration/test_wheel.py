"""The wheel carries the targets: built here, installed elsewhere, used far from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgesdk.targets.loading import target_ids

CHECKOUT = Path(__file__).parents[2]
LIST_TARGETS = """
import edgesdk
from edgesdk.targets.loading import list_targets
print(edgesdk.__file__)
print(*(target.id for target in list_targets()), sep="\\n")
"""


def run(*argv: str, **environment: str) -> str:
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=os.path.realpath("/"),
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the freshly built wheel installed in it, without its dependencies."""
    dist, folder = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
    quick = ("--no-deps", "--no-index")
    run(*pip, "wheel", *quick, "--no-build-isolation", "-w", str(dist), str(CHECKOUT))
    (wheel,) = dist.glob("edgesdk-*.whl")
    run(*pip, "install", *quick, "--target", str(folder), str(wheel))
    return folder


def test_every_target_loads_from_the_installed_wheel(installed: Path) -> None:
    origin, *ids = run(sys.executable, "-c", LIST_TARGETS, PYTHONPATH=str(installed)).splitlines()
    assert Path(origin).is_relative_to(installed)
    assert tuple(ids) == target_ids()


def test_the_wheel_carries_descriptors_and_bases_once(installed: Path) -> None:
    carried = sorted(path.name for path in installed.rglob("*.toml"))
    assert carried == sorted(path.name for path in (CHECKOUT / "targets").rglob("*.toml"))
