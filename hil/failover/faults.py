"""What can happen to a site, and what must come of it. Each fault is prepared, begun at a known moment, and ended."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Literal

from hil.failover.configs import other
from hil.failover.impair import Impairment
from hil.failover.judge import NS_PER_MS, Expected
from hil.failover.net import NODES, RACK
from hil.failover.programs import Program, processes_of, send
from hil.failover.trial import Trial
from touchline.timeline import monotonic_ns, sleep_until

THAW_NS: Final = 50 * NS_PER_MS  # after SIGCONT: until a process that was stopped has been given a core
STEP_NS: Final = 7 * NS_PER_MS  # a step that leaves each exposure on its place: less than half a period at 50 frames/s
BIG_STEP_NS: Final = 3_000 * NS_PER_MS
CUT: Final = Impairment(cut=True)
HARMLESS: Final = Impairment()
ROUGH: Final = Impairment(delay_ms=4.0, jitter_ms=3.0, duplicate_pct=5.0, reorder_pct=5.0)
LOSSY: Final = Impairment(loss_pct=10.0, burst=2.0)
HOGS: Final = 4

Where = Literal["active", "standby", "rack", "pair"]


@dataclass(frozen=True, slots=True)
class Fault:
    """``begin`` returns the moment of the fault, monotonic ns. ``hold_s``: how long it lasts at least.

    ``timed``: its phases belong to the bar on the whole switch (the twin dies or is cut off); others are shown alone.
    """

    name: str
    on: Where
    expected: Expected
    begin: Callable[[Trial], int]
    end: Callable[[Trial], None]
    prepare: Callable[[Trial], None] = lambda trial: None
    hold_s: float = 1.5
    timed: bool = False


def _nothing(trial: Trial) -> None:
    """No end is needed."""


# --- power ------------------------------------------------------------------------------------------------------------


def _find(trial: Trial) -> None:
    trial.pids = trial.site.nodes[trial.victim].pids()


def _power_cut(trial: Trial) -> int:
    """Both cables dead and every process gone, without a last packet: no FIN, no last will by the kernel."""
    at_ns = trial.went_down(monotonic_ns())
    for cable in trial.site.net.cables_of(trial.victim):
        cable.plug(up=False)
    trial.site.nodes[trial.victim].kill(trial.pids)
    return at_ns


def _kill(trial: Trial) -> int:
    at_ns = trial.went_down(monotonic_ns())
    trial.site.nodes[trial.victim].kill(trial.pids)
    return at_ns


def _power_on(trial: Trial) -> None:
    trial.site.nodes[trial.victim].boot()  # takes the address away before anything else
    trial.came_up(monotonic_ns())
    for cable in trial.site.net.cables_of(trial.victim):
        cable.plug(up=True)


def _freeze(trial: Trial) -> int:
    at_ns = trial.went_down(monotonic_ns())
    send(signal.SIGSTOP, trial.pids)
    return at_ns


def _thaw(trial: Trial) -> None:
    send(signal.SIGCONT, trial.pids)
    trial.came_up(monotonic_ns() + THAW_NS)


# --- one program ------------------------------------------------------------------------------------------------------


def _program_pids(which: Literal["service", "agent"]) -> Callable[[Trial], None]:
    def find(trial: Trial) -> None:
        program: Program = getattr(trial.site.nodes[trial.victim], which)
        trial.pids = processes_of([program])

    return find


def _kill_service(trial: Trial) -> int:
    """SIGKILL, then what systemd does after it: ``touchline failover drop``."""
    at_ns = trial.went_down(monotonic_ns())
    send(signal.SIGKILL, trial.pids)
    node = trial.site.nodes[trial.victim]
    node.service.reap()
    node.drop_address()
    trial.came_up(monotonic_ns())
    return at_ns


def _kill_agent(trial: Trial) -> int:
    at_ns = monotonic_ns()
    send(signal.SIGKILL, trial.pids)
    trial.site.nodes[trial.victim].agent.reap()
    return at_ns


def _start_service(trial: Trial) -> None:
    trial.site.nodes[trial.victim].service.start()


def _start_agent(trial: Trial) -> None:
    trial.site.nodes[trial.victim].agent.start()


def _find_capture(trial: Trial) -> None:
    status = trial.site.nodes[trial.victim].status()
    trial.pids = [int(child["pid"]) for name, child in status["children"].items() if name.startswith("capture")]


def _stop_capture(trial: Trial) -> int:
    """The camera hangs: nothing crashes, no frame flows."""
    at_ns = monotonic_ns()
    send(signal.SIGSTOP, trial.pids)
    return at_ns


def _continue(trial: Trial) -> None:
    send(signal.SIGCONT, trial.pids)


# --- cables -----------------------------------------------------------------------------------------------------------


def _plug(uplink: bool, direct: bool, up: bool) -> Callable[[Trial], int]:
    def plug(trial: Trial) -> int:
        net, at_ns = trial.site.net, monotonic_ns()
        if uplink:
            net.uplink[trial.victim].plug(up=up)
        if direct:
            net.direct[trial.victim].plug(up=up)
        return at_ns

    return plug


def _replug(trial: Trial) -> None:
    for cable in trial.site.net.cables_of(trial.victim):
        cable.plug(up=True)


def _insert(uplink: bool, direct: bool) -> Callable[[Trial], None]:
    def insert(trial: Trial) -> None:
        net = trial.site.net
        for wanted, cable in ((uplink, net.uplink[trial.victim]), (direct, net.direct[trial.victim])):
            if wanted:
                cable.insert(trial.seed)

    return insert


def _impair(out: Impairment | None, into: Impairment | None) -> Callable[[Trial], int]:
    """On every cable of the victim that has a relay."""

    def impair(trial: Trial) -> int:
        cables = [cable for cable in trial.site.net.cables_of(trial.victim) if cable.impaired]
        return min(cable.impair(out=out, into=into) for cable in cables)

    return impair


def _mend(trial: Trial) -> None:
    """Whole again; the relays are taken away afterwards."""
    for cable in trial.site.net.cables_of(trial.victim):
        cable.plug(up=True)
        if cable.impaired:
            cable.impair(out=HARMLESS, into=HARMLESS)


def _part(trial: Trial) -> int:
    """The nodes do not hear each other on either path; both reach the rack."""
    net = trial.site.net
    twin = Impairment(cut=True, peer=net.mac(other(trial.victim)))
    at_ns = net.uplink[trial.victim].impair(out=twin, into=twin)
    net.direct[trial.victim].plug(up=False)
    return at_ns


# --- the rack ---------------------------------------------------------------------------------------------------------


def _kill_broker(trial: Trial) -> int:
    at_ns = monotonic_ns()
    trial.site.broker.kill()
    return at_ns


def _start_broker(trial: Trial) -> None:
    trial.site.broker.start()


def _kill_witness(trial: Trial) -> int:
    return _kill_program(trial.site.witness)


def _start_witness(trial: Trial) -> None:
    trial.site.start_witness()


def _kill_aggregator(trial: Trial) -> int:
    return _kill_program(trial.site.aggregator)


def _start_aggregator(trial: Trial) -> None:
    trial.site.start_aggregator()


def _kill_program(program: Program) -> int:
    pids, at_ns = processes_of([program]), monotonic_ns()
    send(signal.SIGKILL, pids)
    program.reap()
    return at_ns


def _unplug_rack(trial: Trial) -> int:
    at_ns = monotonic_ns()
    trial.site.net.uplink[RACK].plug(up=False)
    return at_ns


def _plug_rack(trial: Trial) -> None:
    trial.site.net.uplink[RACK].plug(up=True)


# --- the machine ------------------------------------------------------------------------------------------------------


def _hog(trial: Trial) -> int:
    at_ns = monotonic_ns()
    inside = trial.site.net.spaces[trial.victim].inside()
    trial.hogs = [subprocess.Popen([*inside, "sh", "-c", "while :; do :; done"]) for _ in range(HOGS)]
    return at_ns


def _end_hogs(trial: Trial) -> None:
    while trial.hogs:
        hog = trial.hogs.pop()
        hog.kill()
        hog.wait()


def _fill(trial: Trial) -> int:
    """Not a byte is left on the disk of the spool."""
    at_ns = monotonic_ns()
    with (trial.site.nodes[trial.victim].spool / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return at_ns


def _clear(trial: Trial) -> None:
    (trial.site.nodes[trial.victim].spool / "ballast").unlink(missing_ok=True)


def _step_clock(step_ns: int) -> Callable[[Trial], int]:
    def step(trial: Trial) -> int:
        at_ns = monotonic_ns()
        trial.site.nodes[trial.victim].clock.set(step_ns)
        return at_ns

    return step


def _jump_clock(trial: Trial) -> int:
    """Exposures get stamps far ahead, which are not free when their own time comes."""
    return trial.spare(f"stamps up to {BIG_STEP_NS // NS_PER_MS} ms ahead", _step_clock(BIG_STEP_NS)(trial))


def _jump_back(trial: Trial) -> None:
    _step_back(trial)
    trial.spare_until(monotonic_ns() + BIG_STEP_NS)


def _step_back(trial: Trial) -> None:
    trial.site.nodes[trial.victim].clock.set(0)


# --- both -------------------------------------------------------------------------------------------------------------


def _both_active(trial: Trial) -> int:
    """Both are told to be active at once when they start, and are started together."""
    site, at_ns = trial.site, trial.spare("not both agents ran", monotonic_ns())
    site.stop_nodes()
    eager = replace(site.settings, start=dict.fromkeys(NODES, "active"))
    for node in site.nodes.values():
        node.write(eager)
        node.boot()
    return at_ns


def _usual_start(trial: Trial) -> None:
    trial.site.await_running()
    trial.spare_until(monotonic_ns())
    for node in trial.site.nodes.values():
        node.write(trial.site.settings)


def _hand_over(trial: Trial) -> int:
    at_ns = monotonic_ns()
    trial.site.nodes[trial.victim].hand_over()
    return at_ns


MUST, NOT, MAY = Expected("yes"), Expected("no"), Expected("may")
_BOTH, _UPLINK = (True, True), (True, False)

FAULTS: Final = {
    fault.name: fault
    for fault in (
        Fault("power-cut", "active", MUST, _power_cut, _power_on, _find, timed=True),
        Fault("kill", "active", MUST, _kill, _power_on, _find, timed=True),
        Fault("freeze", "active", MUST, _freeze, _thaw, _find, timed=True),
        Fault("isolated", "active", MUST, _plug(*_BOTH, up=False), _replug, timed=True),
        Fault("uplink-down", "active", MUST, _plug(*_UPLINK, up=False), _replug, timed=True),
        Fault("one-way-out", "active", MUST, _impair(CUT, None), _mend, _insert(*_UPLINK), timed=True),
        Fault("one-way-in", "active", MUST, _impair(None, CUT), _mend, _insert(*_UPLINK), timed=True),
        Fault("service-killed", "active", MUST, _kill_service, _start_service, _program_pids("service"), timed=True),
        Fault("agent-killed", "active", MUST, _kill_agent, _start_agent, _program_pids("agent")),
        Fault("blind", "active", MUST, _stop_capture, _continue, _find_capture),
        Fault("hand-over", "active", MUST, _hand_over, _nothing),
        Fault("stutter", "active", MAY, _freeze, _thaw, _find, hold_s=0.12),
        Fault("standby-power-cut", "standby", NOT, _power_cut, _power_on, _find),
        Fault("standby-frozen", "standby", NOT, _freeze, _thaw, _find),
        Fault("standby-isolated", "standby", NOT, _plug(*_BOTH, up=False), _replug),
        Fault("direct-down", "active", NOT, _plug(False, True, up=False), _replug),
        Fault("apart", "active", NOT, _part, _mend, _insert(*_UPLINK)),
        Fault("rough-links", "active", NOT, _impair(ROUGH, ROUGH), _mend, _insert(*_BOTH), hold_s=3.0),
        Fault("lossy-links", "active", MAY, _impair(LOSSY, LOSSY), _mend, _insert(*_BOTH), hold_s=3.0),
        Fault("broker-killed", "rack", NOT, _kill_broker, _start_broker),
        Fault("witness-killed", "rack", NOT, _kill_witness, _start_witness),
        Fault("aggregator-killed", "rack", NOT, _kill_aggregator, _start_aggregator),
        Fault("rack-unplugged", "rack", MAY, _unplug_rack, _plug_rack),
        Fault("cpu-hog", "active", NOT, _hog, _end_hogs, hold_s=3.0),
        Fault("spool-full", "active", MAY, _fill, _clear, hold_s=2.0),
        Fault("clock-step", "active", NOT, _step_clock(STEP_NS), _step_back, hold_s=2.5),
        Fault("clock-jump", "active", MAY, _jump_clock, _jump_back, hold_s=2.5),
        Fault("both-active", "pair", MAY, _both_active, _usual_start),
    )
}


def hold(fault: Fault, began_ns: int) -> None:
    """Let the fault last."""
    sleep_until(began_ns + round(fault.hold_s * 1e9))


def give_up(trial: Trial) -> None:
    """After a trial, also one that failed in the middle: nobody spins, nobody stays stopped."""
    _end_hogs(trial)
    _clear(trial)
    _step_back(trial)
    send(signal.SIGCONT, [pid for pid in trial.pids if pid in trial.site.nodes[trial.victim].pids()])
