"""Certificates of a small site, made once: two nodes, a witness, a stranger's CA."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from failover.wire.identity import Credentials, load_credentials
from hil.rack.pki import Identity, LocalCa
from touchline.config.node import MqttSection


def mqtt_of(identity: Identity) -> MqttSection:
    return MqttSection(
        host="localhost", ca_file=identity.ca_file, cert_file=identity.cert_file, key_file=identity.key_file
    )


def credentials_of(identity: Identity) -> Credentials:
    return load_credentials(mqtt_of(identity))


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> LocalCa:
    return LocalCa(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def other_site(tmp_path_factory) -> LocalCa:
    return LocalCa(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="session")
def party(site) -> Callable[[str], Credentials]:
    """Fresh credentials of a name; its certificate stays the same."""
    made: dict[str, Identity] = {}

    def credentials(name: str) -> Credentials:
        if name not in made:
            made[name] = site.client(name)
        return credentials_of(made[name])

    return credentials
