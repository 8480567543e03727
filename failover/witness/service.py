"""The witness's shell: one UDP socket, one thread, the table's answers out at the moment they are due.

The disk has a thread of its own, for the few reservations of epochs, and so has the log. What strangers may cost is
bounded by :mod:`failover.wire.door`; a turn takes at most 32 datagrams before the table is looked at again.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

from failover.service.realtime import become_punctual
from failover.speaker import Speaker
from failover.wire.beats import Ask, Denial, Grant, Message
from failover.wire.endpoint import Endpoint, Taken
from failover.wire.identity import load_credentials
from failover.wire.peer import Peer
from failover.wire.sockets import Address, drain, look_up, open_socket, send
from failover.witness.core import Change, Holder, LeaseTable
from failover.witness.store import EpochStore
from touchline.config.rack import RackConfig
from touchline.config.witness import split_bind
from touchline.errors import ConfigError, ResourceError
from touchline.notify import notify, watchdog_interval_s
from touchline.stats import Window
from touchline.timeline import monotonic_ns, utc_s, utc_text

STATUS_NS: Final = 1_000_000_000
MAX_WAIT_NS: Final = 100_000_000  # so often at least the loop goes round: signals, watchdog, trouble of the disk
STATUS_FILE: Final = "witness-status.json"

Say = Callable[[str], None]


class Witness:
    """One witness. Raises at once what keeps it from serving (ConfigError, ResourceError, InputError)."""

    def __init__(self, config: RackConfig, say: Say) -> None:
        section = config.witness
        if section is None:
            raise ConfigError(
                "there is no [witness] in the rack's configuration",
                hint="add it, with state_file and run_dir; docs/examples/rack.toml shows it",
            )
        self._section, self._scheduling = section, ""
        self._credentials = load_credentials(config.mqtt)
        _make_run_dir(section.run_dir)
        family, address = look_up(*split_bind(section.bind), "witness.bind")
        self._socket = open_socket(family, address, "witness.bind")
        lease_limit_ns = round(section.lease_limit_ms * 1e6)
        try:
            self._store = EpochStore(section.state_file, lease_limit_ns, section.first_epoch)
        except BaseException:  # the port is not held for somebody who will not serve
            self._socket.close()
            raise
        self._speaker = Speaker(say)
        now_ns = monotonic_ns()
        self._table = LeaseTable(
            self._store, now_ns + self._store.quarantine_lease_ns, lease_limit_ns, self._gave, dict(section.pairs)
        )
        self._endpoint = Endpoint(self._credentials, self._expects)
        self._addresses: dict[str, Address] = {}
        self._asks = self._grants = self._foreign = self._unsent = 0
        self._turn_us = Window(1024)
        self._trouble = ""
        self._unproven = 0
        self._status_trouble = False
        self._status_ns = self._fed_ns = now_ns - STATUS_NS
        self._watchdog_s = watchdog_interval_s()

    @property
    def address(self) -> str:
        """Where it listens, as nodes write it in ``failover.witness``."""
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def begin(self) -> None:
        """Say what there is to say at the start, and become punctual."""
        for note in self._store.notes:
            self._tell("warning", "state_file", f"{note}; the other file was used and this one is written anew")
        if self._store.first_start:
            self._tell("warning", "first_start", f"{self._section.state_file} is new: epochs begin above those told")
        self._scheduling = become_punctual(self._section.realtime_priority)
        self._write_status(monotonic_ns())

    def step(self) -> None:
        """Wait for what is due next, and do it."""
        now_ns = monotonic_ns()
        next_ns = self._table.next_ns()
        wait_ns = MAX_WAIT_NS if next_ns is None else min(max(0, next_ns - now_ns), MAX_WAIT_NS)
        readable = select.select([self._socket], [], [], wait_ns / 1e9)[0]  # select(2): microseconds, epoll has ms
        arrived = drain(self._socket) if readable else []
        now_ns = monotonic_ns()  # after what arrived: a lease must not begin before it was asked for
        self._grant_what_waits(now_ns)
        for datagram, source in arrived:
            self._take(datagram, source, now_ns)
        if arrived:
            self._grant_what_waits(now_ns)  # a release may have set one free
        changes = self._table.changes()
        for change in changes:
            self._tell_change(change)
        self._look_after(now_ns, changed=bool(changes))
        if readable:
            self._turn_us.add((monotonic_ns() - now_ns) / 1e3)

    def close(self) -> None:
        """Stop serving; the last status stays, saying so."""
        self._socket.close()
        self._store.close()
        self._write_status(monotonic_ns(), "stopped")
        self._speaker.close()

    def document(self, now_ns: int, state: str = "serving") -> dict[str, Any]:
        """The status as plain data."""
        turn = self._turn_us.summary()
        return {
            "state": state,
            "pid": os.getpid(),
            "written": utc_text(),
            "name": self._credentials.name,
            "address": self.address if state == "serving" else "",
            "scheduling": self._scheduling,
            "lease_limit_ms": self._section.lease_limit_ms,
            "quarantine_left_ms": self._table.quarantine_left_ns(now_ns) / 1e6,
            "last_epoch": self._store.last,
            "trouble": self._store.trouble,
            "pairs": self._table.document(now_ns),
            "nodes": [_node_document(peer, now_ns) for peer in self._endpoint.peers.values()],
            "asks": self._asks,
            "grants": self._grants,
            "unsent": self._unsent,
            "turn_us": None if turn is None else turn.as_dict(),
            "counters": {
                **self._endpoint.counters,
                "for_another": self._foreign,
                "unproven": self._table.unproven,
                "unsaid": self._speaker.dropped,
            },
        }

    # --- datagrams ------------------------------------------------------------------------------------------------

    def _expects(self, name: str) -> bool:
        """Any node of our CA, or those of the listed pairs; never one that has our own name."""
        listed = {node for nodes in self._section.pairs.values() for node in nodes}
        return name != self._credentials.name and (not listed or name in listed)

    def _take(self, datagram: bytes, source: Address, now_ns: int) -> None:
        taken = self._endpoint.take(datagram, str(source[0]), now_ns, utc_s())
        for reply in taken.replies:
            self._send(reply, source)
        if taken.peer is not None and taken.message is not None:
            self._addresses[taken.peer.name] = source
            self._answer(taken.peer, taken, now_ns)

    def _answer(self, peer: Peer, taken: Taken, now_ns: int) -> None:
        ask = taken.message
        if not isinstance(ask, Ask) or ask.node != peer.name:  # authentic, and not for its maker to say
            self._foreign += 1
            return
        self._asks += 1
        self._reply(peer, self._table.ask(ask, peer.session, now_ns))

    def _gave(self, holder: Holder, ask: Ask) -> bool:
        """Only the holder and we have the key of this word: its twin carries it and cannot make one."""
        peer = self._endpoint.peers.get(holder.node)
        return peer is not None and peer.gave(holder.session, ask.pair, ask.given, ask.given_tag)

    def _grant_what_waits(self, now_ns: int) -> None:
        for holder, grant in self._table.tick(now_ns):
            peer = self._endpoint.peers.get(holder.node)
            if peer is not None and peer.session == holder.session:  # else its asker is gone; the lease runs out
                self._reply(peer, grant)

    def _reply(self, peer: Peer, answer: Grant | Denial) -> None:
        self._grants += isinstance(answer, Grant)
        message: Message = answer
        for datagram in peer.seal(message):
            self._send(datagram, self._addresses[peer.name])

    def _send(self, datagram: bytes, to: Address) -> None:
        if not send(self._socket, datagram, to):
            self._unsent += 1

    # --- what people and systemd see --------------------------------------------------------------------------------

    def _tell(self, severity: str, code: str, text: str, **more: Any) -> None:
        line = {"time": utc_text(), "severity": severity, "code": code, "text": text, **more}
        self._speaker.say(json.dumps(line))

    def _tell_change(self, change: Change) -> None:
        before, to = change.before or "nobody", change.node or "nobody"
        self._tell(
            "info",
            "holder",
            f"pair {change.pair}: {before} -> {to}, epoch {change.epoch} ({change.why})",
            pair=change.pair,
            epoch=change.epoch,
            holder=change.node,
            before=change.before,
            why=change.why,
        )

    def _look_after(self, now_ns: int, *, changed: bool) -> None:
        if changed or now_ns - self._status_ns >= STATUS_NS:
            self._status_ns = now_ns
            self._write_status(now_ns)
            if self._table.unproven != self._unproven:
                self._unproven = self._table.unproven
                self._tell("warning", "unproven", f"{self._unproven} times a twin showed a word that no holder gave")
        if self._store.trouble != self._trouble:
            self._trouble = self._store.trouble
            self._tell("error" if self._trouble else "info", "state_file", self._trouble or "written again")
        if self._watchdog_s is not None and now_ns - self._fed_ns >= self._watchdog_s * 1e9:
            self._fed_ns = now_ns
            notify("WATCHDOG=1")

    def _write_status(self, now_ns: int, state: str = "serving") -> None:
        path = status_file(self._section.run_dir)
        fresh = path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(self.document(now_ns, state)))
            fresh.replace(path)
        except OSError as error:
            if not self._status_trouble:
                self._tell("warning", "status_file", f"status file {path}: {error.strerror}")
            self._status_trouble = True
        else:
            self._status_trouble = False


def status_file(run_dir: Path) -> Path:
    """Where a witness with this ``witness.run_dir`` writes its status, each second and at each change of holder."""
    return run_dir / STATUS_FILE


def run_witness(config: RackConfig, say: Say, ready: Callable[[str], None]) -> None:
    """Be the witness in this thread until SIGTERM or SIGINT.

    Args:
        config: the rack's; ``[witness]`` must be there, ``[mqtt]`` gives name, key and CA.
        say: takes each event as one line of JSON: a change of holder, and trouble.
        ready: gets the address once it serves.

    Raises:
        ConfigError: no ``[witness]``, certificates that do not go together, an RSA key.
        ResourceError: the port or the state file is taken, a folder is missing.
        InputError: a state file that cannot be believed.
    """
    stopping: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopping.append(number)

    witness = Witness(config, say)
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        witness.begin()
        ready(witness.address)
        notify("READY=1", f"STATUS=witness at {witness.address}")
        while not stopping:
            witness.step()
    finally:
        notify("STOPPING=1")
        witness.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _make_run_dir(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"witness.run_dir {folder} cannot be used: {error.strerror}", hint="name a folder that we can write"
        ) from error


def _node_document(peer: Peer, now_ns: int) -> dict[str, Any]:
    path = peer.paths[0]
    return {
        "node": peer.name,
        "connected": peer.connected,
        "restarts": peer.restarts,
        "heard": path.heard,
        "lost": path.lost,
        "old": path.old,
        "heard_ms_ago": None if path.last_heard_ns is None else (now_ns - path.last_heard_ns) / 1e6,
        "counters": dict(peer.counters),
    }
