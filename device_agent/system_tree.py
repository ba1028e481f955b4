"""The system's files below one root, read with a note of everything that would not be read.

That a file is not there is often the answer: a board that is no Jetson has no L4T. So an absent
file is noted only where the caller needs it.
"""

from __future__ import annotations

import glob
import os
from typing import List, Tuple

from device_agent.inspection_messages import Unread


class SystemTree:
    """Files below a root.

    Args:
        root: of the file system, "/" on a device.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = root
        self._unread: List[Unread] = []

    @property
    def unread(self) -> Tuple[Unread, ...]:
        """What could not be read so far, each thing once."""
        return tuple(dict.fromkeys(self._unread))

    def path(self, name: str) -> str:
        """Where a file of the system lies below the root."""
        return os.path.join(self.root, name.lstrip("/"))

    def text(self, name: str, what: str = "") -> str:
        """A file's text; "" where there is none, or it cannot be read, which is noted.

        Args:
            what: it is for; named where the file must be there.
        """
        try:
            with open(self.path(name), encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except (FileNotFoundError, NotADirectoryError):
            if what:
                self.note(what, "there is no /%s" % name.lstrip("/"))
        except OSError as error:
            self.note(
                what or "/" + name.lstrip("/"), "/%s: %s" % (name.lstrip("/"), error.strerror)
            )
        return ""

    def note(self, what: str, why: str) -> None:
        """Something could not be read."""
        self._unread.append(Unread(what, why))

    def glob(self, pattern: str) -> List[str]:
        """Names below the root that match, sorted; each begins with "/"."""
        found = sorted(glob.glob(self.path(pattern)))
        return ["/" + os.path.relpath(path, self.root) for path in found]

    def entries(self, folder: str) -> List[str]:
        """What is in a folder, sorted; none where there is no such folder, or it cannot be read."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.note(folder, "%s: %s" % (folder, error.strerror))
            return []
