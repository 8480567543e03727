"""The relay: by name, held at its value without a glitch, refused when somebody holds it, taken again when lost."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from tests.thermal.protect import gpiod_fake
from thermal.protect.lines import open_lines
from thermal.protect.relay import (
    RETRY_NS,
    KeptRelay,
    Opener,
    RelayWiring,
    open_relay,
)
from touchline.config.protect import ProtectSection
from touchline.errors import HardwareError, ResourceError

WIRING = RelayWiring("relay")


@pytest.fixture
def gpio(tmp_path, monkeypatch):
    """Three chips, one with the lines "relay" and "restore"; returns the folder of their device nodes."""
    dev = tmp_path / "dev"
    dev.mkdir()
    chips = {
        str(dev / "gpiochip0"): {"label": "tegra-gpio", "lines": {"lamp": None, "held": "uart-enable", "fast": "fast"}},
        str(dev / "gpiochip1"): {"label": "expander-a", "lines": {"relay": None, "restore": None, "twice": None}},
        str(dev / "gpiochip10"): {"label": "expander-b", "lines": {"twice": None}},
    }
    for path in chips:
        Path(path).touch()
    table = tmp_path / "gpio.json"
    table.write_text(json.dumps(chips))
    monkeypatch.setenv("FAKE_GPIO", str(table))
    monkeypatch.setitem(sys.modules, "gpiod", gpiod_fake)
    monkeypatch.setattr("thermal.protect.lines.DEVICES", dev)
    return dev


def log(tmp_path) -> list[str]:
    path = tmp_path / "gpio.json.log"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def opener(wiring: RelayWiring) -> Opener:
    return lambda start: open_lines(wiring.chip, start, wiring.active_low)


def kept(gpio, wiring=WIRING) -> KeptRelay:
    return KeptRelay(wiring, opener(wiring))


def test_a_held_line_has_its_value_from_the_request_on(gpio, tmp_path):
    relay = open_relay(WIRING, True, opener(WIRING))
    assert log(tmp_path) == ["request relay 0"], "fail-safe: inactive cuts"
    assert relay.is_cut() is True
    assert relay.restore() is None
    assert relay.is_cut() is False
    relay.close()
    assert log(tmp_path) == ["request relay 0", "set relay 1", "release relay 0"]


@pytest.mark.parametrize(("cut_active", "active_low", "level"), [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_every_wiring_cuts_with_its_own_level(gpio, tmp_path, cut_active, active_low, level):
    wiring = RelayWiring("relay", cut_active=bool(cut_active), active_low=bool(active_low))
    relay = open_relay(wiring, False, opener(wiring))
    assert relay.cut() is None
    assert log(tmp_path) == [f"request relay {1 - level}", f"set relay {level}"]


def test_a_latching_relay_gets_a_pulse_and_no_more(gpio, tmp_path, monkeypatch):
    monkeypatch.setattr("thermal.protect.relay.pause", lambda seconds: gpiod_fake.driven("pause", seconds == 0.05))
    wiring = RelayWiring("relay", kind="latching", restore_line="restore")
    relay = open_relay(wiring, True, opener(wiring))
    pulse = ["set relay 1", "set pause 1", "set relay 0", "set restore 0"]
    assert log(tmp_path) == ["request relay 0", "request restore 0", *pulse]
    assert relay.restore() is None
    assert log(tmp_path)[-4:] == ["set restore 1", "set pause 1", "set relay 0", "set restore 0"]
    assert relay.is_cut() is None


def test_a_line_of_somebody_else_is_refused_and_the_consumer_named(gpio, tmp_path):
    for name in ("held", "fast"):
        with pytest.raises(ResourceError, match=r"is held by '(uart-enable|fast)'"):
            open_lines("", {name: True}, False)
    assert log(tmp_path) == []


def test_a_second_line_that_is_held_lets_the_first_go(gpio, tmp_path):
    with pytest.raises(ResourceError):
        open_lines("", {"relay": False, "held": False}, False)
    assert log(tmp_path) == ["request relay 0", "release relay 0"]


def test_a_line_that_is_not_there_or_there_twice(gpio):
    with pytest.raises(HardwareError, match="no GPIO line 'siren'") as missing:
        open_lines("", {"siren": True}, False)
    assert "expander-b" in missing.value.hint
    with pytest.raises(HardwareError, match="2 GPIO chips"):
        open_lines("", {"twice": True}, False)
    open_lines("expander-b", {"twice": True}, False).close()
    with pytest.raises(HardwareError, match="on chip 'nobody'"):
        open_lines("nobody", {"relay": True}, False)


def test_without_the_package_the_fix_is_said(gpio, monkeypatch):
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(ResourceError, match="gpiod cannot be loaded") as missing:
        open_lines("", {"relay": True}, False)
    assert "gpiod>=2.0.2" in missing.value.hint
    monkeypatch.setitem(sys.modules, "gpiod", type(sys)("gpiod"))
    with pytest.raises(ResourceError, match="too old"):
        open_lines("", {"relay": True}, False)


def test_nothing_of_this_room_loads_gpiod_by_itself():
    sources = (Path(__file__).parents[3] / "thermal").rglob("*.py")
    assert not any("import gpiod" in path.read_text() or "from gpiod" in path.read_text() for path in sources)


def test_a_line_that_reads_the_other_value_is_a_failure(gpio, monkeypatch):
    relay = open_relay(WIRING, False, opener(WIRING))
    monkeypatch.setenv("FAKE_GPIO_STUCK", "1")
    assert "reads the other value" in (relay.cut() or "")
    assert relay.is_cut() is False


def test_a_kept_relay_takes_nothing_before_it_is_told(gpio, tmp_path):
    relay = kept(gpio)
    relay.tend(10 * RETRY_NS)
    assert log(tmp_path) == []
    assert relay.trouble == "not taken yet"
    assert relay.bring(True, 0) is None
    assert relay.trouble is None


def test_a_line_that_reads_the_other_value_is_never_let_go(gpio, tmp_path, monkeypatch):
    relay = kept(gpio)
    assert relay.bring(False, 0) is None
    monkeypatch.setenv("FAKE_GPIO_STUCK", "1")
    assert "reads the other value" in (relay.bring(True, 0) or "")
    for look in range(1, 4):
        relay.tend(look * RETRY_NS)
    assert "reads the other value" in str(relay.trouble)
    assert log(tmp_path).count("request relay 1") == 1
    assert not [line for line in log(tmp_path) if line.startswith("release")]


def test_a_lost_relay_is_taken_again_where_it_should_be(gpio, tmp_path, monkeypatch):
    relay = kept(gpio)
    assert relay.bring(False, 0) is None
    monkeypatch.setenv("FAKE_GPIO_BROKEN", "1")
    assert "No such device" in (relay.bring(True, 0) or "")
    assert relay.is_cut() is None
    monkeypatch.delenv("FAKE_GPIO_BROKEN")
    relay.tend(RETRY_NS - 1)
    assert "No such device" in str(relay.trouble)
    relay.tend(RETRY_NS)
    assert (relay.trouble, relay.is_cut()) == (None, True)
    assert log(tmp_path)[-1] == "request relay 0"


def test_a_held_line_that_becomes_free_is_taken(gpio, tmp_path):
    table = tmp_path / "gpio.json"
    chips = json.loads(table.read_text())
    chips[str(gpio / "gpiochip1")]["lines"]["relay"] = "somebody"
    table.write_text(json.dumps(chips))
    relay = kept(gpio)
    assert "'somebody'" in (relay.bring(True, 0) or "")
    chips[str(gpio / "gpiochip1")]["lines"]["relay"] = None
    table.write_text(json.dumps(chips))
    relay.tend(RETRY_NS)
    assert relay.is_cut() is True


def test_wiring_from_the_configuration():
    assert RelayWiring.of(ProtectSection()) is None
    section = ProtectSection(relay_line="relay", relay_cut="active", relay_chip="tegra-gpio", relay_active_low=True)
    assert RelayWiring.of(section) == RelayWiring("relay", "tegra-gpio", True, cut_active=True)


def test_the_fake_has_the_real_packages_names():
    gpiod = importlib.import_module("gpiod")
    for name in ("Chip", "LineSettings", "is_gpiochip_device", "line"):
        assert hasattr(gpiod, name)
    for name in ("get_info", "line_offset_from_id", "get_line_info", "request_lines"):
        assert hasattr(gpiod.Chip, name)
    assert {"set_value", "get_value", "release"} <= set(dir(gpiod.LineRequest))
