"""Who we are and who a peer is: certificates of our own CA, and the secret that two of their keys make.

The three files are those of ``[mqtt]``: what lets a node talk to the broker lets it talk to its twin and the witness.
Keys are EC P-256; the secret of two parties is their static Diffie-Hellman value, so there is none to configure.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from failover.wire.beats import MAX_CERTIFICATE_BYTES
from touchline.config.node import MqttSection
from touchline.errors import ConfigError

MAX_KNOWN: Final = 512  # certificates whose check is remembered
MAX_FILE_BYTES: Final = 1 << 16
MAX_AUTHORITIES: Final = 8

# All that reading a strange certificate may raise; what is worse than that is a bug of the library.
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_HINT: Final = "issue an EC P-256 key and a certificate of the site's CA for this party"


class Refusal(str, Enum):
    """Why a hello was not taken; the counters go by these."""

    STRANGER = "stranger"  # not a name that we talk to, or not here
    BUSY = "certificate_limited"  # too many new certificates at once
    FULL = "peers_full"
    PATH = "no_path"  # more paths there than here

    UNREADABLE = "certificate_unreadable"
    KEY = "certificate_key"  # not EC P-256
    NAME = "certificate_name"  # somebody else's
    EXPIRED = "certificate_expired"  # or not valid yet: by the clock of whoever looks
    SIGNATURE = "certificate_signature"  # of another CA


class Refused(Exception):
    """A peer's hello is not good enough; ``kind`` says why."""

    def __init__(self, kind: Refusal) -> None:
        super().__init__(kind.value)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class _Known:
    name: str
    secret: bytes


class Credentials:
    """Our name, certificate and key, and the authorities that we believe. Made by :func:`load_credentials`."""

    def __init__(
        self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, authorities: list[x509.Certificate]
    ) -> None:
        self.name = common_name(certificate)
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self._key = key
        self._authorities = authorities
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def knows(self, der: bytes) -> bool:
        """Whether checking this certificate costs nothing."""
        return der in self._known

    def secret(self, der: bytes, name: str, utc_s: float) -> bytes:
        """The secret shared with the owner of a certificate that must be ``name``'s. Raises :class:`Refused`.

        A certificate is checked once: one that was good stays good while this process lives, so that a stepped clock
        or its expiry does not end a running pair.
        """
        known = self._known.get(der)
        if known is None:
            known = self._known[der] = self._check(der, name, utc_s)
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        if known.name != name:
            raise Refused(Refusal.NAME)
        return known.secret

    def _check(self, der: bytes, name: str, utc_s: float) -> _Known:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a stranger's certificate is no deprecation of ours
                certificate = x509.load_der_x509_certificate(der)
                key = certificate.public_key()
                theirs = common_name(certificate)
        except _UNREADABLE as error:
            raise Refused(Refusal.UNREADABLE) from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise Refused(Refusal.KEY)
        if theirs != name:
            raise Refused(Refusal.NAME)
        issuer = issuer_of(certificate, self._authorities)
        if issuer is None:
            raise Refused(Refusal.SIGNATURE)
        if not (_valid(certificate, utc_s) and _valid(issuer, utc_s)):
            raise Refused(Refusal.EXPIRED)
        return _Known(name, self._key.exchange(ec.ECDH(), key))


def load_credentials(mqtt: MqttSection) -> Credentials:
    """Read the three files of ``[mqtt]``. Raises :class:`ConfigError` naming the file and the fix."""
    try:
        certificate = x509.load_pem_x509_certificate(_read("cert_file", mqtt.cert_file))
        authorities = x509.load_pem_x509_certificates(_read("ca_file", mqtt.ca_file))
        for authority in authorities:
            authority.public_key()
    except _UNREADABLE as error:
        raise ConfigError(f"mqtt.cert_file {mqtt.cert_file} or ca_file {mqtt.ca_file}: {error}", hint=_HINT) from error
    key = _load_key(mqtt.key_file)
    public = certificate.public_key()
    if (
        not isinstance(public, ec.EllipticCurvePublicKey)
        or public.public_numbers() != key.public_key().public_numbers()
    ):
        raise ConfigError(f"mqtt.cert_file {mqtt.cert_file} and mqtt.key_file {mqtt.key_file} do not belong together")
    if not common_name(certificate):
        raise ConfigError(f"mqtt.cert_file {mqtt.cert_file} has no common name", hint=_HINT)
    if len(authorities) > MAX_AUTHORITIES:
        raise ConfigError(f"mqtt.ca_file {mqtt.ca_file} holds more than {MAX_AUTHORITIES} certificates")
    if issuer_of(certificate, authorities) is None:
        raise ConfigError(
            f"mqtt.cert_file {mqtt.cert_file} is not signed by a CA of mqtt.ca_file {mqtt.ca_file}",
            hint="name the CA that signed it, itself: chains of several are not followed",
        )
    credentials = Credentials(certificate, key, authorities)
    if len(credentials.der) > MAX_CERTIFICATE_BYTES:
        raise ConfigError(
            f"mqtt.cert_file {mqtt.cert_file} has {len(credentials.der)} bytes (DER)",
            hint=f"failover sends it in one datagram: at most {MAX_CERTIFICATE_BYTES}; leave extensions away",
        )
    return credentials


def common_name(certificate: x509.Certificate) -> str:
    """The one common name of a certificate; "" where there are none or several."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else ""


def issuer_of(certificate: x509.Certificate, authorities: list[x509.Certificate]) -> x509.Certificate | None:
    """The authority, itself allowed to sign certificates, whose signature this is; None: none of them."""
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
            constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (InvalidSignature, x509.ExtensionNotFound, *_UNREADABLE):
            continue
        if constraints.ca:
            return authority
    return None


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(_read("key_file", path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"mqtt.key_file {path}: {error}", hint="an unencrypted EC P-256 key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
        raise ConfigError(f"mqtt.key_file {path} is a key of another kind ({kind}) than failover needs", hint=_HINT)
    return key


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    theirs = certificate.public_key()
    return isinstance(theirs, ec.EllipticCurvePublicKey) and theirs == key.public_key()


def _read(key: str, path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = "create it, or correct the path" if isinstance(error, FileNotFoundError) else "check owner and mode"
        raise ConfigError(f"mqtt.{key}: cannot read {path}: {error.strerror}", hint=hint) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"mqtt.{key} {path} is larger than {MAX_FILE_BYTES} bytes", hint=_HINT)
    return data


def _valid(certificate: x509.Certificate, utc_s: float) -> bool:
    when = datetime.fromtimestamp(utc_s, timezone.utc)
    return certificate.not_valid_before_utc <= when <= certificate.not_valid_after_utc
