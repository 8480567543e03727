"""IIO by name: scales, offsets, renumbering, errors of single reads."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from thermal.protect.accelerometer import FOLDER, Accelerometer
from thermal.protect.shake import Missed
from thermal.sysfs.files import RealFiles

STEP = 0.009806  # m/s^2 a step: the lis3dh's at +-2 g


def device(root: Path, number: int, name: str = "lis3dh", **files: str) -> Path:
    folder = root / FOLDER.lstrip("/") / f"iio:device{number}"
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"name": name, **{f"in_accel_{axis}_raw": "0" for axis in "xyz"}, "in_accel_z_raw": "1000"}
    texts |= {f"in_accel_{axis}_scale": str(STEP) for axis in "xyz"}
    for file, text in (texts | files).items():
        (folder / file).write_text(f"{text}\n")
    return folder


class Failing(RealFiles):
    """Files whose reads fail as told: name of the file -> errno."""

    errnos: dict[str, int] = {}  # noqa: RUF012

    def read(self, path):
        number = self.errnos.get(path.rpartition("/")[2])
        if number is not None:
            raise OSError(number, "told to")
        return super().read(path)


def test_at_rest_it_reads_one_g(tmp_path):
    device(tmp_path, 0, "other")
    device(tmp_path, 3)
    assert Accelerometer(RealFiles(tmp_path), "lis3dh").read() == pytest.approx((0.0, 0.0, 1.0), abs=1e-3)


def test_a_common_scale_and_an_offset(tmp_path):
    folder = device(tmp_path, 0, in_accel_scale="0.0196133", in_accel_offset="-500")
    for axis in "xyz":
        (folder / f"in_accel_{axis}_scale").unlink()
    assert Accelerometer(RealFiles(tmp_path), "lis3dh").read() == pytest.approx((-1.0, -1.0, 1.0), abs=1e-3)


def test_it_is_found_again_under_another_number(tmp_path):
    folder = device(tmp_path, 0)
    sensor = Accelerometer(RealFiles(tmp_path), "lis3dh")
    assert not isinstance(sensor.read(), Missed)
    folder.rename(folder.with_name("iio:device7"))
    assert sensor.read() == pytest.approx((0.0, 0.0, 1.0), abs=1e-3)
    device(tmp_path, 7, "adc")  # another device has taken that number
    device(tmp_path, 8)
    assert sensor.read() == pytest.approx((0.0, 0.0, 1.0), abs=1e-3)
    assert sensor.folder.endswith("iio:device8")


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EIO, errno.ENXIO, errno.EBUSY, errno.EREMOTEIO])
@pytest.mark.parametrize("axis", "xyz")
def test_an_axis_that_fails_is_a_missed_sample_with_its_reason(tmp_path, axis, number):
    device(tmp_path, 0)
    files = Failing(tmp_path)
    sensor = Accelerometer(files, "lis3dh")
    assert not isinstance(sensor.read(), Missed)
    Failing.errnos = {f"in_accel_{axis}_raw": number}
    try:
        found = sensor.read()
    finally:
        Failing.errnos = {}
    assert isinstance(found, Missed)
    assert found.why.startswith(f"axis {axis}: ")
    assert not isinstance(sensor.read(), Missed)


@pytest.mark.parametrize("text", ["", "many", "0x10"])
def test_no_number_is_a_missed_sample(tmp_path, text):
    device(tmp_path, 0, in_accel_y_raw=text)
    assert "is no number" in getattr(Accelerometer(RealFiles(tmp_path), "lis3dh").read(), "why", "")


def test_a_scale_of_zero_would_be_free_fall_and_is_none(tmp_path):
    device(tmp_path, 0, in_accel_x_scale="0")
    assert isinstance(Accelerometer(RealFiles(tmp_path), "lis3dh").read(), Missed)


def test_no_device_is_named(tmp_path):
    found = Accelerometer(RealFiles(tmp_path), "lis3dh").read()
    assert isinstance(found, Missed)
    assert "'lis3dh'" in found.why


def test_the_rate_is_set_as_high_as_400_hz(tmp_path):
    folder = device(tmp_path, 0, sampling_frequency="1", sampling_frequency_available="1 10 25 50 100 200 400 1600")
    sensor = Accelerometer(RealFiles(tmp_path), "lis3dh")
    sensor.read()
    assert (folder / "sampling_frequency").read_text() == "400\n"
    assert sensor.rate == "400 Hz"


@pytest.mark.parametrize("offered", ["", "fast", "-1 0 nan"])
def test_a_driver_without_rates_is_used_as_it_is(tmp_path, offered):
    device(tmp_path, 0, sampling_frequency_available=offered)
    sensor = Accelerometer(RealFiles(tmp_path), "lis3dh")
    assert not isinstance(sensor.read(), Missed)
    assert sensor.rate == "the driver's own"
