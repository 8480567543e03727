"""``[uart]``: what it takes, and what of it the wire carries."""

from __future__ import annotations

from typing import Any

import pytest

from touchline.config import parse
from touchline.config.uart import UartSection
from touchline.errors import ConfigError


def section(**keys: Any) -> UartSection:
    rows = "".join(f"{name} = {value!r}\n" for name, value in keys.items())
    return parse(rows, UartSection)


def test_the_wire_carries_854_lines_and_two_cameras_fit():
    one = section()
    assert one.port == "serial@3100000"
    assert one.carried_per_s == pytest.approx(854.7, abs=0.1)
    assert 240 < one.paced_per_s < one.carried_per_s
    assert section(lines_per_s=300.0).paced_per_s == 300.0


@pytest.mark.parametrize("port", ["/dev/ttyUSB0", "/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0", "uart@0"])
def test_ports(port: str):
    assert section(port=port).port == port


@pytest.mark.parametrize(
    "keys",
    [
        {"port": "ttyTHS1"},
        {"port": "/etc/passwd"},
        {"port": "serial@3100000/../x"},
        {"baud": 1_000_001},
        {"queue_lines": 0},
        {"lines_per_s": 855.0},
        {"lines_per_s": 99.0, "baud": 115_200},
        {"speed": 9},
    ],
    ids=str,
)
def test_refusals(keys: dict[str, Any]):
    with pytest.raises(ConfigError):
        section(**keys)
