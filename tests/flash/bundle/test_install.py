"""The installer on a tree: whole, twice, cut off, damaged, wrong machine, back again."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections import namedtuple
from pathlib import Path

import pytest

from flash.bundle.manifest import Manifest
from flash.bundle.node import release
from flash.bundle.node.main import main
from tests.flash.bundle.bundles import PYTHON, X86_64, bundle, elf, programs, system_tree


class Node:
    """One tree, its stand-ins for systemd's programs, and the installer's answers."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.tmp_path, self._capfd = tmp_path, capfd
        self.root = system_tree(tmp_path / "root")
        self.tools = programs(monkeypatch, self.root)
        self.home = self.root / "opt/touchline"

    def bundle(self, word: str = "one", **kwargs: str) -> tuple[Path, Manifest]:
        """An unpacked bundle."""
        return bundle(self.tmp_path / word, word, **kwargs)

    def install(self, folder: Path, *words: str) -> tuple[int, str, str]:
        """Run it: (exit code, standard output, standard error)."""
        code = main(["--root", str(self.root), *words], folder)
        said = self._capfd.readouterr()
        return code, said.out, said.err

    def current(self) -> str:
        """The release in use."""
        return (self.home / "current").readlink().name

    def files(self) -> list[str]:
        """All there is."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Node:
    return Node(tmp_path, monkeypatch, capfd)


def test_a_fresh_node(node):
    folder, manifest = node.bundle()
    code, out, err = node.install(folder)
    assert (code, err) == (0, "")
    assert f"release {manifest.release} is installed" in out
    made = node.home / "releases" / manifest.release
    assert (node.home / "current").resolve() == made.resolve()
    assert str((node.root / "usr/local/bin/touchline").readlink()) == "/opt/touchline/current/bin/touchline"
    venv = made / "venv"
    assert str((venv / "bin/python").readlink()) == f"/usr/bin/python{PYTHON}"
    assert "include-system-site-packages = false" in (venv / "pyvenv.cfg").read_text()
    shebang = (made / "bin/touchline").read_text()
    assert shebang == f"#!/opt/touchline/releases/{manifest.release}/venv/bin/python\n"
    packages = venv / f"lib/python{PYTHON}/site-packages"
    assert list((packages / "touchline/__pycache__").glob("__init__.*.pyc"))
    assert not list((packages / "other/tests").rglob("*.pyc"))
    assert (node.root / "usr/local/lib/systemd/system/touchline-agent.service").is_file()
    assert [argv[0] for argv in node.tools.calls] == ["systemd-sysusers", "systemd-tmpfiles", "systemctl"]
    assert all(f"--root={node.root}" in argv for argv in node.tools.calls)


def test_bytecode_names_the_file_as_the_node_sees_it(node):
    folder, manifest = node.bundle()
    node.install(folder)
    (pyc,) = node.home.rglob("touchline/__pycache__/__init__.*.pyc")
    assert f"/opt/touchline/releases/{manifest.release}/venv/".encode() in pyc.read_bytes()
    assert str(node.root).encode() not in pyc.read_bytes()


def test_the_second_run_does_nothing(node):
    folder, _ = node.bundle()
    node.install(folder)
    calls, before = len(node.tools.calls), {path: path.lstat().st_mtime_ns for path in node.root.rglob("*")}
    code, out, _ = node.install(folder)
    assert code == 0
    assert "nothing to do" in out
    assert len(node.tools.calls) == calls
    assert {path: path.lstat().st_mtime_ns for path in node.root.rglob("*")} == before


def test_a_dry_run_shows_the_commands_and_changes_nothing(node):
    folder, manifest = node.bundle()
    before = node.files()
    code, out, _ = node.install(folder, "--dry-run")
    assert code == 0
    assert f"planned   release   unpack and compile releases/{manifest.release}" in out
    assert f"systemctl --root={node.root} enable --quiet touchline.target touchline-agent.service" in out
    assert node.files() == before
    assert node.tools.calls == []


def test_json_is_one_event_per_line(node):
    folder, manifest = node.bundle()
    _, out, _ = node.install(folder, "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert {event["state"] for event in events if event["event"] == "step"} == {"done", "unchanged"}
    assert events[-1]["event"] == "result"
    assert events[-1]["release"] == manifest.release
    (node.home / "current").unlink()
    (folder / "manifest.json").write_text("{}")
    code, out, _ = node.install(folder, "--json")
    assert json.loads(out)["exit_code"] == code == 4


# --- cut off ------------------------------------------------------------------------------------------------------


def test_a_run_killed_while_unpacking_leaves_no_current_and_the_next_one_finishes(node, monkeypatch):
    folder, manifest = node.bundle()

    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(release, "_compile", cut_off)
        assert node.install(folder)[0] == 130
    assert not (node.home / "current").exists()
    assert [path.name for path in (node.home / "releases").iterdir()] == [f".making-{manifest.release}"]
    code, out, _ = node.install(folder)
    assert code == 0
    assert node.current() == manifest.release
    assert [path.name for path in (node.home / "releases").iterdir()] == [manifest.release]
    assert "nothing to do" not in out


@pytest.mark.parametrize("program", ["systemd-sysusers", "systemd-tmpfiles", "systemctl"])
def test_a_run_killed_between_the_steps_goes_on(node, program):
    folder, manifest = node.bundle()
    node.tools.fail_at = program
    assert node.install(folder)[0] == 130
    node.tools.fail_at = ""
    code, out, _ = node.install(folder)
    assert code == 0
    assert "unchanged release" in out
    assert node.current() == manifest.release
    assert {"systemd-sysusers", "systemd-tmpfiles", "systemctl"} == {argv[0] for argv in node.tools.calls}
    assert "nothing to do" in node.install(folder)[1]


def test_leftovers_of_another_killed_run_are_tidied(node):
    folder, manifest = node.bundle()
    (node.home / "releases/.making-0.0.9-00000000/venv").mkdir(parents=True)
    node.install(folder)
    assert [path.name for path in (node.home / "releases").iterdir()] == [manifest.release]


# --- updates and the way back -------------------------------------------------------------------------------------


def test_an_update_and_back_and_forth_again(node):
    one, first = node.bundle("one")
    two, second = node.bundle("two")
    node.install(one)
    node.install(two)
    assert node.current() == second.release
    assert node.install(two, "--rollback")[0] == 0
    assert node.current() == first.release
    node.install(two, "--rollback")
    assert node.current() == second.release


def test_three_releases_leave_two(node):
    manifests = []
    for word in ("one", "two", "three"):
        folder, manifest = node.bundle(word)
        node.install(folder)
        manifests.append(manifest.release)
    assert {path.name for path in (node.home / "releases").iterdir()} == set(manifests[1:])


def test_a_unit_that_the_new_release_has_no_more_goes_and_comes_back_with_the_old_one(node, monkeypatch):
    one, _ = node.bundle("one")
    (one / "system/system/touchline-old.service").write_text("[Service]\n")
    two, _ = node.bundle("two")
    node.install(one)
    unit = node.root / "usr/local/lib/systemd/system/touchline-old.service"
    assert unit.exists()
    node.install(two)
    assert not unit.exists()
    node.install(two, "--rollback")
    assert unit.exists()


def test_there_is_nothing_to_go_back_to_at_first(node):
    folder, _ = node.bundle()
    node.install(folder)
    code, _, err = node.install(folder, "--rollback")
    assert code == 5
    assert "there is no earlier release" in err
    assert "fix:" in err


# --- refusals -----------------------------------------------------------------------------------------------------


def refused(node: Node, folder: Path, *words: str) -> tuple[int, str]:
    """The error of a run that must change nothing."""
    before = node.files()
    code, _, err = node.install(folder, *words)
    assert [path for path in node.files() if path not in before and not path.endswith((".lock", "opt"))] in (
        [],
        ["opt/touchline"],
    )
    assert re.match(r"touchline: [^\n]+\n      fix: [^\n]+\n\Z", err), err
    return code, err


def test_another_machine(node):
    folder, _ = node.bundle(arch="x86_64")
    code, err = refused(node, folder)
    assert code == 7
    assert f"this bundle is for x86_64, and /usr/bin/python{PYTHON} is built for aarch64" in err
    assert f"--arch aarch64 --python {PYTHON}" in err


def test_another_python(node):
    folder, _ = node.bundle(python="3.99")
    code, err = refused(node, folder)
    assert code == 5
    assert f"this bundle is for Python 3.99, and /usr/bin/python{PYTHON} is {PYTHON}" in err


def test_another_interpreter_can_be_named(node):
    elf(node.root / "opt/py/bin/python3.99", X86_64)
    folder, _ = node.bundle(python="3.99", arch="x86_64")
    assert node.install(folder, "--dry-run", "--python", "/opt/py/bin/python3.99")[0] == 0
    code, err = refused(node, folder, "--python", "/opt/py/bin/python3.98")
    assert code == 5
    assert "is not there below" in err


def test_no_python_at_all(node):
    (node.root / "usr/bin/python3").unlink()
    (node.root / f"usr/bin/python{PYTHON}").unlink()
    folder, _ = node.bundle()
    assert "is not there below" in refused(node, folder)[1]


def test_a_full_disk(node, monkeypatch):
    folder, _ = node.bundle()
    disk = namedtuple("disk", "f_bavail f_frsize")
    monkeypatch.setattr(os, "statvfs", lambda _: disk(10, 4096))
    code, err = refused(node, folder)
    assert code == 5
    assert "0 MB free and 67 MB are needed" in err


def test_a_damaged_file_is_named(node):
    folder, manifest = node.bundle()
    victim = folder / manifest.wheels()[0].path
    victim.write_bytes(victim.read_bytes()[:-3])
    code, err = refused(node, folder)
    assert code == 4
    assert f"{manifest.wheels()[0].path} is cut short" in err


def test_somebody_elses_program_is_left_alone(node):
    folder, _ = node.bundle()
    theirs = node.root / "usr/local/bin/touchline"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    assert "is there and is not a link" in refused(node, folder)[1]
    assert theirs.read_text() == "theirs"


def test_two_at_once(node):
    folder, _ = node.bundle()
    node.home.mkdir(parents=True)
    with (node.home / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another installation is running" in refused(node, folder)[1]


def test_a_root_that_is_none(node):
    folder, _ = node.bundle()
    node.root = node.tmp_path / "nowhere"
    assert "is not a folder" in node.install(folder)[2]
