"""The links by which applications find what is here: a package's, and this agent's."""

from __future__ import annotations

import errno
import os
import time
from typing import Tuple

from device_agent.durable import remove, sync_folder
from device_agent.state import State

_NEW_S = 3600.0


def new_links(state: State, models: str, scratch: str) -> Tuple[Tuple[str, str], ...]:
    """The links that are not as the state says, made aside, and the paths they belong to.

    Args:
        models: the folder they lie in.
        scratch: where they are made.

    Raises:
        OSError: a folder is in the place of one.
    """
    made = []
    for slot in state.slots:
        path = os.path.join(models, slot.name)
        target = os.path.join(os.pardir, "store", slot.current)
        if os.path.isdir(path) and not os.path.islink(path):
            raise OSError(errno.EEXIST, "a folder, expected a link of ours: move it away", path)
        if not (os.path.islink(path) and os.readlink(path) == target):
            aside = os.path.join(scratch, "link-" + slot.name)
            remove(aside)
            os.symlink(target, aside)
            made.append((aside, path))
    return tuple(made)


def show(models: str, links: Tuple[Tuple[str, str], ...]) -> None:
    """Let them be seen."""
    for aside, path in links:
        os.rename(aside, path)
    if links:
        sync_folder(models)


def remove_old_agents(folder: str, current: str) -> None:
    """What earlier versions left; a file of the last hour may be of a session that just begins."""
    kept = current[: -len(".pyz")] + "."
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(kept) or name == "current.pyz":
            continue
        if abs(time.time() - os.lstat(path).st_ctime) > _NEW_S:
            remove(path)
