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


def test_a_recording_node_is_told_of_each_part_of_it(rack: Rack, tmp_path: Path):
    node = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME))
    node.text += '[record]\nfolder = "recordings"\nmax_size = "8MiB"\nmin_free = "1MiB"\n'
    code, findings = check(node)
    assert code == 0
    assert str(findings["record program"]["detail"]).endswith("ffmpeg")
    assert "passed over: h264_nvmpi" in str(findings["camera 1: encoder"]["detail"])
    assert "8.39 MB of" in str(findings["record folder"]["detail"])
    node.edit("8MiB", "60000GiB")
    code, findings = check(node)
    assert code == 5 and "lower record.max_size by" in str(findings["record folder"]["fix"])
    assert not (node.folder / "recordings").exists(), "it changes nothing"


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


PAIR = """
[failover]
pair = "goal-1"
twin = "node-u"
paths = [["127.0.0.1:17400", "127.0.0.2:17400"], ["127.0.0.3:17400", "127.0.0.4:17400"]]
witness = "127.0.0.1:17402"
address = "192.0.2.10/24"
address_interface = "lo"
"""


@pytest.fixture
def twin(rack: Rack, tmp_path: Path) -> Node:
    node = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME))
    node.text += PAIR
    return node


def test_a_good_pair_is_said_in_four_lines(twin: Node):
    code, findings = check(twin)
    assert code == 0
    said = {what: str(one["detail"]) for what, one in findings.items() if what.startswith("failover")}
    assert said["failover"].startswith("pair goal-1, twin node-u (by its certificate), start auto, beats of 20 ms")
    assert said["failover paths"] == "127.0.0.1:17400 to 127.0.0.2:17400, 127.0.0.3:17400 to 127.0.0.4:17400"
    assert "127.0.0.1 port 17402" in said["failover witness"]
    assert said["failover address"].startswith("192.0.2.10/24 on lo")


def test_one_way_and_two_over_one_address_are_named(twin: Node):
    twin.edit(', ["127.0.0.3:17400", "127.0.0.4:17400"]', "")
    assert "one way only" in str(check(twin)[1]["failover paths"]["detail"])
    twin.edit('"127.0.0.2:17400"]]', '"127.0.0.2:17400"], ["127.0.0.1:17500", "127.0.0.2:17500"]]')
    assert "one link, not two" in str(check(twin)[1]["failover paths"]["detail"])


@pytest.mark.parametrize(
    ("change", "what", "words", "exit_code"),
    [
        (('["127.0.0.3:17400"', '["192.0.2.77:17400"'), "failover paths", "is no address of this machine", 3),
        (('"127.0.0.2:17400"', '"127.0.0.1:17400"'), "failover paths", "both ends of a way", 3),
        (('["127.0.0.3:17400"', '["127.0.0.1:17400"'), "failover paths", "both ways use", 3),
        (('interface = "lo"', 'interface = "nowhere9"'), "failover address", "there is no nowhere9", 7),
    ],
)
def test_each_mistake_in_a_pair_has_its_line_and_its_fix(
    twin: Node, change: tuple[str, str], what: str, words: str, exit_code: int
):
    twin.edit(*change)
    code, findings = check(twin)
    assert code == exit_code
    assert words in str(findings[what]["detail"])
    assert findings[what]["fix"]


def test_a_certificate_of_another_node_is_no_twins(rack: Rack, twin: Node):
    other = rack.ca.client("node-x")
    twin.edit(str(rack.ca.client(NAME).cert_file), str(other.cert_file))
    twin.edit(str(rack.ca.client(NAME).key_file), str(other.key_file))
    code, findings = check(twin)
    assert code == 3
    assert 'is for "node-x", this node is "node-t"' in str(findings["failover"]["detail"])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('twin = "node-u"', 'twin = "node-t"', "this node itself"),
        ('twin = "node-u"', 'twin = "aggregator"', "is a node of the pair, not the rack"),
    ],
)
def test_a_node_is_not_its_own_twin_and_the_rack_is_none(twin: Node, old: str, new: str, words: str):
    twin.edit(old, new)
    argv = [sys.executable, "-m", "touchline.cli", "agent", "check", "--config", str(twin.config)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert words in done.stderr
