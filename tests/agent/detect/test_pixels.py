"""Every camera format as RGB."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.camera.port import PixelFormat
from agent.detect.pixels import to_rgb
from touchline.errors import InputError


def test_rgb24_is_a_view_not_a_copy():
    payload = np.arange(4 * 6 * 3, dtype=np.uint8)
    image = to_rgb(payload, 6, 4, PixelFormat.RGB24)
    assert np.shares_memory(image, payload) and image.shape == (4, 6, 3)


def test_gray8_is_the_same_in_all_channels():
    payload = np.arange(24, dtype=np.uint8).tobytes()
    image = to_rgb(payload, 6, 4, PixelFormat.GRAY8)
    assert (image == np.arange(24, dtype=np.uint8).reshape(4, 6, 1)).all()


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40)])
def test_nv12_keeps_the_colour(colour):
    rgb = np.full((16, 32, 3), colour, np.uint8)
    i420 = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    u, v = i420[16:20].ravel(), i420[20:24].ravel()
    nv12 = np.concatenate([i420[:16].ravel(), np.stack([u, v], 1).ravel()])
    assert np.abs(to_rgb(nv12, 32, 16, PixelFormat.NV12).astype(int) - rgb).max() <= 3


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40)])
def test_raw16_is_bayer_rggb_in_the_upper_bits(colour):
    mosaic = np.zeros((16, 32), np.uint16)
    red, green, blue = (value << 4 for value in colour)  # 12 bits
    mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2] = red, green, green, blue
    payload = (mosaic << 4).astype("<u2").tobytes()
    image = to_rgb(payload, 32, 16, PixelFormat.RAW16)
    assert np.abs(image[2:-2, 2:-2].astype(int) - np.array(colour)).max() <= 1


def test_the_output_is_reused_when_given():
    out = np.zeros((4, 6, 3), np.uint8)
    assert to_rgb(np.ones(24, np.uint8), 6, 4, PixelFormat.GRAY8, out) is out and (out == 1).all()


@given(st.sampled_from(PixelFormat), st.integers(0, 200), st.integers(1, 20), st.integers(1, 20))
def test_a_wrong_byte_count_is_named(pixel_format, count, width, height):
    bits = {PixelFormat.GRAY8: 8, PixelFormat.NV12: 12, PixelFormat.RAW16: 16, PixelFormat.RGB24: 24}
    if count == width * height * bits[pixel_format] // 8:
        return
    with pytest.raises(InputError, match=rf"{width}x{height} has \d+ bytes, not {count}"):
        to_rgb(bytes(count), width, height, pixel_format)


def test_odd_nv12_is_refused():
    with pytest.raises(InputError, match="odd"):
        to_rgb(bytes(3 * 4 * 3 // 2), 3, 4, PixelFormat.NV12)
