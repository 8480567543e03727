"""Certificates for keys that were made elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from hil.rack.pki import LocalCa
from touchline.errors import InputError


def request(name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )


def test_a_request_becomes_a_client_certificate_of_the_same_key(tmp_path: Path):
    key = ec.generate_private_key(ec.SECP256R1())
    ca = LocalCa(tmp_path / "pki")
    certificate = x509.load_pem_x509_certificate(ca.sign(request("orin-a", key), "orin-a"))
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.ca_file.read_bytes()))
    assert not list(tmp_path.glob("pki/*.key"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"rubbish", "orin-a"),
        (request("orin-b"), "orin-a"),
        (request("orin-a", rsa.generate_private_key(public_exponent=65537, key_size=2048)), "orin-a"),
        (request("orin-a", ec.generate_private_key(ec.SECP384R1())), "orin-a"),
    ],
    ids=["rubbish", "another name", "rsa", "another curve"],
)
def test_what_is_not_the_nodes_own_request_is_refused(tmp_path: Path, text: bytes, name: str):
    with pytest.raises(InputError, match=name):
        LocalCa(tmp_path / "pki").sign(text, name)
