"""The probe on the pretended kernel: what it prints is what happened."""

from __future__ import annotations

import json

import pytest

from agent.camera.v4l2 import V4l2Camera
from tests.agent.camera.v4l2 import probe
from tests.agent.camera.v4l2.driver import Driver, HandClock
from tests.agent.camera.v4l2.kernel import Kernel
from touchline.config import CameraSection
from touchline.timeline import Clock

COMMON = ["--size", "64x64", "--rate", "50", "--frames", "20"]


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, clock: HandClock, kernel: Kernel):
    def open_camera(section: CameraSection, on: Clock) -> V4l2Camera:
        return V4l2Camera(section, on, open_device=kernel.open, nodes=kernel.list, monotonic=clock.monotonic)

    monkeypatch.setattr(probe, "open_camera", open_camera)
    monkeypatch.setattr(probe, "monotonic_ns", clock.monotonic)


@pytest.mark.parametrize("pixel_format", ["gray8", "rgb24", "nv12", "raw16"])
def test_it_reports_rates_gaps_and_light(pretended, driver: Driver, capsys, pixel_format):
    driver.lost = {4, 5, 9}
    more = ["--option", "buffers=4", "--rounds", "2", "--format", pixel_format]
    assert probe.main([*COMMON, *more]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rate_hz"] == 50.0
    for one in report["rounds"]:
        seen = one["summary"]
        assert (seen["frames"], seen["lost"], seen["sensor_rate_hz"]) == (20, 3, 50.0)
        assert seen["gaps"] == [{"after": 3, "missing": 2}, {"after": 8, "missing": 1}]
        assert seen["age_ms"]["max"] == pytest.approx(20.0, abs=0.001)
        assert seen["luma"]["min"] < seen["luma"]["max"]


def test_an_error_is_part_of_the_report(pretended, driver: Driver, capsys):
    driver.fatal = True
    assert probe.main([*COMMON, "--format", "gray8"]) == 7
    report = json.loads(capsys.readouterr().out)
    assert report["error"]["kind"] == "HardwareError"
    assert "went away" in report["error"]["message"]
    assert report["rounds"][0]["summary"] == {"frames": 0}


def test_a_region_and_an_unknown_control(pretended, capsys):
    view = ["--format", "gray8", "--sensor", "128x96", "--roi", "8,8,64,64"]
    assert probe.main([*COMMON, *view]) == 0
    assert probe.main([*COMMON, *view, "--control", "gain=3"]) == 3
    assert "has no control 'gain'" in capsys.readouterr().out


def test_silence_ends_it(pretended, driver: Driver, capsys):
    driver.lost = set(range(10_000))
    assert probe.main([*COMMON, "--format", "gray8", "--silence", "1"]) == 7
    assert "no frame" in json.loads(capsys.readouterr().out)["error"]["message"]
