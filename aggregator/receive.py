"""The rack's subscriber: MQTT over mutual TLS, QoS 1, a persistent session, acknowledged by hand after the commit."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from aggregator.ingest import Message
from aggregator.rack import Link
from touchline.mqtt import SINK_TOPIC, BrokerClient, MqttSettings, make_client
from touchline.timeline import Clock, monotonic_ns

TOPICS: Final = ("tl/v1/+/det", "tl/v1/+/health", "tl/v1/+/clock", "tl/v1/+/event")
DEFAULT_CLIENT_ID: Final = "touchline-rack"
_SESSION_S: Final = 7 * 86_400  # MQTT 5 only: how long the broker keeps our session while we are away
_PUT_S: Final = 0.2
_SUBSCRIPTION_REFUSED: Final = 128

Say = Callable[[str, str, str], None]  # severity, code, text


class Receiver:
    """Brings every message to ``inbox``; comes back by itself when the broker does.

    An acknowledgement belongs to the connection on which its message came: packet numbers begin anew on the next one.
    """

    def __init__(self, settings: MqttSettings, inbox: queue.Queue[Message], link: Link, clock: Clock, say: Say) -> None:
        self._settings = settings
        self._inbox = inbox
        self._link = link
        self._clock = clock
        self._say = say
        self._connection = 0
        self._greeted = False
        self._fault = ""
        self._stopping = threading.Event()
        self._client: BrokerClient = make_client(settings, clean_session=False, manual_ack=True)
        self._client.reconnect_delay_set(min_delay=1, max_delay=4)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def start(self) -> None:
        """Connect in the background, now or as soon as the broker is there."""
        settings = self._settings
        if settings.protocol == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _SESSION_S
            self._client.connect_async(
                settings.host, settings.port, settings.keepalive_s, clean_start=False, properties=properties
            )
        else:
            self._client.connect_async(settings.host, settings.port, settings.keepalive_s)
        self._client.loop_start()

    def quiesce(self) -> None:
        """Take no more messages; what is not taken stays with the broker."""
        self._stopping.set()

    def stop(self) -> None:
        """Leave; the session stays."""
        self._stopping.set()
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: paho.Client, userdata: Any, flags: paho.ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            self._down(str(self._client.refused(reason)))
            return
        self._connection += 1
        self._greeted = True
        self._fault = ""
        self._link.connects += 1
        self._link.text = f"{self._settings.address}: subscribing"
        session = "session kept" if flags.session_present else "new session"
        self._say("info", "broker", f"connected to {self._settings.address}, {session}")
        client.subscribe([(topic, 1) for topic in TOPICS])

    def _on_subscribe(
        self, client: paho.Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        """A link that brings nothing is not connected: only a granted subscription makes it so."""
        refused = [topic for topic, r in zip(TOPICS, reasons, strict=False) if r.value >= _SUBSCRIPTION_REFUSED]
        if refused:
            self._down(f"the broker's ACL refuses {', '.join(refused)}: allow our certificate's name")
            return
        self._link.connected = True
        self._link.text = self._settings.address
        hello = {"client": self._settings.client_id, "since_ptp_ns": self._clock.now().ptp_ns}
        client.publish(SINK_TOPIC, json.dumps(hello), qos=1, retain=True)

    def _on_connect_fail(self, client: paho.Client, userdata: Any) -> None:
        self._down(str(self._client.fault or f"cannot reach {self._settings.address}"))

    def _on_disconnect(
        self, client: paho.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        greeted, self._greeted = self._greeted, False
        if not self._stopping.is_set():
            self._down(str(self._client.lost(reason, greeted=greeted)))
        self._link.connected = False

    def _down(self, text: str) -> None:
        """Tell a fault once, not at every try."""
        self._link.connected = False
        self._link.text = text
        if text != self._fault:
            self._fault = text
            self._say("error", "broker", text)

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        arrived_ns = monotonic_ns()
        connection = self._connection
        mid, qos = message.mid, message.qos

        def acknowledge() -> None:
            if connection == self._connection:
                client.ack(mid, qos)

        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        item = Message(topic, bytes(message.payload), arrived_ns, self._clock.at(arrived_ns).ptp_ns, acknowledge)
        while not self._stopping.is_set():
            try:
                self._inbox.put(item, timeout=_PUT_S)
                return
            except queue.Full:
                continue
