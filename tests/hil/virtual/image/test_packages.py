"""apt's plan, the saved resolution and the archives at hand."""

from __future__ import annotations

import pytest

from hil.virtual.image.archives import Archives
from hil.virtual.image.gather import kernel_packages
from hil.virtual.image.packages import Resolution, fingerprint, parse_uris
from tests.hil.virtual.image.fakes import package, put, resolution
from touchline.errors import InputError, LinkError

_SHA = "ab" * 32
_PLAN = f"""Reading package lists...
'http://m/pool/b/bash_5.2_arm64.deb' bash_5.2_arm64.deb 1444200 SHA256:{_SHA}
'http://m/pool/u/bsdutils_1%3a2.38_arm64.deb' bsdutils_1%3a2.38_arm64.deb 94216 SHA256:{_SHA}
"""


def test_a_plan_gives_names_versions_and_hashes():
    found = parse_uris(_PLAN)
    assert [(one.name, one.version, one.arch, one.size_bytes) for one in found] == [
        ("bash", "5.2", "arm64", 1444200),
        ("bsdutils", "1:2.38", "arm64", 94216),
    ]
    assert found[1].file == "bsdutils_1%3a2.38_arm64.deb"
    assert found[1].request == "bsdutils:arm64=1:2.38"


def test_a_package_for_all_machines_is_asked_for_without_one():
    assert package("adduser", "3.134", "all").request == "adduser=3.134"


def test_a_plan_without_hashes_is_refused():
    with pytest.raises(InputError, match="SHA-256 for bash"):
        parse_uris("'http://m/bash_5.2_arm64.deb' bash_5.2_arm64.deb 1444200")


def test_a_resolution_survives_its_file_and_damage_is_told():
    saved = resolution()
    assert Resolution.from_json(saved.to_json()) == saved
    for text in ("", "[]", "{}", saved.to_json()[:200], saved.to_json().replace("size_bytes", "size")):
        with pytest.raises(InputError, match="damaged"):
            Resolution.from_json(text)


def test_the_fingerprint_is_of_the_set_and_not_of_its_order_or_mirror():
    a, b = package("a"), package("b")
    assert fingerprint([a, b]) == fingerprint([b, a])
    assert fingerprint([a]) != fingerprint([package("a", data=b"other")])
    assert fingerprint([a]) != fingerprint([package("a", version="2")])


def test_all_parts_of_the_kernel_are_of_one_version():
    assert kernel_packages("6.12.9+deb12-arm64", "6.12.9-1~bpo12+1", "amd64") == [
        "linux-image-6.12.9+deb12-arm64",
        "linux-headers-6.12.9+deb12-arm64=6.12.9-1~bpo12+1",
        "linux-headers-6.12.9+deb12-common=6.12.9-1~bpo12+1",
        "linux-kbuild-6.12.9+deb12:amd64=6.12.9-1~bpo12+1",
        "linux-source-6.12=6.12.9-1~bpo12+1",
        "v4l2loopback-dkms",
    ]


def test_missing_cut_and_foreign_files_are_found(tmp_path):
    whole, absent, cut, foreign = (package(name) for name in ("whole", "absent", "cut", "foreign"))
    put(tmp_path, whole)
    put(tmp_path, cut, b"d")
    put(tmp_path, foreign, b"DEB")
    archives = Archives(tmp_path)
    assert archives.missing([whole, absent, cut, foreign]) == [absent, cut, foreign]
    with pytest.raises(LinkError, match=f"3 package files are not at hand, the first is {absent.file}") as raised:
        archives.require([whole, absent, cut, foreign])
    assert str(tmp_path) in raised.value.hint


def test_a_file_is_hashed_once_and_again_when_it_changed(tmp_path, monkeypatch):
    one = package()
    file = put(tmp_path, one)
    assert Archives(tmp_path).missing([one]) == []
    with monkeypatch.context() as patch:
        patch.setattr("hil.virtual.image.archives.file_sha256", lambda _path: pytest.fail("hashed again"))
        assert Archives(tmp_path).missing([one]) == []
    file.write_bytes(b"DEB")
    assert Archives(tmp_path).missing([one]) == [one]


@pytest.mark.parametrize("text", ["", "[", "[]", '{"a": [1]}'])
def test_a_damaged_memory_means_hashing_again(tmp_path, text):
    one = package()
    put(tmp_path, one)
    (tmp_path / "hashed.json").write_text(text)
    assert Archives(tmp_path).missing([one]) == []


def test_tidy_deletes_other_packages_only(tmp_path):
    kept, old = package("kept"), package("old")
    put(tmp_path, kept)
    put(tmp_path, old)
    archives = Archives(tmp_path)
    archives.missing([kept])
    archives.tidy([kept])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hashed.json", kept.file]
