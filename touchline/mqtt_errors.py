"""What can go wrong between a node and a broker, each with its one line and its fix (exit 6)."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from paho.mqtt.reasoncodes import ReasonCode

from touchline.errors import ConfigError, LinkError
from touchline.timeline import utc_text

if TYPE_CHECKING:
    from cryptography import x509

    from touchline.mqtt import MqttSettings


class BrokerFault(LinkError):
    """A link to a broker that does not work; ``kind`` is one word for the health document."""

    kind: ClassVar[str] = "fault"


class BrokerRefused(BrokerFault):
    """Nothing listens at the broker's port."""

    kind: ClassVar[str] = "refused"


class BrokerUnreachable(BrokerFault):
    """The name does not resolve, there is no route, or the connection timed out."""

    kind: ClassVar[str] = "unreachable"


class HandshakeFailed(BrokerFault):
    """The TLS handshake timed out or the other end does not speak TLS 1.3."""

    kind: ClassVar[str] = "handshake"


class BrokerNotTrusted(BrokerFault):
    """We refuse the broker's certificate: another CA, expired, another name."""

    kind: ClassVar[str] = "broker_not_trusted"


class CertificateExpired(BrokerFault):
    """The broker refuses our certificate because it is past its date."""

    kind: ClassVar[str] = "certificate_expired"


class CertificateRefused(BrokerFault):
    """The broker refuses our certificate: not from its CA, revoked, or missing."""

    kind: ClassVar[str] = "certificate_refused"


class NotAuthorised(BrokerFault):
    """The broker knows us and says no: identity or protocol version."""

    kind: ClassVar[str] = "not_authorised"


class LinkLost(BrokerFault):
    """An established connection ended."""

    kind: ClassVar[str] = "lost"


class HandshakeTimeout(TimeoutError):
    """The handshake, not the TCP connection, ran out of time."""


def explain(error: BaseException, settings: MqttSettings) -> BrokerFault:
    """Return the :class:`BrokerFault` that says what ``error`` (from connecting or from the TLS socket) means."""
    if isinstance(error, BrokerFault):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return _not_trusted(error, settings)
    if isinstance(error, ssl.SSLError):
        return _alert(error, settings)
    return _connection_fault(error, settings)


def _connection_fault(error: BaseException, settings: MqttSettings) -> BrokerFault:
    where = f"broker {settings.address}"
    fault: BrokerFault = BrokerUnreachable(f"cannot reach {where}: {error}", hint="check cable, route and firewall")
    if isinstance(error, ConnectionRefusedError):
        fault = BrokerRefused(
            f"nothing listens at {where}", hint="start the broker, or correct mqtt.host and mqtt.port"
        )
    elif isinstance(error, socket.gaierror):
        fault = BrokerUnreachable(f"the name of {where} does not resolve: {error.strerror}", hint="correct mqtt.host")
    elif isinstance(error, HandshakeTimeout):
        fault = HandshakeFailed(
            f"{where} accepted the connection but not the TLS handshake within {settings.handshake_timeout_s:g} s",
            hint="check that the port speaks TLS 1.3, or raise mqtt.handshake_timeout_s",
        )
    elif isinstance(error, TimeoutError):
        limit_s = settings.connect_timeout_s
        fault = BrokerUnreachable(
            f"no answer from {where} within {limit_s:g} s", hint="check cable, route and firewall"
        )
    elif isinstance(error, ConnectionResetError | BrokenPipeError):
        fault = LinkLost(f"{where} reset the connection during the handshake", hint="see the broker's log")
    return fault


def _not_trusted(error: ssl.SSLCertVerificationError, settings: MqttSettings) -> BrokerFault:
    other_ca = f"give mqtt.ca_file the CA that signed it (now {settings.ca_file})"
    hints = {
        "certificate has expired": "renew the broker's certificate, or correct this machine's clock",
        "certificate is not yet valid": "correct this machine's clock",
        "unable to get local issuer certificate": other_ca,
        "self-signed certificate in certificate chain": other_ca,
        "certificate signature failure": other_ca,
    }
    text = error.verify_message
    hint = hints.get(text, "use the name or address that its certificate carries")
    return BrokerNotTrusted(f"broker {settings.address}: {text.rstrip('.')}", hint=hint)


def _alert(error: ssl.SSLError, settings: MqttSettings) -> BrokerFault:
    reason = error.reason or str(error)
    where = f"broker {settings.address}"
    if "CERTIFICATE_EXPIRED" in reason:
        return _expired(settings, "")
    if "UNKNOWN_CA" in reason:
        return _foreign(settings)
    if "CERTIFICATE" in reason and "ALERT" in reason:
        return CertificateRefused(
            f"{where} refuses {settings.cert_file}: {reason.lower()}", hint="enrol this node with the rack's CA again"
        )
    if "VERSION" in reason or "WRONG_VERSION_NUMBER" in reason or "RECORD" in reason:
        return HandshakeFailed(
            f"{where} does not speak TLS 1.3 ({reason.lower()})",
            hint="correct mqtt.port, or raise the broker's TLS version",
        )
    return HandshakeFailed(f"TLS with {where} failed: {reason.lower()}", hint="see the broker's log")


def _expired(settings: MqttSettings, since: str) -> CertificateExpired:
    return CertificateExpired(
        f"broker {settings.address} refuses {settings.cert_file}: it has expired{since}",
        hint="renew this node's certificate, and check its clock",
    )


def certificate_name(cert_file: Path) -> str:
    """Return the common name in a certificate: the identity that the broker's ACL goes by. Raises ConfigError."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (OSError, ValueError) as error:
        raise ConfigError(f"mqtt.cert_file {cert_file} cannot be read: {error}") from error
    return str(names[0].value) if names else ""


def own_certificate_fault(settings: MqttSettings) -> BrokerFault | None:
    """Look at our certificate: its date or its issuer is the likely reason of a reset that left no alert."""
    if settings.cert_file is None or settings.ca_file is None:
        return None
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(settings.cert_file.read_bytes())
        authorities = x509.load_pem_x509_certificates(settings.ca_file.read_bytes())
    except (OSError, ValueError):
        return None
    end = certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    if end < utc_text():
        return _expired(settings, f" ({end})")
    if not any(_issued_by(certificate, authority) for authority in authorities):
        return _foreign(settings)
    return None


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _foreign(settings: MqttSettings) -> CertificateRefused:
    return CertificateRefused(
        f"broker {settings.address} refuses {settings.cert_file}: not signed by its CA",
        hint="enrol this node with the rack's CA",
    )


def connack_hint(settings: MqttSettings, reason: ReasonCode) -> str:
    if "protocol" in str(reason).lower():
        return 'set mqtt.protocol = "3.1.1"'
    if "identifier" in str(reason).lower():
        return f"give this client another mqtt.client_id than {settings.client_id!r}"
    return "enrol this identity at the broker (its ACL and its CA)"
