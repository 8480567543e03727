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


class Fan:
    """The fan service; ``last_ns``: of its last tick."""

    def __init__(self, node: Node) -> None:
        self._path = status_path(node.folder / "run")
        self.last_ns = 0

    def speak(self, *faults: Fault, oc2: int = 0) -> bool:
        """A tick."""
        self.last_ns = monotonic_ns()
        write_status(
            self._path, replace(a_status(self.last_ns, hot=bool(faults)), faults=faults, oc_counted={"oc2": oc2})
        )
        return True


def heard(sink: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in sink.payloads]


def heat(sink: Subscriber) -> dict[str, Any]:
    """The newest health's thermal part."""
    found = [document["thermal"] for document in heard(sink) if "thermal" in document]
    return found[-1] if found else {}


WATTS = {"total": 24.0, "rails": {"VDD_GPU_SOC": 15.0, "VDD_CPU_CV": 9.0}}


def says(document: dict[str, Any], temp_c: float | None, watts: dict[str, Any] | None) -> bool:
    """Whether one document has this temperature and this power; None: neither is known."""
    if "temp_c" not in document or document["temp_c"] != temp_c:
        return False
    power = document["power_w"]
    return power["total"] is None if watts is None else bool(power == watts)


def hot(service: Service, is_hot: bool, why: str = "") -> bool:
    """Whether the newest word has it so, and with this reason."""
    service.turn()
    word = service.word
    return word is not None and word.pipeline.health.hot is is_hot and why in word.trouble


def test_heat_is_health_event_and_a_reason_to_give_way(rack: Rack, node: Node, service: Service):
    sink, fan = rack.subscriber(), Fan(node)
    node.start()
    wait_for(service.fit, "frames", node)
    wait_for(lambda: hot(service, True, "thermal.json is not there"), "a node that hears nothing of its fan", node)
    wait_for(lambda: fan.speak(oc2=3) and hot(service, False), "a cool node", node)
    wait_for(lambda: fan.speak(oc2=3) and says(heat(sink), 61.25, WATTS), "its health", node)
    alarm = Fault("too_hot", "tj", Severity.ALARM, "75.1 C, limit 74", monotonic_ns())
    wait_for(lambda: fan.speak(alarm, oc2=5) and hot(service, True, "hot: 75.1 C, limit 74"), "a hot node", node)
    codes = {"thermal_too_hot", "thermal_over_current"}
    wait_for(lambda: codes <= {document.get("code") for document in heard(sink)}, "its events", node)
    wait_for(lambda: fan.speak(oc2=5) and hot(service, False), "a cool node again", node)
    wait_for(lambda: hot(service, True), "a node whose fan service is dead", node)
    assert monotonic_ns() - fan.last_ns > 2_900_000_000, "three ticks are waited for"
    wait_for(lambda: heat(sink)["hot"] and says(heat(sink), None, None), "its health", node)
    assert node.end() == 0, node.log
