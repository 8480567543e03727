"""Trials on a running site: a fault at a random moment, its end, the verdict; and what many of them say together."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hil.failover.configs import other
from hil.failover.evidence import collect, ptp_offset_ns, read_frames, save
from hil.failover.faults import FAULTS, Fault, give_up, hold
from hil.failover.judge import NS_PER_MS, Cost, Evidence, Interval, Verdict, exposures_of, grid_places, judge
from hil.failover.programs import wait_for
from hil.failover.recording import RecordingVerdict, Steps, Stretch, recording_of
from hil.failover.site import Site
from hil.failover.trial import Trial
from touchline.errors import TouchlineError
from touchline.stats import percentile
from touchline.timeline import Clock, SystemClock, monotonic_ns, sleep_until

CALM_NS: Final = 400 * NS_PER_MS  # before the fault: what was there then is judged too
SPREAD_NS: Final = 160 * NS_PER_MS  # the fault falls anywhere in beats, renewals and exposures
SWITCH_S: Final = 5.0
AFTER_NS: Final = 400 * NS_PER_MS  # behind a fault's own time: what comes then is judged
TRIES: Final = 3  # a pair that switches by itself before the fault is counted, and asked again
ARRIVE_S: Final = 8.0  # until what a node held back, or a broker lost, is at the rack
KEPT: Final = ("*.log", "*.jsonl", "*.toml", "[ab]/*.log", "[ab]/*.toml", "[ab]/failover/*.jsonl")


@dataclass(frozen=True, slots=True)
class Result:
    """One trial's outcome; ``trouble``: why it could not be judged. ``kept``: where its evidence lies.

    ``film``: its stretch of the joined recording, known when the campaign has been played.
    """

    fault: str
    seed: int
    active: str
    verdict: Verdict | None
    trouble: str = ""
    kept: Path | None = None
    film: Steps | None = None

    @property
    def good(self) -> bool:
        """Judged, and nothing found."""
        return self.verdict is not None and not self.violations

    @property
    def violations(self) -> tuple[str, ...]:
        """All that was found."""
        return (*(self.verdict.violations if self.verdict else ()), *(self.film.violations if self.film else ()))

    def text(self) -> str:
        """One line."""
        head = f"{self.fault:<18} seed {self.seed:<6} {self.active}"
        if self.verdict is None:
            return f"{head}  NOT JUDGED: {self.trouble}"
        phases = ", ".join(f"{name} {ms:.0f}" for name, ms in self.verdict.phases.items())
        words = "; ".join(self.violations)
        where = f"  evidence: {self.kept}" if self.kept else ""
        shown = f"[{phases} ms]" if phases else f"[address quiet for {self.verdict.quiet_ms:.0f} ms]"
        if cost := self.verdict.cost:
            shown += f" [in the fault {cost.missing} of {cost.exposures} exposures missing: {cost.reason}]"
        return f"{head}  {'VIOLATED: ' + words if words else 'ok'}  {shown}{where}"


class Campaign:
    """Trials one after the other on one site.

    ``folder`` takes the evidence of those that fail, and of timed ones whose switch takes longer than ``slow_ms``.
    """

    def __init__(
        self, site: Site, folder: Path, say: Callable[[str], None] = lambda text: None, slow_ms: float = 1e9
    ) -> None:
        self.site, self.folder, self._say, self._slow_ms = site, folder, say, slow_ms
        self.results: list[Result] = []
        self.false_alarms = 0
        self.down: list[Interval] = []
        self._clock: Clock = SystemClock()
        self._stretches: list[tuple[int | None, Stretch]] = []  # with the number of the trial; None: nobody's
        self._broken = False

    def run(self, faults: Sequence[str], seed: int) -> None:
        """A trial of each, with seeds from ``seed`` on."""
        for number, name in enumerate(faults):
            result = self.trial(FAULTS[name], seed + number)
            self._say(f"{number + 1:>4} of {len(faults)}  {result.text()}")
            if self._broken:
                raise TouchlineError(f"the site did not recover from {name}: {result.trouble}", hint="see its logs")

    def trial(self, fault: Fault, seed: int) -> Result:
        """One fault, to its verdict; it is among the results then."""
        self.results.append(result := self._trial(fault, seed))
        return result

    def _trial(self, fault: Fault, seed: int) -> Result:
        for _ in range(TRIES):
            try:
                active = self.site.settle()
                trial = Trial(self.site, active, other(active) if fault.on == "standby" else active, seed)
                evidence = self._suffer(trial, fault, random.Random(seed))
                self.down += trial.down
            except TouchlineError as error:
                self.site.net.heal()
                self._broken = True
                return Result(fault.name, seed, "?", None, str(error), self._keep(fault, seed, None))
            if evidence is not None:
                break
        else:
            return Result(fault.name, seed, active, None, "the pair switched before each fault could begin")
        verdict = judge(evidence, fault.expected)
        slow = fault.timed and (verdict.total_ms or 0.0) > self._slow_ms
        kept = self._keep(fault, seed, evidence) if verdict.violations or slow else None
        return Result(fault.name, seed, active, verdict, "", kept)

    def film(self) -> RecordingVerdict:
        """Both nodes' recordings from the first trial on, joined; each result gets its own stretch of it.

        What is wrong in a stretch of no trial (idle, or repeated) is among the film's own violations.
        """
        stretches = [one for _, one in self._stretches]
        film = recording_of(self.site.folder, self.site.settings.period_ns, stretches, self._ptp_ns(monotonic_ns()))
        violations = film.violations
        for (number, _), steps in zip(self._stretches, film.stretches, strict=True):
            if number is None:
                violations += steps.violations
            else:
                self.results[number] = replace(self.results[number], film=steps)
        return replace(film, violations=violations)

    def idle(self, span_s: float) -> Evidence:
        """Let time pass without a fault; what happened in it. Whatever switched was a false alarm."""
        trial = Trial(self.site, active := self.site.settle(), active)
        mark, begin_ns = self.site.tap.mark(), monotonic_ns()
        self._stretches.append((None, Stretch(self._ptp_ns(begin_ns))))
        sleep_until(begin_ns + round(span_s * 1e9))
        last_ns = monotonic_ns()
        self._await_frames(trial, begin_ns, last_ns)
        return collect(trial, self._clock, (begin_ns, begin_ns, last_ns, monotonic_ns()), mark)

    def _ptp_ns(self, at_ns: int) -> int:
        return at_ns + ptp_offset_ns(self._clock)

    @contextmanager
    def _prepared(self, trial: Trial, fault: Fault) -> Iterator[None]:
        """What the fault needs is there, and gone again, whatever happens."""
        try:
            fault.prepare(trial)
            yield
        finally:
            give_up(trial)
            self.site.net.remove_relays()

    def _suffer(self, trial: Trial, fault: Fault, dice: random.Random) -> Evidence | None:
        """The fault from beginning to end; None when the pair had switched by itself before."""
        site = trial.site
        mark, first_ns = site.tap.mark(), monotonic_ns()
        self._stretches.append((len(self.results), Stretch(self._ptp_ns(first_ns))))
        with self._prepared(trial, fault):
            sleep_until(first_ns + CALM_NS + dice.randrange(SPREAD_NS))
            fault_ns = fault.begin(trial)
            if fault.expected.takeover == "yes":
                twin = other(trial.active)
                with suppress(TouchlineError):  # the judge says it better
                    wait_for(lambda: site.who_answers() == twin, SWITCH_S, f"{twin} to answer")
            hold(fault, fault_ns)
            fault.end(trial)
        site.settle()
        last_ns = self._after_the_spared(trial)
        before = [lease.epoch for lease in site.tap.read(mark).leases if lease.at_ns < fault_ns]
        if len(set(before)) > 1:
            self.false_alarms += 1
            self._stretches[-1] = None, self._stretches[-1][1]  # this trial's begins with the next try
            return None
        self._await_frames(trial, first_ns, last_ns)
        return collect(trial, self._clock, (first_ns, fault_ns, last_ns, monotonic_ns()), mark)

    def _after_the_spared(self, trial: Trial) -> int:
        """Now, when all is well; where a fault has a time of its own, not before that is over and a little more."""
        now_ns = monotonic_ns()
        if trial.spared is None or trial.spared.end_ns is None:
            return now_ns
        number, stretch = self._stretches[-1]
        ended_ns = max(now_ns, trial.spared.end_ns)  # recorders begin after the frames
        spared = self._ptp_ns(trial.spared.begin_ns), self._ptp_ns(ended_ns)
        self._stretches[-1] = number, replace(stretch, spared=spared)
        sleep_until(ended_ns + AFTER_NS)
        return monotonic_ns()

    def _await_frames(self, trial: Trial, first_ns: int, last_ns: int) -> None:
        """Wait until every exposure that must be at the rack is there, or it is too late to hope."""
        site, offset_ns = self.site, ptp_offset_ns(self._clock)
        span_ptp_ns = first_ns + offset_ns, last_ns + offset_ns
        wanted = Evidence("", 0, 0, site.grid, *span_ptp_ns, 0, (), offset_ns, spared=trial.spared)
        due = set(exposures_of(wanted)[0])

        def complete() -> bool:
            frames = read_frames(site.database, site.grid, span_ptp_ns, offset_ns)
            return grid_places(site.grid, frames).keys() >= due

        with suppress(TouchlineError):  # the judge says which are missing
            wait_for(complete, ARRIVE_S, "every exposure", poll_ns=100_000_000)

    def _keep(self, fault: Fault, seed: int, evidence: Evidence | None) -> Path:
        folder = self.folder / f"{fault.name}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        if evidence is not None:
            save(evidence, folder / "evidence.json")
        for pattern in KEPT:
            for path in self.site.folder.glob(pattern):
                with suppress(OSError):
                    shutil.copy(path, folder / "-".join(path.relative_to(self.site.folder).parts))
        (folder / "trial.json").write_text(json.dumps({"fault": fault.name, "seed": seed}))
        return folder


def plan(trials: int, seed: int, names: Sequence[str] = tuple(FAULTS)) -> list[str]:
    """``trials`` faults in a random order that ``seed`` repeats: each as often as the others, the timed ones twice."""
    dice = random.Random(seed)
    timed = [name for name in names if FAULTS[name].timed]
    chosen: list[str] = []
    while len(chosen) < trials:
        rest = [*timed, *(name for name in names if name not in timed)]
        dice.shuffle(rest)
        turn = (dice.sample(timed, len(timed)) + rest)[: trials - len(chosen)]
        dice.shuffle(turn)
        chosen += turn
    return chosen


@dataclass(frozen=True, slots=True)
class Figures:
    """p50, p99 and maximum of a phase, ms, over ``count`` trials."""

    count: int
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figures:
        """Of one or more values."""
        ordered = sorted(values)
        return cls(len(ordered), percentile(ordered, 0.5), percentile(ordered, 0.99), ordered[-1])


@dataclass(slots=True)
class Tally:
    """What the results of a campaign say."""

    results: Sequence[Result]
    other_violations: int = 0
    phases: dict[str, Figures] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values: dict[str, list[float]] = {}
        for result in self.results:
            if result.verdict is not None and FAULTS[result.fault].timed:
                for name, ms in result.verdict.phases.items():
                    values.setdefault(name, []).append(ms)
        self.phases = {name: Figures.of(found) for name, found in values.items()}

    @property
    def violated(self) -> int:
        """Invariants violated, and trials that could not be judged."""
        found = (len(one.violations) + (one.verdict is None) for one in self.results)
        return sum(found) + self.other_violations

    def phase_of(self, phase: str, faults: Sequence[str]) -> list[float]:
        """A phase in the trials of these faults, ms."""
        verdicts = [one.verdict for one in self.results if one.verdict is not None and one.fault in faults]
        return [verdict.phases[phase] for verdict in verdicts if phase in verdict.phases]

    def costs(self) -> dict[str, list[Cost]]:
        """What faults with a time of their own did cost, by fault."""
        found: dict[str, list[Cost]] = {}
        for result in self.results:
            if result.verdict is not None and result.verdict.cost is not None:
                found.setdefault(result.fault, []).append(result.verdict.cost)
        return found

    def film_steps(self) -> dict[str, Figures]:
        """The largest PTS step of each trial by fault, ms; apart from it that in a fault's own time."""
        values: dict[str, list[float]] = {}
        for result in self.results:
            if result.film is not None:
                values.setdefault(result.fault, []).append(result.film.step_max_ms)
                if result.film.spared_ms is not None:
                    values.setdefault(f"{result.fault}, its own time", []).append(result.film.spared_ms)
        return {name: Figures.of(found) for name, found in sorted(values.items())}

    def quiet_ms(self) -> list[float]:
        """For how long nobody answered for the address in trials in which nobody was to take over, ms."""
        verdicts = [(one.verdict, FAULTS[one.fault].expected) for one in self.results]
        return [verdict.quiet_ms for verdict, expected in verdicts if verdict and expected.takeover == "no"]

    def by_fault(self) -> dict[str, Figures]:
        """The whole switch by fault, ms; of those that switched."""
        values: dict[str, list[float]] = {}
        for result in self.results:
            if result.verdict is not None and (total_ms := result.verdict.total_ms) is not None:
                values.setdefault(result.fault, []).append(total_ms)
        return {name: Figures.of(found) for name, found in sorted(values.items())}
