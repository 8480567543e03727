"""The whole agent with [thermal]; the test plays its fan service and its twin's service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.agent.node import NAME, Node, wait_for
from tests.agent.publish.rack import Rack, Subscriber
from tests.agent.test_failover_system import SECTION, Service
from tests.thermal.test_status import a_status
from thermal.status import status_path, write_status
from thermal.types import Fault, Severity
from touchline.timeline import monotonic_ns

pytestmark = pytest.mark.system


@pytest.fixture
def node(rack: Rack, tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME))
    made.text += SECTION + "\n[thermal]\n"
    yield made
    made.close()


@pytest.fixture
def service(node: Node) -> Iterator[Service]:
    made = Service(node)
    yield made
    made.port.close()


def speak(node: Node, *faults: Fault, oc2: int = 0) -> bool:
    """A tick of the fan service."""
    status = replace(a_status(monotonic_ns(), hot=bool(faults)), faults=faults, oc_counted={"oc2": oc2})
    write_status(status_path(node.folder / "run"), status)
    return True


def heard(sink: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in sink.payloads]


def heat(sink: Subscriber) -> dict[str, Any]:
    """The newest health's thermal part."""
    found = [document["thermal"] for document in heard(sink) if "thermal" in document]
    return found[-1] if found else {}


def hot(service: Service, is_hot: bool) -> bool:
    service.turn()
    return service.word is not None and service.word.pipeline.health.hot is is_hot


def test_heat_is_health_event_and_a_reason_to_give_way(rack: Rack, node: Node, service: Service):
    sink = rack.subscriber()
    node.start()
    wait_for(service.fit, "frames", node)
    assert hot(service, True), "nothing was heard of the fan"
    assert service.word is not None and "thermal.json is not there" in service.word.trouble
    wait_for(lambda: speak(node, oc2=3) and hot(service, False), "a cool node", node)
    wait_for(lambda: speak(node, oc2=3) and heat(sink).get("temp_c") == 61.25, "its health", node)
    assert heat(sink)["power_w"] == {"total": 24.0, "rails": {"VDD_GPU_SOC": 15.0, "VDD_CPU_CV": 9.0}}
    alarm = Fault("too_hot", "tj", Severity.ALARM, "75.1 C, limit 74", monotonic_ns())
    wait_for(lambda: speak(node, alarm, oc2=5) and hot(service, True), "a hot node", node)
    assert "hot: 75.1 C, limit 74" in service.word.trouble
    codes = {"thermal_too_hot", "thermal_over_current"}
    wait_for(lambda: codes <= {document.get("code") for document in heard(sink)}, "its events", node)
    wait_for(lambda: speak(node, oc2=5) and hot(service, False), "a cool node again", node)
    last_ns = monotonic_ns()
    wait_for(lambda: hot(service, True), "a node whose fan service is dead", node)
    assert monotonic_ns() - last_ns > 2_900_000_000, "three ticks are waited for"
    wait_for(lambda: heat(sink)["hot"] and heat(sink)["temp_c"] is None, "its health", node)
    assert heat(sink)["power_w"]["total"] is None
    assert node.end() == 0, node.log
