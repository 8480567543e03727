"""MQTT over mutual TLS 1.3, the same for node and rack: one client factory, one language for what goes wrong (MSG-2).

:func:`make_client` gives a paho client that is not yet connected: TLS 1.3 at least, both sides show a certificate, the
broker's name is checked, small packets leave at once (TCP_NODELAY). Connecting and shaking hands have a time-out each.
Everything that can fail between a node and a broker becomes one :class:`BrokerFault` (a ``LinkError``, exit 6) with one
line and its fix; :attr:`BrokerClient.fault` holds the last one.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from touchline.config import MqttSection
from touchline.errors import ConfigError
from touchline.mqtt_errors import (
    BrokerFault,
    HandshakeTimeout,
    LinkLost,
    NotAuthorised,
    connack_hint,
    explain,
    own_certificate_fault,
)

Protocol = Literal["3.1.1", "5"]

AGGREGATOR: Final = "aggregator"  # common name of the identity that may read every node's tree; no node may bear it
SINK_TOPIC: Final = f"tl/v1/{AGGREGATOR}/sink"  # retained, non-empty: a receiver is subscribed

_PROTOCOLS: Final = {"3.1.1": paho.MQTTv311, "5": paho.MQTTv5}
_MAX_SESSION_EXPIRY_S: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """How to reach a broker and who we are there. Times in seconds.

    Without any of the three files the link is plain TCP: allowed to a loopback address only (tests, dissector).
    """

    host: str
    port: int
    client_id: str
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    protocol: Protocol = "3.1.1"
    connect_timeout_s: float = 5.0
    handshake_timeout_s: float = 5.0
    keepalive_s: int = 10

    @property
    def tls(self) -> bool:
        """Whether the link is encrypted."""
        return self.ca_file is not None

    @property
    def address(self) -> str:
        """``host:port`` for messages."""
        return f"{self.host}:{self.port}"


def settings_of(section: MqttSection, client_id: str) -> MqttSettings:
    """The settings of a configuration's ``[mqtt]``; ``client_id`` where that names none."""
    fields = section.model_dump()
    return MqttSettings(**{**fields, "client_id": section.client_id or client_id})


class _Socket(ssl.SSLSocket):
    """A TLS socket that leaves the alert which ended it with its context.

    In TLS 1.3 the client has finished before the server judges its certificate, so a refusal arrives as an alert on the
    first read, where paho logs and forgets it.
    """

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if isinstance(self.context, _Context):
                self.context.alert = error
            raise


class _Context(ssl.SSLContext):
    """A client context whose handshake has its own time-out, and which keeps the last alert of its socket."""

    handshake_timeout_s: float = 5.0
    alert: ssl.SSLError | None = None

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Wrap and shake hands within ``handshake_timeout_s``; paho's own later handshake call finds it done."""
        self.alert = None
        sock.settimeout(self.handshake_timeout_s)
        kwargs["do_handshake_on_connect"] = True
        try:
            return super().wrap_socket(sock, *args, **kwargs)
        except TimeoutError as error:
            raise HandshakeTimeout(str(error)) from error


def tls_context(settings: MqttSettings) -> _Context:
    """Return the client context: TLS 1.3 at least, our certificate shown, the broker's chain and name checked.

    Raises :class:`ConfigError` naming the file that is missing, unreadable, no certificate, or no pair with the key.
    """
    ca, cert, key = _three_files(settings)
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.sslsocket_class = _Socket
    context.handshake_timeout_s = settings.handshake_timeout_s
    try:
        context.load_verify_locations(ca)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"mqtt.ca_file {ca} holds no usable certificate: {error}") from error
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        reason = "do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else f"are unusable: {error}"
        raise ConfigError(f"mqtt.cert_file {cert} and mqtt.key_file {key} {reason}") from error
    except OSError as error:
        raise ConfigError(f"mqtt.cert_file {cert} or mqtt.key_file {key}: {error}") from error
    return context


def _three_files(settings: MqttSettings) -> tuple[Path, Path, Path]:
    files = {"ca_file": settings.ca_file, "cert_file": settings.cert_file, "key_file": settings.key_file}
    found: list[Path] = []
    for name, path in files.items():
        if path is None:
            raise ConfigError(f"mqtt.{name} is not set", hint="TLS needs ca_file, cert_file and key_file together")
        try:
            path.open("rb").close()
        except OSError as error:
            hint = "create it, or correct the path" if isinstance(error, FileNotFoundError) else "check owner and mode"
            raise ConfigError(f"mqtt.{name}: cannot read {path}: {error.strerror}", hint=hint) from error
        found.append(path)
    return found[0], found[1], found[2]


