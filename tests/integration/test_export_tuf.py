"""Facts about exports to TUF, as python-tuf's client sees them, served over HTTP on loopback.

The client is the one in examples/fleet/tuf, as a device would run it.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgesdk.flows.export import export
from tests.cli import ROOT, Cli
from tests.fleet import must, require
from tests.sealed import seal

pytest.importorskip("tuf", reason="python-tuf is not installed")
require("openssl")

from tuf.api import exceptions  # noqa: E402

TARGET = "digits/raspberry-pi-5.edgepkg"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Where what lies in `served` can be had."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(Quiet, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def fetch() -> Callable[..., Path]:
    """`fetch` of the example."""
    names: dict[str, Any] = {"__name__": "fetch"}
    source = ROOT / "examples" / "fleet" / "tuf" / "fetch.py"
    exec(compile(source.read_text(), source, "exec"), names)
    found: Callable[..., Path] = names["fetch"]
    return found


class Publisher:
    """A repository in `repo`, and copies of it that a client is shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repo"
        self.keys = {name: self._key(name) for name in ("online", "root1", "root2", "root3")}

    def _key(self, name: str) -> Path:
        path = self.folder / f"{name}.pem"
        must("openssl", "genpkey", "-algorithm", "ed25519", "-out", path)
        return path

    def create(self, sequence: int = 3, **more: Any) -> bytes:
        """A new repository; its root needs two of three keys. Returns the package's bytes."""
        roots = tuple(self.keys[f"root{number}"] for number in (1, 2, 3))
        return self.publish(sequence, root_keys=roots, root_threshold=2, **more)

    def publish(self, sequence: int, **more: Any) -> bytes:
        package = seal(self.folder / f"{sequence}.edgepkg", sequence=sequence).path
        export(package, "tuf", self.repository, key=self.keys["online"], **more)
        return package.read_bytes()

    def serve(self) -> None:
        """Let clients see what is in the repository now."""
        shutil.rmtree(self.folder / "served")
        shutil.copytree(self.repository, self.folder / "served")

    @property
    def first_root(self) -> Path:
        return self.repository / "metadata" / "1.root.json"


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


@pytest.fixture
def visit(
    publisher: Publisher, url: str, fetch: Callable[..., Path], tmp_path: Path
) -> Callable[[], bytes]:
    """One visit of a device that remembers what it saw: the package it gets."""

    def once() -> bytes:
        return fetch(url, TARGET, publisher.first_root, tmp_path / "device").read_bytes()

    return once


def test_a_client_gets_the_same_bytes(publisher: Publisher, visit: Callable[[], bytes]) -> None:
    package = publisher.create()
    publisher.serve()
    assert visit() == package


def test_a_client_gets_the_next_package(publisher: Publisher, visit: Callable[[], bytes]) -> None:
    publisher.create(3)
    publisher.serve()
    visit()
    newer = publisher.publish(4)
    publisher.serve()
    assert visit() == newer


def test_the_command_makes_it_and_the_example_reads_it(
    cli: Cli, publisher: Publisher, url: str, tmp_path: Path
) -> None:
    package = seal(tmp_path / "b.edgepkg").path
    keys = ("--key", publisher.keys["online"], "--root-key", publisher.keys["root1"])
    done = cli("export", package, "--to", "tuf", "-o", tmp_path / "repo", *keys, "--json")
    assert done.code == 0 and done.json["made_with"].startswith("python-tuf")
    publisher.serve()
    program = ROOT / "examples" / "fleet" / "tuf" / "fetch.py"
    asked = (url, TARGET, publisher.first_root, tmp_path / "device")
    said = must(sys.executable, program, *asked)
    assert Path(said.strip()).read_bytes() == package.read_bytes()


def test_going_back_to_an_older_repository_is_refused(
    publisher: Publisher, visit: Callable[[], bytes], tmp_path: Path
) -> None:
    publisher.create(3)
    shutil.copytree(publisher.repository, tmp_path / "older")
    publisher.publish(4)
    publisher.serve()
    visit()
    shutil.rmtree(tmp_path / "served")
    shutil.copytree(tmp_path / "older", tmp_path / "served")
    with pytest.raises(exceptions.BadVersionNumberError):
        visit()


def test_metadata_of_two_states_mixed_are_refused(
    publisher: Publisher, visit: Callable[[], bytes], tmp_path: Path
) -> None:
    publisher.create(3)
    older = publisher.repository / "metadata" / "1.targets.json"
    content = older.read_bytes()
    publisher.publish(4)
    publisher.serve()
    (tmp_path / "served" / "metadata" / "2.targets.json").write_bytes(content)
    with pytest.raises(exceptions.BadVersionNumberError):
        visit()


def test_a_repository_that_nobody_renews_is_refused_in_the_end(
    publisher: Publisher, visit: Callable[[], bytes]
) -> None:
    publisher.create(3, clock=lambda: datetime.now(UTC) - timedelta(days=8))
    publisher.serve()
    with pytest.raises(exceptions.ExpiredMetadataError):
        visit()
    publisher.publish(3)
    publisher.serve()
    assert visit()


def test_another_package_under_the_same_name_is_refused(
    publisher: Publisher, visit: Callable[[], bytes], tmp_path: Path
) -> None:
    package = publisher.create()
    publisher.serve()
    (file,) = (tmp_path / "served" / "targets" / "digits").iterdir()
    file.write_bytes(bytes([package[0] ^ 1]) + package[1:])
    with pytest.raises(exceptions.RepositoryError, match="hash"):
        visit()


def test_endless_data_are_refused(
    publisher: Publisher, visit: Callable[[], bytes], tmp_path: Path
) -> None:
    package = publisher.create()
    publisher.serve()
    (file,) = (tmp_path / "served" / "targets" / "digits").iterdir()
    file.write_bytes(package + b"more")
    with pytest.raises(exceptions.DownloadLengthMismatchError):
        visit()


def test_a_root_that_too_few_have_signed_is_refused(
    publisher: Publisher, visit: Callable[[], bytes], tmp_path: Path
) -> None:
    from tuf.api.metadata import Metadata

    publisher.create(3)
    publisher.publish(4, root_keys=tuple(publisher.keys[f"root{n}"] for n in (1, 2)))
    publisher.serve()
    path = tmp_path / "served" / "metadata" / "2.root.json"
    root = Metadata.from_bytes(path.read_bytes())
    root.signatures.pop(next(iter(root.signatures)))
    path.write_bytes(root.to_bytes())
    with pytest.raises(exceptions.UnsignedMetadataError):
        visit()


def test_a_client_follows_the_root_to_another_online_key(
    publisher: Publisher, visit: Callable[[], bytes]
) -> None:
    publisher.create(3)
    publisher.serve()
    visit()
    publisher.keys["online"] = publisher._key("new-online")
    newer = publisher.publish(4, root_keys=tuple(publisher.keys[f"root{n}"] for n in (1, 3)))
    publisher.serve()
    assert visit() == newer
