"""The landing pass against plain loops: padding, region, alignment, conversion, scaling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.camera.port import PixelFormat, frame_bytes
from agent.camera.v4l2.pixels import Colours, LandingPass, Layout, Region, checked_region, colours
from touchline.errors import ConfigError

Bytes = NDArray[np.uint8]
LINE_BYTES = {"GREY": 1, "RGB3": 3, "YUYV": 2, "NV12": 1, "NM12": 1, "RG10": 2, "RG12": 2, "RG16": 2}
CASES = [
    ("GREY", PixelFormat.GRAY8),
    ("YUYV", PixelFormat.GRAY8),
    ("RGB3", PixelFormat.RGB24),
    ("YUYV", PixelFormat.RGB24),
    ("NV12", PixelFormat.NV12),
    ("NM12", PixelFormat.NV12),
    ("YUYV", PixelFormat.NV12),
    ("RG10", PixelFormat.RAW16),
    ("RG12", PixelFormat.RAW16),
    ("RG16", PixelFormat.RAW16),
]


def memory(layout: Layout, seed: int = 0) -> list[Bytes]:
    """Random read-only memory planes, exactly as long as the layout says that it needs."""
    random = np.random.default_rng(seed)
    planes = [random.integers(0, 256, size, dtype=np.uint8) for size in layout.plane_bytes()]
    for plane in planes:
        plane.setflags(write=False)
    return planes


def land(layout: Layout, planes: list[Bytes], target: PixelFormat, region: Region | None = None, **more: object):
    region = region or (0, 0, layout.width_px, layout.height_px)
    size = more.pop("size", region[2:])
    assert isinstance(size, tuple)
    need = frame_bytes(size[0], size[1], target)
    landing = bytearray(b"\x5a" * (need + 7))
    LandingPass(layout, region, size, target, **more).land(planes, memoryview(landing))  # type: ignore[arg-type]
    assert landing[need:] == b"\x5a" * 7, "wrote beyond the frame"
    return np.frombuffer(landing, np.uint8, need)


def expected(layout: Layout, planes: list[Bytes], region: Region, target: PixelFormat) -> Bytes:
    """The slow way: pixel by pixel from the formats' definitions."""
    x, y, wide, high = region
    stride = layout.strides[0]
    memory_0 = planes[0].astype(int)
    lines, columns = range(y, y + high), range(x, x + wide)
    if layout.fourcc.startswith("RG1"):
        shift = 16 - int(layout.fourcc[2:])
        words = [
            (memory_0[j * stride + 2 * i] | memory_0[j * stride + 2 * i + 1] << 8) << shift & 0xFFFF
            for j in lines
            for i in columns
        ]
        return np.array(words, "<u2").view(np.uint8)
    if layout.fourcc in {"GREY", "RGB3"}:
        depth = LINE_BYTES[layout.fourcc]
        values = [memory_0[j * stride + depth * i + k] for j in lines for i in columns for k in range(depth)]
        return np.array(values, np.uint8)
    if layout.fourcc == "YUYV":
        return expected_of_yuyv(memory_0, stride, region, target)
    luma = [memory_0[j * stride + i] for j in lines for i in columns]
    chroma, start, step = memory_0, stride * layout.height_px, stride
    if layout.fourcc == "NM12":
        chroma, start, step = planes[1].astype(int), 0, layout.strides[1]
    pairs = [chroma[start + j // 2 * step + i] for j in lines[::2] for i in columns]
    return np.array(luma + pairs, np.uint8)


def expected_of_yuyv(memory_0: NDArray[np.int_], stride: int, region: Region, target: PixelFormat) -> Bytes:
    x, y, wide, high = region
    lines, columns = range(y, y + high), range(x, x + wide)

    def at(j: int, i: int) -> tuple[int, int, int]:
        pair = j * stride + i // 2 * 4
        return memory_0[j * stride + 2 * i], memory_0[pair + 1], memory_0[pair + 3]

    if target is PixelFormat.GRAY8:
        return np.array([np.clip(round((at(j, i)[0] - 16) * 255 / 219), 0, 255) for j in lines for i in columns], "u1")
    if target is PixelFormat.NV12:
        values = [at(j, i)[0] for j in lines for i in columns]
        for j in lines[::2]:
            for i in columns[::2]:
                values += [(at(j, i)[k] + at(j + 1, i)[k] + 1) // 2 for k in (1, 2)]
        return np.array(values, np.uint8)
    rgb = []
    for j in lines:
        for i in columns:
            luma, cb, cr = at(j, i)
            light = (max(luma, 16) - 16) * 255 / 219
            red = light + 1.596027 * (cr - 128)
            green = light - 0.391762 * (cb - 128) - 0.812968 * (cr - 128)
            blue = light + 2.017232 * (cb - 128)
            rgb += [np.clip(round(value), 0, 255) for value in (red, green, blue)]
    return np.array(rgb, np.uint8)


def make_layout(code: str, width: int, height: int, padding: int, of: Colours | None = None) -> Layout:
    stride = width * LINE_BYTES[code] + padding
    strides = (stride, stride + 4) if code == "NM12" else (stride,)
    return Layout(code, width, height, strides, of or Colours())


@st.composite
def pictures(draw: st.DrawFn) -> tuple[str, PixelFormat, Layout, Region, int]:
    code, target = draw(st.sampled_from(CASES))
    width, height = draw(st.integers(2, 16)) * 2, draw(st.integers(2, 10)) * 2
    even = code not in {"GREY", "RGB3"}
    step = 2 if even else 1
    x, y = draw(st.integers(0, (width - 2) // step)) * step, draw(st.integers(0, (height - 2) // step)) * step
    wide = draw(st.integers(1, (width - x) // step)) * step
    high = draw(st.integers(1, (height - y) // step)) * step
    layout = make_layout(code, width, height, draw(st.integers(0, 9)))
    return code, target, layout, (x, y, wide, high), draw(st.integers(0, 2**32 - 1))


@settings(deadline=None, max_examples=150)
@given(pictures())
def test_every_source_lands_as_its_definition_says(picture):
    code, target, layout, region, seed = picture
    planes = memory(layout, seed)
    got, want = land(layout, planes, target, region), expected(layout, planes, region, target)
    near = 2 if (code, target) == ("YUYV", PixelFormat.RGB24) else 0
    assert np.abs(got.astype(int) - want.astype(int)).max() <= near


@pytest.mark.parametrize(("code", "target"), CASES)
def test_no_byte_beyond_the_picture_is_read(code, target):
    """The last line of a buffer may end without its padding: the planes here are cut exactly there."""
    layout = make_layout(code, 32, 16, 13)
    land(layout, memory(layout), target)
    with pytest.raises((ValueError, TypeError)):
        land(layout, [plane[:-1] for plane in memory(layout)], target)


def test_raw_words_that_stand_at_the_upper_end_stay_there():
    layout = make_layout("RG10", 8, 4, 0)
    planes = memory(layout)
    assert (land(layout, planes, PixelFormat.RAW16, msb_aligned=True) == planes[0]).all()


@pytest.mark.parametrize(("code", "target"), [case for case in CASES if case[1] is not PixelFormat.RAW16])
@pytest.mark.parametrize("size", [(16, 8), (64, 48)])
def test_a_region_is_scaled_to_the_view(code, target, size):
    """Two flat halves stay two flat halves."""
    layout = make_layout(code, 40, 24, 6)
    planes = [np.full(count, 60, np.uint8) for count in layout.plane_bytes()]
    flat = land(layout, planes, target, (8, 4, 32, 16))[: size[0] * size[1]]
    scaled = land(layout, planes, target, (8, 4, 32, 16), size=size)
    assert len(scaled) == frame_bytes(size[0], size[1], target)
    assert set(scaled.tolist()) <= set(flat.tolist())


def test_scaling_down_keeps_what_stands_where():
    layout = make_layout("GREY", 40, 24, 5)
    planes = [np.zeros(layout.plane_bytes()[0], np.uint8)]
    for line in range(24):
        planes[0][line * 45 + 24 : line * 45 + 40] = 200
    got = land(layout, planes, PixelFormat.GRAY8, (8, 4, 32, 16), size=(16, 8)).reshape(8, 16)
    assert (got[:, :8] == 0).all()
    assert (got[:, 8:] == 200).all()


@pytest.mark.parametrize(
    ("numbers", "want"),
    [
        ((8, 0, 0), Colours()),
        ((8, 1, 1), Colours(full_range=True)),
        ((7, 0, 0), Colours(full_range=True)),
        ((3, 0, 0), Colours(0.2126, 0.0722)),
        ((3, 1, 2), Colours()),
        ((12, 0, 0), Colours(0.2126, 0.0722)),
        ((10, 0, 0), Colours(0.2627, 0.0593)),
        ((2, 0, 0), Colours(0.212, 0.087)),
        ((0, 4, 2), Colours(0.2126, 0.0722)),
    ],
)
def test_colours_follow_the_kernels_defaults(numbers, want):
    assert colours(*numbers) == want


@settings(deadline=None)
@given(
    st.tuples(*[st.integers(0, 255)] * 3),
    st.sampled_from([(0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)]),
    st.booleans(),
)
def test_any_colour_comes_back_from_any_encoding(rgb, weights, full_range):
    red, green, blue = (value / 255 for value in rgb)
    luma = weights[0] * red + (1 - sum(weights)) * green + weights[1] * blue
    cb, cr = (blue - luma) / (2 - 2 * weights[1]), (red - luma) / (2 - 2 * weights[0])
    scale, chroma, black = (255, 255, 0) if full_range else (219, 224, 16)
    pair = [np.clip(round(value), 0, 255) for value in (luma * scale + black, cb * chroma + 128, cr * chroma + 128)]
    layout = make_layout("YUYV", 4, 2, 0, Colours(weights[0], weights[1], full_range))
    planes = [np.array([pair[0], pair[1], pair[0], pair[2]] * 4, np.uint8)]
    got = land(layout, planes, PixelFormat.RGB24).reshape(-1, 3)
    assert np.abs(got.astype(int) - np.array(rgb)).max() <= 3


def test_full_range_luma_is_gray_as_it_is():
    layout = make_layout("YUYV", 4, 2, 0, Colours(full_range=True))
    planes = memory(layout)
    assert (land(layout, planes, PixelFormat.GRAY8) == planes[0][::2]).all()


@pytest.mark.parametrize(
    ("code", "target", "roi", "size", "words"),
    [
        (
            "GREY",
            PixelFormat.GRAY8,
            [10, 0, 64, 48],
            (64, 48),
            r"outside the 64x48 picture — keep 0 <= x, x \+ w <= 64",
        ),
        ("GREY", PixelFormat.GRAY8, [-1, 0, 8, 8], (8, 8), "outside"),
        ("YUYV", PixelFormat.RGB24, [1, 0, 8, 8], (8, 8), "odd, and pixels of YUYV share their colour"),
        ("RG12", PixelFormat.RAW16, [0, 3, 8, 8], (8, 8), "odd"),
        ("NV12", PixelFormat.NV12, [0, 0, 8, 8], (7, 8), "output size 7x8 is odd"),
        ("RG12", PixelFormat.RAW16, [0, 0, 16, 8], (8, 8), "raw16 cannot be scaled from 16x8 to 8x8"),
    ],
)
def test_regions_that_cannot_be(code, target, roi, size, words):
    with pytest.raises(ConfigError, match=words):
        checked_region(make_layout(code, 64, 48, 0), roi, size, target)


def test_the_whole_picture_is_the_default_region():
    assert checked_region(make_layout("GREY", 64, 48, 0), None, (64, 48), PixelFormat.GRAY8) == (0, 0, 64, 48)
