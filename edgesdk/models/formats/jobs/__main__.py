"""Start one job of this folder: `python .../jobs <name> <request.json>`.

The folder becomes a package of its own and leaves the search path, so that no job's name can stand
in the way of a toolkit's.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
_PACKAGE = "edgesdk_jobs"


def _load_package() -> None:
    spec = importlib.util.spec_from_file_location(
        _PACKAGE, _FOLDER / "__init__.py", submodule_search_locations=[str(_FOLDER)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _FOLDER]
    _load_package()
    name, request = sys.argv[1:]
    job = importlib.import_module(f"{_PACKAGE}.{name}")
    importlib.import_module(f"{_PACKAGE}.protocol").serve(request, job.run)
