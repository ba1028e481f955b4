"""The root of a small arm64 Debian as one file: made on first use, kept in the cache.

mmdebstrap installs it from Debian's signed packages, its programs run by qemu-user, in namespaces
of their own: a build that is interrupted leaves no mount and no process. It takes two minutes of
one core, nearly all of them for the packages' scripts, which are emulated.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgesdk.errors import ToolchainMissing
from edgesdk.files import move_durable, one_writer, scratch_beside
from edgesdk.processes import Ended, run_to_end
from edgesdk.progress import Progress

SUITE = "bookworm"
PACKAGES = ("python3", "openssh-server", "procps", "libstdc++6")
"""Beside what no Debian is without. apt, which nobody may use there, is not; the C++ library that
comes with it is, as wheels take it for granted."""

_UNREAD = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")
_RECIPE = [
    "mmdebstrap",
    "--architectures=arm64",
    "--variant=essential",
    "--skip=check/qemu",  # `requirements` has looked, and needs no package for it.
    f"--include={','.join(PACKAGES)}",
    "--dpkgopt=force-unsafe-io",  # What a power cut leaves is not used.
    *(f"--dpkgopt=path-exclude={pattern}" for pattern in _UNREAD),
    SUITE,
]
_ALONE = [
    *("setpriv", "--pdeathsig=KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
]
_STEPS = 15
"""Lines with which mmdebstrap says what it does."""
_DEADLINE_S = 3600
_log = logging.getLogger(__name__)


def image_path(environ: Mapping[str, str] = os.environ) -> Path:
    """`edgesdk/emulation/` in `$XDG_CACHE_HOME` or `~/.cache`, under a name that holds the recipe.

    It may not be there yet. Newer packages come by removing it.
    """
    given = Path(environ.get("XDG_CACHE_HOME", ""))
    cache = given if given.is_absolute() else Path.home() / ".cache"
    recipe = hashlib.sha256("\n".join(_RECIPE).encode()).hexdigest()
    return cache / "edgesdk" / "emulation" / f"arm64-{SUITE}-{recipe[:16]}.tar.zst"


def image(progress: Progress) -> Path:
    """The image, made where the cache does not have it; others wait for the one who makes it.

    Raises:
        ToolchainMissing: mmdebstrap failed.
    """
    path = image_path()
    if not path.exists():
        with one_writer(path):
            if not path.exists():
                _build(path, progress)
    return path


def _build(path: Path, progress: Progress) -> None:
    for left in path.parent.glob(f".{path.name}.*"):  # By one that was killed: the lock is ours.
        shutil.rmtree(left)
    with (
        scratch_beside(path) as scratch,
        tempfile.TemporaryDirectory(prefix="edgesdk-arm64-") as work,
        progress.task("making an arm64 Debian (once, about 2 minutes)", _STEPS) as advance,
    ):
        Path(work).chmod(0o755)  # The user that apt downloads as has to get in.
        made = scratch / path.name

        def hear(line: str) -> None:
            _log.info("%s", line)
            if line.startswith("I: "):
                advance(1)

        ended = run_to_end(
            [*_ALONE, *_RECIPE, str(made)],
            _DEADLINE_S,
            scratch=scratch,
            environ={**os.environ, "TMPDIR": work},
            hear=hear,
        )
        if not ended.succeeded:
            raise ToolchainMissing(
                f"the arm64 Debian could not be made: {_reason(ended)}",
                hint="check that Debian's packages can be fetched (http_proxy applies), then run "
                "the command again; -v shows what mmdebstrap does",
            )
        move_durable(made, path)


def _reason(ended: Ended) -> str:
    if ended.code is None:
        return f"it took more than {_DEADLINE_S // 60} minutes"
    errors = [line for line in ended.said.splitlines() if line.startswith("E: ")]
    said = errors or list(ended.tail(1)) or [f"mmdebstrap ended with exit code {ended.code}"]
    return said[0].removeprefix("E: ")
