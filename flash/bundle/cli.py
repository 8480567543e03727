"""``touchline flash bundle``: make, check and show the file that a technician carries to a node."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from flash.bundle.manifest import Manifest
from flash.bundle.roles import LEFT_OUT
from touchline.shell import emit, json_option, note

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group()
def bundle() -> None:
    """The offline bundle: wheels, units and installer in one file, for a node without internet.

    \b
    Examples:
      touchline flash bundle create --arch aarch64 --python 3.10 --out touchline.tar
      touchline flash bundle verify touchline.tar
      touchline flash bundle show touchline.tar --json
    """


@bundle.command()
@click.option("--arch", default="aarch64", show_default=True, type=click.Choice(["aarch64", "x86_64"]), help="Machine.")
@click.option(
    "--python",
    "python",
    default="3.10",
    show_default=True,
    type=click.Choice(["3.10", "3.11", "3.12", "3.13"]),
    help="The target's Python: 3.10 on JetPack 6, 3.12 on JetPack 7.",
)
@click.option(
    "--for",
    "role",
    default="node",
    show_default=True,
    type=click.Choice(sorted(LEFT_OUT)),
    help="A node does without the rack's web page and Parquet export.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@json_option
def create(arch: str, python: str, role: str, out: Path, as_json: bool) -> None:
    """Make the bundle from this checkout; the wheels come from where pip is configured to find them.

    The same checkout, target and role give the same bytes.

    \b
    Example:
      touchline flash bundle create --arch aarch64 --python 3.10 --out touchline.tar
    """
    from flash.bundle.create import create as make
    from flash.bundle.lock import Target

    manifest = make(out, Target(arch, python), role, say=note)
    emit({"file": str(out), **_summary(manifest)}, as_json, f"{out}: {_text(manifest)}")


@bundle.command()
@click.argument("file", type=_FILE)
@json_option
def verify(file: Path, as_json: bool) -> None:
    """Hash every file in the bundle; exits with 4 and names the first that is damaged.

    \b
    Example:
      touchline flash bundle verify touchline.tar
    """
    from flash.bundle.archive import check_archive

    manifest = check_archive(file)
    emit({"good": True, **_summary(manifest)}, as_json, f"good: {_text(manifest)}")


@bundle.command()
@click.argument("file", type=_FILE)
@json_option
def show(file: Path, as_json: bool) -> None:
    """Show what the bundle is for and what lies in it.

    \b
    Example:
      touchline flash bundle show touchline.tar
    """
    from flash.bundle.archive import read_manifest

    manifest = read_manifest(file)
    lines = [f"  {entry.size_bytes:>12,}  {entry.sha256[:12]}  {entry.path}" for entry in manifest.files]
    files = [asdict(entry) for entry in manifest.files]
    emit({**_summary(manifest), "files": files}, as_json, "\n".join([_text(manifest), *lines]))


def _summary(manifest: Manifest) -> dict[str, Any]:
    keys = ("version", "arch", "python", "role", "unpacked_bytes", "release", "sha256")
    return {key: getattr(manifest, key) for key in keys}


def _text(manifest: Manifest) -> str:
    total_mb = sum(entry.size_bytes for entry in manifest.files) / 1e6
    return (
        f"release {manifest.release} for a {manifest.role}, {manifest.arch}, Python {manifest.python}; "
        f"{len(manifest.files)} files, {total_mb:.0f} MB, unpacked {manifest.unpacked_bytes / 1e6:.0f} MB"
    )
