"""Real recorder processes with real ffmpeg: killed, stopped, starved, too slow; alone and as a pair over TLS."""

from __future__ import annotations

import itertools
import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.record.check import check
from agent.record.encoder import PIPE_BYTES
from agent.record.join import join
from agent.record.lanes import lanes_of
from agent.record.read import read_recording, recordings_in
from agent.ring import RingWriter
from hil.rack.pki import LocalCa
from tests.agent.record.bench import FRAME_BYTES, PATIENCE, PERIOD_NS, PTP_NS, SLOTS, Camera, Node, pair_of
from tests.ports import free_port
from touchline.timeline import monotonic_ns, sleep_until

pytestmark = pytest.mark.system
LATE_NS = 700  # what node-b's clock differs by
INSIDE = PIPE_BYTES // FRAME_BYTES + 4  # frames that a death of ffmpeg may cost: its pipe's, and those in its hands


def pause(seconds: float) -> None:
    """Let frames come."""
    sleep_until(monotonic_ns() + int(seconds * 1e9))


def lives(pid: int) -> bool:
    """Whether a process runs (or is stopped); one that nobody has collected yet is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Stand:
    """Nodes, their camera, and the end of all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Node] = []
        self.camera: Camera | None = None

    def alone(self, **record: Any) -> Node:
        self.nodes = [Node(self.folder / "node-a", "node-a", **record)]
        return self.nodes[0]

    def pair(self, **record: Any) -> tuple[Node, Node]:
        self.nodes = [*pair_of(self.folder, (free_port(), free_port()), **record)]
        return self.nodes[0], self.nodes[1]

    def begin(self, rate_hz: float = 1e9 / PERIOD_NS) -> Camera:
        """Start the nodes, then the camera."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_until_up()
            assert not node.failed, node.failed
        rings = {node.name: node.ring for node in self.nodes}
        self.camera = Camera(rings, {"node-b": LATE_NS}, rate_hz)
        return self.camera

    def close(self) -> None:
        if self.camera is not None and self.camera.is_alive():
            self.camera.stop()
        for node in self.nodes:
            node.close()


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.close()


def exposures(*paths: Path) -> list[int]:
    """The camera's numbers of every picture in the files of one node."""
    found = [read_recording(path, n) for n, path in enumerate(recordings_in(paths))]
    (lane,) = lanes_of([one for one in found if one is not None])
    return [int(number) for number in lane.frames["sequence"]]


def books_balance(node: Node) -> None:
    """Every frame of the ring is accounted for by the recorder."""
    node.hear()
    counters = node.report["counters"]
    seen = sum(counters[f"record_{name}"] for name in ("offered", "slow", "overwritten", "standby", "idle"))
    ledger = node.ring.ledger().readers[1]
    assert seen == ledger.handed + ledger.skipped
    assert counters["record_offered"] == counters["record_frames"] + counters["record_lost_in_encoder"]


# --- alone -----------------------------------------------------------------------------------------------------------


def test_every_frame_is_in_the_file_at_its_ptp_time(stand):
    node = stand.alone()
    camera = stand.begin()
    dice = random.Random(3)
    camera.sleeps = lambda number: dice.randrange(0, 3_000_000) + (150_000_000 if number == 40 else 0)
    node.role("active", 4)
    camera.start()
    pause(3)
    camera.stop()
    assert node.wait() == 0
    node.hear()
    (path,) = node.files()
    found = read_recording(path)
    assert found is not None
    assert found.frames["ptp_ns"].tolist() == camera.times
    assert found.frames["bound_ns"].tolist() == [250] * camera.sent
    assert found.frames["active"].all() and set(found.frames["epoch"].tolist()) == {4}
    assert found.frames["key"].tolist() == [n % 15 == 0 for n in range(camera.sent)]
    played = check(path, 200.0)
    assert played["good"] and played["ptp"]["pts_error_max_us"] <= 0.5
    books_balance(node)
    assert node.codes() == []
    stages = node.report["stages"]
    assert {"encode", "to_disk"} <= set(stages)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_recorder_killed_in_the_middle_leaves_a_file_that_plays(stand, codec):
    node = stand.alone(codec=codec)
    camera = stand.begin()
    camera.start()
    node.wait_for(lambda: node.counter("record_frames") > 60)
    (pid,) = node.ffmpeg_pids()
    sent = camera.sent
    node.kill()
    (path,) = node.files()
    got = exposures(path)
    assert got == list(range(len(got))) and sent - len(got) <= INSIDE + SLOTS // 4  # the ring has some of these
    assert check(path)["good"]
    node.wait_for(lambda: not lives(pid))  # ffmpeg goes with it
    sent = camera.sent
    node.wait_for(lambda: camera.sent > sent + 10)
    camera.halt()  # its next life may be long in coming up
    node.start()  # it goes on in a new file; the ring has kept what came meanwhile
    node.wait_until_up()
    camera.go_on()
    node.wait_for(lambda: node.counter("record_frames") > 60)
    camera.stop()
    assert node.wait() == 0
    both = exposures(*node.files())
    missing = sorted(set(range(camera.sent)) - set(both))
    assert len(missing) <= INSIDE and missing == list(range(len(got), len(got) + len(missing)))


