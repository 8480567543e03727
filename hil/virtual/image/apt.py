"""A private apt per purpose: the host's mirror and settings, but its own lists, cache and architecture.

The host's ``apt.conf.d`` stays in force (proxies, retries, credentials); ours is read after it and replaces only where
apt keeps things, which architecture it works for, and what it would run afterwards.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.virtual.image.packages import Package, parse_uris
from hil.virtual.image.programs import DiskFull, Interrupted, Programs
from hil.virtual.image.sources import RELEASE, Entry, Mirror, find_mirror, parse_deb822, parse_list, without_password
from touchline.errors import LinkError, ResourceError, TouchlineError

ARCHIVE_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_UPDATE_S = 240.0
_DOWNLOAD_S = 1800.0
_PARSED_NAME = re.compile(r"[A-Za-z0-9_.-]+\.(list|sources)")
_HOOKS = (
    "APT::Update::Pre-Invoke",
    "APT::Update::Post-Invoke",
    "APT::Update::Post-Invoke-Success",
    "DPkg::Pre-Invoke",
    "DPkg::Post-Invoke",
    "DPkg::Pre-Install-Pkgs",
    "Acquire::IndexTargets::deb::Contents-deb",
    "Acquire::IndexTargets::deb::DEP-11",
)


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite of a mirror, for these architectures."""

    mirror: Mirror
    name: str
    arches: tuple[str, ...]

    def line(self, keys: Path) -> str:
        """The line of a sources list; an armoured key is written below ``keys`` first."""
        signed_by = self.mirror.signed_by or str(ARCHIVE_KEYRING)
        if "\n" in signed_by:
            file = keys / f"{hashlib.sha256(signed_by.encode()).hexdigest()[:16]}.asc"
            file.write_text(signed_by)
            signed_by = str(file)
        return f"deb [arch={','.join(self.arches)} signed-by={signed_by}] {self.mirror.uri} {self.name} main\n"


def host_mirror(programs: Programs, override: str = "") -> Mirror:
    """The Debian mirror that this machine's apt uses, or ``override``.

    Raises :class:`ResourceError` on a machine without apt and :class:`LinkError` when its sources name no Debian.
    """
    try:
        words = programs.run(
            ["apt-config", "shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"]
        )
    except ResourceError as error:
        raise ResourceError("this machine has no apt", hint="build the image on Debian or Ubuntu") from error
    paths = dict(re.findall(r"(\w+)='([^']*)'", words.decode()))
    found = find_mirror(_read_entries(Path(paths["LIST"]), Path(paths["PARTS"])))
    if override:
        return Mirror(override, security=None if found is None else found.security)
    if found is None:
        raise LinkError(
            "this machine's apt configuration names no Debian mirror",
            hint="give one: --mirror URL (the part before /dists)",
        )
    return found


def _read_entries(listed: Path, parts: Path) -> list[Entry]:
    files = [listed, *sorted(file for file in parts.glob("*") if _PARSED_NAME.fullmatch(file.name))]
    entries = []
    for file in files:
        if file.is_file():
            parse = parse_deb822 if file.suffix == ".sources" else parse_list
            entries += parse(file.read_text(errors="replace"))
    return entries


def root_suites(mirror: Mirror, arch: str) -> list[Suite]:
    """Where the guest's packages come from: the release, its updates and, if the host has them, its security fixes."""
    suites = [Suite(mirror, RELEASE, (arch,)), Suite(mirror, f"{RELEASE}-updates", (arch,))]
    if mirror.security is not None:
        suites.append(Suite(mirror.security, f"{RELEASE}-security", (arch,)))
    return suites


def kernel_suites(mirror: Mirror, arches: Sequence[str]) -> list[Suite]:
    """Where the kernel comes from: the release's backports and nothing else, so that all its parts match."""
    return [Suite(mirror, f"{RELEASE}-backports", tuple(dict.fromkeys(arches)))]


