"""A node's end: the sockets of the paths to its twin and of the witness, and the core's events from what they bring.

One thread, nothing waits. The owner selects on :meth:`NodeWire.filenos`, calls :meth:`NodeWire.receive` for what is
readable, and :meth:`NodeWire.send_beat` and :meth:`NodeWire.ask` as the core says; hellos go along with these.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any, Final

from failover.core.types import NO_TAG, Beat, BeatHeard, Denied, Granted, TwinRestarted
from failover.wire.beats import Ask, Denial, Grant, Message, Reason, What
from failover.wire.endpoint import Endpoint, Taken
from failover.wire.identity import Credentials, load_credentials
from failover.wire.peer import Peer
from failover.wire.sockets import Address, drain, open_socket, resolve, send
from failover.wire.told import SwitchTold
from touchline.config.failover import FailoverSection
from touchline.config.node import MqttSection
from touchline.errors import ConfigError
from touchline.stats import Window
from touchline.timeline import utc_s
from touchline.units import ms

_NO_SERVICE: Final = (Reason.NOT_LISTED, Reason.FULL, Reason.NO_EPOCH)
MAX_OUTSTANDING: Final = 128  # asks whose answer may still come

WireEvent = BeatHeard | TwinRestarted | Granted | Denied | SwitchTold


@dataclass(slots=True)
class _Way:
    """A socket, where its datagrams go, and whose they are."""

    name: str
    socket: socket.socket
    remote: Address
    peer: Peer
    path: int
    unsent: int = 0

    def send(self, datagram: bytes) -> None:
        if not send(self.socket, datagram, self.remote):
            self.unsent += 1


@dataclass(slots=True)
class _Asked:
    sent_ns: int
    claim: bool
    answered: bool = False


@dataclass(slots=True)
class _WitnessStatistics:
    asked: int = 0
    answered: int = 0
    last_ns: int | None = None
    refusal: Reason | None = None
    round_trip_us: Window = field(default_factory=lambda: Window(512))


class NodeWire:
    """Twin and witness as one node sees them.

    Args:
        section: ``[failover]``.
        credentials: ours; their name must be ``node``.
        node: our name.

    Raises:
        ConfigError: names or addresses that do not go together.
        ResourceError: a port that is taken.
    """

    def __init__(self, section: FailoverSection, credentials: Credentials, node: str) -> None:
        if credentials.name != node:
            raise ConfigError(
                f'the certificate is "{credentials.name}"\'s and this node is "{node}"',
                hint="node.name and the common name in mqtt.cert_file must be the same",
            )
        if section.twin == section.witness_name:
            raise ConfigError(f'twin and witness are both named "{section.twin}"', hint="correct failover.twin")
        remotes = [section.witness, *(theirs for _, theirs in section.paths)]
        hosts = tuple(str(resolve(text, "failover")[1][0]) for text in remotes)
        self._section, self._node = section, node
        self._endpoint = Endpoint(credentials, lambda name: name in (section.twin, section.witness_name), hosts)
        self.twin = self._endpoint.add(section.twin, len(section.paths))
        self.witness = self._endpoint.add(section.witness_name, 1)
        self._request = 0
        self._asked: OrderedDict[int, _Asked] = OrderedDict()
        self._answers = _WitnessStatistics()
        self._stray = 0
        self._gave = self._given = (0, NO_TAG)  # the epoch given back last, and the word of it: ours; the twin's
        self._ways: dict[int, _Way] = {}
        try:
            self._paths = [self._path(number, ours, theirs) for number, (ours, theirs) in enumerate(section.paths)]
            self._to_witness = self._way_to_witness()
        except BaseException:  # whatever stopped us: what was opened is closed
            self.close()
            raise

    @classmethod
    def open(cls, section: FailoverSection, mqtt: MqttSection, node: str) -> NodeWire:
        """From the configuration; reads the three files of ``[mqtt]``."""
        return cls(section, load_credentials(mqtt), node)

    def _path(self, number: int, ours: str, theirs: str) -> _Way:
        key = f"failover.paths[{number}]"
        (family, remote), (our_family, local) = resolve(theirs, key), resolve(ours, key)
        if our_family != family:
            raise ConfigError(f"{key}: {ours} and {theirs} are IPv4 and IPv6", hint="use one of them for both")
        bound = open_socket(family, local, key)
        way = self._ways[bound.fileno()] = _Way(f"{ours} - {theirs}", bound, remote, self.twin, number)
        return way

    def _way_to_witness(self) -> _Way:
        family, remote = resolve(self._section.witness, "failover.witness")
        bound = open_socket(family, None, "failover.witness")
        way = self._ways[bound.fileno()] = _Way(self._section.witness, bound, remote, self.witness, 0)
        return way

    def filenos(self) -> list[int]:
        """Descriptors to wait for; they stay the same."""
        return list(self._ways)

    def receive(self, fd: int, now_ns: int) -> list[WireEvent]:
        """Everything that has arrived at one of the descriptors (at most 32 datagrams), as events of the core."""
        way = self._ways[fd]
        events: list[WireEvent] = []
        for datagram, source in drain(way.socket):
            taken = self._endpoint.take(datagram, str(source[0]), now_ns, utc_s(), only=way.peer)
            for reply in taken.replies:  # to the configured address: what lies about its source gets nothing
                way.send(reply)
            if taken.restarted and taken.peer is self.twin:
                events.append(TwinRestarted())
            events += self._events_of(taken, now_ns)
        return events

    def send_beat(self, beat: Beat, now_ns: int) -> None:
        """Send a beat on every path; a twin that does not know us gets a hello besides."""
        self._greet(self.twin, now_ns)
        epoch, tag = self._gave
        self._to_twin(replace(beat, given=epoch, given_tag=tag))

    def tell(self, told: SwitchTold) -> None:
        """Tell the twin of our last switch, on every path; nothing is repeated."""
        self._to_twin(told)

    def ask(self, what: What, epoch: int, now_ns: int) -> int | None:
        """Ask the witness; return the request's number, or None while it has not been met yet.

        A release voids what was claimed before: a grant that is still on its way is then no longer ours. The next
        beats tell the twin of it too, whose claims show it to the witness: our own word may not get through.
        """
        if what == "release":
            self._asked.clear()
            self._give(epoch)
        self._greet(self.witness, now_ns)
        if not self.witness.connected:
            return None
        self._request += 1
        self._asked[self._request] = _Asked(now_ns, what == "claim")
        while len(self._asked) > MAX_OUTSTANDING:
            self._asked.popitem(last=False)
        lease_ns = round(self._section.lease_ms * 1e6)
        given, tag = self._given if what == "claim" else (0, NO_TAG)
        question = Ask(what, self._section.pair, self._node, epoch, lease_ns, self._request, given, tag)
        for datagram in self.witness.seal(question):
            self._to_witness.send(datagram)
        self._answers.asked += 1
        return self._request

    def status(self, now_ns: int) -> dict[str, Any]:
        """Plain data for ``touchline failover status``; ages and times in ms, round trips in us."""
        answers, witness = self._answers, self.witness
        round_trip = answers.round_trip_us.summary()
        return {
            "twin": {
                "name": self.twin.name,
                "connected": self.twin.connected,
                "restarts": self.twin.restarts,
                "heard_ms_ago": _ago(self.twin.last_heard_ns, now_ns),
                "paths": [_path_document(way, now_ns) for way in self._paths],
                "counters": dict(self.twin.counters),
            },
            "witness": {
                "name": witness.name,
                "address": self._to_witness.name,
                "connected": witness.connected,
                "restarts": witness.restarts,
                "asked": answers.asked,
                "answered": answers.answered,
                "unsent": self._to_witness.unsent,
                "heard_ms_ago": _ago(answers.last_ns, now_ns),
                "round_trip_us": None if round_trip is None else round_trip.as_dict(),
                "refusal": "" if answers.refusal is None else answers.refusal.name.lower(),
                "counters": dict(witness.counters),
            },
            "counters": {**self._endpoint.counters, "stray_answer": self._stray},
        }

    def close(self) -> None:
        """Close the sockets."""
        for way in self._ways.values():
            way.socket.close()

    def _give(self, epoch: int) -> None:
        tag = self.witness.give(self._section.pair, epoch) if epoch > self._gave[0] else None
        if tag is not None:  # without a channel there is no lease to give back either
            self._gave = epoch, tag

    def _to_twin(self, message: Message) -> None:
        for way, datagram in zip(self._paths, self.twin.seal(message), strict=False):
            way.send(datagram)

    def _greet(self, peer: Peer, now_ns: int) -> None:
        if peer.hello_due(now_ns):
            for way in self._paths if peer is self.twin else [self._to_witness]:
                way.send(peer.hello(way.path))

    def _events_of(self, taken: Taken, now_ns: int) -> list[WireEvent]:
        message = taken.message
        if taken.peer is self.twin and isinstance(message, Beat):
            if message.given:
                self._given = message.given, message.given_tag
            return [BeatHeard(message)]
        if taken.peer is self.twin and isinstance(message, SwitchTold):
            return [message]
        if taken.peer is self.witness and isinstance(message, Grant | Denial):
            return self._answer(message, now_ns)
        if message is not None:
            self._endpoint.counters["misplaced"] += 1  # authentic, and not for its maker to say
        return []

    def _answer(self, answer: Grant | Denial, now_ns: int) -> list[WireEvent]:
        asked = self._asked.get(answer.request)
        self._answers.last_ns = now_ns
        if asked is None or (isinstance(answer, Grant) and not asked.claim):
            self._stray += 1
            return []
        if not asked.answered:
            asked.answered = True
            self._answers.answered += 1
            self._answers.round_trip_us.add((now_ns - asked.sent_ns) / 1e3)
        if isinstance(answer, Grant):
            del self._asked[answer.request]
            self._answers.refusal = None
            return [Granted(answer.epoch, asked.sent_ns, answer.lease_ns)]
        self._answers.refusal = None if answer.reason in (Reason.FREE, Reason.HELD) else answer.reason
        if answer.reason in _NO_SERVICE:
            return []  # it lives, and will never grant us anything: for us that is no witness
        return [Denied(answer.epoch, answer.holder, answer.wait_ns, asked.sent_ns)]


def _path_document(way: _Way, now_ns: int) -> dict[str, Any]:
    counted = way.peer.paths[way.path]
    return {
        "path": way.name,
        "heard": counted.heard,
        "lost": counted.lost,
        "copies": counted.copies,
        "old": counted.old,
        "unsent": way.unsent,
        "heard_ms_ago": _ago(counted.last_heard_ns, now_ns),
    }


def _ago(then_ns: int | None, now_ns: int) -> float | None:
    return None if then_ns is None else ms(now_ns - then_ns)
