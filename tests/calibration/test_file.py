from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.camera_model import CameraCalibration, Landmark, LandmarkState, Quality
from calibration.file import from_document, loads
from touchline.errors import ConfigError, ResourceError

GOLDEN = Path(__file__).parents[1] / "vectors" / "calibration_v1.json"


def sample() -> CameraCalibration:
    camera = CameraCalibration.from_look_at(
        (1280, 720), 1000.0, (50.0, 84.0, 12.0), (45.0, 34.0, 0.0), distortion=(-0.3, 0.1, 0.001, 0, 0), crown_m=0.2
    )
    quality = Quality(0.07, 0.2, 1.1, 3.0, 0.9, 120.0, 13, 1, 0.08, True, "synthetic")
    marks = (
        Landmark("(0,0)", (0.0, 0.0), (12.5, 300.25), LandmarkState.USED, 0.5, 0.03),
        Landmark("(16.5,14.84)", (16.5, 14.84), (300.0, 310.0), LandmarkState.REJECTED, 9.0, None, "wrong label"),
    )
    return replace(camera, camera="left", quality=quality, landmarks=marks, parameter_covariance=np.eye(16) * 1e-4)


def same(a: CameraCalibration, b: CameraCalibration) -> bool:
    arrays = ("camera_matrix", "distortion", "rvec", "t_m", "parameter_covariance")
    plain = ("image_size_px", "handedness", "pitch_m", "crown_m", "camera", "quality", "landmarks")
    return all(np.array_equal(getattr(a, key), getattr(b, key)) for key in arrays) and all(
        getattr(a, key) == getattr(b, key) for key in plain
    )


def test_saved_files_load_back_bit_for_bit(tmp_path):
    path = tmp_path / "left.json"
    sample().save(path)
    assert same(CameraCalibration.load(path), sample())
    assert [item.name for item in tmp_path.iterdir()] == ["left.json"], "no temporary file stays"


def test_the_golden_file_still_means_the_same():
    camera = CameraCalibration.load(GOLDEN)
    assert camera.camera == "golden"
    assert camera.position_m == pytest.approx([48.0, 84.0, 9.0], abs=1e-6)
    assert camera.pitch_from_pixels([[1536.0, 864.0], [600.0, 1200.0]]) == pytest.approx(
        np.array([[24.37703, 30.84831], [24.79700, 64.85004]]), abs=2e-3
    )
    assert camera.to_json() == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(colour="red"), "unknown key colour"),
        (lambda d: d["intrinsics"].update(skew=0.0), "unknown key intrinsics.skew"),
        (lambda d: d["intrinsics"].pop("fx_px"), "key intrinsics.fx_px is missing"),
        (lambda d: d["intrinsics"].update(fx_px=-1.0), "intrinsics.fx_px: .*greater than 0, found -1.0"),
        (lambda d: d["intrinsics"].update(distortion=[0.1] * 3), "intrinsics.distortion: has 3 numbers"),
        (lambda d: d["pose"].update(handedness="up"), "pose.handedness: .*'left' or 'right', found 'up'"),
        (lambda d: d["pose"].update(t_m=[1.0, 2.0]), "key pose.t_m.2 is missing"),
        (lambda d: d.update(schema="touchline.calibration/9"), "schema: .*touchline.calibration/1"),
        (lambda d: d.update(image_size_px=[0, 720]), "image_size_px.0"),
        (lambda d: d.update(crown_m=3.0), "crown_m"),
        (lambda d: d.update(parameter_covariance=[[1.0], [2.0]]), "parameter_covariance is not square"),
        (lambda d: d.update(parameter_covariance=[[1.0]]), "parameter_covariance has the wrong shape"),
    ],
)
def test_every_key_is_checked_and_named(change, message):
    document = sample().to_json()
    change(document)
    with pytest.raises(ConfigError, match=f"left.json: {message}") as caught:
        from_document(document, "left.json")
    assert caught.value.hint


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b"[" * 100_000])
def test_what_is_no_calibration_is_refused(data):
    with pytest.raises(ConfigError, match=r"left\.json"):
        loads(data, "left.json")


def test_missing_unreadable_and_huge_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        CameraCalibration.load(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        CameraCalibration.load(tmp_path)
    big = tmp_path / "big.json"
    big.write_bytes(b" " * 4_000_001)
    with pytest.raises(ConfigError, match="larger than"):
        CameraCalibration.load(big)


def test_a_folder_that_is_gone_is_said(tmp_path):
    with pytest.raises(ResourceError, match="cannot be written"):
        sample().save(tmp_path / "gone" / "left.json")


@given(st.integers(0, 3_000), st.binary(max_size=4))
@settings(max_examples=150, deadline=None)
def test_damaged_files_never_crash(position, junk):
    data = json.dumps(sample().to_json()).encode()
    position = min(position, len(data))
    try:
        loads(data[:position] + junk + data[position + len(junk) + 1 :], "left.json")
    except ConfigError as error:
        assert "left.json" in error.message
