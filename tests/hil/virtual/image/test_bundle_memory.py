"""The checkout's bundle is made when its inputs change, and only then."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hil.virtual.image import bundle as bundle_module
from hil.virtual.image.bundle import checkout_bundle, checkout_digest, given_bundle
from hil.virtual.image.recipe import file_sha256
from hil.virtual.image.steps import CACHED, DONE, STARTED, Steps
from tests.hil.virtual.image.fakes import Events
from touchline.errors import InputError


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    for name in ("touchline/__init__.py", "tests/__init__.py", "systemd/agent.service", "requirements/run.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "pyproject.toml").write_text("[project]")
    return root


@pytest.fixture
def made(monkeypatch):
    calls = []

    def create(out, target, role):
        calls.append((target.arch, target.python, role))
        out.write_bytes(b"bundle")
        return SimpleNamespace(release="0.1.0-ab")

    monkeypatch.setattr(bundle_module, "create", create)
    return calls


def bundle(cache: Path, checkout: Path) -> list[str]:
    cache.mkdir(exist_ok=True)
    events = Events()
    found = checkout_bundle(cache, Steps(cache / "steps", events), checkout)
    assert found.sha256 == file_sha256(found.file)
    return events.states("bundle")


def test_it_is_made_once_for_the_guest(tmp_path, checkout, made):
    assert bundle(tmp_path / "cache", checkout) == [STARTED, DONE]
    assert bundle(tmp_path / "cache", checkout) == [STARTED, CACHED]
    assert made == [("aarch64", "3.11", "node")]


@pytest.mark.parametrize(
    "name", ["touchline/new.py", "systemd/agent.service", "requirements/run.txt", "pyproject.toml"]
)
def test_any_input_counts(tmp_path, checkout, made, name):
    bundle(tmp_path / "cache", checkout)
    (checkout / name).write_text("changed")
    assert bundle(tmp_path / "cache", checkout) == [STARTED, DONE]


def test_tests_and_caches_do_not_count(checkout):
    before = checkout_digest(checkout)
    (checkout / "tests" / "test_x.py").write_text("")
    (checkout / "touchline" / "__pycache__").mkdir()
    (checkout / "touchline" / "__pycache__" / "x.pyc").write_text("")
    assert checkout_digest(checkout) == before


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_memory_or_file_means_making_it_again(tmp_path, checkout, made, text):
    cache = tmp_path / "cache"
    bundle(cache, checkout)
    (cache / "bundle.json").write_text(text)
    assert bundle(cache, checkout) == [STARTED, DONE]
    (cache / "bundle.tar").write_bytes(b"longer than it was")
    assert bundle(cache, checkout) == [STARTED, DONE]
    (cache / "bundle.tar").unlink()
    assert bundle(cache, checkout) == [STARTED, DONE]


def test_a_given_bundle_must_fit_the_guest(tmp_path, monkeypatch):
    file = tmp_path / "b.tar"
    file.write_bytes(b"x")
    monkeypatch.setattr(bundle_module, "read_manifest", lambda _path: SimpleNamespace(arch="aarch64", python="3.11"))
    assert given_bundle(file).sha256 == file_sha256(file)
    monkeypatch.setattr(bundle_module, "read_manifest", lambda _path: SimpleNamespace(arch="x86_64", python="3.10"))
    with pytest.raises(InputError, match=r"is for x86_64 and Python 3\.10; the node is aarch64"):
        given_bundle(file)
