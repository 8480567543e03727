"""A certificate authority made on the spot: EC P-256, keys readable by their owner only.

For the demo, tests and benchmarks. A real site's keys are made on the node and only the request leaves it (FLS-2).
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from touchline.errors import InputError
from touchline.timeline import utc_s

_CLOCK_SLACK: Final = timedelta(minutes=5)  # a peer whose clock is a little behind still finds the certificate valid


@dataclass(frozen=True, slots=True)
class Identity:
    """Files of one party: its certificate, its key, and the CA that signed it."""

    ca_file: Path
    cert_file: Path
    key_file: Path


class LocalCa:
    """A CA in one folder; :meth:`server` and :meth:`client` issue identities next to it.

    Making it again over an existing folder replaces the CA: certificates of the old one are then foreign.
    """

    def __init__(self, folder: Path, *, name: str = "touchline local CA", valid_days: float = 2.0) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.ca_file = folder / "ca.crt"
        self._valid_days = valid_days
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(name)
        certificate = (
            _builder(self._name, self._name, self._key.public_key(), valid_days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        _write_public(self.ca_file, certificate)

    def server(
        self, hosts: tuple[str, ...] = ("localhost", "127.0.0.1"), *, valid_days: float | None = None
    ) -> Identity:
        """Issue the broker's identity for ``hosts`` (names and addresses); a negative ``valid_days`` has expired."""
        names: list[x509.GeneralName] = [_general_name(host) for host in hosts]
        return self._issue("broker", ExtendedKeyUsageOID.SERVER_AUTH, names, valid_days)

    def client(self, name: str, *, valid_days: float | None = None) -> Identity:
        """Issue a client identity whose common name is ``name``: the node's name, which the broker's ACL goes by."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, [], valid_days)

    def sign(self, request_pem: bytes, name: str) -> bytes:
        """A client certificate (PEM) for a key that stays where it was made: only its request came here.

        Raises:
            InputError: no request, a wrong signature, another name than ``name``, or not an EC P-256 key.
        """
        try:
            request = x509.load_pem_x509_csr(request_pem)
        except ValueError as error:
            raise InputError(f"no certificate request for {name}: {error}", hint="send the request in PEM") from error
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InputError(f"the key in the request for {name} is not EC P-256")
        if not request.is_signature_valid or request.subject != _common_name(name):
            raise InputError(f"the request is not {name}'s own: its name or its signature differs")
        certificate = self._certificate(name, key, ExtendedKeyUsageOID.CLIENT_AUTH, [], self._valid_days)
        return certificate.public_bytes(serialization.Encoding.PEM)

    def _issue(
        self, name: str, usage: x509.ObjectIdentifier, hosts: list[x509.GeneralName], valid_days: float | None
    ) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        days = self._valid_days if valid_days is None else valid_days
        identity = Identity(self.ca_file, self.folder / f"{name}.crt", self.folder / f"{name}.key")
        _write_public(identity.cert_file, self._certificate(name, key.public_key(), usage, hosts, days))
        _write_key(identity.key_file, key)
        return identity

    def _certificate(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        usage: x509.ObjectIdentifier,
        hosts: list[x509.GeneralName],
        valid_days: float,
    ) -> x509.Certificate:
        builder = (
            _builder(_common_name(name), self._name, key, valid_days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid_days: float
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(utc_s(), timezone.utc)
    end = now + timedelta(days=valid_days)
    start = min(now, end - timedelta(days=1)) - _CLOCK_SLACK
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_public(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.chmod(0o644)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(pem)
