"""``touchline hil virtual build`` and ``touchline hil virtual kernel``: the node's image and its optional kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from touchline.shell import emit, json_option

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_NEXT = "touchline hil virtual boot"


def _cache_option(command: Any) -> Any:
    text = "Where packages, steps and images are kept  [default: ~/.cache/touchline/virtual]"
    return click.option("--cache-dir", type=_FOLDER, help=text)(command)


def _mirror_option(command: Any) -> Any:
    text = "Debian mirror, the part before /dists  [default: the one that this machine's apt uses]"
    return click.option("--mirror", default="", metavar="URL", help=text)(command)


def _events_option(command: Any) -> Any:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document for each event.")(command)


@click.command()
@_cache_option
@click.option("--bundle", type=_FILE, help="Install this bundle instead of one made of the checkout.")
@_mirror_option
@click.option(
    "--kernel",
    default="stock",
    show_default=True,
    type=click.Choice(["stock", "custom"]),
    help="Debian's kernel, or the one that 'kernel build' compiled.",
)
@click.option("--force", is_flag=True, help="Make every step again, whatever is in the cache.")
@click.option(
    "--keep",
    default=2,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many images to keep, this one with them.",
)
@_events_option
def build(
    *, cache_dir: Path | None, bundle: Path | None, mirror: str, kernel: str, force: bool, keep: int, as_json: bool
) -> None:
    """Build the virtual node's image, or find the one that was built from the same inputs.

    Debian packages for arm64 come from this machine's own mirror, Touchline from this checkout. From nothing it takes
    two to four minutes on two cores; an interrupted build goes on where it was. Needs root.

    \b
    Examples:
      touchline hil virtual build
      touchline hil virtual build --bundle touchline.tar --keep 3
      touchline hil virtual build --mirror http://mirror.example/debian --json
      touchline hil virtual build --kernel custom
    """
    from hil.virtual.image.build import BuildRequest, build_image
    from hil.virtual.image.image import default_cache
    from hil.virtual.image.progress import reporter
    from hil.virtual.machine.process import exit_on_signals
    from touchline.timeline import monotonic_ns

    request = BuildRequest(
        cache_dir or default_cache(), bundle=bundle, mirror=mirror, kernel=kernel, force=force, keep=keep
    )
    began_ns = monotonic_ns()
    with exit_on_signals(), reporter(as_json) as show:
        image = build_image(request, show)
    took_s = (monotonic_ns() - began_ns) / 1e9
    if as_json:
        result = {
            "image": image.image_id,
            "folder": str(image.folder),
            "size_bytes": image.size_bytes,
            "seconds": round(took_s, 2),
            "next": _NEXT,
        }
        click.echo(json.dumps(result))
    else:
        size = f"{image.size_bytes / 1e6:.0f} MB"
        click.echo(f"image {image.image_id}: {image.folder}, {size}, {took_s:.1f} s; next: {_NEXT}")


@click.group()
def kernel() -> None:
    """The optional kernel of the virtual node: emulated temperatures and the IIO dummy, which Debian's has not.

    \b
    Examples:
      touchline hil virtual kernel build       once, 10 to 15 min on two cores
      touchline hil virtual kernel status
      touchline hil virtual build --kernel custom
    """


@kernel.command("build")
@_cache_option
@_mirror_option
@click.option("--force", is_flag=True, help="Compile it again, whatever is in the cache.")
@_events_option
def kernel_build(*, cache_dir: Path | None, mirror: str, force: bool, as_json: bool) -> None:
    """Compile the kernel from Debian's sources of the image's own version. Needs root and 5 GB while it works.

    \b
    Example:
      nice touchline hil virtual kernel build
    """
    from hil.virtual.image.custom_kernel import KernelRequest, build_kernel
    from hil.virtual.image.image import default_cache
    from hil.virtual.image.progress import reporter
    from hil.virtual.machine.process import exit_on_signals

    request = KernelRequest(cache_dir or default_cache(), mirror=mirror, force=force)
    with exit_on_signals(), reporter(as_json) as show:
        tree = build_kernel(request, show)
    following = "touchline hil virtual build --kernel custom"
    if as_json:
        click.echo(json.dumps({"kernel": tree.release, "folder": str(tree.image.parent), "next": following}))
    else:
        click.echo(f"kernel {tree.release}: {tree.image.parent}; next: {following}")


@kernel.command("status")
@_cache_option
@json_option
def kernel_status(*, cache_dir: Path | None, as_json: bool) -> None:
    """Say whether the custom kernel is there, and whether it is made from today's sources and configuration.

    \b
    Example:
      touchline hil virtual kernel status --json
    """
    from hil.virtual.image.custom_kernel import kernel_status as status
    from hil.virtual.image.image import default_cache

    found = status(cache_dir or default_cache())
    value = {
        "release": found.release,
        "current": found.current,
        "folder": None if found.folder is None else str(found.folder),
    }
    if found.release is None:
        text = "no custom kernel; make one: touchline hil virtual kernel build"
    else:
        state = "up to date" if found.current else "from other inputs; touchline hil virtual kernel build"
        text = f"kernel {found.release}, {state}: {found.folder}"
    emit(value, as_json, text)
