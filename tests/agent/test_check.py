"""``touchline agent check``: all is well, or each thing that is not, with its exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hil.rack.pki import LocalCa
from tests.agent.clock.management.fake_ptp4l import FakePtp4l
from tests.agent.node import NAME, Node
from tests.agent.publish.rack import Rack

pytestmark = pytest.mark.system


def check(node: Node, *more: str) -> tuple[int, dict[str, dict[str, object]]]:
    argv = [sys.executable, "-m", "touchline.cli", "agent", "check", "--config", str(node.config), "--json", *more]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_a_good_node_is_good_up_to_the_brokers_welcome(rack: Rack, tmp_path: Path):
    node = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME), cameras=2)
    code, findings = check(node, "--connect")
    assert code == 0
    assert all(finding["good"] for finding in findings.values())
    assert "camera 2: ring" in findings
    assert NAME in str(findings["broker"]["detail"])


def test_an_expired_certificate_ends_with_6(rack: Rack, tmp_path: Path):
    node = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME, valid_days=-1))
    code, findings = check(node)
    assert code == 6
    assert "has expired on" in str(findings["mqtt"]["detail"])
    assert findings["mqtt"]["fix"] == "renew the certificate"


def test_a_foreign_certificate_is_refused_with_6(rack: Rack, tmp_path: Path):
    foreign = LocalCa(tmp_path / "other").client(NAME)
    node = Node(tmp_path / "node", rack.broker.port, foreign)
    node.edit(str(foreign.ca_file), str(rack.ca.ca_file))
    code, findings = check(node, "--connect")
    assert code == 6
    assert not findings["broker"]["good"]


def test_a_broker_that_is_down_ends_with_6(rack: Rack, tmp_path: Path):
    node = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME))
    rack.broker.stop()
    code, findings = check(node, "--connect")
    assert code == 6
    assert "nothing listens" in str(findings["broker"]["detail"])


def test_every_broken_part_is_named_not_only_the_first(rack: Rack, tmp_path: Path):
    node = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME))
    node.edit('calibration = "left.json"', 'calibration = "none.json"')
    node.edit("people.onnx", "none.onnx")
    node.edit('source = "pattern"', 'source = "dream"')
    code, findings = check(node)
    assert code == 3
    assert [what for what, finding in findings.items() if not finding["good"]] == [
        "camera 1: source",
        "camera 1: calibration",
        "detector",
    ]


PTP = """[clock]
source = "ptp"
on_unlocked = "required"
[clock.ptp]
time_stamping = "software"
uds_path = "{socket}"
[ring]"""


def test_the_system_clock_is_shown_with_its_limit(rack: Rack, tmp_path: Path):
    _, findings = check(Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME)))
    assert findings["clock"]["detail"] == "system, limit 2 s, unlocked stamps are published with a flag; it never locks"


def test_ptp_is_shown_with_what_ptp4l_says(rack: Rack, tmp_path: Path):
    node = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME))
    node.edit("[ring]", PTP.format(socket=tmp_path / "ptp4l"))
    with FakePtp4l(tmp_path / "ptp4l"):
        code, findings = check(node)
    assert code == 0
    told = str(findings["clock"]["detail"])
    assert told.startswith("ptp on eth0, limit 100 µs, unlocked stamps are not published; asymmetry taken as exactly ")
    assert findings["clock pairs"]["detail"] == "sync messages of ptp4l on CLOCK_REALTIME; no TSC"
    assert re.search(r"answers: port [A-Z]+, (no grandmaster|grandmaster [0-9a-f.]+)$", told)


def test_an_interface_without_a_hardware_clock_ends_with_7(rack: Rack, tmp_path: Path):
    node = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME))
    text = PTP.replace("software", "hardware").replace("uds_path", 'interface = "lo"\nuds_path')
    node.edit("[ring]", text.format(socket=tmp_path / "ptp4l"))
    with FakePtp4l(tmp_path / "ptp4l"):
        code, findings = check(node)
    assert code == 7
    assert "interface lo has no PTP hardware clock" in str(findings["clock pairs"]["detail"])


def test_a_ptp4l_that_is_not_there_ends_with_6(rack: Rack, tmp_path: Path):
    node = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME))
    node.edit("[ring]", PTP.format(socket=tmp_path / "ptp4l"))
    code, findings = check(node)
    assert code == 6
    assert "no ptp4l answers" in str(findings["clock"]["detail"])
    assert "systemctl status touchline-ptp4l" in str(findings["clock"]["fix"])
    assert not (node.folder / "run").exists(), "it changes nothing"
