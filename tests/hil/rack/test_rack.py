"""The local CA and the broker process: modes, restarts, taken ports, nothing left running."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from hil.rack.broker import Broker, BrokerSpec, write_config
from hil.rack.pki import Identity, LocalCa
from touchline.errors import ResourceError


@pytest.fixture
def ca(tmp_path: Path) -> LocalCa:
    return LocalCa(tmp_path / "pki")


def spec(tmp_path: Path, ca: LocalCa, port: int = 0, plain_port: int | None = None) -> BrokerSpec:
    return BrokerSpec(tmp_path / "broker", ca.server(), port, plain_port)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_keys_are_for_their_owner_only(ca: LocalCa) -> None:
    identity = ca.client("node-a")
    assert identity.key_file.stat().st_mode & 0o777 == 0o600
    assert ca.folder.stat().st_mode & 0o777 == 0o700


def test_certificates_say_what_they_are_for(ca: LocalCa) -> None:
    server = x509.load_pem_x509_certificate(ca.server(("localhost", "127.0.0.1", "::1")).cert_file.read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    client = x509.load_pem_x509_certificate(ca.client("node-a").cert_file.read_bytes())
    assert client.subject.rfc4514_string() == "CN=node-a"
    assert not client.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert client.signature_hash_algorithm is not None
    assert client.not_valid_after_utc > client.not_valid_before_utc
    old = x509.load_pem_x509_certificate(ca.client("old", valid_days=-1).cert_file.read_bytes())
    assert old.not_valid_after_utc > old.not_valid_before_utc


def test_configuration_demands_certificates_and_tls_1_3(tmp_path: Path, ca: LocalCa) -> None:
    text = write_config(spec(tmp_path, ca), 18883, None).read_text()
    for line in (
        "tls_version tlsv1.3",
        "require_certificate true",
        "allow_anonymous false",
        "listener 18883 127.0.0.1",
    ):
        assert line in text.splitlines()
    assert "allow_anonymous true" not in text


def test_missing_mosquitto_says_how_to_get_it(tmp_path: Path, ca: LocalCa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("touchline.run.shutil.which", lambda *args, **kwargs: None)
    with pytest.raises(ResourceError, match="mosquitto is not installed — apt install mosquitto"):
        Broker(spec(tmp_path, ca))


@pytest.mark.system
def test_starts_restarts_on_the_same_port_and_ends(tmp_path: Path, ca: LocalCa) -> None:
    with Broker(spec(tmp_path, ca, plain_port=0)) as broker:
        first, port, plain = broker.pid, broker.port, broker.plain_port
        assert first is not None
        assert plain not in (None, 0, port)
        broker.kill()
        assert gone(first)
        broker.start()
        second = broker.pid
        assert second not in (None, first)
        assert (broker.port, broker.plain_port) == (port, plain)
    assert second is not None
    assert gone(second)


@contextmanager
def connected(broker: Broker, ca: LocalCa, identity: Identity | None) -> Iterator[ssl.SSLSocket]:
    """A client's end after its half of the handshake: in TLS 1.3 what the broker thinks of it comes afterwards."""
    context = ssl.create_default_context(cafile=str(ca.ca_file))
    if identity is not None:
        context.load_cert_chain(identity.cert_file, identity.key_file)
    with (
        socket.create_connection(("127.0.0.1", broker.port), 60.0) as bare,
        context.wrap_socket(bare, server_hostname="127.0.0.1") as sock,
    ):
        yield sock


@pytest.mark.system
def test_a_client_without_a_certificate_is_refused(tmp_path: Path, ca: LocalCa) -> None:
    with Broker(spec(tmp_path, ca)) as broker:
        with connected(broker, ca, ca.client("node-a")) as known:
            known.sendall(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03one")  # CONNECT, MQTT 3.1.1, client "one"
            assert known.recv(4) == b"\x20\x02\x00\x00"  # CONNACK: accepted
        with connected(broker, ca, None) as nameless, pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            nameless.recv(4)
        foreign = LocalCa(tmp_path / "other").client("node-a")
        with connected(broker, ca, foreign) as stranger, pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
            stranger.recv(4)


@pytest.mark.system
def test_taken_port_is_named(tmp_path: Path, ca: LocalCa) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        broker = Broker(spec(tmp_path, ca, port))
        with pytest.raises(ResourceError, match=f"port {port} on 127.0.0.1 is in use"):
            broker.start()
        assert broker.pid is None


@pytest.mark.system
def test_broker_that_cannot_start_says_its_last_words(tmp_path: Path, ca: LocalCa) -> None:
    what = spec(tmp_path, ca)
    what.identity.cert_file.write_text("junk")
    with pytest.raises(ResourceError, match="the broker ended at its start"):
        Broker(what).start()
