"""Facts about exports to an OCI registry: Debian's docker-registry on loopback."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from tests.cli import Cli
from tests.fleet import require
from tests.sealed import seal

pytest.importorskip("oras", reason="oras is not installed")
require("docker-registry")

_CONFIG = """\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}/blobs}}
http:
  addr: 127.0.0.1:{port}
"""
_LOGIN = "auth:\n  htpasswd: {{realm: here, path: {folder}/passwords}}\n"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
    return made


@contextmanager
def serving(folder: Path, config: str) -> Iterator[str]:
    """Host and port of a registry."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    file = folder / "registry.yml"
    file.write_text(config.format(folder=folder, port=port))
    log = folder / "registry.log"
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            ["docker-registry", "serve", str(file)], stdout=stream, stderr=stream
        ) as server,
    ):
        try:
            _await(port, server, log)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


def _await(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path, _CONFIG) as address:
        yield address


def get(url: str, accept: str = "*/*") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept})) as answer:
        content: bytes = answer.read()
        return content


def push(cli: Cli, package: Path, reference: str) -> Any:
    done = cli("export", package, "--to", "oci", "-o", f"oci://{reference}", "--json")
    assert done.code == 0, done.err
    return done.json


def test_pushed_and_pulled_it_is_the_same_bytes(cli: Cli, tmp_path: Path, registry: str) -> None:
    import oras.client

    package = seal(tmp_path / "b.edgepkg").path
    push(cli, package, f"{registry}/models/digits:7")
    client = oras.client.OrasClient(insecure=True)
    (file,) = client.pull(target=f"{registry}/models/digits:7", outdir=str(tmp_path / "pulled"))
    assert Path(file).name == "digits.edgepkg"
    assert Path(file).read_bytes() == package.read_bytes()


def test_the_registry_has_the_manifest_under_the_digest_that_was_told(
    cli: Cli, tmp_path: Path, registry: str
) -> None:
    done = push(cli, seal(tmp_path / "b.edgepkg").path, f"{registry}/digits")
    kind = "application/vnd.oci.image.manifest.v1+json"
    text = get(f"http://{registry}/v2/digits/manifests/1.2", kind)
    assert hashlib.sha256(text).hexdigest() == done["sha256"]
    assert done["output"] == f"{registry}/digits@sha256:{done['sha256']}"
    assert json.loads(text)["annotations"]["vnd.edgesdk.package.target"] == "raspberry-pi-5"


def test_pushing_again_changes_nothing(cli: Cli, tmp_path: Path, registry: str) -> None:
    package = seal(tmp_path / "b.edgepkg").path
    first = push(cli, package, f"{registry}/digits:a")
    again = push(cli, package, f"{registry}/digits:b")
    assert first["sha256"] == again["sha256"]
    tags = json.loads(get(f"http://{registry}/v2/digits/tags/list"))["tags"]
    assert sorted(tags) == ["a", "b"]


def test_a_layout_and_a_registry_have_the_same_manifest(
    cli: Cli, tmp_path: Path, registry: str
) -> None:
    package = seal(tmp_path / "b.edgepkg").path
    pushed = push(cli, package, f"{registry}/digits")
    done = cli("export", package, "--to", "oci", "-o", tmp_path / "layout", "--json")
    assert done.json["sha256"] == pushed["sha256"]


def test_a_registry_that_is_not_there_is_said_at_once(cli: Cli, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    package = seal(tmp_path / "b.edgepkg").path
    began = time.monotonic()
    done = cli("export", package, "--to", "oci", "-o", f"oci://127.0.0.1:{port}/digits")
    assert done.code == 4
    assert f"127.0.0.1:{port} cannot be reached: [Errno 111] Connection refused" in done.err
    assert time.monotonic() - began < 20


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[str]:
    """A registry that lets in "user" with the password "right"."""
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4, b"2b")).decode()
    (tmp_path / "passwords").write_text(f"user:{hashed}\n")
    with serving(tmp_path, _CONFIG + _LOGIN) as address:
        yield address


def log_in(cli: Cli, registry: str, password: str) -> None:
    """As `docker login` leaves it."""
    secret = base64.b64encode(f"user:{password}".encode()).decode()
    folder = Path(cli.environment["DOCKER_CONFIG"])
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {registry: {"auth": secret}}}))


def test_the_stored_login_is_used(cli: Cli, tmp_path: Path, locked: str) -> None:
    log_in(cli, locked, "right")
    push(cli, seal(tmp_path / "b.edgepkg").path, f"{locked}/digits")


def test_without_a_login_the_user_is_told_to_log_in(cli: Cli, tmp_path: Path, locked: str) -> None:
    package = seal(tmp_path / "b.edgepkg").path
    done = cli("export", package, "--to", "oci", "-o", f"oci://{locked}/digits")
    assert done.code == 4 and f"docker login {locked}" in done.err


def test_a_wrong_password_is_said_at_once_and_not_shown(
    cli: Cli, tmp_path: Path, locked: str
) -> None:
    log_in(cli, locked, "wrong-canary")
    package = seal(tmp_path / "b.edgepkg").path
    began = time.monotonic()
    done = cli("export", package, "--to", "oci", "-o", f"oci://{locked}/digits")
    assert done.code == 4 and "docker login" in done.err
    assert time.monotonic() - began < 20
    secret = base64.b64encode(b"user:wrong-canary").decode()
    assert "canary" not in done.out + done.err and secret not in done.out + done.err


class Refusing(http.server.BaseHTTPRequestHandler):
    """A registry that wants tokens, and a token service that gives none."""

    def answer(self) -> None:
        host = self.headers["Host"]
        self.send_response(401)
        if self.path.startswith("/v2/"):
            challenge = f'Bearer realm="http://{host}/token",service="{host}"'
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def log_message(self, *_: Any) -> None:
        pass


def test_a_token_that_is_refused_is_said_at_once(cli: Cli, tmp_path: Path) -> None:
    # oras by itself would try again for two minutes.
    package = seal(tmp_path / "b.edgepkg").path
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        began = time.monotonic()
        address = f"127.0.0.1:{server.server_port}"
        done = cli("export", package, "--to", "oci", "-o", f"oci://{address}/digits")
        server.shutdown()
        thread.join()
    assert done.code == 4 and f"docker login {address}" in done.err
    assert time.monotonic() - began < 20
