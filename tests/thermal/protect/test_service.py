"""What ties it: configuration, status, faults, and what a person reads."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from agent.trace import FrameTrace, open_tracer
from tests.agent.trace.test_trace import FRAME, PLENTY, config
from thermal.protect import build
from thermal.protect import service as module
from thermal.protect.cli import protect
from thermal.protect.control import ControlServer, parse_request
from thermal.protect.disk import Look, Phase
from thermal.protect.service import HANGS_NS, ProtectService
from thermal.protect.show import status_text
from thermal.protect.status import STALE_NS, Told, read_status, write_status
from touchline.config.protect import ProtectSection
from touchline.errors import ConfigError

S = 1_000_000_000


class Mount:
    """A mount point that holds everything."""

    def __init__(self, target: str) -> None:
        self.target = target

    def look(self):
        return Look(91.0, 1000)

    def remount(self, read_only):
        return "busy"

    def holds(self, path):
        return True


def opened(tmp_path: Path, text: str = "[protect]") -> Any:
    made = config(tmp_path, text)
    assert made.protect is not None
    return build.open_service(made, made.protect, tmp_path, tmp_path / "run", tmp_path / "state")


def test_events_on_the_disk_that_is_made_read_only_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "Mount", Mount)
    with pytest.raises(ConfigError, match="made read-only"):
        opened(tmp_path)


def test_a_mount_point_that_is_none_is_an_alarm(tmp_path):
    service = opened(tmp_path, f'[protect]\ndisk_mount = "{tmp_path}/nothing"')
    service.keeper.turn()
    assert "disk" in {fault.code for fault in service.faults(service.keeper.turned_ns)}
    assert "not a mount point" in service.keeper.document()["trouble"]
    late = service.keeper.turned_ns + HANGS_NS + 1
    assert {"disk", "disk_hangs"} <= {fault.code for fault in service.faults(late)}


def test_every_part_can_be_left_out(tmp_path):
    service = opened(tmp_path, '[protect]\naccelerometer = ""\ndisk_mount = ""')
    service.guard.start(0)
    service.turn()
    told = read_status(tmp_path / "run" / "protect.json", service.document(0)["at_ns"])
    assert told.document["relay"] is None
    text = status_text(told, 0)
    assert "relay         none: events only" in text
    assert "accelerometer none" in text


def test_the_status_is_believed_for_five_seconds(tmp_path):
    path = tmp_path / "protect.json"
    assert "does not run" in read_status(path, 0).why
    write_status(path, {"at_ns": 100 * S, "latched": False})
    assert read_status(path, 100 * S + STALE_NS).good
    assert "hangs or is gone" in read_status(path, 101 * S + STALE_NS).why
    assert not read_status(path, 99 * S).good, "of another boot"
    path.write_text("[]")
    assert "damaged" in read_status(path, 0).why


def test_a_cut_comes_first_for_people():
    document = {
        "latched": True,
        "event": {"kind": "shaken", "at": "2026-11-21T10:00:00Z"},
        "relay": {"cut": True, "trouble": None, "test": False},
        "disk": {"mount": "/data", "phase": "open", "used_pct": 12.0, "read_only": False, "deleted": 0},
        "faults": [{"code": "shaken", "what": "cameras", "severity": "alarm", "text": "cut", "since_ns": 0}],
    }
    lines = status_text(Told(document), 3 * S).splitlines()
    assert lines[0].startswith("CAMERAS CUT   shaken at 2026-11-21T10:00:00Z")
    assert lines[-1] == "ALARM         cameras: cut (for 3 s)"
    assert status_text(Told({}, "the protect service does not run"), 0) == "the protect service does not run"


class Heard:
    """In the place of sd_notify and of the socket: what systemd heard, and a stop after so many turns."""

    def __init__(self, monkeypatch: Any, service: ProtectService, turns: int) -> None:
        self.words: list[tuple[str, ...]] = []
        self._left, self._stopping = turns, []  # type: tuple[int, list[int]]
        monkeypatch.setattr(module, "notify", lambda *words: self.words.append(words))
        monkeypatch.setattr(module, "WATCHDOG_NS", 0)
        service._serve(self, self._stopping)  # type: ignore[arg-type]

    def wait(self, until_ns: int) -> None:
        self._left -= 1
        if not self._left:
            self._stopping.append(15)

    def fed(self) -> list[bool]:
        return ["WATCHDOG=1" in words for words in self.words]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_stops_the_watchdogs_feed_and_is_an_alarm(tmp_path, monkeypatch):
    service = opened(tmp_path, '[protect]\naccelerometer = ""\ndisk_mount = ""')
    assert Heard(monkeypatch, service, 3).fed() == [True] * 3
    events = service._desk.threads()[0]
    service._desk.close()
    events.join(60.0)
    assert Heard(monkeypatch, service, 3).fed() == [False] * 3
    (fault,) = service.faults(0)
    assert (fault.code, fault.what) == ("thread", "protect-events")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_disks_thread_lives_through_an_error_of_the_system_and_its_end_is_seen(tmp_path, monkeypatch):
    service = opened(tmp_path, f'[protect]\naccelerometer = ""\ndisk_mount = "{tmp_path}"')
    again, go_on = threading.Event(), threading.Event()
    errors = iter([OSError(11, "no process can be forked"), RuntimeError("a fault of ours")])

    def look() -> Look:
        error = next(errors)
        if isinstance(error, RuntimeError):
            again.set()
            go_on.wait(60.0)
        raise error

    monkeypatch.setattr(service.keeper.disk, "look", look)
    monkeypatch.setattr(service, "_desk", replace(service._desk, disk_every_s=0.001))
    service._disk_thread = threading.Thread(target=service._keep_disk, name="protect-disk", daemon=True)
    service._disk_thread.start()
    assert again.wait(60.0)
    assert service.keeper.document()["trouble"].startswith("a look at it broke off: [Errno 11]")
    assert Heard(monkeypatch, service, 1).fed() == [True]
    go_on.set()
    service._disk_thread.join(60.0)
    assert Heard(monkeypatch, service, 1).fed() == [False]
    assert "protect-disk" in {fault.what for fault in service.faults(0)}


def test_a_loop_that_is_late_still_answers_who_calls(tmp_path):
    """A slow accelerometer made every turn late, and nobody was heard any more."""
    server = ControlServer(tmp_path / "protect.sock", lambda request: {"done": True, "text": request["do"]})
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        caller.settimeout(60.0)
        caller.connect(str(tmp_path / "protect.sock"))
        caller.send(b'{"do": "reset"}')
        server.wait(0)
        assert json.loads(caller.recv(4096)) == {"done": True, "text": "reset"}
    server.close()


@given(st.binary(max_size=100))
def test_any_bytes_are_a_request_or_none(raw):
    found = parse_request(raw)
    assert found is None or isinstance(found["do"], str)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("disk_clear_pct = 90.0", "at least 1 below"),
        ('relay_line = "a"\nrelay_kind = "latching"', "needs relay_restore_line"),
        ('relay_line = "a"\nrelay_restore_line = "b"', "belongs to relay_kind"),
        ('relay_line = "a"\nrelay_kind = "latching"\nrelay_restore_line = "a"', "two coils"),
        ("shake_ms = 60.0", "five samples"),
        ("shake_ms = 300.0\nshake_gap_ms = 300.0", "must be shorter"),
        ("sensor_lost_s = 0.2\nsample_ms = 50.0", "sensor_lost_s"),
        ("sensor_frozen_s = 5.0", "at least 10 s"),
        ('trace_archive_max = "1GB"', "at least trace_max"),
        ('trace_archive_max = "0"', "between 1MiB and 16TiB"),
        ('trace_max = "1kB"', "between 1MiB and 64GiB"),
        ('disk_stop_units = ["--now"]', "disk_stop_units"),
        ('disk_mount = "data"', "disk_mount"),
        ('flush_paths = ["var/log"]', "flush_paths"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, says):
    with pytest.raises(ConfigError, match=says):
        config(tmp_path, f"[protect]\n{text}")


def test_the_asked_numbers_are_the_defaults():
    section = ProtectSection()
    assert (section.shake_g, section.shake_ms) == (0.7, 500.0)
    assert section.disk_limit_pct == 90.0
    assert section.trace_max_bytes == 2_000_000_000
    assert "/var/log" in section.flush_paths


def test_half_time_by_command(tmp_path):
    text = f'[protect]\ntrace_max = "8MiB"\ntrace_archive = "{tmp_path}/archive"'
    tracer = open_tracer(config(tmp_path, text), 3, lambda _: PLENTY)
    for _ in range(100):
        tracer.put(FRAME, 0)
    tracer.close()
    assert isinstance(FRAME, FrameTrace)
    from tests.agent.trace.test_trace import NODE

    (tmp_path / "node.toml").write_text(NODE.format(run=tmp_path, protect=text))
    words = ["flush-trace", "--config", str(tmp_path / "node.toml"), "--json"]
    done = CliRunner().invoke(protect, words)
    found = json.loads(done.stdout)
    assert (found["records"], found["files"], found["damaged"]) == (100, 1, 0)
    assert len(list((tmp_path / "archive").glob("pitch-a1_cam3_*.trace"))) == 1


def test_a_quiet_disk_is_said(tmp_path, monkeypatch):
    service = opened(tmp_path, f'[protect]\ndisk_mount = "{tmp_path}/nothing"')
    service.keeper.disk = Mount(str(tmp_path))
    service.keeper.state = type(service.keeper.state)(Phase.QUIET)
    service.keeper.turn()
    assert "disk_full" in {fault.code for fault in service.faults(0)}
