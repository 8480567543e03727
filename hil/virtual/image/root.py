"""The guest's root tree: mmdebstrap over packages already fetched; nothing here touches the network.

Maintainer scripts run under emulation, as they must. Unpacking need not: during the build dpkg finds the host's own
``dpkg-deb`` first, which decompresses natively. Everything runs in its own mount and process namespace, so an
interrupted build leaves neither mounts nor processes.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from hil.virtual.image.archives import Archives
from hil.virtual.image.packages import Package
from hil.virtual.image.programs import Job
from hil.virtual.image.recipe import GUEST_ARCH
from touchline.errors import ResourceError
from touchline.run import need

OWN_NAMESPACE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_BUILD_S = 900.0
_NATIVE = ".host-dpkg"  # in the root while it is built
_LEFT_OUT = ("doc", "man", "locale", "info", "lintian", "bug", "bash-completion", "zoneinfo")
_KEPT = ("doc/*/copyright",)


def make_repository(job: Job, packages: Iterable[Package], archives: Archives, folder: Path) -> Path:
    """A flat local archive of exactly these packages: hard links and one list."""
    folder.mkdir()
    stanzas = []
    for package in packages:
        file = folder / package.file.replace("%", "_")  # apt would decode the percent signs in a file name
        _link(archives.path(package), file)
        fields = job.read(["dpkg-deb", "--field", file]).decode().strip()
        stanzas.append(f"{fields}\nFilename: ./{file.name}\nSize: {package.size_bytes}\nSHA256: {package.sha256}\n")
    (folder / "Packages").write_text("\n".join(stanzas))
    return folder


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def make_tree(job: Job, packages: Sequence[Package], archives: Archives, out: Path) -> Path:
    """Install ``packages`` into ``tree`` in the empty folder ``out``, and return it."""
    repository = make_repository(job, packages, archives, out / "repository")
    native = _native_dpkg_deb(job, out / "native")
    tree = out / "tree"
    job.run(_argv(packages, repository, tree, native), timeout_s=_BUILD_S)
    shutil.rmtree(native)
    shutil.rmtree(repository)
    _clean(tree)
    return tree


def _argv(packages: Sequence[Package], repository: Path, tree: Path, native: Path) -> list[str]:
    excludes = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    includes = [f"--dpkgopt=path-include=/usr/share/{name}" for name in _KEPT]
    quoted = shlex.quote(str(native))
    hooks = [
        'mkdir -p "$1/usr/bin" "$1/usr/sbin" "$1/usr/lib"',
        'ln -s usr/bin "$1/bin"; ln -s usr/sbin "$1/sbin"; ln -s usr/lib "$1/lib"',
        f'mkdir -p "$1/usr/local/sbin"; cp -a {quoted} "$1/{_NATIVE}"',
        f'mv "$1/{_NATIVE}/shim" "$1/usr/local/sbin/dpkg-deb"',
    ]
    return [
        *OWN_NAMESPACE,
        need("mmdebstrap", "mmdebstrap"),
        "--mode=root",
        "--variant=essential",
        "--format=directory",
        f"--architectures={GUEST_ARCH}",
        "--verbose",
        "--dpkgopt=force-unsafe-io",
        *excludes,
        *includes,
        '--aptopt=APT::Sandbox::User "root"',
        f"--include={','.join(package.name for package in packages)}",
        *(f"--setup-hook={hook}" for hook in hooks),
        f'--customize-hook=rm -r "$1/{_NATIVE}" "$1/usr/local/sbin/dpkg-deb"',
        "",  # every package of the archive below belongs to the suite
        str(tree),
        f"deb [trusted=yes] copy:{repository} ./",
    ]


def _native_dpkg_deb(job: Job, folder: Path) -> Path:
    """The host's dpkg-deb with its libraries and loader, and a shim that finds them inside the root."""
    program = Path(need("dpkg-deb", "dpkg"))
    folder.mkdir()
    shutil.copy2(program, folder / "dpkg-deb")
    loader = ""
    for line in job.read(["ldd", program]).decode().splitlines():
        if (match := re.search(r"(/\S+) \(0x", line)) is None:
            continue
        library = Path(match[1])
        shutil.copy2(library.resolve(), folder / library.name)
        loader = library.name if library.name.startswith("ld-") else loader
    if not loader:
        raise ResourceError(f"{program} names no loader", hint="use the dpkg of Debian")
    shim = folder / "shim"
    shim.write_text(f'#!/bin/sh\nexec /{_NATIVE}/{loader} --library-path /{_NATIVE} /{_NATIVE}/dpkg-deb "$@"\n')
    shim.chmod(0o755)
    return folder


def _clean(tree: Path) -> None:
    """What a fresh machine has to make for itself, and what points at the build."""
    for pattern in (
        "etc/apt/sources.list",
        "etc/apt/sources.list.d/*",
        "etc/apt/apt.conf.d/99mmdebstrap",
        "etc/ssh/ssh_host_*",
        "etc/resolv.conf",
        "var/lib/dbus/machine-id",
        "var/log/*.log",
        "var/log/apt/*",
        "var/cache/ldconfig/*",
        "var/lib/dpkg/*-old",
    ):
        for path in tree.glob(pattern):
            path.unlink()
    for folder in ("var/lib/apt/lists", "var/cache/apt", "run", "tmp"):
        for path in (tree / folder).glob("*"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (tree / "etc" / "machine-id").write_text("")
    (tree / "etc" / "hostname").write_text("orin\n")
