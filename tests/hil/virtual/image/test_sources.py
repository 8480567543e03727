"""The host's own mirror, out of both formats of apt's sources."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hil.virtual.image.sources import Entry, Mirror, find_mirror, parse_deb822, parse_list, without_password

_WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=12)
_URI = st.builds(lambda host, path: f"http://{host}/{path}", _WORD, _WORD)
_KEY = st.one_of(st.just(""), st.builds(lambda name: f"/keys/{name}.gpg", _WORD))
_ENTRY = st.builds(Entry, _URI, _WORD, st.lists(_WORD, min_size=1, max_size=3).map(tuple), _KEY)


def as_line(entry: Entry) -> str:
    options = f"[arch=amd64 signed-by={entry.signed_by}] " if entry.signed_by else ""
    return f"deb {options}{entry.uri} {entry.suite} {' '.join(entry.components)}"


def as_stanza(entry: Entry) -> str:
    key = f"Signed-By: {entry.signed_by}\n" if entry.signed_by else ""
    return f"Types: deb\nURIs: {entry.uri}\nSuites: {entry.suite}\nComponents: {' '.join(entry.components)}\n{key}"


@given(st.lists(_ENTRY, max_size=5))
def test_one_line_entries_come_back_as_they_were_written(entries):
    assert parse_list("\n".join(map(as_line, entries))) == entries


@given(st.lists(_ENTRY, max_size=5))
def test_stanzas_come_back_as_they_were_written(entries):
    assert parse_deb822("\n".join(map(as_stanza, entries))) == entries


@given(st.text(max_size=300))
def test_no_text_makes_a_parser_fail(text):
    parse_list(text)
    parse_deb822(text)


def test_comments_disabled_lines_and_source_packages_are_skipped():
    assert (
        parse_list("# deb http://a/ bookworm main\ndeb-src http://a/ bookworm main\ndeb [enabled=no] http://a/ x main")
        == []
    )
    assert parse_deb822("Types: deb\nEnabled: no\nURIs: http://a/\nSuites: bookworm\nComponents: main\n") == []
    assert parse_deb822("Types: deb-src\nURIs: http://a/\nSuites: bookworm\nComponents: main\n") == []


def test_a_comment_after_the_components_and_quoted_options():
    assert parse_list('deb [ signed-by="/k y.gpg" ] http://a/ bookworm main # ours') == [
        Entry("http://a/", "bookworm", ("main",), "/k y.gpg")
    ]


def test_one_stanza_names_several_suites_and_an_armoured_key():
    text = (
        "# mirror\nTypes: deb deb-src\nURIs: http://a/debian\nSuites: bookworm bookworm-updates\n"
        "Components: main contrib\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----\n"
    )
    found = parse_deb822(text)
    assert [entry.suite for entry in found] == ["bookworm", "bookworm-updates"]
    block = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBF\n-----END PGP PUBLIC KEY BLOCK-----"
    assert found[0].signed_by.strip() == block


def test_the_debian_mirror_is_told_from_others_of_its_shape():
    other = Entry("http://vendor/deb", "bookworm", ("main",), "/keys/vendor.gpg")
    main = Entry("http://mirror/debian", "trixie", ("main",), "")
    updates = Entry("http://mirror/debian", "trixie-updates", ("main",), "")
    assert find_mirror([other, main, updates]) == Mirror("http://mirror/debian")
    assert find_mirror([other]) is None
    assert find_mirror([]) is None


def test_security_comes_along_when_the_machine_names_it():
    main = Entry("http://m/debian", "bookworm", ("main",), "/usr/share/keyrings/debian-archive-keyring.gpg")
    security = Entry("http://s/security", "bookworm-security", ("main",), main.signed_by)
    found = find_mirror([security, main])
    assert found is not None
    assert found.security == Mirror("http://s/security", main.signed_by)


def test_an_ubuntu_machine_names_none():
    assert (
        find_mirror(parse_list("deb http://archive/ubuntu jammy main\ndeb http://archive/ubuntu jammy-updates main"))
        is None
    )


def test_a_password_is_not_shown():
    assert without_password("https://user:secret@mirror/debian") == "https://mirror/debian"
