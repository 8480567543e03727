"""The match over a stretch of time: whole, torn, of one node, of a slow camera; and no file read without need."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.record import continuity as module
from agent.record.cli import recording
from agent.record.continuity import AROUND_NS, Stretch, continuity, step_limit_ms
from agent.record.fragment import Fragment
from agent.record.read import Recording, read_recording
from agent.record.retention import name_of
from tests.agent.record.helpers import HEAD, PERIOD_US, PTP_NS, file_of, fragment
from touchline.errors import GateError, InputError

PERIOD_NS = PERIOD_US * 1000
HOUR = 3_600 * 50  # exposures
MATCH = Stretch(PTP_NS, PTP_NS + 100 * PERIOD_NS)


def exposed(number: int) -> int:
    return PTP_NS + number * PERIOD_NS


def write(
    path: Path, numbers: Iterable[int], node: str = "node-a", *, active: bool = True, ahead_ns: int = 0, camera: int = 1
) -> Path:
    """A node's recording of these exposures, a key frame every fifteen."""
    head = replace(HEAD, node=node, stream=(node.encode().hex() * 8)[:32], camera=camera)
    path.parent.mkdir(exist_ok=True)
    role = (True, 7) if active else (False, 0)
    fragments: list[Fragment] = [fragment(number, role=role, ahead_ns=ahead_ns) for number in numbers]
    path.write_bytes(file_of(fragments, head))
    return path


def test_a_cut_node_and_its_twin_make_a_match_without_a_gap(tmp_path):
    write(tmp_path / "cam1" / "a.mp4", range(0, 50))
    write(tmp_path / "mirror" / "b.mp4", range(0, 100), "node-b", active=False, ahead_ns=150_000)
    found = continuity([tmp_path], MATCH)
    assert found["good"] and found["nodes"] == ["node-a", "node-b"] and found["switches"] == 1
    assert (found["pictures"], found["missing"]) == (100, 0)
    assert found["step_max_ms"] == 20.15 and found["step_limit_ms"] == 33.367 and found["period_ms"] == 20.0
    assert (found["first_ptp_ns"], found["last_ptp_ns"]) == (exposed(0), exposed(99) + 150_000)


def test_what_nobody_has_is_missing_and_only_within_the_stretch(tmp_path):
    write(tmp_path / "a.mp4", [*range(0, 30), *range(33, 60)])
    torn = continuity([tmp_path], Stretch(exposed(0), exposed(59)))
    assert (torn["missing"], torn["good"]) == (3 + 12, False), "behind the hole it goes on at a key frame"
    assert torn["step_max_ms"] == 16 * 20.0
    assert continuity([tmp_path], Stretch(exposed(0), exposed(29)))["good"]
    short = continuity([tmp_path], Stretch(exposed(45), exposed(100)))
    assert (short["missing"], short["step_max_ms"], short["good"]) == (41, 41 * 20.0, False), "it ends too soon"
    late = continuity([tmp_path], Stretch(exposed(-10), exposed(20)))
    assert (late["missing"], late["good"]) == (10, False), "it begins too late"
    assert continuity([tmp_path], Stretch(exposed(45), exposed(59)))["good"]


def test_without_a_key_frame_there_is_nothing_to_show(tmp_path):
    write(tmp_path / "a.mp4", range(1, 10))
    with pytest.raises(InputError, match="no key frame"):
        continuity([tmp_path], Stretch(exposed(1), exposed(9)))


@pytest.mark.parametrize(("period_ms", "limit_ms"), [(8.333, 33.367), (33.367, 33.367), (40.0, 41.0)])
def test_the_limit_is_that_of_fov_3_or_a_frame_of_a_slower_camera(period_ms, limit_ms):
    assert step_limit_ms(period_ms) == limit_ms


def test_of_several_cameras_one_is_to_be_named_and_of_another_time_there_is_nothing(tmp_path):
    write(tmp_path / "a.mp4", range(0, 50))
    write(tmp_path / "c.mp4", range(0, 50), camera=2)
    with pytest.raises(InputError, match=r"cameras \[1, 2\]"):
        continuity([tmp_path], MATCH)
    assert continuity([tmp_path], MATCH, 2)["camera"] == 2
    for stretch in (Stretch(1, 9), Stretch(exposed(200), exposed(300)), Stretch(exposed(10_000), exposed(10_001))):
        with pytest.raises(InputError, match="of that time"):
            continuity([tmp_path], stretch, 1)
    with pytest.raises(InputError, match="of that time"):
        continuity([tmp_path], MATCH, 3)


def test_files_of_another_time_are_not_read(tmp_path, monkeypatch):
    read: list[str] = []

    def reading(path: Path, number: int) -> Recording | None:
        read.append(path.name)
        return read_recording(path, number)

    monkeypatch.setattr(module, "read_recording", reading)
    names = []
    for serial, first in enumerate((-2 * HOUR, -HOUR, 0, HOUR), start=1):
        one = fragment(first, key=True)
        names.append(name_of(HEAD, one.marks[0], serial))
        write(tmp_path / names[-1], range(first, first + 100)) if first >= 0 else (tmp_path / names[-1]).write_text("")
    write(tmp_path / "holiday.mp4", range(0, 3), "node-b", active=False)
    assert continuity([tmp_path], MATCH)["good"]
    assert names[0] not in read, "the next one began before the stretch"
    assert names[1:3] == [name for name in read if name in names], "in doubt it is read"
    assert "holiday.mp4" in read
    assert AROUND_NS < 3_600e9


def test_the_command_says_it_and_fails_where_the_match_is_torn(tmp_path):
    write(tmp_path / "a.mp4", range(0, 60))
    words = ["continuity", str(tmp_path), "--from-ptp-ns", str(exposed(1)), "--json", "--to-ptp-ns"]
    done = CliRunner().invoke(recording, [*words, str(exposed(50))])
    assert done.exit_code == 0 and json.loads(done.stdout)["pictures"] == 50
    write(tmp_path / "a.mp4", [*range(0, 30), *range(31, 60)])
    done = CliRunner().invoke(recording, [*words, str(exposed(50))], standalone_mode=False)
    assert isinstance(done.exception, GateError) and not json.loads(done.stdout)["good"]
    done = CliRunner().invoke(recording, [*words[:4], "--to-ptp-ns", str(exposed(20))])
    assert "camera 1: 20 pictures of node-a, largest PTS step 20.0 ms (limit 33.367), 0 missing" in done.stdout
