"""The shell around paho: one connection at a time, driven by the owner's loop, the next one dialled beside it.

Only :meth:`Connection.dial` uses a thread, because connecting blocks; until it ends nobody else touches the client, and
after it only the owner does. So there is no lock to hold and none to deadlock on. Every connection gets a new client:
nothing that paho kept from the last one (its queue, its message numbers) survives, and renewed certificates are read.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from dataclasses import replace
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.publish.pulse import TCP_INFO_BYTES, TcpSigns, read_tcp_info
from touchline.errors import ConfigError, LinkError, TouchlineError
from touchline.mqtt import BrokerClient, MqttSettings, make_client
from touchline.mqtt_errors import BrokerFault, certificate_name

WILL: Final = b'{"state":"offline","reason":"the connection to the broker broke"}'  # retained last will
_MISC_EVERY_NS: Final = 250_000_000
_QUICK_S: Final = {"connect_timeout_s": 0.25, "handshake_timeout_s": 1.0}  # beside a connection: again and again
_FIXED_OVERHEAD: Final = 16  # more than PUBLISH's header, message id and property length ever take


class Greeting:
    """What a broker said in its CONNACK: the refusal, if it is one, and its limits (MQTT 5)."""

    def __init__(self, refusal: BrokerFault | None, properties: Properties | None) -> None:
        self.refusal = refusal
        self.receive_maximum: int | None = getattr(properties, "ReceiveMaximum", None)
        self.maximum_packet_bytes: int | None = getattr(properties, "MaximumPacketSize", None)


class Connection:
    """At most one client; its events are collected during :meth:`pump` and fetched by the owner."""

    def __init__(self, settings: MqttSettings, listen_to: str | None, will_topic: str) -> None:
        make_client(settings)  # unusable certificate files are a ConfigError now, not a fault later
        self._settings = settings
        self._listen_to = listen_to
        self._will_topic = will_topic
        self._client: BrokerClient | None = None
        self._dialled: TouchlineError | BrokerClient | None = None
        self._thread: threading.Thread | None = None
        self.dialling = False  # until :meth:`dialled` has said how it ended
        self._misc_ns = 0
        self.wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.greeting: Greeting | None = None
        self.lost: BrokerFault | None = None
        self.acks: list[tuple[int, ReasonCode]] = []
        self.sink_messages: list[bytes] = []

    # -- dialling ----------------------------------------------------------------------------------------------------

    def dial(self, *, quick: bool = False) -> None:
        """Start connecting on a thread of its own, if none does; :attr:`wake_fd` becomes readable when it ended.

        A connection that is there stays until then. ``quick``: the attempt is given up soon, for what is lost while the
        way is cut is repeated only after a second.
        """
        if self.dialling:
            return
        self.dialling = True
        limits = {key: min(most, getattr(self._settings, key)) for key, most in _QUICK_S.items()} if quick else {}
        settings = replace(self._settings, **limits)
        self._thread = threading.Thread(target=self._dial, args=(settings,), name="mqtt-dial", daemon=True)
        self._thread.start()

    def _dial(self, settings: MqttSettings) -> None:
        outcome: TouchlineError | BrokerClient
        try:
            client = make_client(settings, reconnect_on_failure=False)
            client.will_set(self._will_topic, WILL, qos=1, retain=True)
            client.max_inflight_messages_set(0)  # our own window bounds it; paho must never queue
            client.dial()
            client.on_connect = self._on_connect
            client.on_disconnect = self._on_disconnect
            client.on_publish = self._on_publish
            client.on_message = self._on_message
            outcome = client
        except TouchlineError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - whatever ends the thread must end the attempt, or none follows
            outcome = LinkError(f"connecting to {self._settings.address} failed: {error!r}")
        self._dialled = outcome
        os.eventfd_write(self.wake_fd, 1)

    def dialled(self) -> TouchlineError | bool:
        """After :attr:`wake_fd` was readable: True when connected, the error when not, False when still dialling.

        The new connection takes the place of one that is there: the broker ends that as soon as it reads our CONNECT.
        """
        try:
            os.eventfd_read(self.wake_fd)
        except BlockingIOError:
            return False
        outcome, self._dialled = self._dialled, None
        self.dialling = False
        if isinstance(outcome, BrokerClient):
            self.drop()
            self._client = outcome
            return True
        return outcome if outcome is not None else False

    # -- while connected ---------------------------------------------------------------------------------------------

    def fileno(self) -> int | None:
        """The socket's descriptor; None without a connection."""
        connection = self._client.socket() if self._client is not None else None
        return connection.fileno() if connection is not None else None

    def tcp(self) -> TcpSigns | None:
        """What the kernel says of the connection; None without one."""
        connection = self._client.socket() if self._client is not None else None
        if not isinstance(connection, socket.socket):
            return None
        return read_tcp_info(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES))

    @property
    def wants_write(self) -> bool:
        """Whether bytes wait for the socket."""
        return self._client is not None and self._client.want_write()

    def pump(self, now_ns: int, *, readable: bool, writable: bool) -> None:
        """Read, write and keep alive; fills :attr:`greeting`, :attr:`acks`, :attr:`sink_messages`, :attr:`lost`."""
        client = self._client
        if client is None:
            return
        if readable:
            done = client.loop_read()
            while done == MQTTErrorCode.MQTT_ERR_SUCCESS and _pending(client):
                done = client.loop_read()
        if (writable or readable) and client.want_write():
            client.loop_write()
        if now_ns - self._misc_ns >= _MISC_EVERY_NS:
            self._misc_ns = now_ns
            client.loop_misc()

    def listen(self) -> None:
        """Subscribe to the sink's topic."""
        if self._client is not None and self._listen_to is not None:
            self._client.subscribe(self._listen_to, qos=1)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int | None:
        """Hand one QoS 1 message to the socket; its message id, or None when the connection has just ended."""
        if self._client is None:
            return None
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def fits(self, topic: str, payload: bytes) -> bool:
        """Whether the broker's packet limit lets this message through."""
        limit = self.greeting.maximum_packet_bytes if self.greeting is not None else None
        return limit is None or len(topic) + len(payload) + _FIXED_OVERHEAD <= limit

    def drop(self) -> None:
        """Close without a word, and forget all events."""
        client, self._client = self._client, None
        if client is not None:
            _silence(client)
            connection = client.socket()
            if connection is not None:
                connection.close()
        self.greeting, self.lost = None, None
        self.acks.clear()
        self.sink_messages.clear()

    def leave(self) -> None:
        """Say DISCONNECT, then close."""
        if self._client is not None:
            _silence(self._client)
            self._client.disconnect()
        self.drop()

    def close(self) -> None:
        """Leave, and give up the descriptor. A dial that still goes on ends by its time-outs and keeps it."""
        self.leave()
        if self._thread is None or not self._thread.is_alive():
            os.close(self.wake_fd)

    # -- paho's callbacks, called from pump --------------------------------------------------------------------------

    def _on_connect(
        self, client: paho.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        assert isinstance(client, BrokerClient)
        self.greeting = Greeting(client.refused(reason) if reason.is_failure else None, properties)

    def _on_disconnect(
        self, client: paho.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        assert isinstance(client, BrokerClient)
        greeted = self.greeting is not None and self.greeting.refusal is None
        self.lost = client.lost(reason, greeted=greeted)

    def _on_publish(
        self, client: paho.Client, userdata: Any, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self.acks.append((mid, reason))

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        self.sink_messages.append(bytes(message.payload))


def _silence(client: BrokerClient) -> None:
    client.on_connect = client.on_disconnect = client.on_publish = client.on_message = None


def _pending(client: BrokerClient) -> bool:
    """Whether decrypted bytes wait inside the TLS layer, where select cannot see them."""
    connection = client.socket()
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0


def check_identity(mqtt: MqttSettings, node: str) -> None:
    """Raise :class:`ConfigError` unless the certificate is this node's: the broker would not let it publish."""
    if mqtt.cert_file is None:
        return
    name = certificate_name(mqtt.cert_file)
    if name != node:
        raise ConfigError(
            f"certificate {mqtt.cert_file} is for {name!r}, this node is {node!r}",
            hint="the broker lets a node publish below its own name only: set node.name, or enrol this node",
        )
