"""Packages with and without a mirror; apt's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.virtual.image import apt as apt_module
from hil.virtual.image import gather as gather_module
from hil.virtual.image.apt import PrivateApt, host_mirror, kernel_suites, root_suites
from hil.virtual.image.gather import Gatherer
from hil.virtual.image.packages import Resolution
from hil.virtual.image.programs import DiskFull, Interrupted, Programs
from hil.virtual.image.sources import Mirror
from hil.virtual.image.steps import CACHED, DONE, FAILED, STARTED, Steps
from tests.hil.virtual.image.fakes import Events, put, resolution
from touchline.errors import LinkError, ResourceError, TouchlineError


class FakeApt:
    """Serves one resolution; ``fault`` is what its update raises."""

    fault: TouchlineError | None = None
    served = resolution()

    def __init__(self, _programs: Programs, folder: Path, _arch: str) -> None:
        self.name = folder.name

    def configure(self, suites) -> None:
        assert suites

    def update(self) -> None:
        if self.fault is not None:
            raise self.fault

    def essential(self):
        return ["bash"]

    def field(self, _package, name):
        return {"Version": "6.12.9-1", "Depends": "linux-image-6.12.9-arm64 (= 6.12.9-1)"}[name]

    def plan(self, _packages):
        return list(self.served.root)

    def locate(self, requests):
        return list(self.served.initrd if requests == ("busybox-static",) else self.served.kernel)

    def download(self, packages, into):
        for one in packages:
            put(into, one)


@pytest.fixture
def apt(monkeypatch):
    monkeypatch.setattr(gather_module, "PrivateApt", FakeApt)
    monkeypatch.setattr(gather_module, "host_mirror", lambda _programs, override: Mirror(override or "http://m"))
    monkeypatch.setattr(FakeApt, "fault", None)
    return FakeApt


def gather(cache: Path) -> tuple[Resolution, Events, Gatherer]:
    events = Events()
    gatherer = Gatherer(Programs(), cache, "amd64")
    return gatherer.gather(Steps(cache / "steps", events)), events, gatherer


def test_the_packages_are_fetched_and_remembered(apt, tmp_path):
    found, events, gatherer = gather(tmp_path)
    assert found == apt.served
    assert events.states("packages") == [STARTED, DONE]
    assert gatherer.archives.missing(found.all) == []


def test_without_a_mirror_the_last_list_serves(apt, tmp_path, monkeypatch):
    gather(tmp_path)
    monkeypatch.setattr(apt, "fault", LinkError("no route to the mirror"))
    found, events, _ = gather(tmp_path)
    assert found == apt.served
    assert events.states("packages") == [STARTED, CACHED]
    assert "no route to the mirror" in events[-1].text


def test_without_a_mirror_and_a_list_there_is_nothing(apt, tmp_path, monkeypatch):
    monkeypatch.setattr(apt, "fault", LinkError("no route to the mirror"))
    with pytest.raises(LinkError, match="no route"):
        gather(tmp_path)


@pytest.mark.parametrize("fault", [Interrupted("stopped"), DiskFull("full")])
def test_a_stop_and_a_full_disk_are_no_missing_mirror(apt, tmp_path, monkeypatch, fault):
    gather(tmp_path)
    monkeypatch.setattr(apt, "fault", fault)
    with pytest.raises(type(fault)):
        gather(tmp_path)


def test_a_download_that_brings_something_else_is_told(apt, tmp_path, monkeypatch):
    events = Events()
    monkeypatch.setattr(apt, "download", lambda _self, packages, into: [put(into, one, b"DEB") for one in packages])
    with pytest.raises(LinkError, match="not at hand"):
        Gatherer(Programs(), tmp_path, "amd64").gather(Steps(tmp_path / "steps", events))
    assert events.states("packages") == [STARTED, FAILED]


def test_apt_errors_become_link_errors_without_passwords(tmp_path, monkeypatch):
    programs = Programs()
    message = "apt-get failed (100): E: Failed to fetch https://me:secret@mirror/debian/InRelease"

    def fail(*_words, **_options):
        raise TouchlineError(message)

    monkeypatch.setattr(programs, "run", fail)
    with pytest.raises(LinkError, match="https://mirror/debian") as raised:
        PrivateApt(programs, tmp_path, "arm64").update()
    assert "secret" not in str(raised.value)


def test_the_configuration_keeps_to_its_folder(tmp_path, monkeypatch):
    keyring = tmp_path / "keyring.gpg"
    keyring.touch()
    monkeypatch.setattr(apt_module, "ARCHIVE_KEYRING", keyring)
    armoured = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nmQ\n-----END PGP PUBLIC KEY BLOCK-----"
    mirror = Mirror("http://m/debian", security=Mirror("http://s/security", armoured))
    folder = tmp_path / "apt"
    PrivateApt(Programs(), folder, "arm64").configure(root_suites(mirror, "arm64"))
    lines = (folder / "sources.list").read_text().splitlines()
    key = next((folder / "keys").iterdir())
    assert lines == [
        f"deb [arch=arm64 signed-by={keyring}] http://m/debian bookworm main",
        f"deb [arch=arm64 signed-by={keyring}] http://m/debian bookworm-updates main",
        f"deb [arch=arm64 signed-by={key}] http://s/security bookworm-security main",
    ]
    assert key.read_text() == armoured
    conf = (folder / "apt.conf").read_text()
    assert f'Dir::State "{folder}/state";' in conf
    assert 'APT::Architecture "arm64";' in conf
    assert "#clear DPkg::Post-Invoke;" in conf
    assert kernel_suites(mirror, ("arm64", "arm64"))[0].arches == ("arm64",)


def test_a_missing_keyring_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(apt_module, "ARCHIVE_KEYRING", tmp_path / "absent.gpg")
    with pytest.raises(ResourceError, match=r"absent\.gpg is missing") as raised:
        PrivateApt(Programs(), tmp_path / "apt", "arm64").configure(kernel_suites(Mirror("http://m"), ("arm64",)))
    assert "debian-archive-keyring" in raised.value.hint


def test_the_hosts_sources_are_read_where_apt_says(tmp_path, monkeypatch):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "debian.sources").write_text(
        "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
    )
    (tmp_path / "d" / "ignored.save").write_text("deb http://other/debian bookworm main\n")
    programs = Programs()
    monkeypatch.setattr(programs, "run", lambda _argv: f"LIST='{tmp_path}/none'\nPARTS='{tmp_path}/d'\n".encode())
    assert host_mirror(programs) == Mirror("http://mirror/debian")
    assert host_mirror(programs, "http://mine/debian").uri == "http://mine/debian"
    (tmp_path / "d" / "debian.sources").unlink()
    with pytest.raises(LinkError, match="names no Debian mirror") as raised:
        host_mirror(programs)
    assert "--mirror" in raised.value.hint


def test_a_machine_without_apt_says_so(monkeypatch):
    programs = Programs()

    def absent(_argv):
        raise ResourceError("apt-config is not installed")

    monkeypatch.setattr(programs, "run", absent)
    with pytest.raises(ResourceError, match="no apt"):
        host_mirror(programs)
