"""What ``agent check`` says of a node's part in a pair: names and keys, ways to the twin, the virtual address."""

from __future__ import annotations

import socket
from typing import Final

from failover.wire.identity import load_credentials
from failover.wire.sockets import Address, resolve
from touchline.config import NodeConfig
from touchline.config.failover import FailoverSection, split_address
from touchline.errors import ConfigError, HardwareError

_WHOSE: Final = 'the first of each pair is ours: ["our host:port", "the twin\'s host:port"]'


def pair_text(config: NodeConfig, section: FailoverSection) -> str:
    """Who the twin is and how fast its silence is believed; our certificate must be ours and fit for the beats."""
    name = load_credentials(config.mqtt).name
    if name != config.node.name:
        raise ConfigError(
            f'certificate {config.mqtt.cert_file} is for "{name}", this node is "{config.node.name}"',
            hint="the twin goes by the certificate: set node.name, or enrol this node",
        )
    return (
        f"pair {section.pair}, twin {section.twin} (by its certificate), start {section.start}, beats of "
        f"{section.beat_ms:g} ms, dead after {section.silence_ms:g} ms, lease {section.lease_ms:g} ms, without the "
        f"witness {section.without_witness}"
    )


def paths_text(section: FailoverSection) -> str:
    """Each way must begin at an address of this machine, end elsewhere, and not be another one's double."""
    ends = [(_resolved(ours), _resolved(theirs)) for ours, theirs in section.paths]
    for (ours, theirs), (our_text, their_text) in zip(ends, section.paths, strict=True):
        if ours == theirs:
            raise ConfigError(f"failover.paths: {our_text} is both ends of a way", hint="ours first, then the twin's")
        must_be_ours(
            our_text, "failover.paths", 'the first of each pair is ours: ["our host:port", "the twin\'s host:port"]'
        )
        if [pair[0] for pair in ends].count(ours) > 1 or [pair[1] for pair in ends].count(theirs) > 1:
            raise ConfigError(
                f"failover.paths: both ways use {our_text} or {their_text}",
                hint="two ways are for two links: give each its own addresses, or leave one away",
            )
    text = ", ".join(f"{ours} to {theirs}" for ours, theirs in section.paths)
    if len(ends) < 2:
        return f"{text}; one way only: a broken cable looks like a dead twin"
    hosts = {split_address(ours)[0] for ours, _ in section.paths}
    return text if len(hosts) == len(ends) else f"{text}; both over {hosts.pop()}: one link, not two"


def witness_text(section: FailoverSection) -> str:
    """The witness must have an address; whether it answers, the running service knows."""
    _, address = resolve(section.witness, "failover.witness")
    return f"{section.witness_name} at {address[0]} port {address[1]}, not asked: touchline failover status tells"


def address_text(section: FailoverSection) -> str:
    """The virtual address needs its interface."""
    try:
        index = socket.if_nametoindex(section.address_interface)
    except OSError as error:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise HardwareError(
            f"failover.address_interface: there is no {section.address_interface}", hint=f"this machine has {names}"
        ) from error
    return f"{section.address} on {section.address_interface} (number {index}) while this node is active"


def _resolved(text: str) -> Address:
    return resolve(text, "failover.paths")[1]


def must_be_ours(text: str, key: str, hint: str) -> None:
    """Raise ConfigError unless ``host:port`` names an address of this machine; the port is not touched."""
    family, address = resolve(text, key)
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address[0], 0, *address[2:]))
        except OSError as error:
            raise ConfigError(
                f"{key}: {text} is no address of this machine now: {error.strerror}", hint=hint
            ) from error
