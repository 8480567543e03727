"""What runs, as another process sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from hil.virtual.machine.process import ProcessId, QemuProcess, identify
from hil.virtual.machine.state import SITE_FILE, SPEC_FILE, Site, Sites, load_spec, save_spec
from tests.hil.virtual.machine.test_process import SLEEP
from tests.hil.virtual.machine.test_qemu import SPEC
from touchline.errors import ConfigError, InputError, ResourceError

SITE = Site("demo", "0123", ("a", "b"), started_utc="2026-11-21T10:00:00Z", ports={"mqtt": 8883})


def test_a_site_is_read_back(tmp_path):
    sites = Sites(tmp_path)
    site = replace(SITE, processes={"rack": identify(os.getpid())})
    sites.save(site)
    assert sites.load("demo") == site
    assert sites.names() == ["demo"]


def test_a_dead_entry_is_recognised_and_removed(tmp_path):
    sites = Sites(tmp_path)
    sites.save(replace(SITE, processes={"rack": ProcessId(os.getpid(), 1)}))
    status = sites.status("demo")
    assert (status.running, status.pids, status.processes) == (False, {"a": None, "b": None}, {"rack": False})
    sites.destroy("demo")
    assert sites.names() == []
    assert not (tmp_path / "demo").exists()


def test_destroy_ends_what_runs(tmp_path):
    sites = Sites(tmp_path)
    sites.save(SITE)
    sites.run_dir("demo", "a").mkdir()
    process = QemuProcess.start(SLEEP, sites.run_dir("demo", "a"), detached=True)
    status = sites.status("demo")
    assert status.pids == {"a": process.pid, "b": None}
    assert status.running
    sites.destroy("demo")
    assert not process.running()


def test_a_site_has_one_owner_even_among_processes(tmp_path):
    sites = Sites(tmp_path)
    sites.save(SITE)
    program = (
        f"from pathlib import Path; from hil.virtual.machine.state import Sites\n"
        f"with Sites(Path({str(tmp_path)!r})).claim('demo'):\n    print('mine', flush=True); input()\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"mine\n"
    with pytest.raises(ResourceError, match=f"'demo' belongs to process {owner.pid} — end that"), sites.claim("demo"):
        pass
    with pytest.raises(ResourceError, match="belongs to process"):
        sites.destroy("demo")
    owner.kill()
    owner.communicate()
    with sites.claim("demo") as folder:
        assert folder == tmp_path / "demo"
    sites.destroy("demo")


def test_a_name_must_fit_a_namespace_and_a_path(tmp_path):
    for name in ("", "../x", "A", "x" * 25):
        with pytest.raises(ConfigError, match="is no name for a site"):
            Sites(tmp_path).path(name)


def test_what_is_not_there_or_corrupt_is_said(tmp_path):
    sites = Sites(tmp_path)
    with pytest.raises(InputError, match="no virtual node 'demo' here"):
        sites.load("demo")
    with pytest.raises(InputError, match="no virtual node 'demo' here"):
        sites.destroy("demo")
    sites.save(SITE)
    (tmp_path / "demo" / SITE_FILE).write_text('{"name": "demo"}')
    with pytest.raises(InputError, match="is corrupt"):
        sites.load("demo")
    sites.destroy("demo")


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, dtb=None, smp=4)])
def test_a_machines_description_is_read_back(tmp_path, spec):
    spec = replace(spec, run_dir=tmp_path)
    save_spec(spec)
    assert load_spec(tmp_path) == spec


def test_a_run_folder_without_a_description_is_said(tmp_path):
    with pytest.raises(InputError, match="no node was ever started"):
        load_spec(tmp_path)
    (tmp_path / SPEC_FILE).write_text("{}")
    with pytest.raises(InputError, match="corrupt"):
        load_spec(tmp_path)
