"""What ties it: configuration, status, faults, and what a person reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from agent.trace import FrameTrace, open_tracer
from tests.agent.trace.test_trace import FRAME, PLENTY, config
from thermal.protect import build
from thermal.protect.cli import protect
from thermal.protect.control import parse_request
from thermal.protect.disk import Look, Phase
from thermal.protect.service import HANGS_NS
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
