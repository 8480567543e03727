"""The files for the units: written whole, taken away when not needed; what a configuration needs."""

from __future__ import annotations

import pytest

from agent.clock.linuxptp import NEEDS, Ptp4l, Version, write_config
from tests.agent.clock.linuxptp.sections import clock, node
from touchline.config import ClockSection
from touchline.errors import ResourceError


@pytest.fixture
def ptp4l(tmp_path):
    return Ptp4l(tmp_path / "ptp4l", Version(3, 1, 1))


def test_a_follower_gets_both_files(tmp_path, ptp4l):
    written = write_config(node(clock()), tmp_path / "new", ptp4l)
    assert [path.name for path in written] == ["ptp4l.conf", "phc2sys.env"]
    assert "slaveOnly 1\n" in written[0].read_text()
    assert written[1].read_text().startswith("PHC2SYS_ARGS=-s eth0 -c CLOCK_REALTIME -w ")
    assert written[1].read_text().count("\n") == 1
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["phc2sys.env", "ptp4l.conf"]


def test_what_is_not_needed_any_more_goes(tmp_path, ptp4l):
    write_config(node(clock()), tmp_path, ptp4l)
    written = write_config(node(clock(discipline_system_clock=False)), tmp_path, ptp4l)
    assert [path.name for path in written] == ["ptp4l.conf"]
    assert [path.name for path in tmp_path.iterdir()] == ["ptp4l.conf"]
    assert write_config(node(ClockSection()), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_node_with_the_system_clock_needs_no_ptp4l(tmp_path, monkeypatch):
    def find():
        raise AssertionError("ptp4l was looked for")

    monkeypatch.setattr("agent.clock.linuxptp.write.find_ptp4l", find)
    assert write_config(node(ClockSection()), tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path, ptp4l):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="file") as caught:
        write_config(node(clock()), tmp_path / "file", ptp4l)
    assert "--out" in caught.value.hint


SYSTEM = ClockSection()
SOFTWARE = {"time_stamping": "software"}


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        (SYSTEM, set()),
        (clock(), {"ptp4l", "phc2sys", "no-ntp"}),
        (clock(discipline_system_clock=False), {"ptp4l"}),
        (clock(role="grandmaster"), {"ptp4l", "phc2sys"}),
        (clock(role="grandmaster", discipline_system_clock=False), {"ptp4l", "phc2sys"}),
        (clock(**SOFTWARE), {"ptp4l", "no-ntp"}),
        (clock(**SOFTWARE, role="grandmaster"), {"ptp4l"}),
        (clock(**SOFTWARE, free_running=True), {"ptp4l"}),
    ],
)
def test_what_a_node_needs(section, wanted):
    assert {name for name, needs in NEEDS.items() if needs(section)} == wanted
