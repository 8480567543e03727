"""Which Debian mirror this machine's own apt configuration names. Pure: text in, mirrors out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

RELEASE = "bookworm"  # what the image is made of, whatever the host runs
_CODENAMES = ("bullseye", "bookworm", "trixie", "forky", "sid")
_ALIASES = ("oldoldstable", "oldstable", "stable", "testing", "unstable")
_PLAIN = frozenset((*_CODENAMES, *_ALIASES))
_UPDATES = frozenset(f"{name}-updates" for name in _PLAIN)
_SECURITY = frozenset(f"{name}-security" for name in _PLAIN)
_ARMOUR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"


@dataclass(frozen=True, slots=True)
class Entry:
    """One archive of one suite, as apt reads it. ``signed_by``: a key file's path, or a whole ASCII-armoured key."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A Debian archive and, where the machine names one, that of its security updates."""

    uri: str
    signed_by: str = ""
    security: Mirror | None = field(default=None)


def without_password(uri: str) -> str:
    """The URI as it may be shown: user and password cut out."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def parse_list(text: str) -> list[Entry]:
    """Entries of a one-line ``.list`` file; what apt would not read is skipped."""
    return [entry for line in text.splitlines() for entry in _list_line(line)]


def _list_line(line: str) -> Iterator[Entry]:
    match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*([^#]*)", line)
    if match is None:
        return
    options = dict(word.partition("=")[::2] for word in _words(match[1] or ""))
    if options.get("enabled", "yes").lower() not in {"no", "false", "0"}:
        yield Entry(match[2], match[3], tuple(match[4].split()), options.get("signed-by", "").split(",")[0])


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def parse_deb822(text: str) -> list[Entry]:
    """Entries of a ``.sources`` file; disabled stanzas are skipped."""
    entries = []
    for stanza in _stanzas(text):
        if "deb" not in stanza.get("types", "").split() or stanza.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        key = stanza.get("signed-by", "")
        signed_by = key if _ARMOUR in key else (key.split() or [""])[0]
        components = tuple(stanza.get("components", "").split())
        for uri in stanza.get("uris", "").split():
            entries += [Entry(uri, suite, components, signed_by) for suite in stanza.get("suites", "").split()]
    return entries


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    stanza: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, name = {}, ""
        elif line[0] in " \t" and name:
            more = line.strip()
            stanza[name] += "\n" + ("" if more == "." else more)
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            stanza[name] = value.strip()
    return


def find_mirror(entries: Iterable[Entry]) -> Mirror | None:
    """The machine's Debian mirror, or None.

    Debian's own archive is told from others that serve Debian packages by its shape: component ``main`` of a release
    by its name, and either a ``-updates`` suite beside it, Debian's archive key, or no key of its own at all.
    """
    debian = [entry for entry in entries if "main" in entry.components]
    updated = {entry.uri for entry in debian if entry.suite in _UPDATES}
    plain = [entry for entry in debian if entry.suite in _PLAIN]
    ranked = sorted(plain, key=lambda entry: (-_score(entry, updated), entry.suite != RELEASE))
    if not ranked or _score(ranked[0], updated) == 0:
        return None
    best = ranked[0]
    return Mirror(best.uri, best.signed_by, _security(debian, best))


def _score(entry: Entry, updated: set[str]) -> int:
    return 4 * (entry.uri in updated) + 2 * ("debian-archive" in entry.signed_by) + (entry.signed_by == "")


def _security(entries: Sequence[Entry], best: Entry) -> Mirror | None:
    found = [
        entry
        for entry in entries
        if entry.suite in _SECURITY and (entry.signed_by == best.signed_by or "debian-archive" in entry.signed_by)
    ]
    found.sort(key=lambda entry: entry.suite != f"{RELEASE}-security")
    return Mirror(found[0].uri, found[0].signed_by) if found else None
