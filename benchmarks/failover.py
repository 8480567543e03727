"""A pair of nodes under faults: how fast the twin has taken over, and that nothing is lost, doubled or held twice.

    python -m benchmarks.failover [--trials 20] [--idle-s 30] [--seed 1] [--faults power-cut,freeze] [--json FILE]

Everything is real and runs in network namespaces of this machine (root): Mosquitto, aggregator, witness, two agents and
their failover services; a third machine asks the virtual address every 2 ms. Beside it, on the same network: our own
asked mode (200 ms x 3, FOV-1), and keepalived (Debian's) at its floor of 10 ms adverts, which can only be compared by
the address. A failed trial keeps its evidence and says where.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.common import Row, report
from hil.failover.campaign import Campaign, Figures, Tally, plan
from hil.failover.configs import ASKED, SiteSettings
from hil.failover.evidence import both_ms
from hil.failover.faults import FAULTS
from hil.failover.judge import PHASES, Expected, judge
from hil.failover.namespace import why_not
from hil.failover.peer import FAULTS as PEER_FAULTS
from hil.failover.peer import PeerSite, PeerTrial
from hil.failover.recording import SLACK_NS, RecordingVerdict
from hil.failover.site import Site
from touchline.errors import TouchlineError
from touchline.run import need

TOTAL_BAR_MS: Final = 150.0
ASKED_BAR_MS: Final = 800.0
TIMED: Final = tuple(name for name, fault in FAULTS.items() if fault.timed)
_ASKED: Final = "asked mode, 200 ms x 3"
_KEEPALIVED: Final = "keepalived, 10 ms adverts"


@dataclass
class Measured:
    """What the runs brought."""

    ours: Tally
    asked: Tally
    idle_s: float
    idle_switches: int
    early_switches: int
    apart_ms: float
    film: RecordingVerdict | None = None
    asked_film: RecordingVerdict | None = None
    peer: list[PeerTrial] = field(default_factory=list)
    peer_apart_ms: float | None = None
    peer_idle_switches: int | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trials and print; 8 when a bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="example: python -m benchmarks.failover --trials 200 --idle-s 3600 --json f.json"
    )
    parser.add_argument("--trials", type=int, default=20, help="faults, in turn and in random order; 200 in a campaign")
    parser.add_argument("--asked-trials", type=int, default=None, help="of the asked mode; absent: a quarter of them")
    parser.add_argument(
        "--idle-s", type=float, default=30.0, help="without faults, for false alarms; 3600 in a campaign"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the order and of the first trial; each has its own")
    parser.add_argument("--faults", default=",".join(FAULTS), help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--without-keepalived", action="store_true", help="where it is not installed")
    parser.add_argument("--without-recording", action="store_true", help="no recorders: two cores are spared")
    parser.add_argument("--folder", type=Path, default=None, help="for logs and evidence; absent: a temporary one")
    parser.add_argument("--json", type=Path, default=None, help="write the rows to this file")
    arguments = parser.parse_args(argv)
    names = tuple(arguments.faults.split(","))
    if unknown := set(names) - set(FAULTS):
        parser.error(f"no fault is called {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    if reason := why_not():
        print(f"cannot run here: {reason}", file=sys.stderr)
        return 5
    if not arguments.without_keepalived:
        need("keepalived", "keepalived")  # now, not after hours of trials
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # unwinds and removes the network, as Ctrl-C does
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="tlfo-"))
    try:
        measured = measure(arguments, names, folder)
    except TouchlineError as error:
        print(f"{error}\nevidence: {folder}", file=sys.stderr)
        return error.exit_code
    _by_fault(measured.ours)
    return 0 if report(rows(measured), arguments.json) else 8


def measure(arguments: argparse.Namespace, names: tuple[str, ...], folder: Path) -> Measured:
    """All runs, one after the other."""
    trials, seed = arguments.trials, arguments.seed
    count = max(2, trials // 4) if arguments.asked_trials is None else arguments.asked_trials
    _say(f"{trials} trials, order and seeds from {seed}; logs in {folder}")
    with Site(folder / "ours", SiteSettings(recording=not arguments.without_recording)) as site:
        site.start()
        campaign = Campaign(site, folder / "failed", _say, TOTAL_BAR_MS)
        campaign.run(plan(trials, seed, names), seed)
        _say(f"{arguments.idle_s:g} s without a fault")
        idle = campaign.idle(arguments.idle_s)
        verdict = judge(idle, Expected("may"))
        for words in verdict.violations:
            _say(f"idle: VIOLATED: {words}")
        film, wrong = _film(campaign)
        ours, early = Tally(campaign.results, len(verdict.violations) + wrong), campaign.false_alarms
        switches = len({lease.epoch for lease in idle.leases}) - 1
        apart_ms = both_ms(site.observer.read(), campaign.down)
    measured = Measured(ours, Tally([]), arguments.idle_s, switches, early, apart_ms, film)
    if count:
        _say(f"{count} trials of the {_ASKED}")
        with Site(folder / "asked", SiteSettings(failover=ASKED, recording=not arguments.without_recording)) as site:
            site.start()
            campaign = Campaign(site, folder / "failed-asked", _say, ASKED_BAR_MS)
            campaign.run(plan(count, seed, TIMED), seed)
            measured.asked_film, wrong = _film(campaign)
            measured.asked = Tally(campaign.results, wrong)
    if not arguments.without_keepalived:
        _measure_peer(measured, folder / "keepalived", trials, seed)
    return measured


def _film(campaign: Campaign) -> tuple[RecordingVerdict | None, int]:
    """The joined recording, each trial's stretch judged; how many violations are no trial's."""
    if not campaign.site.settings.recording:
        return None, 0
    film = campaign.film()
    for result in campaign.results:
        if result.film is not None and result.film.violations:
            _say(result.text())
    for words in film.violations:
        _say(f"VIOLATED: {words}")
    return film, len(film.violations)


def _measure_peer(measured: Measured, folder: Path, trials: int, seed: int) -> None:
    with PeerSite(folder) as peer:
        _say(f"{trials} trials of keepalived {peer.keepalived.version()}")
        measured.peer = [peer.trial(PEER_FAULTS[n % len(PEER_FAULTS)], seed + n) for n in range(trials)]
        measured.peer_apart_ms = peer.apart_ms(seed)
        _say(f"{measured.idle_s:g} s of keepalived without a fault")
        measured.peer_idle_switches = peer.switches(measured.idle_s)


def rows(measured: Measured) -> list[Row]:
    """The table."""
    ours, asked = measured.ours, measured.asked
    quiet = ours.quiet_ms()
    found = [
        _count("invariants violated", ours.violated, asked.violated if asked.results else None, _ASKED),
        _count(f"switches in {measured.idle_s:g} s without a fault", measured.idle_switches, *_peer_idle(measured)),
        Row("switches by themselves before a fault", measured.early_switches, None, "", "count", None, "-", None),
        *_both(measured),
    ]
    found += _recorded(measured.film, measured.asked_film)
    for fault, costs in ours.costs().items():
        most = max(costs, key=lambda cost: cost.missing)
        what = f"exposures missing in {fault}, most of {len(costs)} ({most.reason})"
        found.append(Row(what, most.missing, None, "", "count", None, f"of {most.exposures}", None))
    for phase in PHASES:
        found += _figures(f"{phase}", ours.phases.get(phase), asked.phases.get(phase), _ASKED, phase == "total")
    if quiet:
        found += _figures("address unanswered in faults without takeover", Figures.of(quiet), None, "", False)
    if asked_total := asked.phases.get("total"):
        holds = asked_total.p99 < ASKED_BAR_MS
        text = f"< {ASKED_BAR_MS:g} ms"
        found.append(Row(f"total of the {_ASKED}, p99", asked_total.p99, None, "", "ms", None, text, holds))
    address = ours.phase_of("address", PEER_FAULTS)
    peer = [trial.address_ms for trial in measured.peer]
    if address and peer:
        name = f"address moved after {' or '.join(PEER_FAULTS)}"
        found += _figures(name, Figures.of(address), Figures.of(peer), _KEEPALIVED, False)
    return found


def _recorded(ours: RecordingVerdict | None, asked: RecordingVerdict | None) -> list[Row]:
    """Of all trials, each in its own stretch of the film."""
    if ours is None:
        return []
    limit_ms = (SiteSettings().period_ns + SLACK_NS) / 1e6
    what = f"largest PTS step of the joined recording ({ours.pieces} pieces)"
    holds = max(ours.step_max_ms, asked.step_max_ms if asked else 0.0) <= limit_ms
    peer, name = (asked.step_max_ms, _ASKED) if asked else (None, "")
    return [Row(what, ours.step_max_ms, peer, name, "ms", None, f"<= {limit_ms:g}", holds)]


def _figures(what: str, ours: Figures | None, peer: Figures | None, name: str, barred: bool) -> list[Row]:
    """p50, p99 and maximum; ours beside a peer's."""
    found = []
    for which in ("p50", "p99", "max") if ours is not None else ():
        mine = getattr(ours, which)
        theirs = getattr(peer, which) if peer is not None else None
        ratio = mine / theirs if theirs else None
        bar = barred and which == "p99"
        text = f"< {TOTAL_BAR_MS:g} ms" if bar else "-"
        holds = mine < TOTAL_BAR_MS if bar else None
        found.append(Row(f"{what}, {which}", mine, theirs, name if peer else "", "ms", ratio, text, holds))
    return found


def _count(what: str, ours: int, peer: int | None, name: str) -> Row:
    return Row(what, ours, peer, name if peer is not None else "", "count", None, "0", ours == 0)


def _peer_idle(measured: Measured) -> tuple[int | None, str]:
    return measured.peer_idle_switches, _KEEPALIVED


def _both(measured: Measured) -> list[Row]:
    """Both carry the address although both run: keepalived when the nodes cannot hear each other."""
    ours, peer = measured.apart_ms, measured.peer_apart_ms
    what = "both running nodes carried the address, longest"
    return [Row(what, ours, peer, _KEEPALIVED if peer is not None else "", "ms", None, "0", ours == 0)]


def _by_fault(tally: Tally) -> None:
    print("whole switch by fault, ms: count, p50, p99, max")
    for name, one in tally.by_fault().items():
        print(f"  {name:<18} {one.count:>4}  {one.p50:>7.1f}  {one.p99:>7.1f}  {one.max:>7.1f}")
    if steps := tally.film_steps():
        print("largest PTS step of a trial by fault, ms: count, p50, p99, max")
    for name, one in steps.items():
        print(f"  {name:<26} {one.count:>4}  {one.p50:>7.2f}  {one.p99:>7.2f}  {one.max:>7.2f}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
