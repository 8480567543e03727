"""Any events at any times: a step always answers, and what it answers keeps the rules that one node can keep alone."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from failover.core import types as core
from failover.core.step import State, describe, finished, initial, next_wake_ns, step
from tests.failover.core.bench import BEGIN_NS, FIT
from tests.failover.core.parts import MS

HEALTH = st.sampled_from(
    [FIT, replace(FIT, rack_ok=False), replace(FIT, hot=True), replace(FIT, cameras=1), core.Health()]
)
ROLE = st.sampled_from(list(core.Role))
CURSORS = st.lists(st.builds(core.CameraCursor, st.integers(0, 3), st.integers(0, 2**62)), max_size=3).map(tuple)
BACK_NS = st.sampled_from([0, 1, 5, 20, 60, 99, 400]).map(lambda ms: ms * MS)


@st.composite
def events(draw: st.DrawFn, number: int, seen: int, now_ns: int) -> core.Event:
    kind = draw(st.sampled_from("tbbbbbrggdpc"))
    if kind == "b":
        return core.BeatHeard(
            core.Beat(
                number=max(0, number - draw(st.sampled_from([0, 0, 0, 1, 3]))),
                role=draw(ROLE),
                epoch=draw(st.integers(0, 6)),
                health=draw(HEALTH),
                cursors=draw(CURSORS),
                seen=max(0, seen - draw(st.sampled_from([0, 0, 1, 4, 2**40]))),
                promise_ns=draw(st.sampled_from([0, 60 * MS, 500 * MS])),
                handover=draw(st.sampled_from([False, False, True])),
                late=draw(st.sampled_from([False, False, True])),
                vouched=max(0, seen - draw(st.sampled_from([0, 1, 4, 2**40]))),
            )
        )
    if kind == "g":
        return core.Granted(draw(st.integers(0, 7)), now_ns - draw(BACK_NS), 100 * MS)
    if kind == "d":
        holder = draw(st.sampled_from(["", "a", "b"]))
        return core.Denied(draw(st.integers(0, 7)), holder, draw(BACK_NS) if holder else 0, now_ns - draw(BACK_NS))
    if kind == "p":
        return core.Pipeline(draw(HEALTH), draw(CURSORS))
    if kind == "c":
        return core.Command(draw(st.sampled_from(["handover", "drill-begin", "drill-end", "stop"])))
    return core.TwinRestarted() if kind == "r" else core.Tick()


class Watch:
    """Follows what one node says and remembers what it bound itself to."""

    def __init__(self) -> None:
        self.gate: core.Gate | None = None
        self.exclusive: core.Exclusive | None = None
        self.bound_ns = BEGIN_NS  # by its own promises, as its twin counts them at the earliest
        self.number: int | None = None
        self.role = core.Role.STANDBY

    def check(self, before: State, event: core.Event, after: State, actions: tuple[core.Action, ...]) -> None:
        now_ns = after.attention.stepped_ns
        beat = event.beat if isinstance(event, core.BeatHeard) else None
        if beat is not None and after.twin.beat is beat and beat is not before.twin.beat:
            answers = beat.seen >= before.talk.first
            self.bound_ns = BEGIN_NS if answers and (beat.role is core.Role.STANDBY or beat.handover) else self.bound_ns
        said_other = False
        for action in actions:
            if isinstance(action, core.Gate):
                assert not (said_other and not action.open), "shut first"
                assert not action.open or (action.role is core.Role.ACTIVE and action.until_ns > now_ns)
                self.gate = action
            elif isinstance(action, core.Exclusive):
                assert not said_other, "exclusive things first"
                assert not action.hold or action.until_ns > now_ns
                self.exclusive = action
            else:
                said_other = True
            if isinstance(action, core.AskWitness) and action.what == "claim":
                assert now_ns >= self.bound_ns or after.hold.holding, "a claim against its own promise"
            if isinstance(action, core.Changed):
                assert action.role is not self.role
                self.role = action.role
            if isinstance(action, core.SendBeat):
                self._sent(action.beat, after)
        self._agree(before, after, now_ns)

    def _sent(self, beat: core.Beat, after: State) -> None:
        assert self.number is None or beat.number == self.number + 1
        self.number = beat.number
        assert beat.role is after.me.role
        if beat.promise_ns > 0:
            assert beat.role is core.Role.STANDBY and not after.hold.holding
            assert after.twin.beat is not None and beat.seen == after.twin.beat.number
            self.bound_ns = max(self.bound_ns, after.twin.heard_ns + beat.promise_ns)

    def _agree(self, before: State, after: State, now_ns: int) -> None:
        assert after.me.epoch >= before.me.epoch and after.me.known >= before.me.known, "an epoch falls"
        assert after.me.known >= after.me.epoch
        assert self.gate is not None and self.exclusive is not None
        assert self.role is after.me.role
        assert self.exclusive.hold == after.hold.holding
        assert not after.hold.holding or (after.me.role is core.Role.ACTIVE and now_ns < after.hold.until_ns)
        assert self.gate.role is after.me.role
        assert next_wake_ns(after) >= now_ns
        assert finished(after) == (after.me.stopping and after.me.role is core.Role.STANDBY)
        describe(after, now_ns + 3 * MS)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_happens_one_node_keeps_its_rules(data):
    draw = data.draw
    chosen = core.Settings(
        "a",
        "b",
        start=draw(st.sampled_from(["auto", "active", "standby"])),
        without_witness=draw(st.sampled_from(["records", "nothing"])),
        grace_ns=draw(st.sampled_from([50, 1_000])) * MS,
        fail_back=draw(st.booleans()),
        fail_back_after_ns=100 * MS,
    )
    state, watch, now_ns = initial(chosen, BEGIN_NS), Watch(), BEGIN_NS
    plan: list[core.Event] = [core.Pipeline(FIT)]
    for turn in range(draw(st.integers(5, 60))):
        now_ns += draw(st.sampled_from([0, 1, 3, 10, 20, 25, 55, 110, 700])) * MS
        event = plan.pop() if plan else draw(events(turn + 1, state.talk.number, now_ns))
        before = state
        state, actions = step(before, event, now_ns)
        assert step(before, event, now_ns) == (state, actions)
        watch.check(before, event, state, actions)