@pytest.mark.parametrize(
    ("harm", "told"),
    [(signal.SIGKILL, ["encoder_ended"]), (signal.SIGSTOP, ["encoder_stuck", "encoder_ended"])],
    ids=["killed", "hangs"],
)
def test_an_ffmpeg_that_ends_or_hangs_is_told_and_replaced_and_the_camera_goes_on(stand, harm, told):
    node = stand.alone()
    camera = stand.begin()
    camera.patient = harm is signal.SIGKILL
    camera.start()
    node.wait_for(lambda: node.counter("record_frames") > 40)
    (pid,) = node.ffmpeg_pids()
    os.kill(pid, harm)
    before = node.counter("record_frames")
    node.wait_for(lambda: node.counter("record_files") == 2 and node.counter("record_frames") > before + 60)
    camera.stop()
    assert node.wait() == 0
    node.hear()
    assert node.codes() == told and "SIGKILL" in node.events[-1]["text"]
    assert node.counter("record_restarts") == 1
    assert node.ring.ledger().readers[1].late == 0
    books_balance(node)
    lost = node.counter("record_lost_in_encoder")
    assert 1 <= lost <= INSIDE
    passed_over = sum(node.counter(f"record_{name}") for name in ("slow", "overwritten", "idle"))
    assert harm is signal.SIGSTOP or passed_over == 0
    assert len(exposures(*node.files())) == camera.sent - lost - passed_over
    first, second = node.files()
    assert check(first)["good"] and check(second)["good"]
    assert read_recording(first).head.stream != read_recording(second).head.stream  # type: ignore[union-attr]