class PrivateApt:
    """apt for ``arch`` below ``folder``."""

    def __init__(self, programs: Programs, folder: Path, arch: str) -> None:
        self._programs = programs
        self._folder = folder.resolve()
        self._arch = arch

    def configure(self, suites: Sequence[Suite]) -> None:
        """Write the configuration; nothing is fetched."""
        for name in ("keys", "state/lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "state" / "status").touch()
        (self._folder / "sources.list").write_text("".join(suite.line(self._folder / "keys") for suite in suites))
        (self._folder / "apt.conf").write_text(_configuration(self._folder, self._arch))
        for suite in suites:
            if not (key := Path(suite.mirror.signed_by or ARCHIVE_KEYRING)).exists() and "\n" not in str(key):
                raise ResourceError(f"{key} is missing", hint="apt install debian-archive-keyring")

    def update(self) -> None:
        """Fetch the package lists; :class:`LinkError` when there is no mirror or its signature is not good."""
        self._call("apt-get", "-q", "update", timeout_s=_UPDATE_S)

    def plan(self, packages: Sequence[str]) -> list[Package]:
        """What ``apt-get install`` of these would bring, without recommendations, on an empty system."""
        return parse_uris(
            self._call("apt-get", "-y", "-q", "--no-install-recommends", "--print-uris", "install", *packages)
        )

    def locate(self, requests: Sequence[str]) -> list[Package]:
        """These packages alone, at the version that apt would install or the one named."""
        return parse_uris(self._call("apt-get", "-q", "--print-uris", "download", *requests))

    def field(self, package: str, name: str) -> str:
        """One field of the version that apt would install."""
        text = self._call("apt-cache", "show", "--no-all-versions", package)
        match = re.search(rf"^{name}: (.*)$", text, re.M)
        if match is None:
            raise LinkError(f"{package} has no field {name}", hint="the mirror's package list is unusual; use another")
        return match[1]

    def essential(self) -> list[str]:
        """Names of the essential packages of this architecture."""
        text = self._call("apt-cache", "dumpavail")
        stanzas = (stanza for stanza in text.split("\n\n") if re.search(r"^Essential: yes$", stanza, re.M))
        return sorted({match[1] for one in stanzas if (match := re.search(r"^Package: (\S+)$", one, re.M))})

    def download(self, packages: Sequence[Package], into: Path) -> None:
        """Bring these package files into a folder; apt checks each against the signed list."""
        if packages:
            into.mkdir(parents=True, exist_ok=True)
            requests = [package.request for package in packages]
            self._call("apt-get", "-q", "download", *requests, timeout_s=_DOWNLOAD_S, cwd=into)

    def _call(self, program: str, *words: str, timeout_s: float = 60.0, cwd: Path | None = None) -> str:
        argv = [program, "-c", str(self._folder / "apt.conf"), *words]
        try:
            return self._programs.run(argv, timeout_s=timeout_s, cwd=cwd).decode()
        except (Interrupted, DiskFull):
            raise
        except TouchlineError as error:
            raise LinkError(
                f"apt cannot serve the image's packages: {_mask(error.message)}",
                hint="see that 'apt-get update' works on this machine, or give another mirror: --mirror URL",
            ) from error


def _mask(text: str) -> str:
    return re.sub(r"\w[\w+.-]*://[^\s'\"|]+", lambda match: without_password(match[0]), text)


def _configuration(folder: Path, arch: str) -> str:
    lines = [f"#clear {hook};" for hook in _HOOKS]
    values = {
        "APT::Architecture": arch,
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::ForceHash": "SHA256",
        "Dir::State": f"{folder}/state",
        "Dir::State::status": f"{folder}/state/status",
        "Dir::Cache": f"{folder}/cache",
        "Dir::Cache::archives": "archives",
        "Dir::Cache::pkgcache": "pkgcache.bin",
        "Dir::Cache::srcpkgcache": "srcpkgcache.bin",
        "Dir::Etc::sourcelist": f"{folder}/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
    }
    if not _open_to_all(folder):
        values["APT::Sandbox::User"] = "root"  # apt's own account cannot enter a folder below a private home
    lines += ["#clear APT::Architectures;", f'APT::Architectures {{ "{arch}"; }};']
    return "\n".join([*lines, *(f'{key} "{value}";' for key, value in values.items())]) + "\n"


def _open_to_all(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))
