"""The MQTT client factory: TLS 1.3 both ways, two time-outs, and one clear line for every way to fail (MSG-2)."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hil.rack.pki import LocalCa
from touchline.errors import ConfigError, LinkError
from touchline.mqtt import MqttSettings, make_client, tls_context
from touchline.mqtt_errors import (
    BrokerFault,
    BrokerNotTrusted,
    BrokerRefused,
    BrokerUnreachable,
    CertificateExpired,
    CertificateRefused,
    HandshakeFailed,
    LinkLost,
    certificate_name,
    explain,
)
from touchline.timeline import monotonic_ns


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> LocalCa:
    return LocalCa(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def settings(ca: LocalCa) -> MqttSettings:
    node = ca.client("node-a")
    return MqttSettings("127.0.0.1", 1, "node-a", node.ca_file, node.cert_file, node.key_file, "3.1.1", 30.0, 30.0)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket on a free port; what it says is the test's business."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


class TlsServer:
    """Accepts one TLS connection, then hangs up (after reading what the client says first)."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        self._listener, self._context = listener, context
        self.version: str | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        try:
            with self._context.wrap_socket(connection, server_side=True) as tls:
                self.version = tls.version()
                tls.recv(100)
        except OSError:
            connection.close()

    def join(self) -> None:
        self._thread.join(60.0)


