"""To an OCI registry: the blobs, then the manifest that names them.

oras tries a refused login for two minutes and sets no deadline; here each request is made once, and
none waits for ever.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import oras.auth
import requests
from oras.oci import NewLayer
from oras.provider import Registry
from requests.adapters import HTTPAdapter

from edgesdk.errors import TransportError
from edgesdk.package.exporters.content import Content
from edgesdk.package.exporters.oci import ARTIFACT_TYPE, EMPTY, EMPTY_TYPE, MANIFEST_TYPE, Reference
from edgesdk.progress import Progress
from edgesdk.text import plain

_CONNECT_S = 10.0
_SILENCE_S = 120.0
_LOG_IN = "docker login {0}, or oras login {0}"


class _Deadlines(HTTPAdapter):  # type: ignore[misc]
    """Lends its deadlines to requests that have none."""

    def send(self, request: Any, **settings: Any) -> Any:
        return super().send(request, **{**settings, "timeout": (_CONNECT_S, _SILENCE_S)})


class _Once(Registry):  # type: ignore[misc]
    """A registry client that makes each request once."""

    def do_request(self, *arguments: Any, **settings: Any) -> requests.Response:
        response: requests.Response = Registry.do_request.__wrapped__(self, *arguments, **settings)
        return response


def push(reference: Reference, content: Content, text: bytes, progress: Progress) -> str:
    """Upload what is not there yet; returns what did it.

    Args:
        text: the manifest's bytes.

    Raises:
        TransportError: the registry cannot be reached, or refuses.
    """
    try:
        registry = _registry(reference)
        container = registry.get_container(str(reference))
        with tempfile.TemporaryDirectory(prefix="edgesdk-oci-") as folder:
            empty = Path(folder) / "empty"
            empty.write_bytes(EMPTY)
            blobs = ((empty, EMPTY_TYPE), (content.path, ARTIFACT_TYPE))
            with progress.task(f"pushing {reference}", len(blobs) + 1) as advance:
                for path, media_type in blobs:
                    layer = NewLayer(str(path), media_type=media_type)
                    _check(registry.upload_blob(str(path), container, layer), "a blob")
                    advance(1)
                _check(_put_manifest(registry, container, text), "the manifest")
                advance(1)
    except requests.RequestException as error:
        raise TransportError(
            f"the registry {reference.registry} cannot be reached: {_cause(error)}"
        ) from error
    except (oras.auth.AuthenticationException, ValueError) as error:
        raise TransportError(
            f"the registry {reference.registry} does not let us push: {error}",
            hint=_LOG_IN.format(reference.registry),
        ) from error
    return f"oras {version('oras')}"


def _registry(reference: Reference) -> _Once:
    """A client that logs in as the registry asks for: with a token, or with the password itself."""
    registry = _client(reference, "token")
    answer = registry.session.get(f"{registry.prefix}://{reference.registry}/v2/")
    if answer.status_code not in (200, 401):
        raise TransportError(
            f"{reference.registry} is no OCI registry: it answers {answer.status_code} to /v2/"
        )
    if not answer.headers.get("WWW-Authenticate", "").lower().startswith("basic"):
        return registry
    registry = _client(reference, "basic")
    if not hasattr(registry.auth, "_basic_auth"):  # So does oras ask itself whether it has one.
        raise TransportError(
            f"the registry {reference.registry} asks for a password, and none is stored",
            hint=_LOG_IN.format(reference.registry),
        )
    return registry


def _client(reference: Reference, login: str) -> _Once:
    registry = _Once(
        hostname=reference.registry, insecure=reference.is_loopback, auth_backend=login
    )
    for scheme in ("http://", "https://"):
        registry.session.mount(scheme, _Deadlines())
    registry.auth.load_configs(registry.get_container(str(reference)), _login_files(os.environ))
    return registry


def _login_files(environ: Mapping[str, str]) -> list[str]:
    """Where logins are stored, beside ~/.docker, which oras reads in any case."""
    folder = environ.get("DOCKER_CONFIG")
    return [str(Path(folder) / "config.json")] if folder else []


def _put_manifest(registry: _Once, container: Any, text: bytes) -> requests.Response:
    return registry.do_request(
        f"{registry.prefix}://{container.manifest_url()}",
        "PUT",
        data=text,
        headers={"Content-Type": MANIFEST_TYPE},
    )


def _check(response: requests.Response, what: str) -> None:
    if response.status_code not in (200, 201, 202):
        told = f"{response.status_code} {response.reason}"
        raise TransportError(
            f"the registry refused {what}: {told}",
            details=[plain(line) for line in response.text.splitlines()[:5]],
        )


def _cause(error: requests.RequestException) -> str:
    """The innermost reason; the rest is the library's account of how it called itself."""
    inner: BaseException = error
    while inner.__context__ is not None:
        inner = inner.__context__
    return str(inner)
