"""On a device: fetch the newest package that a TUF repository has for it, and say where it lies.

    python3 fetch.py URL TARGET ROOT.json STATE

needs python-tuf (`pip install tuf`). STATE keeps what was trusted last, by which an older
repository is known: keep it across boots. ROOT.json, the first root, comes with the image.
"""

import sys
from pathlib import Path

from tuf.ngclient import Updater


def fetch(url: str, target: str, root: Path, state: Path) -> Path:
    """The verified package file; a newer one is downloaded, a known one is not.

    Raises:
        tuf.api.exceptions.RepositoryError: metadata are unsigned, expired or older than what was
            trusted before.
        tuf.api.exceptions.DownloadError: the repository cannot be reached.
    """
    metadata, packages = state / "metadata", state / "packages"
    for folder in (metadata, packages):
        folder.mkdir(parents=True, exist_ok=True)
    updater = Updater(
        metadata_dir=str(metadata),
        metadata_base_url=f"{url}/metadata/",
        target_dir=str(packages),
        target_base_url=f"{url}/targets/",
        bootstrap=root.read_bytes(),
    )
    updater.refresh()
    found = updater.get_targetinfo(target)
    if found is None:
        raise SystemExit(f"{url} has no target {target}")
    return Path(updater.find_cached_target(found) or updater.download_target(found))


if __name__ == "__main__":
    _, url, target, root, state = sys.argv
    print(fetch(url.rstrip("/"), target, Path(root), Path(state)))
