"""The real witness's lease table in the simulated world."""

from __future__ import annotations

from failover.wire.beats import Ask, Grant
from failover.witness.core import Holder, LeaseTable
from tests.failover.core.parts import Answer, Asked
from tests.failover.core.world import World


class Epochs:
    """Epochs that outlive the witness; the disk answers at once."""

    def __init__(self, file: list[int]) -> None:
        self._file = file

    def take(self, above: int) -> int | None:
        self._file.append(max(above, self._file[-1] if self._file else 0) + 1)
        return self._file[-1]


def _own_word(holder: Holder, ask: Ask) -> bool:
    return ask.given_tag == holder.session


class RealWitness:
    """One life of the real table; what it grants later than it was asked is sent then."""

    def __init__(self, world: World) -> None:
        now_ns = world.witness_ns()
        self._world = world
        self._lease_ns = world.lease_ns
        opens_ns = now_ns + world.lease_ns if world.file else 0
        self._table = LeaseTable(Epochs(world.file), opens_ns, world.lease_ns, _own_word)
        self._waiting: dict[tuple[Holder, int], Answer] = {}
        self._requests = 0

    def ask(self, asked: Asked, now_ns: int, answer: Answer) -> None:
        self._requests += 1
        who, ask = Holder(asked.node, asked.session.to_bytes(16, "little")), asked.what
        given, session = asked.given
        tag = session.to_bytes(16, "little")
        words = Ask(ask.what, "pair", who.node, ask.epoch, self._lease_ns, self._requests, given, tag)
        said = self._table.ask(words, who.session, now_ns)
        if isinstance(said, Grant):
            answer(True, said.epoch, who.node, said.lease_ns)
        else:
            answer(False, said.epoch, said.holder, said.wait_ns)
            self._waiting[who, self._requests] = answer
        self._plan()

    def _plan(self) -> None:
        next_ns = self._table.next_ns()
        if next_ns is not None:
            self._world.at(self._world.now_ns + max(1_000, next_ns - self._world.witness_ns()), self._tick)

    def _tick(self) -> None:
        if self._world.witness is not self:
            return
        for who, grant in self._table.tick(self._world.witness_ns()):
            self._waiting.pop((who, grant.request))(True, grant.epoch, who.node, grant.lease_ns)
        self._table.changes()
