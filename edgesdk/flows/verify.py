"""Whether a package can be believed, without any device."""

from __future__ import annotations

from pathlib import Path

from device_agent.clock import parse_utc
from device_agent.codec import canonical
from device_agent.manifest import Manifest
from device_agent.trust import DELTA_NAMESPACE, PACKAGE_NAMESPACE, Reason
from edgesdk.errors import NotTrusted
from edgesdk.flows.keys import workstation_clock
from edgesdk.flows.signing import require_trusted
from edgesdk.package.reading import read_package
from edgesdk.values.package import Check, Package, Verification


def verify(package: Path | str, *, allow_unsigned: bool = False) -> Verification:
    """Check everything about a package that can be checked without a device.

    Args:
        allow_unsigned: a package without a signature is not refused.

    Raises:
        PackageError: missing, truncated or damaged.
        NotTrusted: unsigned, or signed by nobody who is trusted here, or expired.
    """
    sealed = read_package(Path(package))
    checks = [
        Check("bytes", f"all {sealed.size_bytes} are as the manifest says"),
        *_signatures(sealed, allow_unsigned),
        _expiry(sealed.manifest),
    ]
    delta = sealed.head.delta
    if delta is not None:
        checks.append(Check("delta", f"made against package {delta.base}; not applied here"))
    return Verification(sealed, tuple(checks))


def _signatures(package: Package, allow_unsigned: bool) -> tuple[Check, ...]:
    head = package.head
    if not head.signatures:
        if not allow_unsigned:
            raise NotTrusted(
                "found a package without a signature",
                code=Reason.UNSIGNED,
                hint="have it built with a key, or look at it all the same: --allow-unsigned",
            )
        return (Check("signature", "none: it is unsigned, which was allowed"),)
    key = require_trusted(canonical(head.manifest), head.signatures, PACKAGE_NAMESPACE)
    found = [Check("signature", f"by {key.name} ({key.fingerprint}), who is trusted here")]
    if head.delta is not None:
        key = require_trusted(canonical(head.delta), head.delta_signatures, DELTA_NAMESPACE)
        found.append(Check("delta signature", f"by {key.name} ({key.fingerprint})"))
    return tuple(found)


def _expiry(manifest: Manifest) -> Check:
    if manifest.expires is None:
        return Check("expiry", "none")
    if workstation_clock().now_s >= parse_utc(manifest.expires):
        raise NotTrusted(
            f"the package expired on {manifest.expires}",
            code="expired",
            hint="build it again with a later date",
        )
    return Check("expiry", f"{manifest.expires}, still to come")
