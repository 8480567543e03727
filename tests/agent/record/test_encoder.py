"""ffmpeg as a program: its command line, the probe, and one life of it with all the ways to end."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.camera.port import PixelFormat
from agent.record.command import ENCODERS, SOFTWARE, Coding, Picture, arguments, candidates
from agent.record.ebml import stream_head
from agent.record.encoder import COPY_AFTER_NS, Encoder, EncoderGone, death_of
from agent.record.probe import Found, find_encoder
from tests.agent.record.helpers import wait_for
from touchline.errors import ConfigError, ResourceError
from touchline.timeline import monotonic_ns, sleep_until

PICTURE = Picture(64, 64, PixelFormat.GRAY8, 50.0)
HEAD = stream_head(64, 64, PixelFormat.GRAY8, 50.0)
FRAME = memoryview(bytes(64 * 64))


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


# --- command and probe -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("codec", "name"), [(codec, name) for codec, names in ENCODERS.items() for name in names])
def test_every_command_line_asks_for_what_the_recording_needs(codec, name):
    argv = arguments("ffmpeg", name, Coding(codec=codec, gop=15, threads=3), PICTURE)
    for words in (["-fps_mode", "passthrough"], ["-g", "15"], ["-bf", "0"], ["-threads", "3"], ["-c:v", name]):
        at = argv.index(words[0])
        assert argv[at : at + 2] == words
    assert "nobuffer" not in argv
    if name in ("libx264", "libx265"):
        assert argv[argv.index("-crf") + 1] == "18"


def test_the_first_that_works_is_taken_and_the_others_are_told(caplog):
    found = find_encoder("", Coding(), PICTURE)
    assert found.encoder == "libx264"
    others = candidates(Coding())[: candidates(Coding()).index("libx264")]
    assert [one.partition(":")[0] for one in found.passed_over] == others
    assert found.severity == "warning" and found.complaint.startswith("libx264, on the CPU, encodes; 3 passed over: ")
    (line,) = caplog.records
    assert line.levelname == "WARNING" and all(f"{name}: " in line.getMessage() for name in others)


def test_an_encoder_that_was_asked_for_is_taken_without_a_word(caplog):
    found = find_encoder("", Coding(encoder="libx264"), PICTURE)
    assert found.complaint == "" and not caplog.records


def test_hardware_behind_other_hardware_is_no_warning():
    found = Found("h264_nvenc", (), ("h264_nvmpi: ffmpeg has no h264_nvmpi",))
    assert found.severity == "info" and found.complaint.startswith("h264_nvenc encodes; 1 passed over: h264_nvmpi")
    assert set(SOFTWARE) == {names[-1] for names in map(list, ENCODERS.values())}


@pytest.mark.parametrize("kind", list(PixelFormat))
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_every_kind_of_picture_can_be_encoded(kind, codec):
    coding = Coding(codec=codec, encoder="libx264" if codec == "h264" else "libx265", preset="ultrafast")
    assert find_encoder("", coding, Picture(64, 64, kind, 120.0)).encoder == coding.encoder


def test_an_encoder_that_is_not_here_is_an_error_that_says_why():
    with pytest.raises(ResourceError, match=r"h264_nvmpi: .* has no h264_nvmpi") as caught:
        find_encoder("", Coding(encoder="h264_nvmpi"), PICTURE)
    assert "record.encoder" in caught.value.hint


def test_an_encoder_without_its_hardware_is_an_error_in_its_own_words():
    listed = subprocess.run(["ffmpeg", "-v", "error", "-encoders"], capture_output=True, check=True).stdout
    if b"h264_v4l2m2m" not in listed or Path("/dev/video0").exists():
        pytest.skip("this ffmpeg was built without V4L2, or the machine has such hardware")
    with pytest.raises(ResourceError, match=r"h264_v4l2m2m: exit code 1: .*encoder"):
        find_encoder("", Coding(encoder="h264_v4l2m2m"), PICTURE)


def test_an_encoder_of_the_other_codec_is_a_mistake_in_the_configuration():
    with pytest.raises(ConfigError, match="does not make hevc") as caught:
        find_encoder("", Coding(codec="hevc", encoder="libx264"), PICTURE)
    assert "libx265" in caught.value.hint


def test_odd_pictures_are_refused():
    with pytest.raises(ConfigError, match="even width"):
        find_encoder("", Coding(), Picture(65, 64, PixelFormat.GRAY8, 50.0))


def test_without_ffmpeg_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("touchline.run.shutil.which", lambda *_args, **_more: None)
    with pytest.raises(ResourceError, match="ffmpeg is not installed") as caught:
        find_encoder("", Coding(), PICTURE)
    assert caught.value.hint == "apt install ffmpeg"
    with pytest.raises(ResourceError, match="cannot be run"):
        find_encoder(str(tmp_path / "nothing"), Coding(), PICTURE)


def test_key_frames_elsewhere_than_asked_are_seen(tmp_path):
    program = script(tmp_path / "ffmpeg", 'exec ffmpeg $(echo "$*" | sed "s/-g 15/-g 7/")')
    with pytest.raises(ResourceError, match=r"key frames at \[0, 7, 14\], wanted at \[0, 15\]"):
        find_encoder(program, Coding(encoder="libx264", preset="ultrafast"), PICTURE)


def test_times_that_are_changed_are_seen(tmp_path):
    program = script(tmp_path / "ffmpeg", 'exec ffmpeg $(echo "$*" | sed "s/1:1000000/1:1000/")')
    with pytest.raises(ResourceError, match=r"pictures went in, \d+ came out, or at other times"):
        find_encoder(program, Coding(encoder="libx264", preset="ultrafast"), Picture(64, 64, PixelFormat.GRAY8, 120.0))


def test_output_that_is_no_mp4_is_seen(tmp_path):
    program = script(
        tmp_path / "ffmpeg", 'case "$*" in *-encoders*) exec ffmpeg "$@";; esac; cat >/dev/null; echo Hello'
    )
    with pytest.raises(ResourceError, match=r"came out|cannot be used"):
        find_encoder(program, Coding(encoder="libx264"), PICTURE)


# --- one life --------------------------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path):
    """Starts an encoder that is a shell script; closes it afterwards."""
    made: list[Encoder] = []

    def begin(text: str) -> Encoder:
        made.append(Encoder([script(tmp_path / "program", text)], HEAD))
        return made[-1]

    yield begin
    for encoder in made:
        encoder.close()


def pump(encoder: Encoder, timeout_s: float = 60.0) -> None:
    assert encoder.pump(timeout_s)


def test_a_frame_is_in_the_pipe_whole_and_in_order(start):
    encoder = start("exec cat")
    pixels = memoryview(os.urandom(64 * 64))
    pump(encoder)
    encoder.offer(7, pixels, lambda: True)
    pump(encoder)
    encoder.close_input()
    got = b""
    while data := os.read(encoder.output, 1 << 16):
        got += data
    assert got.startswith(HEAD) and got.endswith(bytes(pixels))
    assert encoder.wait(60.0) == 0


def test_a_program_that_takes_nothing_does_not_hold_the_slot(start):
    """The pixels are copied out of the ring when the pipe stays full, and torn ones are seen."""
    encoder = start("exec sleep 60")
    large = memoryview(bytearray(3 << 20))
    asked: list[int] = []

    def valid() -> bool:
        asked.append(monotonic_ns())
        return True

    begin_ns = monotonic_ns()
    encoder.offer(0, large, valid)
    assert not encoder.pump(0.1)
    assert len(asked) == 1 and asked[0] - begin_ns >= COPY_AFTER_NS // 2
    assert encoder.busy and not encoder.torn and encoder.busy_ns() > 90_000_000
    assert encoder.kill() == -signal.SIGKILL


def test_pixels_that_changed_meanwhile_are_torn(start):
    encoder = start("exec sleep 60")
    encoder.offer(0, memoryview(bytearray(3 << 20)), lambda: False)
    encoder.pump(0.1)
    assert encoder.torn
    encoder.kill()


def test_a_second_frame_before_the_first_is_in_is_a_mistake_of_ours(start):
    encoder = start("exec sleep 60")
    encoder.offer(0, memoryview(bytearray(3 << 20)), lambda: True)
    with pytest.raises(RuntimeError):
        encoder.offer(1, FRAME, lambda: True)
    encoder.kill()


def test_a_program_that_ends_is_seen_with_code_and_last_words(start):
    encoder = start("echo 'no such device' >&2; exit 3")
    with pytest.raises(EncoderGone):
        for number in range(1000):
            encoder.offer(number, FRAME, lambda: True)
            pump(encoder)
            sleep_until(monotonic_ns() + 2_000_000)
    assert encoder.wait(60.0) == 3
    wait_for(lambda: encoder.last_words() == "no such device")
    assert death_of(3) == "exit code 3"
    assert death_of(-9) == "killed by SIGKILL"


def test_stop_and_go_are_seen_in_the_kernels_words(start):
    encoder = start("while :; do :; done")
    assert not encoder.stopped()
    assert encoder.stop(60.0) > 0
    assert encoder.stopped()
    assert encoder.go_on(60.0) > 0
    assert not encoder.stopped()
    encoder.kill()
    with pytest.raises(EncoderGone):
        encoder.stop()
    with pytest.raises(EncoderGone):
        encoder.go_on()


def test_a_program_that_will_not_end_is_killed(start):
    encoder = start("trap '' TERM; while :; do sleep 1; done")
    encoder.stop(60.0)
    encoder.close_input()
    assert encoder.wait(0.2) == -signal.SIGKILL


def test_no_program_is_an_error(tmp_path):
    with pytest.raises(ResourceError, match="cannot be executed"):
        Encoder([str(tmp_path / "nothing")], HEAD)


def is_dead(pid: int) -> bool:
    """Whether it is gone, or waits for somebody to collect it."""
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_it_dies_with_us_even_when_it_is_stopped(tmp_path):
    """A stopped process whose parent was killed would stay for ever."""
    code = (
        "from agent.record.encoder import Encoder\n"
        f"encoder = Encoder([{script(tmp_path / 'p', 'exec sleep 600')!r}], b'')\n"
        "while 'sleep' not in open(f'/proc/{encoder.pid}/cmdline').read():\n"  # setpriv has done its part
        "    pass\n"
        "encoder.stop(60.0)\n"
        "print(encoder.pid, flush=True)\n"
        "input()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, cwd=Path.cwd()) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert " T " in Path(f"/proc/{pid}/stat").read_text()
        parent.kill()
    wait_for(lambda: is_dead(pid))
