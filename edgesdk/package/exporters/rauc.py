"""A RAUC bundle whose handler hands the package to our agent; no slot is written.

RAUC 1.8, which Debian 12 has, writes images to slots, and a model in the agent's store is not one.
So the bundle brings a handler of its own ("full custom update"), which RAUC runs once it has
verified the bundle, in place of its own installation. `rauc` makes it, always signed, in the verity
format.
"""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from edgesdk.errors import ExportError, UsageError
from edgesdk.files import move_durable, scratch_beside, sha256_file
from edgesdk.package.exporters.content import (
    Content,
    account,
    delta_notes,
    devices,
    plain_name,
)
from edgesdk.package.exporters.private_keys import (
    load_certificate,
    load_private_key,
    require_pair,
)
from edgesdk.package.exporters.programs import Program
from edgesdk.progress import Progress
from edgesdk.values.export import Exported, Wanted

RAUC = Program("rauc", "sudo apt-get install rauc squashfs-tools")
MKSQUASHFS = Program("mksquashfs", "sudo apt-get install squashfs-tools")
HANDLER = "install"
PACKAGE = "package.edgepkg"


def manifest(content: Content, wanted: Wanted) -> str:
    """The bundle's `manifest.raucm`.

    Raises:
        UsageError: a name that does not fit into it, or several compatible systems.
    """
    of, version = content.manifest, plain_name(content.manifest.version)
    lines = ["[update]", f"compatible={_compatible(content, wanted)}", f"version={version}"]
    lines += [f"description={of.name}, edgesdk package {of.package_id}", f"build={of.sequence}", ""]
    lines += ["[bundle]", "format=verity", "", "[handler]", f"filename={HANDLER}", ""]
    # RAUC drops it before 1.9, without a word.
    lines += ["[meta.edgesdk]", f"package-id={of.package_id}", f"name={of.name}"]
    lines += [f"sequence={of.sequence}"]
    if content.base:
        lines += [f"base={content.base}"]
    return "\n".join(lines) + "\n"


def _compatible(content: Content, wanted: Wanted) -> str:
    names = devices(content, wanted)
    if len(names) != 1:
        raise UsageError(
            f"found --compatible {', '.join(names)}, expected one: a RAUC bundle is for one system"
        )
    name = names[0]
    # The manifest is a key file: it strips spaces, and takes a backslash for an escape.
    if not name or not name.isprintable() or name != name.strip() or "\\" in name:
        raise UsageError(
            f"found --compatible {name!r}, expected printable text without backslashes"
        )
    return name


def expressed(content: Content, wanted: Wanted) -> dict[str, str]:
    """How RAUC says what the package says."""
    return {
        "name": "[update] description; not compared",
        "version": "[update] version; not compared",
        "sequence": "[update] build; not compared",
        "target": f"[update] compatible={_compatible(content, wanted)}",
        "package id": "[update] description; not compared",
        "base": "[meta.edgesdk] base, from RAUC 1.9 on; not compared",
    }


def export(content: Content, wanted: Wanted, progress: Progress) -> Exported:
    """Have `rauc` make and sign the bundle."""
    key, certificate = wanted.key, wanted.certificate
    if key is None or certificate is None:
        raise UsageError("a RAUC bundle is always signed: it needs --key and --cert")
    text = manifest(content, wanted)
    version = RAUC.version()
    MKSQUASHFS.path()  # rauc's own word for its lack does not say what to install.
    require_pair(load_private_key(key), load_certificate(certificate), certificate)
    output = Path(wanted.output)
    with progress.task(f"writing {output.name}", 1) as advance, scratch_beside(output) as scratch:
        made = scratch / "made.raucb"
        _lay_out(content, text, scratch / "bundle")
        asked = ["--cert", str(certificate.absolute()), "--key", str(key.absolute())]
        RAUC.run([*asked, "bundle", str(scratch / "bundle"), str(made)], scratch=scratch)
        if not made.is_file():
            raise ExportError("rauc ended without an error and without a bundle")
        advance(1)
        move_durable(made, output)
    return Exported(
        format="rauc",
        output=str(output),
        package_id=content.manifest.package_id,
        sha256=sha256_file(output),
        made_with=version,
        signed=True,
        mapping=account(content, expressed(content, wanted)),
        notes=delta_notes(content),
    )


def _lay_out(content: Content, text: str, folder: Path) -> None:
    folder.mkdir()
    (folder / "manifest.raucm").write_text(text, encoding="utf-8")
    shutil.copyfile(content.path, folder / PACKAGE)
    handler = folder / HANDLER
    handler.write_text((files(__package__) / "on_device" / "rauc-handler").read_text("utf-8"))
    handler.chmod(0o755)
