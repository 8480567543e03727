"""The gate: open for so long, under its epoch; what may leave when it is shut; when a late word makes a standby."""

from __future__ import annotations

import pytest

from agent.publish.gate import LAPSE_NS, SETTLED_NS, Gatekeeper, Leave
from failover.core.types import Gate, Role

MS = 1_000_000


def gate(*, is_open: bool = True, epoch: int = 7, until_ns: int = 100 * MS, settled: bool = False) -> Gate:
    return Gate(is_open, epoch, until_ns, Role.ACTIVE if is_open else Role.STANDBY, settled)


def test_without_failover_it_is_open_under_the_nodes_epoch() -> None:
    keeper = Gatekeeper(3, gated=False)
    assert keeper.is_open(0) and not keeper.is_standby(10**18)
    assert (keeper.epoch, keeper.role, keeper.epoch_of(3, 0)) == (3, Role.ACTIVE, 3)


def test_with_failover_it_is_shut_until_it_is_opened_and_at_its_end() -> None:
    keeper = Gatekeeper(3, gated=True)
    assert keeper.may_leave(0) is Leave.NOTHING and keeper.is_standby(0)
    keeper.hear(gate(settled=True), 0)
    assert keeper.is_open(100 * MS - 1)
    assert not keeper.is_open(100 * MS)
    assert keeper.may_leave(100 * MS) is Leave.NOTHING, "a word that ran out is no word"
    keeper.hear(gate(until_ns=200 * MS), 110 * MS)
    assert keeper.is_open(199 * MS)


def test_shut_and_settled_lets_its_own_go_while_the_service_lives() -> None:
    keeper = Gatekeeper(1, gated=True)
    keeper.hear(gate(is_open=False), 0)
    assert keeper.may_leave(1) is Leave.NOTHING
    keeper.hear(gate(is_open=False, settled=True), 0)
    assert keeper.may_leave(SETTLED_NS - 1) is Leave.OWN
    assert keeper.may_leave(SETTLED_NS) is Leave.NOTHING
    keeper.hear(Gate(False, 7, 0, Role.ACTIVE, settled=True), 0)
    assert keeper.may_leave(1) is Leave.NOTHING, "an active one that is shut is shut"


def test_a_late_word_is_no_change_of_role_but_a_lost_one_is() -> None:
    keeper = Gatekeeper(1, gated=True)
    keeper.hear(gate(), 0)
    assert not keeper.is_standby(50 * MS)
    assert not keeper.is_standby(100 * MS + LAPSE_NS - 1)
    assert keeper.is_standby(100 * MS + LAPSE_NS)
    keeper.hear(gate(until_ns=10**12), 10**11)
    assert not keeper.is_standby(10**11)
    keeper.hear(gate(is_open=False), 10**11)
    assert keeper.is_standby(10**11), "told so"


def test_an_active_one_that_is_shut_for_long_is_a_standby_for_its_records() -> None:
    keeper = Gatekeeper(1, gated=True)
    keeper.hear(gate(), 0)
    for at_ns in range(0, 10**9, 20 * MS):
        keeper.hear(Gate(False, 7, at_ns, Role.ACTIVE), at_ns)
        assert keeper.is_standby(at_ns) == (at_ns >= LAPSE_NS)


@pytest.mark.parametrize(("spooled", "is_open", "leaves"), [(0, True, 7), (5, True, 7), (0, False, 7), (5, False, 5)])
def test_the_epoch_under_which_a_batch_leaves(spooled: int, is_open: bool, leaves: int) -> None:
    """An open gate's for everything. Shut: its own; the last open one for what was spooled as a standby and let out."""
    keeper = Gatekeeper(1, gated=True)
    keeper.hear(gate(epoch=7), 0)
    if not is_open:
        keeper.hear(gate(is_open=False, epoch=8, settled=True), 0)
    assert keeper.epoch_of(spooled, 0) == leaves
