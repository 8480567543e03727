"""The commands: boot, use, freeze, bring back, end; and what they say when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.rack.pki import LocalCa
from hil.virtual import background as module
from hil.virtual.background import STATE_FOLDER, Background, load_frozen, snapshots_folder
from hil.virtual.image import Image
from hil.virtual.machine import qemu
from hil.virtual.machine.process import ProcessId, identify
from hil.virtual.machine.state import Site, Sites
from hil.virtual.rack import RackIdentities
from touchline.errors import InputError, ResourceError
from touchline.timeline import monotonic_ns, sleep_until

TIMEOUT_S = 300


class Commands:
    """``touchline hil virtual`` with a cache of its own, over sites named after this test process."""

    def __init__(self, cache: Path) -> None:
        self.cache, self.name = cache, f"test-{os.getpid()}"

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "touchline.cli", "hil", "virtual", *words]

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words), capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
        )

    def json(self, *words: str) -> dict[str, Any]:
        done = self(*words, "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    def alive(self) -> list[str]:
        """Processes of this site, by their command lines."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                where = str((folder / "cwd").readlink()) + words
            except OSError:
                continue
            if f"/{self.name}/" in where or f"tlv-{self.name} " in where:
                found.append(f"{folder.name}: {words}")
        return found


@pytest.fixture
def commands(virtual_image: Image, tmp_path: Path) -> Iterator[Commands]:
    cache = tmp_path / "cache"
    (cache / "images").mkdir(parents=True)
    (cache / "images" / virtual_image.image_id).symlink_to(virtual_image.folder)
    made = Commands(cache)
    yield made
    made("destroy", "--name", made.name)
    assert made.alive() == []


@pytest.mark.system
@pytest.mark.virtual
def test_the_life_of_a_node(commands: Commands):
    cache = ("--cache-dir", str(commands.cache))
    name = ("--name", commands.name)
    booted = commands.json("boot", *name, *cache)
    assert booted["running"]
    assert booted["processes"] == {"rack": True}
    assert commands("boot", *name, *cache).returncode == 5, "one site of a name"

    said = commands("exec", *name, "--", "systemctl is-active touchline-agent; exit 3")
    assert (said.stdout, said.returncode) == ("active\n", 3)
    typed = subprocess.run(
        commands.argv("shell", *name),
        input="echo $((6 * 7))\n",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert "42" in typed.stdout

    frozen = commands.json("snapshot", "ready", *name, *cache)
    assert commands("snapshot", "ready", *name, *cache).returncode == 5
    assert load_frozen(Path(frozen["folder"])).seats == ("a",)
    assert any(site["name"] == commands.name for site in commands.json("status")["sites"])
    assert commands.json("destroy", *name)["destroyed"] == [commands.name]
    assert commands.alive() == []

    assert commands.json("boot", *name, *cache, "--snapshot", "ready")["running"]
    assert commands("exec", *name, "--", "hostname").stdout == "orin-a\n"


@pytest.mark.system
@pytest.mark.virtual
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_boot_leaves_nothing(commands: Commands, how: signal.Signals):
    words = commands.argv("boot", "--name", commands.name, "--cache-dir", str(commands.cache))
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as boot:
        assert boot.stderr is not None
        assert "rack up" in boot.stderr.readline()
        deadline_ns = monotonic_ns() + 120_000_000_000
        while not any("qemu-system" in line for line in commands.alive()):
            assert monotonic_ns() < deadline_ns
            sleep_until(monotonic_ns() + 50_000_000)
        boot.send_signal(how)
        assert boot.wait(120) != 0
    assert commands.alive() == []
    assert commands.name not in [site["name"] for site in commands.json("status")["sites"]]
    assert (
        f"tlv-{commands.name}" not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.system
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("boot", "--cache-dir", "{empty}"), 5, "no virtual node image"),
        (("boot", "--snapshot", "gone", "--cache-dir", "{empty}"), 4, "no snapshot 'gone'"),
        (("exec", "--name", "nobody", "--", "true"), 4, "no virtual node 'nobody'"),
        (("shell", "--name", "nobody"), 4, "no virtual node 'nobody'"),
        (("destroy", "--name", "nobody"), 4, "no virtual node 'nobody'"),
        (("exec", "--name", "UPPER", "--", "true"), 3, "no name for a site"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, words: tuple[str, ...], code: int, said: str):
    done = Commands(tmp_path)(*(word.format(empty=tmp_path) for word in words))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("version", "said"), [(None, "qemu-system-aarch64 is not installed"), ("6.2.0", "too old")])
def test_without_a_usable_qemu_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, said: str
):
    if version is not None:
        program = tmp_path / "qemu-system-aarch64"
        program.write_text(f"#!/bin/sh\necho QEMU emulator version {version}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    nowhere = Image(tmp_path, "none", "6.12", "0", "")
    ground = Background(tmp_path / "state", tmp_path / "cache")
    with pytest.raises(ResourceError, match=said):
        ground.boot("x", nowhere, ("a",), agent=False, say=lambda _text, _seconds: None)
    assert ground.sites.names() == []


def test_a_rack_is_on_record_before_an_interrupt_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(pid: int) -> ProcessId:
        signal.raise_signal(signal.SIGINT)
        return identify(pid)

    monkeypatch.setattr(module, "identify", interrupted)
    ground = Background(tmp_path / "state", tmp_path / "cache")
    site = Site("demo", "none", (), started_utc="now")
    with pytest.raises(KeyboardInterrupt):
        ground._start_rack(site, RackIdentities.issue(LocalCa(tmp_path / "ca")), lambda _text, _seconds: None)
    assert list(ground.sites.load("demo").processes) == ["rack"]
    ground.sites.destroy("demo")


def test_sockets_of_the_longest_name_fit_their_address():
    run_dir = Sites(STATE_FOLDER).run_dir("x" * 24, "a")
    names = [value for name, value in vars(qemu).items() if name.endswith("_SOCKET")]
    assert len(names) == 5
    assert all(len(str(run_dir / name)) < 108 for name in names)


def test_a_damaged_snapshot_is_refused(tmp_path: Path):
    folder = snapshots_folder(tmp_path) / "old"
    folder.mkdir(parents=True)
    (folder / "snapshot.json").write_text('{"image_id": "x", "seats": ["z"], "created_utc": ""}')
    with pytest.raises(InputError, match="seats that do not exist"):
        load_frozen(folder)
    (folder / "snapshot.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        load_frozen(folder)
