"""To an OCI registry: the blobs, then the manifest that names them.

oras tries a refused login for two minutes and sets no deadline; here each request is made once, and
none waits for ever.
"""

from __future__ import annotations

import tempfile
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

_CONNECT_S = 10.0
_SILENCE_S = 120.0


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
    registry = _Once(hostname=reference.registry, insecure=reference.is_loopback)
    for scheme in ("http://", "https://"):
        registry.session.mount(scheme, _Deadlines())
    container = registry.get_container(str(reference))
    registry.auth.load_configs(container)
    try:
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
            hint=f"docker login {reference.registry}, or oras login",
        ) from error
    return f"oras {version('oras')}"


def _put_manifest(registry: _Once, container: Any, text: bytes) -> requests.Response:
    return registry.do_request(
        f"{registry.prefix}://{container.manifest_url()}",
        "PUT",
        data=text,
        headers={"Content-Type": MANIFEST_TYPE},
    )


def _check(response: requests.Response, what: str) -> None:
    if response.status_code not in (200, 201, 202):
        raise TransportError(
            f"the registry refused {what}: {response.status_code} {response.reason}",
            details=response.text.splitlines()[:5],
        )


def _cause(error: requests.RequestException) -> str:
    """The innermost reason; the rest is the library's account of how it called itself."""
    inner: BaseException = error
    while inner.__context__ is not None:
        inner = inner.__context__
    return str(inner)
