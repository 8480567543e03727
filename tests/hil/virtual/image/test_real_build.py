"""One real build, and its second time: Debian's packages, the compiled modules, our bundle, an image that boots."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hil.virtual.image.build import BuildRequest, build_image
from hil.virtual.image.host import check_host
from hil.virtual.image.image import load_image
from hil.virtual.image.programs import Programs
from hil.virtual.image.steps import CACHED, FAILED
from hil.virtual.machine.machine import Machine
from hil.virtual.machine.qemu import MachineSpec
from tests.hil.virtual.image.fakes import Events
from touchline.errors import LinkError, ResourceError
from touchline.timeline import monotonic_ns

BUILD_S = 360.0  # the limit for a build from nothing on two cores
AGAIN_S = 15.0


@pytest.fixture
def cache(tmp_path) -> Path:
    """A new cache, or the folder that TOUCHLINE_VIRTUAL_CACHE names, where packages stay from run to run."""
    return Path(os.environ.get("TOUCHLINE_VIRTUAL_CACHE") or tmp_path / "cache")


@pytest.mark.campaign
@pytest.mark.skipif(
    not os.environ.get("TOUCHLINE_CAMPAIGN"),
    reason="a second build from nothing: TOUCHLINE_CAMPAIGN=1 (the test command builds one before the tests)",
)
@pytest.mark.system
@pytest.mark.timeout(900)
def test_a_build_from_nothing_then_from_the_cache_and_it_boots(cache, tmp_path):
    try:
        check_host(Programs())
    except ResourceError as error:
        pytest.skip(f"no image can be built here: {error}")
    events = Events()
    began_ns = monotonic_ns()
    try:
        image = build_image(BuildRequest(cache), events)
    except LinkError as error:
        pytest.skip(f"no mirror can be reached: {error}")
    built_ns = monotonic_ns()
    assert FAILED not in {event.state for event in events}
    assert load_image(cache) == image
    again = build_image(BuildRequest(cache), events)
    again_ns = monotonic_ns()
    assert again == image
    assert events[-1].state == CACHED
    assert (built_ns - began_ns) / 1e9 < BUILD_S
    assert (again_ns - built_ns) / 1e9 < AGAIN_S

    spec = MachineSpec("a", image.kernel, image.initrd, image.root_img, tmp_path / "run", image.image_id, dtb=image.dtb)
    with Machine(spec) as machine:
        machine.boot()
        assert machine.guest.run("uname -r").out.strip() == image.kernel_release
        assert machine.guest.run("readlink /opt/touchline/current").out.strip().endswith(image.touchline_release)
        modules = "gpio-sim ina3221 pwm_tach ram_i2c v4l2loopback netdevsim vivid usb_f_ss_lb"
        machine.guest.run(f"modprobe --dry-run --all {modules}")