def test_a_program_that_fails_at_once_is_not_tried_for_ever(stand, tmp_path):
    program = tmp_path / "ffmpeg"
    program.write_text('#!/bin/sh\n[ -e "$0.broken" ] && { echo "no licence" >&2; exit 9; }\nexec ffmpeg "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    node = stand.alone(ffmpeg=str(program))
    camera = stand.begin()
    camera.start()
    node.wait_for(lambda: node.counter("record_frames") > 5)
    (tmp_path / "ffmpeg.broken").touch()
    (pid,) = node.ffmpeg_pids()
    os.kill(pid, signal.SIGKILL)
    assert node.wait() == 5
    node.hear()
    assert "no licence" in node.failed and "exit code 9" in node.failed
    assert node.codes().count("encoder_ended") == 5 or node.codes().count("encoder_ended") == 4
    committed = node.ring.ledger().committed
    node.wait_for(lambda: node.ring.ledger().committed > committed)  # the camera never noticed


def test_an_encoder_that_is_too_slow_costs_single_frames_and_never_the_camera(stand, tmp_path):
    program = tmp_path / "ffmpeg"  # takes 60 % of what the camera gives
    program.write_text(
        f"#!{sys.executable}\nimport os, subprocess, sys, time\n"
        "child = subprocess.Popen(['ffmpeg', *sys.argv[1:]], stdin=subprocess.PIPE)\n"
        "begin, done = time.monotonic(), 0\n"
        "while data := os.read(0, 65536):\n"
        "    child.stdin.write(data)\n"
        "    done += len(data)\n"
        f"    time.sleep(max(0.0, begin + done / {0.6 * FRAME_BYTES * 1e9 / PERIOD_NS} - time.monotonic()))\n"
        "child.stdin.close()\n"
        "sys.exit(child.wait())\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    node = stand.alone(ffmpeg=str(program))
    camera = stand.begin()
    camera.patient = False
    camera.start()
    node.wait_for(lambda: node.counter("record_slow") > 40)
    begin = camera.sent
    node.wait_for(lambda: camera.sent >= begin + 50)
    node.wait_for(lambda: node.ring.ledger().readers[1].lag <= SLOTS // 4 + 5)  # it is behind by so much and no more
    camera.stop()
    assert node.wait() == 0
    books_balance(node)
    assert node.counter("record_torn") == 0 and node.counter("record_overwritten") == 0
    got = exposures(*node.files())
    steps = [after - before for before, after in itertools.pairwise(got[-40:])]
    assert sorted(steps)[-4] <= 4, steps  # dropped one by one, not in holes; this machine's pauses apart


def test_stop_writes_what_was_fed(stand):
    node = stand.alone()
    camera = stand.begin()
    camera.start()
    pause(1.0)
    camera.stop()
    assert node.wait() == 0
    assert exposures(*node.files()) == list(range(camera.sent))
    books_balance(node)


def test_a_capture_that_dies_and_comes_back_is_one_recording(stand):
    node = stand.alone()
    camera = stand.begin()
    for number in range(20):
        camera.send(PTP_NS + number * PERIOD_NS)
        pause(0.005)
    node.wait_for(lambda: node.counter("record_frames") >= 19)
    writer = camera.writers["node-a"]
    words = node.ring.words
    from agent.ring import layout

    words[layout.word_of(layout.WRITER, "pid", layout.WRITER_OFFSET)] = 0  # as kill -9 leaves it
    del writer
    camera.writers["node-a"] = RingWriter(node.ring)
    for number in range(45, 65):  # half a second later
        camera.send(PTP_NS + number * PERIOD_NS)
        pause(0.005)
    node.wait_for(lambda: node.counter("record_offered") == 40)
    assert node.stop() == 0
    (path,) = node.files()
    assert check(path, 1000.0)["good"]
    assert exposures(path) == list(range(40))


def test_a_clock_that_steps_back_does_not_end_the_recording(stand):
    node = stand.alone()
    camera = stand.begin()
    for number in range(30):
        camera.hold_back()
        camera.send(PTP_NS + number * PERIOD_NS)
        pause(0.01)
    from touchline.timeline import ClockState, Stamp

    writer = camera.writers["node-a"]
    for number in range(30, 60):
        camera.hold_back()
        writer.acquire()
        writer.commit(number, Stamp(PTP_NS - 10**12 + number * PERIOD_NS, 250, 2, ClockState.HOLDOVER))
        pause(0.01)
    node.wait_for(lambda: node.counter("record_offered") == 60)
    assert node.stop() == 0
    (path,) = node.files()
    played = check(path, 1000.0)
    assert played["good"] and played["pictures"] == 60
    found = read_recording(path)
    assert found is not None and found.frames["clock_epoch"].tolist() == [1] * 30 + [2] * 30


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_is_loud_and_costs_nobody_else_anything(stand):
    node = stand.alone(max_size="1GiB")
    disk = node.recordings
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    try:
        ballast = disk / "others.bin"
        ballast.write_bytes(bytes(900_000))
        camera = stand.begin()
        camera.start()
        node.wait_for(lambda: "recording_stopped" in node.codes())
        node.wait_for(lambda: node.recording().get("state") == "disk")
        begin = camera.sent
        node.wait_for(lambda: camera.sent - begin >= 20)
        ballast.unlink()
        node.wait_for(lambda: "recording_resumed" in node.codes())
        camera.stop()
        assert node.wait() == 0
        node.hear()
        told = [code for code in node.codes() if code in ("recording_stopped", "recording_resumed")]
        assert told == (["recording_stopped", "recording_resumed"] * len(told))[: len(told)], "each is said once"
        assert node.counter("record_dropped_disk") > 0
        for path in node.files():
            assert check(path)["good"]
    finally:
        node.close()
        subprocess.run(["umount", str(disk)], check=True)


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "code", "words"),
    [
        ({"ffmpeg": "/nonexistent/ffmpeg"}, 5, "/nonexistent/ffmpeg cannot be run"),
        ({"encoder": "h264_nvmpi"}, 5, "has no h264_nvmpi"),
        ({"encoder": "libx265"}, 3, "does not make h264"),
        ({"preset": "warp9"}, 5, "libx264"),
        ({"mirror_listen": "127.0.0.1:1", "mirror_peer": "127.0.0.1:2"}, 3, r"needs [failover]"),
    ],
)
def test_what_cannot_work_is_said_at_the_start_with_its_fix(stand, record, code, words):
    node = stand.alone(**record)
    node.start()
    assert node.wait() == code
    node.hear()
    assert words in node.failed and " — " in node.failed


def test_the_spare_is_used_loudly_when_the_first_copy_is_gone(stand, tmp_path):
    spare = tmp_path / "spare"
    spare.write_text('#!/bin/sh\nexec ffmpeg "$@"\n')
    spare.chmod(0o500)
    node = stand.alone(ffmpeg=str(tmp_path / "gone"), spare=str(spare))
    camera = stand.begin()
    camera.start()
    node.wait_for(lambda: node.counter("record_frames") > 10)
    assert node.codes() == ["encoder_spare"]
    assert node.ready is not None and node.ready["program"] == str(spare)


def test_encoders_that_were_passed_over_are_told_once_and_shown(stand):
    node = stand.alone(encoder="auto")
    camera = stand.begin()
    camera.start()
    node.wait_for(lambda: node.counter("record_frames") > 10)
    (event,) = [one for one in node.events if one["code"] == "encoder_passed_over"]
    assert (
        event["severity"] == "warning" and "h264_nvmpi: " in event["text"] and "libx264, on the CPU," in event["text"]
    )
    assert len(node.recording()["passed_over"]) == 3


# --- a pair ----------------------------------------------------------------------------------------------------------


def joined_plays(stand: Stand, sources: list[Path], limit_ms: float) -> dict[str, Any]:
    """Join, play through, and what the join says."""
    out = stand.folder / f"match{len(list(stand.folder.glob('match*')))}.mp4"
    joined = join(sources, out)
    played = check(out, limit_ms)
    assert played["good"], played
    assert played["ptp"]["pts_error_max_us"] <= 0.5
    assert played["key_distance_max"] <= 15
    assert joined.gaps == ()
    return joined.as_dict()


def test_a_dies_and_the_join_has_every_frame(stand):
    a, b = stand.pair()
    camera = stand.begin()
    a.role("active", 5)
    b.role("standby", 0)
    camera.start()
    a.wait_for(lambda: a.counter("record_frames") > 100)
    a.kill()
    b.role("active", 6)
    pause(1.5)
    camera.stop()
    assert b.wait() == 0
    limit_ms = (PERIOD_NS + 2 * LATE_NS) / 1e6
    for sources in ([a.recordings, b.recordings], [b.recordings], [*a.files(), *b.files()]):
        value = joined_plays(stand, sources, limit_ms)
        assert [piece["node"] for piece in value["pieces"]] == ["node-a", "node-b"]
        assert value["frames"] == camera.sent
        assert value["pieces"][0]["active_frames"] == value["pieces"][0]["frames"] > 80
    first, mirrored = exposures(*a.files()), exposures(*b.files(mirror=True))
    assert mirrored == first[: len(mirrored)]
    assert len(first) - len(mirrored) <= PATIENCE  # the tail is there, but for what this machine held up on its way


def test_both_know_up_to_where_the_mirror_is(stand):
    a, b = stand.pair()
    camera = stand.begin()
    camera.start()
    a.wait_for(lambda: a.recording().get("mirror", {}).get("to_twin_ptp_ns", 0) > PTP_NS)
    b.wait_for(lambda: b.recording().get("mirror", {}).get("from_twin_ptp_ns", 0) > PTP_NS)
    camera.halt()
    held, last = camera.times[-2:]  # ffmpeg gives a picture out when the next one is encoded
    a.wait_for(lambda: a.recording()["mirror"]["to_twin_ptp_ns"] == held)
    b.wait_for(lambda: b.recording()["mirror"]["from_twin_ptp_ns"] == held)
    assert a.stop() == 0
    b.wait_for(lambda: b.recording()["mirror"]["from_twin_ptp_ns"] == last)
    assert b.stop() == 0
    assert exposures(*b.files(mirror=True)) == exposures(*a.files()) == list(range(camera.sent))


def test_a_twin_that_restarts_catches_up(stand):
    a, b = stand.pair()
    camera = stand.begin()
    camera.start()
    a.wait_for(lambda: a.recording().get("mirror", {}).get("to_twin_ptp_ns", 0) > PTP_NS + 50 * PERIOD_NS)
    b.kill()
    pause(0.7)
    b.start()
    b.wait_for(lambda: b.ready)
    at = camera.times[-1]
    a.wait_for(lambda: a.recording()["mirror"]["to_twin_ptp_ns"] > at)
    camera.halt()
    last = camera.times[-1]
    a.wait_for(lambda: a.counter("record_offered") == camera.sent)
    assert a.stop() == 0
    b.wait_for(lambda: b.recording()["mirror"]["from_twin_ptp_ns"] == last)
    assert b.stop() == 0
    assert exposures(*b.files(mirror=True)) == list(range(camera.sent))
    assert a.counter("mirror_skipped") == 0


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_stopped_encoder_goes_on_behind_the_mirrored_tail(stand, codec):
    a, b = stand.pair(standby_encoder="stopped", codec=codec)
    camera = stand.begin()
    a.role("active", 5)
    b.role("standby", 0)
    camera.start()
    b.wait_for(lambda: "encoder_stopped" in b.codes())
    a.wait_for(lambda: a.counter("record_frames") > 80)
    (pid,) = b.ffmpeg_pids()
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    assert b.files() == []
    a.kill()
    pause(0.1)
    b.role("active", 6)
    b.wait_for(lambda: "recording_continues" in b.codes())
    pause(1)
    camera.stop()
    assert b.wait() == 0
    b.hear()
    takeover = b.recording()["takeover"]
    assert 0 < takeover["sigcont_ms"] < takeover["first_fragment_ms"]  # how soon is for a machine of its own
    assert takeover["step_ms"] == pytest.approx((PERIOD_NS + LATE_NS) / 1e6, abs=0.001)
    value = joined_plays(stand, [b.recordings], (PERIOD_NS + 2 * LATE_NS) / 1e6)
    assert [(piece["node"], piece["mirrored"]) for piece in value["pieces"]] == [("node-a", True), ("node-b", False)]
    assert value["frames"] == camera.sent
    assert value["overlap_frames"] == 0
    books_balance(b)


def test_a_stopped_encoder_that_was_killed_is_replaced_when_it_is_needed(stand):
    a, b = stand.pair(standby_encoder="stopped")
    camera = stand.begin()
    a.role("active", 5)
    camera.start()
    b.wait_for(lambda: "encoder_stopped" in b.codes())
    (pid,) = b.ffmpeg_pids()
    os.kill(pid, signal.SIGKILL)
    b.wait_for(lambda: b.codes().count("encoder_stopped") == 2)  # seen and made anew before it is needed
    assert "encoder_ended" in b.codes()
    a.kill()
    b.role("active", 6)
    b.wait_for(lambda: b.counter("record_frames") > 30)
    camera.stop()
    assert b.wait() == 0
    assert joined_plays(stand, [b.recordings], 20.01)["frames"] == camera.sent


def test_handed_back_the_encoder_is_put_away_again(stand):
    a, b = stand.pair(standby_encoder="stopped")
    camera = stand.begin()
    a.role("active", 5)
    camera.start()
    b.wait_for(lambda: "encoder_stopped" in b.codes())
    a.wait_for(lambda: a.counter("record_frames") > 40)
    b.role("active", 6)  # as failover has it: the twin is active first, then this one stands
    pause(0.1)
    a.role("standby", 6)
    a.wait_for(lambda: a.recording().get("state") == "standing")
    b.wait_for(lambda: b.counter("record_frames") > 40)
    a.role("active", 7)
    pause(0.1)
    b.role("standby", 7)
    b.wait_for(lambda: b.recording().get("state") == "standing")
    pause(0.5)
    camera.stop()
    for node in (a, b):
        assert node.wait() == 0
        assert "encoder_ended" not in node.codes()
    value = joined_plays(stand, [a.recordings, b.recordings], 20.01)
    assert value["frames"] == camera.sent
    assert [piece["node"] for piece in value["pieces"]] == ["node-a", "node-b", "node-a"]


def test_a_stranger_in_the_twins_place_gets_nothing(stand, tmp_path):
    a, b = stand.pair()
    text = b.config.read_text()
    stranger = LocalCa(tmp_path / "other").client("node-b")
    for name in ("ca_file", "cert_file", "key_file"):
        before = next(line for line in text.splitlines() if line.startswith(name))
        text = text.replace(before, f'{name} = "{getattr(stranger, name)}"')
    b.config.write_text(text)
    camera = stand.begin()
    camera.start()
    a.wait_for(lambda: "is not node-b" in a.recording().get("mirror", {}).get("to_twin_trouble", ""))
    pause(0.5)
    assert a.files(mirror=True) == [] and b.files(mirror=True) == []
    a.wait_for(lambda: a.counter("record_frames") > 10)  # and its own recording goes on
