"""What ``touchline agent check`` says of the port, which it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.uart.check import port_text
from agent.uart.port import open_port
from tests.agent.parent.helpers import node_config
from tests.agent.uart.test_port import Tree
from tests.agent.uart.wire import FarEnd
from touchline.config.uart import UartSection
from touchline.errors import HardwareError, ResourceError


def test_a_port_in_use_by_the_agent_is_well(tmp_path: Path):
    camera = node_config(tmp_path).camera[0]
    with FarEnd() as far:
        port = open_port(far.path, 1_000_000)
        section = UartSection(port=str(far.path))
        assert port_text(section, [camera, camera]).endswith("1000000 baud, 240 of at most 812 lines a second")
        slow = UartSection(port=str(far.path), baud=115_200)
        assert port_text(slow, [camera]).endswith("120 of at most 94 lines a second; 26 A SECOND ARE DROPPED")
        port.close()


def test_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tree = Tree(tmp_path)
    with pytest.raises(HardwareError, match="there is none"):
        port_text(UartSection(), [], tree.sys, tree.proc)
    with pytest.raises(HardwareError, match="is not there"):
        port_text(UartSection(port="/dev/ttyUSB77"), [], tree.sys, tree.proc)
    with FarEnd() as far:
        section = UartSection(port=str(far.path))
        tree.process(7, "agetty", far.path.stat().st_rdev, "nvgetty.service")
        with pytest.raises(ResourceError, match="agetty"):
            port_text(section, [], tree.sys, tree.proc)
        monkeypatch.setattr("agent.uart.check.os.access", lambda *_: False)
        with pytest.raises(ResourceError, match="may not be opened"):
            port_text(section, [])
