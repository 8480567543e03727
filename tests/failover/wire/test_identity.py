"""Whose certificates are taken, and what is said of those that are not."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from failover.wire.identity import MAX_KNOWN, Refusal, Refused, load_credentials
from hil.rack.pki import Identity, LocalCa
from tests.failover.wire.conftest import credentials_of, mqtt_of
from touchline.errors import ConfigError
from touchline.timeline import utc_s


def refusal(ours, der, name, when=None) -> Refusal:
    with pytest.raises(Refused) as caught:
        ours.secret(der, name, utc_s() if when is None else when)
    return caught.value.kind


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def signed(subject, key, *, issuer="touchline local CA", by=None, ca=False, subject_name=None) -> x509.Certificate:
    """A certificate of anybody, by anybody."""
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject_name or name_of(subject))
        .issuer_name(name_of(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(by or key, hashes.SHA256())
    )


def der_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def write(folder, name, certificate, key, ca_file) -> Identity:
    identity = Identity(ca_file, folder / f"{name}.crt", folder / f"{name}.key")
    identity.cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    identity.key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return identity


# --- a peer's certificate -------------------------------------------------------------------------------------------


def test_both_ends_make_the_same_secret_and_no_third_does(party):
    a, b, c = party("node-a"), party("node-b"), party("node-c")
    assert a.name == "node-a"
    ab = a.secret(b.der, "node-b", utc_s())
    assert ab == b.secret(a.der, "node-a", utc_s())
    assert len(ab) == 32
    assert a.secret(c.der, "node-c", utc_s()) != ab
    assert c.secret(b.der, "node-b", utc_s()) != ab


def test_a_certificate_of_another_ca_is_refused_even_with_the_same_ca_name(party, other_site):
    stranger = credentials_of(other_site.client("node-b"))
    assert refusal(party("node-a"), stranger.der, "node-b") is Refusal.SIGNATURE


def test_somebody_elses_name_is_refused_also_once_the_certificate_is_known(party):
    a, b = party("node-a"), party("node-b")
    assert refusal(a, b.der, "node-c") is Refusal.NAME
    assert not a.knows(b.der)
    a.secret(b.der, "node-b", utc_s())
    assert a.knows(b.der)
    assert refusal(a, b.der, "node-c") is Refusal.NAME


def test_a_self_signed_certificate_is_refused(party):
    key = ec.generate_private_key(ec.SECP256R1())
    assert refusal(party("node-a"), der_of(signed("node-b", key)), "node-b") is Refusal.SIGNATURE


def test_a_nodes_certificate_cannot_sign_others(site, party, tmp_path):
    """node-b's key signs for node-x: node-b is no CA, even where its certificate is among those believed."""
    b = site.client("node-b2")
    key = serialization.load_pem_private_key(b.key_file.read_bytes(), None)
    made = signed("node-x", ec.generate_private_key(ec.SECP256R1()), issuer="node-b2", by=key)
    believed = tmp_path / "both.crt"
    believed.write_bytes(b.ca_file.read_bytes() + b.cert_file.read_bytes())
    a = site.client("node-a3")
    ours = credentials_of(Identity(believed, a.cert_file, a.key_file))
    assert refusal(ours, der_of(made), "node-x") is Refusal.SIGNATURE


@pytest.mark.parametrize("days", [-3, 400])
def test_expired_or_not_yet_valid(party, site, days):
    b = credentials_of(site.client("node-d"))
    when = utc_s() + days * 86_400
    assert refusal(party("node-a"), b.der, "node-d", when) is Refusal.EXPIRED


def test_a_certificate_that_was_good_stays_good_when_the_clock_steps(party):
    a, b = party("node-a"), party("node-b")
    secret = a.secret(b.der, "node-b", utc_s())
    assert a.secret(b.der, "node-b", 0.0) == secret
    assert a.secret(b.der, "node-b", utc_s() + 1e9) == secret


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa", "p384", "ed25519"],
)
def test_a_peers_key_that_is_not_p256_is_refused(party, key):
    made = signed("node-b", key, by=ec.generate_private_key(ec.SECP256R1()))
    assert refusal(party("node-a"), der_of(made), "node-b") is Refusal.KEY


def test_two_common_names_are_none(party):
    both = x509.Name([*name_of("node-b"), *name_of("node-c")])
    made = signed("", ec.generate_private_key(ec.SECP256R1()), subject_name=both)
    assert refusal(party("node-a"), der_of(made), "node-b") is Refusal.NAME


@given(st.binary(max_size=600))
def test_junk_is_unreadable(party, data):
    assert refusal(party("node-a"), data, "node-b") is Refusal.UNREADABLE


@given(st.data())
def test_a_changed_certificate_is_refused(party, data):
    der = bytearray(party("node-b").der)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    if bytes(der) != party("node-b").der:
        assert refusal(party("node-a"), bytes(der), "node-b") in {
            Refusal.UNREADABLE,
            Refusal.KEY,
            Refusal.NAME,
            Refusal.SIGNATURE,
            Refusal.EXPIRED,
        }


def test_what_is_remembered_is_bounded(party, monkeypatch):
    monkeypatch.setattr("failover.wire.identity.MAX_KNOWN", 2)
    assert MAX_KNOWN == 512
    a = party("node-a")
    others = [party(name) for name in ("node-b", "node-c", "node-d2")]
    for other in others:
        a.secret(other.der, other.name, utc_s())
    assert [a.knows(other.der) for other in others] == [False, True, True]


# --- our own files --------------------------------------------------------------------------------------------------


def said(mqtt) -> str:
    with pytest.raises(ConfigError) as caught:
        load_credentials(mqtt)
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_an_rsa_key_is_refused_with_the_fix(site, tmp_path):
    key = rsa.generate_private_key(65537, 2048)
    text = said(mqtt_of(write(tmp_path, "node-a", signed("node-a", key), key, site.ca_file)))
    assert "key of another kind (RSA)" in text
    assert "EC P-256" in text


def test_key_and_certificate_of_two_parties(site):
    a, b = site.client("node-a4"), site.client("node-b4")
    assert "do not belong together" in said(mqtt_of(Identity(a.ca_file, a.cert_file, b.key_file)))


def test_our_own_certificate_is_of_another_ca(site, other_site):
    a = other_site.client("node-a")
    assert "not signed by a CA of mqtt.ca_file" in said(mqtt_of(Identity(site.ca_file, a.cert_file, a.key_file)))


def test_files_that_are_missing_or_no_pem(site, tmp_path):
    a = site.client("node-a5")
    missing = tmp_path / "none.crt"
    assert "create it" in said(mqtt_of(Identity(a.ca_file, missing, a.key_file)))
    missing.write_text("not PEM")
    for identity in (
        Identity(missing, a.cert_file, a.key_file),
        Identity(a.ca_file, missing, a.key_file),
        Identity(a.ca_file, a.cert_file, missing),
    ):
        assert str(missing) in said(mqtt_of(identity))
    missing.write_bytes(bytes(1 << 17))
    assert "larger than" in said(mqtt_of(Identity(a.ca_file, a.cert_file, missing)))


def test_a_certificate_too_large_for_a_datagram(site, tmp_path):
    hosts = tuple(f"host-{number}.of-a-very-long-name.example.org" for number in range(40))
    assert "at most 1024" in said(mqtt_of(LocalCa(tmp_path).server(hosts)))
