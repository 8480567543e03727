"""A pure-Python broker (amqtt, MIT) where Mosquitto is missing: for the demo only, and it says so.

Same certificates and TLS 1.3, MQTT 3.1.1. It has no per-identity ACL here and forgets everything when it ends, so
nothing is proven with it. It runs as a child process, ``python -m hil.rack.broker_amqtt``, from the optional extra
``demo-broker``.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import ssl
import sys
from pathlib import Path
from typing import Any, Final

from hil.rack.broker import Broker, BrokerSpec
from hil.rack.pki import Identity
from touchline.errors import ResourceError

LIMITS: Final = "amqtt stands in for Mosquitto: demo only, no ACL per node, nothing kept over its restart"
_MAX_PACKET_BYTES: Final = 1 << 20


class FallbackBroker(Broker):
    """amqtt with the interface of :class:`~hil.rack.broker.Broker`. It has no plain listener."""

    def _find_program(self) -> str:
        if importlib.util.find_spec("amqtt") is None:
            raise ResourceError(
                "neither mosquitto nor amqtt is installed",
                hint="apt install mosquitto, or pip install touchline[demo-broker]",
            )
        return sys.executable

    def _argv(self, port: int, plain_port: int | None) -> list[str]:
        if plain_port is not None:
            raise ResourceError("the stand-in broker has no plain listener", hint="apt install mosquitto")
        self.spec.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        who = self.spec.identity
        files = [str(path) for path in (who.ca_file, who.cert_file, who.key_file, self.log_file)]
        return [self.program, "-m", "hil.rack.broker_amqtt", self.spec.host, str(port), *files]


def open_broker(spec: BrokerSpec) -> tuple[Broker, str]:
    """Return Mosquitto, or amqtt with the sentence to show the user. Raises ResourceError when there is neither."""
    try:
        return Broker(spec), ""
    except ResourceError:
        return FallbackBroker(spec), LIMITS


def _context(who: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(who.cert_file, who.key_file)
    context.load_verify_locations(who.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def _serve(host: str, port: int, who: Identity) -> None:
    from amqtt.broker import Broker as AmqttBroker

    class MutualTls(AmqttBroker):  # type: ignore[misc]
        """amqtt makes client certificates optional; here they are required."""

        @staticmethod
        def _create_ssl_context(_listener: Any) -> ssl.SSLContext:
            return _context(who)

    listener = {
        "type": "tcp",
        "bind": f"{host}:{port}",
        "ssl": True,
        "cafile": str(who.ca_file),
        "certfile": str(who.cert_file),
        "keyfile": str(who.key_file),
    }
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = MutualTls({"listeners": {"default": listener}, "plugins": plugins})
    await broker.start()
    logging.getLogger("touchline").warning("amqtt running")
    await asyncio.Event().wait()


def main() -> None:
    """Serve until killed; the log file says ``amqtt running`` when it listens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    for name in ("ca", "cert", "key", "log"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    logging.basicConfig(filename=given.log, level=logging.WARNING, format="%(asctime)s: %(message)s")
    try:
        asyncio.run(_serve(given.host, given.port, Identity(given.ca, given.cert, given.key)))
    except OSError as error:
        logging.getLogger("touchline").error("%s", error.strerror)
        sys.exit(1)


if __name__ == "__main__":
    main()
