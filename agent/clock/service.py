"""The clock process's work: ask ptp4l, take pairs, let the core judge, write the page, keep the history.

Everything that is asked may be missing at any time: then the page says what, and the mappings hold over. A page of an
earlier life of this process goes on holding over until this one knows the time by itself.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Final

from agent.clock.bend import Bend, monotonic_by_raw
from agent.clock.core import ClockCore, ClockEvent, ClockPolicy, ServoView
from agent.clock.fit import PairFit
from agent.clock.history import HistoryWriter
from agent.clock.linuxptp.profile import settings_of
from agent.clock.mapping import Mapping
from agent.clock.page import SLEPT_NS, Page, read_page, write_page
from agent.clock.pairs import PairSource, Sample, SyncPairs, SystemPairs, open_pairs
from agent.clock.watch import PtpFacts, Watch, servo_view
from touchline.config import NodeConfig
from touchline.errors import HardwareError, InputError
from touchline.timeline import ClockState, Stamp, Tie, Timebase, asleep_ns, tie

LOOK_NS: Final = 250_000_000  # ptp4l is asked, the page is written
_HISTORY_NS: Final = 1_000_000_000
_REOPEN_NS: Final = 5_000_000_000
_FRESH_PERIODS: Final = 3.5
_LEAST_FRESH_S: Final = 3.5
_STEP_CODES: Final = frozenset({"clock_step", "clock_epoch", "clock_grandmaster"})
_STEPS: Final = 8
_BEST: Final = (Timebase.TSC, Timebase.MONOTONIC_RAW, Timebase.MONOTONIC)  # the cameras' timebase first
_LOG: Final = logging.getLogger("clock")

OpenSource = Callable[[], PairSource]


def policy_of(config: NodeConfig, period_s: float) -> ClockPolicy:
    """The core's policy for a configuration and the period of its pairs; pure."""
    return ClockPolicy(
        limit_ns=config.clock.bound_limit_ns,
        servo_ns=float(config.clock.servo_lock_ns),
        extra_ns=config.clock.ptp.asymmetry_uncertainty_ns,
        wander_ppb_per_s=config.clock.ptp.holdover_wander_ppb_per_s,
        reach_s=max(1.0, period_s),
        fresh_s=max(_LEAST_FRESH_S, _FRESH_PERIODS * period_s),
    )


def open_source(config: NodeConfig) -> PairSource:
    """The source of pairs that a configuration asks for. Raises HardwareError or ConfigError."""
    ptp = config.clock.ptp
    if ptp.role == "grandmaster" and not ptp.hardware:
        return SystemPairs()
    return open_pairs(ptp.interface, phc=ptp.phc, pairs=ptp.pairs, time_stamping=ptp.time_stamping)


