"""Video through the real ffmpeg: right frames, right colours, right words for what is broken."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.camera import ffmpeg
from agent.camera.ffmpeg import FfmpegReader, VideoInfo, checked_geometry, filter_chain, parse_probe, probe
from touchline.errors import ConfigError, InputError, ResourceError

WIDTH, HEIGHT, FRAMES = 320, 192, 40


def encode(path: Path, frames: int, arguments: str, width: int = WIDTH, height: int = HEIGHT) -> Path:
    """A video whose frame n is filled with grey 5 n + 20, its upper left quarter with orange."""
    raw = bytearray()
    for number in range(frames):
        image = np.full((height, width, 3), 5 * number + 20, np.uint8)
        image[: height // 2, : width // 2] = (230, 120, 30)
        raw += image.tobytes()
    command = f"ffmpeg -nostdin -loglevel error -y -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r 25 -i pipe:0"
    subprocess.run([*command.split(), *arguments.split(), str(path)], input=bytes(raw), check=True, timeout=60)
    return path


BT601 = "-vf scale=out_color_matrix=bt601:out_range=tv,format=yuv420p -colorspace smpte170m"
H264 = f"{BT601} -c:v libx264 -g 12 -bf 2 -crf 6 -movflags +faststart"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ffmpeg")


@pytest.fixture(scope="module")
def video(folder: Path) -> Path:
    return encode(folder / "grey.mp4", FRAMES, H264)


def grey_of(image: np.ndarray) -> int:
    """Frame number that an RGB image of :func:`encode` shows."""
    return round((float(image[-20:, -20:].mean()) - 20) / 5)


def numbers(reader: FfmpegReader, limit: int = 1000) -> list[int]:
    width, height = reader.size_px
    image = np.empty((height, width, 3), np.uint8)
    seen: list[int] = []
    with reader:
        while len(seen) < limit and reader.readinto(image.data):
            seen.append(grey_of(image))
    return seen


def test_probe_says_what_is_in_the_file(video: Path):
    info = probe(video)
    assert (info.width_px, info.height_px, info.rate_hz, info.frames, info.codec) == (320, 192, 25.0, 40, "h264")
    assert info.duration_s == pytest.approx(1.6) and info.matrix == "bt601" and info.seekable and not info.full_range


def test_every_frame_comes_once_and_in_order(video: Path):
    reader = FfmpegReader(video)
    assert numbers(reader) == list(range(FRAMES))
    assert reader.frames_read == FRAMES and reader.messages() == ()


@pytest.mark.parametrize("first", [1, 11, 12, 13, 25, 39])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_the_first_frame_is_exact_in_any_container(folder: Path, video: Path, first: int, ending: str):
    path = folder / f"grey.{ending}"
    if not path.exists():
        subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", "-i", video, "-c", "copy", path], check=True)
    assert numbers(FfmpegReader(path, first_frame=first)) == list(range(first, FRAMES))


def test_a_variable_rate_is_neither_filled_nor_thinned(folder: Path):
    path = folder / "variable.mkv"
    matrix = BT601.replace("yuv420p", "yuv420p,setpts=N*N/25/TB")
    encode(path, 12, f"{matrix} {' '.join(ffmpeg._keep_every_frame('ffmpeg'))} -c:v libx264 -crf 6")
    assert numbers(FfmpegReader(path)) == list(range(12))
    assert numbers(FfmpegReader(path, first_frame=5)) == list(range(5, 12))


def test_a_clip_with_an_edit_list_is_not_called_truncated(folder: Path, video: Path):
    path = folder / "clip.mp4"
    subprocess.run(
        ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-ss", "0.7", "-i", video, "-c", "copy", path], check=True
    )
    seen = numbers(FfmpegReader(path))
    assert seen[-1] == FRAMES - 1 and seen == list(range(seen[0], FRAMES))


def test_frames_land_in_the_given_memory_and_nowhere_else(video: Path):
    slots = np.full((3, WIDTH * HEIGHT * 3 + 64), 7, np.uint8)
    with FfmpegReader(video) as reader:
        assert reader.frame_bytes == WIDTH * HEIGHT * 3
        for slot in slots:
            assert reader.wait(60) and reader.readinto(slot.data)
    assert (slots[:, reader.frame_bytes :] == 7).all()
    assert [grey_of(slot[: reader.frame_bytes].reshape(HEIGHT, WIDTH, 3)) for slot in slots] == [0, 1, 2]


def test_a_buffer_too_small_is_a_mistake_of_the_caller(video: Path):
    with FfmpegReader(video) as reader, pytest.raises(ValueError, match="a frame 184320"):
        reader.readinto(memoryview(bytearray(10)))


@pytest.mark.parametrize(
    "coding",
    [
        H264,
        "-vf scale=out_color_matrix=bt709:out_range=tv,format=yuv420p -colorspace bt709 -c:v libx264 -crf 6",
        "-vf scale=out_color_matrix=bt601:out_range=pc,format=yuvj420p -colorspace smpte170m -c:v libx264 -crf 6",
        "-vf scale=out_color_matrix=bt709:out_range=pc,format=yuvj420p -colorspace bt709 -c:v libx264 -crf 6",
        "-vf scale=out_color_matrix=bt601:out_range=pc,format=yuvj420p -c:v mjpeg -q:v 2",
    ],
)
def test_colours_survive_every_matrix_and_range(folder: Path, coding: str):
    path = encode(folder / "colour.mkv", 2, coding)
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    with FfmpegReader(path) as reader:
        assert reader.readinto(image.data)
    assert np.abs(image[40, 60].astype(int) - (230, 120, 30)).max() <= 6
    assert np.abs(image[-20, -20].astype(int) - 20).max() <= 3


def test_hevc_of_unknown_matrix_is_bt709_when_large(folder: Path):
    coding = "-vf scale=out_color_matrix=bt709:out_range=tv,format=yuv420p -c:v libx265 -x265-params log-level=none"
    path = encode(folder / "large.mp4", 2, coding, width=1280, height=720)
    assert probe(path).matrix == "bt709"
    image = np.empty((720, 1280, 3), np.uint8)
    with FfmpegReader(path) as reader:
        assert reader.readinto(image.data)
    assert np.abs(image[40, 60].astype(int) - (230, 120, 30)).max() <= 6


def test_nv12_and_gray8(video: Path):
    from agent.camera.port import PixelFormat
    from agent.detect.pixels import to_rgb

    for name, pixel_format in (("nv12", PixelFormat.NV12), ("gray8", PixelFormat.GRAY8)):
        with FfmpegReader(video, pixel_format=name) as reader:
            frame = bytearray(reader.frame_bytes)
            assert reader.readinto(memoryview(frame))
        image = to_rgb(frame, WIDTH, HEIGHT, pixel_format)
        orange = (230, 120, 30) if name == "nv12" else (143, 143, 143)
        assert np.abs(image[40, 60].astype(int) - orange).max() <= 6
        assert np.abs(image[-20, -20].astype(int) - 20).max() <= 3


def test_region_and_size(video: Path):
    image = np.empty((30, 50, 3), np.uint8)
    with FfmpegReader(video, roi=(110, 67, 100, 60), size=(50, 30)) as reader:
        assert reader.size_px == (50, 30) and reader.readinto(image.data)
    assert image[5, 5, 0] > 200 and image[5, 45, 0] < 40 and image[25, 5, 0] < 40
    column = int(np.flatnonzero(image[2, :, 0] < 125)[0])
    row = int(np.flatnonzero(image[:, 2, 0] < 125)[0])
    assert abs(column - 25) <= 1 and abs(row - 14) <= 1  # (160 - 110) / 2 and (96 - 67) / 2


def test_rotated_recordings_are_seen_upright(folder: Path, video: Path):
    path = folder / "rotated.mp4"
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-display_rotation", "90", "-i"]
    done = subprocess.run([*command, video, "-c", "copy", path], check=False, capture_output=True)
    if done.returncode != 0:
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-i"]  # before ffmpeg 6
        subprocess.run([*command, video, "-c", "copy", "-metadata:s:v:0", "rotate=90", path], check=True)
    assert (probe(path).width_px, probe(path).height_px) == (HEIGHT, WIDTH)
    assert len(numbers(FfmpegReader(path))) == FRAMES


def test_loop_begins_again(video: Path):
    seen = numbers(FfmpegReader(video, loop=True, first_frame=38), limit=50)
    assert seen == [38, 39, *range(40), *range(8)]


def test_realtime_asks_ffmpeg_for_the_pace(video: Path):
    assert "-re" in FfmpegReader(video, realtime=True).command()
    assert "-re" not in FfmpegReader(video).command()


@pytest.mark.parametrize(
    ("roi", "size", "pixel_format", "words"),
    [
        ((300, 0, 100, 50), None, "rgb24", "x \\+ w <= 320"),
        ((-1, 0, 100, 50), None, "rgb24", "320x192"),
        ((0, 0, 0, 50), None, "rgb24", "320x192"),
        (None, (0, 50), "rgb24", "0x50"),
        (None, (99999, 50), "rgb24", "99999x50"),
        (None, (33, 50), "nv12", "even"),
        (None, None, "raw16", "rgb24, nv12, gray8"),
    ],
)
def test_impossible_geometry_is_refused(video: Path, roi, size, pixel_format: str, words: str):
    with pytest.raises(ConfigError, match=words):
        FfmpegReader(video, roi=roi, size=size, pixel_format=pixel_format)


@given(st.tuples(*[st.integers(-50, 450)] * 4))
def test_a_region_is_taken_exactly_when_it_lies_inside(roi):
    info = VideoInfo(320, 192, 25.0, 10, None, "h264")
    x, y, width, height = roi
    inside = 0 <= x < x + width <= 320 and 0 <= y < y + height <= 192
    try:
        assert checked_geometry(info, roi, None, "rgb24")[0] == roi and inside
        assert ("crop" in filter_chain(info, roi, (64, 64), "rgb24")) == (roi != (0, 0, 320, 192))
    except ConfigError:
        assert not inside


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.mp4: no such file"):
        FfmpegReader(tmp_path / "none.mp4")


@pytest.mark.parametrize("content", [b"", b"just some words\n" * 100, bytes(range(256)) * 40])
@pytest.mark.parametrize("name", ["a.mp4", "a.txt", "-a.mkv"])
def test_a_file_that_is_no_video(tmp_path: Path, content: bytes, name: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a usable video") as caught:
        probe(path)
    assert "\n" not in caught.value.message


def test_sound_alone_is_no_video(tmp_path: Path):
    path = tmp_path / "sound.mp4"
    command = f"ffmpeg -nostdin -loglevel error -f lavfi -i sine=d=0.2 -c:a aac {path}"
    subprocess.run(command.split(), check=True)
    with pytest.raises(InputError, match="no video stream"):
        probe(path)


def test_a_header_cut_off_is_no_video(tmp_path: Path, video: Path):
    path = tmp_path / "cut.mp4"
    path.write_bytes(video.read_bytes()[:300])
    with pytest.raises(InputError):
        FfmpegReader(path)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
def test_a_truncated_video_names_the_frame_reached(folder: Path, video: Path, ending: str, share: float):
    whole = folder / f"noise.{ending}"
    if not whole.exists():
        source = f"-f lavfi -i testsrc2=s={WIDTH}x{HEIGHT}:r=25:d=4"
        command = f"ffmpeg -nostdin -loglevel error {source} -c:v libx264 -g 12 -movflags +faststart {whole}"
        subprocess.run(command.split(), check=True)
    data = whole.read_bytes()
    path = folder / f"cut{share}.{ending}"
    path.write_bytes(data[: int(len(data) * share)])
    with FfmpegReader(path) as reader, pytest.raises(InputError, match=r"truncated|cannot be decoded") as caught:
        while reader.readinto(memoryview(bytearray(reader.frame_bytes))):
            pass
    assert f"at frame {reader.frames_read} of 100" in caught.value.message and 0 < reader.frames_read < 100
    assert "again" in caught.value.hint


def test_a_frame_beyond_the_end(video: Path):
    for number in (-1, FRAMES):
        with pytest.raises(InputError, match=f"no frame {number}") as caught:
            FfmpegReader(video, first_frame=number)
        assert "0..39" in caught.value.hint


def test_a_missing_ffmpeg_names_its_package(video: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    reader = FfmpegReader(video)

    def absent(program: str, package: str) -> str:
        raise ResourceError(f"{program} is not installed", hint=f"apt install {package}")

    monkeypatch.setattr(ffmpeg, "need", absent)
    with pytest.raises(ResourceError, match="ffmpeg is not installed") as caught:
        reader.start()
    assert caught.value.hint == "apt install ffmpeg"
    with pytest.raises(ResourceError, match="ffprobe is not installed"):
        probe(video)


def test_a_killed_child_is_named_and_reaped(video: Path):
    reader = FfmpegReader(video, loop=True)
    reader.start()
    frame = memoryview(bytearray(reader.frame_bytes))
    assert reader.readinto(frame)
    child = reader._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(ResourceError, match="killed by signal 9"):
        while reader.readinto(frame):
            pass
    reader.close()
    reader.close()
    assert child.returncode == -signal.SIGKILL


def test_close_in_mid_stream_leaves_no_child(video: Path):
    with FfmpegReader(video, loop=True) as reader:
        assert reader.readinto(memoryview(bytearray(reader.frame_bytes)))
        child = reader._child
    assert child is not None and child.returncode is not None
    with pytest.raises(RuntimeError, match="not started"):
        reader.wait(0)


def test_silence_is_an_error_in_the_end(video: Path):
    with FfmpegReader(video, loop=True, stall_s=0.3) as reader:
        child = reader._child
        assert child is not None
        frame = memoryview(bytearray(reader.frame_bytes))
        assert reader.readinto(frame)
        os.kill(child.pid, signal.SIGSTOP)
        with pytest.raises(InputError, match="gave nothing"):
            while reader.readinto(frame):
                pass


def test_damage_inside_is_reported(folder: Path):
    whole = folder / "damage.mkv"
    source = f"-f lavfi -i testsrc2=s={WIDTH}x{HEIGHT}:r=25:d=2"
    subprocess.run(f"ffmpeg -nostdin -loglevel error -y {source} -c:v libx264 {whole}".split(), check=True)
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    for start in range(middle, middle + 30_000, 3000):
        data[start : start + 600] = np.random.default_rng(start).bytes(600)
    whole.write_bytes(data)
    with FfmpegReader(whole) as reader:
        frame = memoryview(bytearray(reader.frame_bytes))
        try:
            while reader.readinto(frame):
                pass
        except InputError as error:
            assert "at frame" in error.message
        assert reader.messages()


def test_probe_output_without_the_needed_fields():
    empty: list[dict[str, Any]] = [{}, {"streams": []}, {"streams": [{"codec_name": "h264", "width": 0, "height": 9}]}]
    for found in empty:
        with pytest.raises(InputError):
            parse_probe(found, Path("x.mp4"))
    stream = {"codec_name": "h264", "width": 64, "height": 48, "avg_frame_rate": "0/0", "r_frame_rate": "30/1"}
    info = parse_probe({"streams": [stream]}, Path("x.mp4"))
    assert info.rate_hz == 30 and info.frames is None and not info.seekable