def server_context(ca: LocalCa, *hosts: str, valid_days: float | None = None) -> ssl.SSLContext:
    identity = ca.server(hosts or ("127.0.0.1",), valid_days=valid_days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert_file, identity.key_file)
    context.load_verify_locations(identity.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def at(settings: MqttSettings, listener: socket.socket) -> MqttSettings:
    return replace(settings, port=listener.getsockname()[1])


def fault_of(settings: MqttSettings) -> BrokerFault:
    """Dial; wait for the end of the connection; return the fault."""
    client = make_client(settings)
    try:
        client.dial()
    except BrokerFault as fault:
        return fault
    lost: list[BrokerFault] = []
    client.on_disconnect = lambda c, u, f, reason, p: lost.append(client.lost(reason, greeted=False))
    while not lost:
        connection = client.socket()
        assert isinstance(connection, socket.socket)
        select.select([connection], [], [], 5.0)
        client.loop_read()
    return lost[0]


def test_nothing_listens(settings: MqttSettings, listener: socket.socket) -> None:
    closed = at(settings, listener)
    listener.close()
    fault = fault_of(closed)
    assert isinstance(fault, BrokerRefused)
    assert isinstance(fault, LinkError)
    assert fault.exit_code == 6
    assert "nothing listens at" in str(fault)
    assert fault.hint


def test_name_that_does_not_resolve(settings: MqttSettings) -> None:
    fault = fault_of(replace(settings, host="nowhere.invalid"))
    assert isinstance(fault, BrokerUnreachable)
    assert "does not resolve" in fault.message


def test_tcp_and_handshake_have_a_time_out_each(settings: MqttSettings, listener: socket.socket) -> None:
    """The listener accepts (in the kernel) and never answers: only the handshake may run out, and at its own limit."""
    before_ns = monotonic_ns()
    fault = fault_of(replace(at(settings, listener), connect_timeout_s=90.0, handshake_timeout_s=0.2, keepalive_s=60))
    assert isinstance(fault, HandshakeFailed)
    assert "within 0.2 s" in fault.message
    assert monotonic_ns() - before_ns < 60_000_000_000


def test_tcp_time_out_is_the_connections() -> None:
    settings = MqttSettings("192.0.2.1", 8883, "x", connect_timeout_s=0.25)
    fault = explain(TimeoutError("timed out"), settings)
    assert isinstance(fault, BrokerUnreachable)
    assert "within 0.25 s" in fault.message


def test_tls_1_3_and_our_certificate(ca: LocalCa, settings: MqttSettings, listener: socket.socket) -> None:
    server = TlsServer(listener, server_context(ca))
    fault = fault_of(at(settings, listener))
    server.join()
    assert server.version == "TLSv1.3"
    assert isinstance(fault, LinkLost)
    assert "before it answered" in fault.message


def test_tls_1_2_is_refused(ca: LocalCa, settings: MqttSettings, listener: socket.socket) -> None:
    context = server_context(ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    TlsServer(listener, context)
    fault = fault_of(at(settings, listener))
    assert isinstance(fault, HandshakeFailed)
    assert "does not speak TLS 1.3" in fault.message


def test_broker_under_another_name(ca: LocalCa, settings: MqttSettings, listener: socket.socket) -> None:
    TlsServer(listener, server_context(ca, "rack.example"))
    fault = fault_of(at(settings, listener))
    assert isinstance(fault, BrokerNotTrusted)
    assert "name or address that its certificate carries" in fault.hint


def test_broker_of_another_ca(settings: MqttSettings, listener: socket.socket, tmp_path: Path) -> None:
    TlsServer(listener, server_context(LocalCa(tmp_path, name="someone else")))
    fault = fault_of(at(settings, listener))
    assert isinstance(fault, BrokerNotTrusted)
    assert "mqtt.ca_file" in fault.hint


def test_broker_with_an_expired_certificate(ca: LocalCa, settings: MqttSettings, listener: socket.socket) -> None:
    TlsServer(listener, server_context(ca, valid_days=-1))
    fault = fault_of(at(settings, listener))
    assert isinstance(fault, BrokerNotTrusted)
    assert "expired" in fault.message


def test_our_certificate_has_expired(ca: LocalCa, settings: MqttSettings, listener: socket.socket) -> None:
    old = ca.client("node-old", valid_days=-1)
    TlsServer(listener, server_context(ca))
    fault = fault_of(replace(at(settings, listener), cert_file=old.cert_file, key_file=old.key_file))
    assert isinstance(fault, CertificateExpired)
    assert "renew" in fault.hint


def test_our_certificate_is_foreign(
    ca: LocalCa, settings: MqttSettings, listener: socket.socket, tmp_path: Path
) -> None:
    foreign = LocalCa(tmp_path, name="someone else").client("node-a")
    TlsServer(listener, server_context(ca))
    fault = fault_of(replace(at(settings, listener), cert_file=foreign.cert_file, key_file=foreign.key_file))
    assert isinstance(fault, CertificateRefused)
    assert "not signed by its CA" in fault.message


def test_port_that_speaks_no_tls(settings: MqttSettings, listener: socket.socket) -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    fault = fault_of(at(settings, listener))
    assert isinstance(fault, HandshakeFailed | LinkLost)


@pytest.mark.parametrize("missing", ["ca_file", "cert_file", "key_file"])
def test_missing_file_is_named(settings: MqttSettings, missing: str) -> None:
    absent: dict[str, Any] = {missing: Path("/nonexistent/file.pem")}
    with pytest.raises(ConfigError, match=rf"mqtt\.{missing}: cannot read /nonexistent/file\.pem"):
        make_client(replace(settings, **absent))


def test_half_a_tls_configuration(settings: MqttSettings) -> None:
    with pytest.raises(ConfigError, match="key_file is not set"):
        make_client(replace(settings, key_file=None))


def test_key_of_another_certificate(ca: LocalCa, settings: MqttSettings) -> None:
    with pytest.raises(ConfigError, match="do not belong together"):
        tls_context(replace(settings, key_file=ca.client("node-b").key_file))


def test_file_that_is_no_certificate(settings: MqttSettings, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("not a certificate")
    with pytest.raises(ConfigError, match="holds no usable certificate"):
        tls_context(replace(settings, ca_file=junk))
    with pytest.raises(ConfigError, match="cannot be read"):
        certificate_name(junk)


def test_plain_mqtt_stays_on_loopback() -> None:
    make_client(MqttSettings("localhost", 1883, "x"))
    with pytest.raises(ConfigError, match="without TLS"):
        make_client(MqttSettings("192.0.2.1", 1883, "x"))


def test_certificate_name(settings: MqttSettings) -> None:
    assert settings.cert_file is not None
    assert certificate_name(settings.cert_file) == "node-a"