class ClockService:
    """One life of the clock process. Call :meth:`step` when it wants to be; ``say`` takes the core's events."""

    def __init__(
        self, config: NodeConfig, say: Callable[[list[ClockEvent]], None], source: OpenSource | None = None
    ) -> None:
        self._config, self._say = config, say
        self._run_dir = config.node.run_dir
        self._open_source = source or (lambda: open_source(config))
        self._source: PairSource | None = self._open_source()
        self._before = self._last_life()
        period_s = self._source.period_s
        self._core = ClockCore(policy_of(config, period_s), epoch=0 if self._before is None else self._before.epoch)
        self._watch = Watch(config.clock.ptp, settings_of(config.clock.ptp).domain, self._run_dir)
        self._history = HistoryWriter(self._run_dir)
        self._trouble = ""
        self._steps: deque[dict[str, Any]] = deque(maxlen=_STEPS)
        self._bend = Bend()
        self._asleep_ns = asleep_ns()
        self._look_ns = self._sample_ns = self._reopen_ns = self._history_ns = 0
        self._syncs = self._samples = 0
        self._written = True

    def open(self) -> None:
        """Make the socket to ptp4l."""
        self._watch.open()
        if self._source is not None:
            _LOG.info("%s; ptp4l at %s", self._source.describe(), self._config.clock.ptp.uds_path)

    def close(self) -> None:
        """Let everything go; the page stays and holds over."""
        self._watch.close()
        self._history.close()
        if self._source is not None:
            self._source.close()

    def fileno(self) -> int:
        """Readable when ptp4l pushed something: step then."""
        return self._watch.client.fileno()

    def step(self, now_ns: int) -> int:
        """Do what is due; CLOCK_MONOTONIC of the next time."""
        if self._watch.hear() or now_ns >= self._look_ns:
            self._look_ns = now_ns + LOOK_NS
            self._forget_if_it_slept()
            facts = self._watch.look(now_ns)
            view = servo_view(facts, self._config.clock.ptp, now_ns, self._watch.trouble)
            self._core.servo(view)
            self._take(facts, view, now_ns)
            self._tell(view, now_ns)
        return self._look_ns

    # --- inside ---

    def _last_life(self) -> Page | None:
        try:
            return read_page(self._run_dir)
        except InputError:
            return None

    def _forget_if_it_slept(self) -> None:
        """In a suspended machine the clocks stand still: no line goes through that."""
        slept_ns = asleep_ns()
        if abs(slept_ns - self._asleep_ns) > SLEPT_NS:
            _LOG.warning("this machine slept for %.1f s: the time is learnt anew", (slept_ns - self._asleep_ns) * 1e-9)
            self._asleep_ns, self._before, self._bend = slept_ns, None, Bend()
            self._core = ClockCore(self._core.policy, epoch=self._core.epoch)

    def _take(self, facts: PtpFacts | None, view: ServoView, now_ns: int) -> None:
        """Pairs, when they are due or a Sync brought one."""
        source = self._ready_source(now_ns)
        if source is None:
            return
        if isinstance(source, SyncPairs):
            if facts is None or not facts.fresh:
                return
            self._syncs += 1
            utc_ns = facts.utc_offset_s * 1_000_000_000 if facts.ptp_timescale else 0
            source.event(facts.ingress_ns, facts.offset_ns, utc_ns)
        elif now_ns < self._sample_ns:
            return
        self._sample_ns = now_ns + round(source.period_s * 1e9) - LOOK_NS // 2
        try:
            sample = source.sample()
        except HardwareError as error:
            self._lose_source(source, error, now_ns)
            return
        if sample:
            self._take_sample(sample, view)

    def _take_sample(self, sample: Sample, view: ServoView) -> None:
        self._samples += 1
        if Timebase.MONOTONIC_RAW in sample:  # MONOTONIC is bent by others: tied to RAW with every page
            sample = {timebase: pair for timebase, pair in sample.items() if timebase is not Timebase.MONOTONIC}
        self._core.sample(sample, view)

    def _ready_source(self, now_ns: int) -> PairSource | None:
        if self._source is None and now_ns >= self._reopen_ns:
            self._reopen_ns = now_ns + _REOPEN_NS
            try:
                self._source = self._open_source()
            except HardwareError as error:
                self._trouble = str(error)
            else:
                self._trouble = ""
                _LOG.info("%s", self._source.describe())
        return self._source

    def _lose_source(self, source: PairSource, error: HardwareError, now_ns: int) -> None:
        _LOG.warning("%s", error)
        self._trouble, self._reopen_ns, self._source = str(error), now_ns + _REOPEN_NS, None
        source.close()

    # --- what is said ---

    def _mappings(self, now_ns: int) -> dict[Timebase, Mapping]:
        """This life's; until there is one, those of the life before, which hold over. MONOTONIC is tied to RAW anew."""
        mappings = dict(self._core.mappings)
        if not mappings and self._before is not None:
            mappings = {base: replace(mapping, locked=False) for base, mapping in self._before.mappings.items()}
        raw = mappings.get(Timebase.MONOTONIC_RAW)
        if raw is not None:
            link = tie(Timebase.MONOTONIC, Timebase.MONOTONIC_RAW)
            self._bend.add(now_ns, link)
            mappings[Timebase.MONOTONIC] = monotonic_by_raw(raw, now_ns, link, self._bend)
        return mappings

    def _stamp(self, mappings: dict[Timebase, Mapping], now_ns: int) -> Stamp | None:
        """The present moment as the cameras' timebase has it."""
        chosen = mappings.get(Timebase.TSC) or mappings.get(Timebase.MONOTONIC)
        return None if chosen is None else chosen.at(chosen.newest_ns + self._age_ns(chosen, mappings, now_ns))

    @staticmethod
    def _age_ns(mapping: Mapping, mappings: dict[Timebase, Mapping], now_ns: int) -> int:
        """Time since the newest pair of a mapping, counted back from the present PTP time."""
        monotonic = mappings.get(Timebase.MONOTONIC)
        if monotonic is None:
            return 0
        return mapping.base_at(monotonic.ptp_at(now_ns)) - mapping.newest_ns

    def _tell(self, view: ServoView, now_ns: int) -> None:
        mappings = self._mappings(now_ns)
        stamp = self._stamp(mappings, now_ns)
        events = self._core.look(stamp)
        ptp_ns = 0 if stamp is None else stamp.ptp_ns
        for event in events:
            self._history.add({"ptp_ns": ptp_ns, "event": event.code, **_words(event)})
            if event.code in _STEP_CODES:
                self._steps.append({"ptp_ns": ptp_ns, "text": event.text})
        if events:
            self._say(events)
        status = self._status(stamp, view, mappings, now_ns)
        if now_ns - self._history_ns >= _HISTORY_NS and stamp is not None:
            self._history_ns = now_ns
            names = ("ptp_ns", "offset_ns", "bound_ns", "state", "epoch", "path_delay_ns", "residual_ns", "grandmaster")
            self._history.add({name: status[name] for name in names})
        self._write(Page(os.getpid(), now_ns, mappings, status))

    def _write(self, page: Page) -> None:
        try:
            write_page(self._run_dir, page)
        except OSError as error:
            if self._written:
                _LOG.error("the clock's page in %s: %s; stamps hold over", self._run_dir, error.strerror)
            self._written = False
        else:
            self._written = True

    def _status(
        self, stamp: Stamp | None, view: ServoView, mappings: dict[Timebase, Mapping], now_ns: int
    ) -> dict[str, Any]:
        facts, core = self._watch.facts, self._core
        fit = next((core.fits[base] for base in _BEST if base in core.fits), None)
        system = _to_system(mappings, facts, now_ns)
        server = self._watch.client.server
        return {
            "state": ClockState.UNLOCKED.value if stamp is None else stamp.state.value,
            "bound_ns": None if stamp is None else stamp.bound_ns,
            "epoch": 0 if stamp is None else stamp.epoch,
            "ptp_ns": None if stamp is None else stamp.ptp_ns,
            "source": "ptp",
            "limit_ns": core.policy.limit_ns,
            "offset_ns": None if facts is None or not view.follows else facts.offset_ns,
            "path_delay_ns": None if facts is None else facts.path_delay_ns,
            "grandmaster": core.grandmaster or ("" if facts is None else facts.grandmaster),
            "port_state": "" if facts is None else facts.port_state_text,
            "servo": "locked" if view.follows else f"not locked: {view.why_not}",
            "timescale": "" if facts is None else facts.timescale,
            "utc_offset_s": None if facts is None else facts.utc_offset_s,
            "phc_to_system_ns": None if system is None else system.difference_ns,
            "phc_to_system_bound_ns": None if system is None else system.half_ns,
            "path_doubt_ns": None if facts is None else round(facts.path_doubt_ns, 1),
            "residual_ns": None if fit is None or not fit.ready else round(fit.rms_ns, 1),
            "pairs": 0 if fit is None else len(fit),
            "phc": getattr(getattr(self._source, "phc", None), "path", ""),
            "method": "" if self._source is None else self._source.method,
            "describe": "" if self._source is None else self._source.describe(),
            "ptp4l": {"socket": "" if server is None else str(server)},
            "trouble": self._trouble or self._watch.trouble,
            "steps": list(self._steps),
            "counters": self._counters(),
            "mappings": {
                timebase.value: self._mapping_status(mapping, self._age_ns(mapping, mappings, now_ns))
                for timebase, mapping in mappings.items()
            },
        }

    def _counters(self) -> dict[str, Any]:
        return {
            "outliers": self._core.outliers,
            "ignored": self._core.ignored,
            "syncs": self._syncs,
            "samples": self._samples,
            "management": asdict(self._watch.client.counters),
        }

    def _mapping_status(self, mapping: Mapping, age_ns: int) -> dict[str, Any]:
        stamp = mapping.at(mapping.newest_ns + age_ns)
        fit = self._core.fits.get(mapping.timebase)
        return {
            "rate_ppb": round(mapping.rate_ppb, 3),
            "age_s": round(age_ns * 1e-9, 3),
            "bound_ns": stamp.bound_ns,
            "state": stamp.state.value,
            **({} if fit is None or not fit.ready else _fit_status(fit)),
        }


def _to_system(mappings: dict[Timebase, Mapping], facts: PtpFacts | None, now_ns: int) -> Tie | None:
    """PTP time less this machine's system clock as TAI, with its bound; None while that is not known."""
    monotonic = mappings.get(Timebase.MONOTONIC)
    if monotonic is None or facts is None:
        return None
    link = tie(Timebase.MONOTONIC, Timebase.REALTIME)
    utc_ns = facts.utc_offset_s * 1_000_000_000 if facts.ptp_timescale else 0
    ahead_ns = monotonic.ptp_at(now_ns) - (now_ns + link.difference_ns + utc_ns)
    return Tie(ahead_ns, monotonic.bound_at(now_ns) + link.half_ns)


def _fit_status(fit: PairFit) -> dict[str, Any]:
    shape = "line" if fit.model.degree == 1 else "parabola"
    return {
        "residual_ns": round(fit.rms_ns, 1),
        "half_ns": round(fit.half_ns, 1),
        "model": f"{shape} over {fit.model.length}",
        "pairs": len(fit),
    }


def _words(event: ClockEvent) -> dict[str, str]:
    return {"severity": event.severity, "text": event.text}
