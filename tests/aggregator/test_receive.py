"""What the rack's link says of itself: a broker that answered is not yet one that sends."""

from __future__ import annotations

import queue
from types import SimpleNamespace
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from aggregator.ingest import Message
from aggregator.rack import Link
from aggregator.receive import TOPICS, Receiver
from hil.rack.pki import LocalCa
from touchline.mqtt import SINK_TOPIC, MqttSettings
from touchline.timeline import SystemClock


class Wire:
    """What a client is asked for."""

    def __init__(self) -> None:
        self.subscribed: list[tuple[str, int]] = []
        self.published: list[str] = []

    def subscribe(self, topics: list[tuple[str, int]]) -> None:
        self.subscribed = topics

    def publish(self, topic: str, payload: str, **_: Any) -> None:
        self.published.append(topic)


def test_only_a_granted_subscription_is_a_connection(tmp_path):
    who = LocalCa(tmp_path).client("aggregator")
    settings = MqttSettings("localhost", 1, "rack", who.ca_file, who.cert_file, who.key_file)
    inbox: queue.Queue[Message] = queue.Queue()
    said: list[tuple[str, str, str]] = []
    link: Any = Link()
    wire: Any = Wire()
    receiver = Receiver(settings, inbox, link, SystemClock(), lambda *words: said.append(words))
    good, refused = ReasonCode(PacketTypes.SUBACK, identifier=1), ReasonCode(PacketTypes.SUBACK, identifier=128)

    connected = ReasonCode(PacketTypes.CONNACK, identifier=0)
    flags: Any = SimpleNamespace(session_present=False)
    receiver._on_connect(wire, None, flags, connected, None)
    assert wire.subscribed == [(topic, 1) for topic in TOPICS]
    assert not link.connected and "subscribing" in link.text

    receiver._on_subscribe(wire, None, 1, [good, refused, good, good], None)
    assert not link.connected and TOPICS[1] in link.text and "ACL" in link.text
    assert said[-1][0] == "error" and not wire.published

    receiver._on_subscribe(wire, None, 2, [good] * len(TOPICS), None)
    assert link.connected and link.text == "localhost:1" and wire.published == [SINK_TOPIC]