class BrokerClient(paho.Client):
    """A paho client that remembers why its last connection failed or ended. Built by :func:`make_client`."""

    settings: MqttSettings
    fault: BrokerFault | None = None
    _context: _Context | None = None

    def reconnect(self) -> MQTTErrorCode:
        """Connect and shake hands (blocking, within both time-outs); sends CONNECT and does not wait for its answer.

        Raises OSError as paho does, so that its own loops retry; :attr:`fault` then says it in words.
        """
        try:
            result = super().reconnect()
        except OSError as error:
            self.fault = explain(error, self.settings)
            raise
        connection = self.socket()
        if isinstance(connection, socket.socket):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return result

    def dial(self, *, clean_start: bool = True, session_expiry_s: int = 0) -> None:
        """Connect as :meth:`reconnect` does, but raise the typed :class:`BrokerFault`.

        ``clean_start`` and ``session_expiry_s`` speak to MQTT 5 only; for 3.1.1 give :func:`make_client` its
        ``clean_session``.
        """
        settings = self.settings
        try:
            if settings.protocol == "5":
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                properties.SessionExpiryInterval = min(session_expiry_s, _MAX_SESSION_EXPIRY_S)
                self.connect(
                    settings.host, settings.port, settings.keepalive_s, clean_start=clean_start, properties=properties
                )
            else:
                self.connect(settings.host, settings.port, settings.keepalive_s)
        except OSError as error:
            raise explain(error, settings) from error
        if self.socket() is None:  # CONNECT could not even be written
            raise self.lost(greeted=False)

    def refused(self, reason: ReasonCode) -> BrokerFault:
        """Explain a failed CONNACK; keeps the answer as :attr:`fault`."""
        self.fault = NotAuthorised(
            f"broker {self.settings.address} refuses the connection: {reason}",
            hint=connack_hint(self.settings, reason),
        )
        return self.fault

    def lost(self, reason: ReasonCode | None = None, *, greeted: bool = True) -> BrokerFault:
        """Explain a connection that just ended; keeps the answer as :attr:`fault`.

        ``greeted``: whether CONNACK had been received. A TLS alert beats paho's generic reason; a reset before CONNACK
        may have swallowed the alert, so then our own certificate is looked at.
        """
        alert = self._context.alert if self._context else None
        if alert is not None:
            self.fault = explain(alert, self.settings)
        elif greeted or not isinstance(self.fault, NotAuthorised):
            own = None if greeted else own_certificate_fault(self.settings)
            why = f" ({reason})" if reason is not None else ""
            when = "" if greeted else " before it answered"
            self.fault = own or LinkLost(
                f"broker {self.settings.address} closed the connection{when}{why}",
                hint=f"see the broker's log; a second client {self.settings.client_id!r} would end the first",
            )
        return self.fault


def make_client(
    settings: MqttSettings,
    *,
    clean_session: bool = True,
    manual_ack: bool = False,
    reconnect_on_failure: bool = True,
    userdata: Any = None,
) -> BrokerClient:
    """Return a client that is not connected yet; callbacks have paho's version 2 signatures.

    Args:
        settings: where and who; ``protocol`` "5" needs a broker that has it (RabbitMQ 3.10 does not).
        clean_session: MQTT 3.1.1 only; for MQTT 5 give :meth:`BrokerClient.dial` its ``clean_start`` and expiry.
        manual_ack: the receiver acknowledges each message itself with ``client.ack``.
        reconnect_on_failure: whether paho's own loops come back after a refusal.

    Raises :class:`ConfigError` for unusable certificate files, or for a plain link that leaves this machine.
    """
    client = BrokerClient(
        CallbackAPIVersion.VERSION2,
        client_id=settings.client_id,
        clean_session=None if settings.protocol == "5" else clean_session,
        userdata=userdata,
        protocol=_PROTOCOLS[settings.protocol],
        reconnect_on_failure=reconnect_on_failure,
        manual_ack=manual_ack,
    )
    client.settings = settings
    client.connect_timeout = settings.connect_timeout_s
    if settings.tls:
        client._context = tls_context(settings)
        client.tls_set_context(client._context)
    elif not _is_loopback(settings.host):
        raise ConfigError(
            f"mqtt.host {settings.host} without TLS",
            hint="set ca_file, cert_file and key_file; plain MQTT stays on loopback",
        )
    return client


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return bool(host == "localhost")
