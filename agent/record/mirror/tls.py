"""Mutual TLS between twins, with the certificates that they have for the broker.

These are clients' certificates without host names, so OpenSSL's own check of a server (its purpose, its name) cannot
be had. Both ends check instead what failover's beats check (:mod:`failover.wire.identity`): signed by our CA, valid
now, a P-256 key, and the twin's common name. TLS 1.3 proves that the peer holds the key.
"""

from __future__ import annotations

import ssl
from typing import Final

from failover.wire.identity import Credentials, Refused, load_credentials
from touchline.config import MqttSection
from touchline.errors import ConfigError, LinkError
from touchline.timeline import utc_s

_HINT: Final = "both nodes need certificates of the same CA, and [failover] twin the twin's common name"


class Identity:
    """Our files and the twin's name. Raises ConfigError for files that cannot be used."""

    def __init__(self, mqtt: MqttSection, twin: str) -> None:
        self.twin = twin
        self._credentials: Credentials = load_credentials(mqtt)
        self._mqtt = mqtt
        self.server_context()
        self.client_context()

    def server_context(self) -> ssl.SSLContext:
        """For the end that listens."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """For the end that dials; :meth:`check` must follow the handshake."""
        context = self._context(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        mqtt = self._mqtt
        try:
            context.load_verify_locations(mqtt.ca_file)
            context.load_cert_chain(mqtt.cert_file, mqtt.key_file)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"mqtt.ca_file, cert_file or key_file cannot be used: {error}") from error
        return context

    def check(self, link: ssl.SSLSocket) -> None:
        """Raise LinkError unless the peer is the twin; to be called once the handshake is done."""
        der = link.getpeercert(binary_form=True)
        if not der:
            raise LinkError("the twin's recorder shows no certificate", hint=_HINT)
        try:
            self._credentials.secret(der, self.twin, utc_s())
        except Refused as error:
            raise LinkError(
                f"the other end of the mirror is not {self.twin}: {error.kind.value}", hint=_HINT
            ) from error
