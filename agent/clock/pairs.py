"""Where pairs come from: one source, chosen by configuration, asked once per period for one pair on each timebase.

A cross-timestamp sets the hardware clock against one or two of the system's clocks; the others are tied to those just
before and just after it. Between the two ties clocks may drift apart by what NTP bends and REALTIME may be stepped:
the difference lay between the two all the time, so half of what it moved counts to the pair's half, whatever it was.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from agent.clock import nvpps, tsc
from agent.clock.mapping import Pair
from agent.clock.nvpps import Nvpps, open_nvpps
from agent.clock.phc import ROUNDING_NS, Phc, Ticks, driver_of, open_phc, phc_of, ticks_of
from touchline.errors import ConfigError, HardwareError
from touchline.timeline import Tie, Timebase, clock_id, read_clock_ns, tie

Sample: TypeAlias = dict[Timebase, Pair]
TieClocks: TypeAlias = Callable[[Timebase, Timebase], Tie]
TieTsc: TypeAlias = Callable[[], Tie | None]

TARGETS: Final = (Timebase.MONOTONIC_RAW, Timebase.MONOTONIC)
PHC_PERIOD_S: Final = 1.0
NVPPS_PERIOD_S: Final = 0.5  # twice as often as events come, so that none is missed
_TRIES: Final = 3
_QUIET: Final = 3  # samples without an event before the other timebases go on alone
_BESIDE_NS: Final = 3_000_000_000  # an event may be 1.5 s old when it is taken
_DRIFT: Final = 2e-4  # TSC against the hardware clock, far beyond any crystal
_PHC_NOISE_NS: Final = 10_000.0


class PairSource(Protocol):
    """Gives pairs. ``method``: a word for the status. ``period_s``: how often :meth:`sample` wants to be called."""

    @property
    def method(self) -> str:
        """``nvpps``, ``precise``, ``extended``, ``offset`` or ``sync``."""
        ...

    @property
    def period_s(self) -> float:
        """Time between samples, s."""
        ...

    def describe(self) -> str:
        """Say in one line which clock is read, how, and what is missing."""
        ...

    def sample(self) -> Sample:
        """Take a pair for each timebase; empty when there is none now. Raises HardwareError when the clock is gone."""
        ...

    def close(self) -> None:
        """Let the devices go; safe to call twice."""
        ...


def carried(pair: Pair, before: Tie, after: Tie) -> Pair:
    """Move a pair to another clock by the ties around it; pure. See the module's text for the bound."""
    middle_ns = (before.difference_ns + after.difference_ns) // 2
    moved_ns = abs(after.difference_ns - before.difference_ns)
    half_ns = pair.half_ns + max(before.half_ns, after.half_ns) + moved_ns / 2 + ROUNDING_NS
    return Pair(pair.base_ns + middle_ns, pair.ptp_ns, half_ns)


class PhcPairs:
    """The hardware clock against MONOTONIC_RAW and MONOTONIC, and the TSC where the kernel ties that to RAW."""

    period_s = PHC_PERIOD_S

    def __init__(
        self, phc: Phc, *, tie_clocks: TieClocks = tie, tie_tsc: TieTsc = tsc.tsc_to_raw, note: str = ""
    ) -> None:
        self._phc = phc
        self._tie = tie_clocks
        self._tie_tsc = tie_tsc
        self._note = note

    @property
    def method(self) -> str:
        """The kernel's cross-timestamp in use."""
        return self._phc.method.value

    @property
    def phc(self) -> Phc:
        """The clock."""
        return self._phc

    def describe(self) -> str:
        """Say which clock is read and how."""
        phc = self._phc
        ticks = f"ticks of {phc.ticks.phc_ns:g} and {phc.ticks.base_ns:g} ns"
        text = f"{phc.path} by PTP_SYS_OFFSET {phc.method.value} on {phc.base.value}, {ticks}"
        if self._tie_tsc() is None:
            text += "; no TSC"
        return f"{text}; {self._note}" if self._note else text

    def sample(self) -> Sample:
        """Take the narrowest pair of a few tries for each timebase."""
        best: Sample = {}
        for _ in range(_TRIES):
            for timebase, pair in self._once().items():
                if timebase not in best or pair.half_ns < best[timebase].half_ns:
                    best[timebase] = pair
        link, raw = self._tie_tsc(), best.get(Timebase.MONOTONIC_RAW)
        if link is not None and raw is not None:
            best[Timebase.TSC] = Pair(raw.base_ns - link.difference_ns, raw.ptp_ns, raw.half_ns + link.half_ns)
        return best

    def _once(self) -> Sample:
        ways = [(base, target) for base in self._phc.bases for target in TARGETS]
        before = {way: self._tie(*way) for way in ways}
        crossed = self._phc.cross()
        best: Sample = {}
        for base, target in ways:
            if base in crossed:
                pair = crossed[base]
                if base is not target:
                    pair = carried(pair, before[base, target], self._tie(base, target))
                if target not in best or pair.half_ns < best[target].half_ns:
                    best[target] = pair
        return best

    def close(self) -> None:
        """Close the clock."""
        self._phc.close()


class NvppsPairs:
    """The TSC from /dev/nvpps0; the other timebases from the hardware clock beside it, with each event or without.

    Until the first event the TSC comes from ``others`` as well, where they have it: a wide pair is better than none.
    The device's PTP clock is that of the interface named in the device tree: a sample is held against ``others``.
    """

    method = "nvpps"
    period_s = NVPPS_PERIOD_S

    def __init__(self, device: Nvpps, others: PhcPairs) -> None:
        self._device = device
        self._others = others
        self._quiet = 0
        self._seen = False
        self._foreign = ""

    def describe(self) -> str:
        """Say what is read and what is missing."""
        reason = self._foreign or self._device.why
        why = f" ({reason})" if reason else ""
        return f"{self._device.path} for the TSC{why}; {self._others.describe()}"

    def sample(self) -> Sample:
        """Take the pair of a new event and those of the other timebases; without an event nothing, for 1.5 s."""
        pair = self._device.pair()
        self._quiet = 0 if pair is not None else self._quiet + 1
        if pair is None and self._quiet < _QUIET:
            return {}
        self._quiet = 0
        found = self._others.sample()
        if pair is not None and self._same_clock(pair, found):
            found[Timebase.TSC] = pair
            self._seen = True
        elif self._seen:
            found.pop(Timebase.TSC, None)  # what the device gave holds over better
        return found

    def _same_clock(self, pair: Pair, others: Sample) -> bool:
        """Whether the event is of our hardware clock: sharply where the kernel ties the TSC too, else roughly."""
        beside = others.get(Timebase.TSC)
        if beside is not None:
            apart_ns = (pair.ptp_ns - pair.base_ns) - (beside.ptp_ns - beside.base_ns)
            allowed_ns = pair.half_ns + beside.half_ns + _DRIFT * abs(pair.base_ns - beside.base_ns) + _PHC_NOISE_NS
            if abs(apart_ns) > allowed_ns:
                self._foreign = f"its PTP clock is {apart_ns:+,.0f} ns off {self._others.phc.path}: another interface's"
                return False
        far_ns = max((abs(other.ptp_ns - pair.ptp_ns) for other in others.values()), default=0)
        self._foreign = ""
        if far_ns > _BESIDE_NS:
            path = self._others.phc.path
            self._foreign = f"its PTP clock is {far_ns / 1e9:.1f} s off {path}: another interface's, or it just stepped"
        return not self._foreign

    def close(self) -> None:
        """Close both devices."""
        self._device.close()
        self._others.close()


def ptp_of_sync(ingress_ns: int, master_offset_ns: int, utc_offset_ns: int = 0) -> int:
    """Return PTP time at a sync message's arrival: local time less the offset that ptp4l measured there; pure.

    ``utc_offset_ns``: with software time stamping and a master on the PTP timescale ptp4l reports the offset from UTC,
    its local clock being CLOCK_REALTIME; TAI less UTC makes it PTP time. 0 with hardware time stamping, and for ARB.
    """
    return ingress_ns - master_offset_ns + utc_offset_ns


class SyncPairs:
    """Pairs from ptp4l's own measurements with software time stamping, where its local clock is CLOCK_REALTIME.

    That is tied to MONOTONIC here. What the network does to a single measurement is left to the fit.
    """

    method = "sync"
    period_s = PHC_PERIOD_S

    def __init__(self, *, tie_clocks: TieClocks = tie) -> None:
        self._tie = tie_clocks
        self._link: Tie | None = None
        self._seen_ns = 0
        self._found: Sample = {}

    def describe(self) -> str:
        """Say which clock ptp4l stamps with."""
        return "sync messages of ptp4l on CLOCK_REALTIME; no TSC"

    def event(self, ingress_ns: int, master_offset_ns: int, utc_offset_ns: int = 0) -> None:
        """Take ptp4l's word on one sync message, at once: TIME_STATUS_NP's ingress_time and master_offset.

        An ingress of 0 (ptp4l has just stepped its clock) and one seen before are no news.
        """
        if ingress_ns <= 0 or ingress_ns == self._seen_ns:
            return
        self._seen_ns = ingress_ns
        ptp_ns = ptp_of_sync(ingress_ns, master_offset_ns, utc_offset_ns)
        moments = self._on_realtime(ingress_ns)
        self._found = {base: Pair(pair.base_ns, ptp_ns, pair.half_ns) for base, pair in moments.items()}

    def sample(self) -> Sample:
        """Return the pairs of the newest event, once."""
        found, self._found = self._found, {}
        return found

    def close(self) -> None:
        """Nothing is open."""

    def _on_realtime(self, ingress_ns: int) -> Sample:
        """The event on MONOTONIC; nothing when REALTIME was stepped since the last one, perhaps after its arrival."""
        last, link = self._link, self._tie(Timebase.REALTIME, Timebase.MONOTONIC)
        self._link = link
        if last is not None and abs(link.difference_ns - last.difference_ns) > link.half_ns + last.half_ns + 1:
            return {}
        raw = self._tie(Timebase.REALTIME, Timebase.MONOTONIC_RAW)
        return {
            base: Pair(ingress_ns + one.difference_ns, ingress_ns, one.half_ns + ROUNDING_NS)
            for base, one in ((Timebase.MONOTONIC_RAW, raw), (Timebase.MONOTONIC, link))
        }


class SystemPairs:
    """The system clock itself, for a grandmaster with software stamps: what it gives out is CLOCK_REALTIME."""

    method = "system"
    period_s = PHC_PERIOD_S

    def __init__(self, *, tie_clocks: TieClocks = tie) -> None:
        self._tie = tie_clocks

    def describe(self) -> str:
        """Say whose time it is."""
        return "CLOCK_REALTIME, which this grandmaster gives out; no TSC"

    def sample(self) -> Sample:
        """Take a pair of MONOTONIC_RAW and REALTIME."""
        raw = Timebase.MONOTONIC_RAW
        here_ns, link = read_clock_ns(clock_id(raw)), self._tie(raw, Timebase.REALTIME)
        return {raw: Pair(here_ns, here_ns + link.difference_ns, link.half_ns + ROUNDING_NS)}

    def close(self) -> None:
        """Nothing is open."""


# --- choice ---


def ticks_here(interface: str, tree: Path = nvpps.DEVICE_TREE) -> Ticks:
    """The steps of an interface's clock and of this machine's counter."""
    try:
        compatible = (tree / "compatible").read_text(errors="replace")
    except OSError:
        compatible = ""
    return ticks_of(driver_of(interface), platform.machine(), compatible)


@dataclass(frozen=True, slots=True)
class Openers:
    """How hardware is found and opened; tests put their own underneath."""

    find_phc: Callable[[str], str] = phc_of
    open_phc: Callable[[str, Ticks], Phc] = open_phc
    open_nvpps: Callable[[float], Nvpps] = open_nvpps
    ticks: Callable[[str], Ticks] = ticks_here
    tie_clocks: TieClocks = tie
    tie_tsc: TieTsc = tsc.tsc_to_raw


def open_pairs(
    interface: str,
    *,
    phc: str = "auto",
    pairs: str = "auto",
    time_stamping: str = "hardware",
    openers: Openers | None = None,
) -> PairSource:
    """Open the source that the configuration asks for, values as in its section [clock].

    ``auto`` takes /dev/nvpps0 where it is and works, and says in :meth:`PairSource.describe` why not; ``nvpps`` and
    ``phc`` refuse with HardwareError when theirs is missing. Raises ConfigError for what does not fit together.
    """
    openers = openers or Openers()
    if time_stamping == "software":
        if pairs != "auto":
            hint = 'set pairs = "auto", or time_stamping = "hardware" on an interface with a clock'
            raise ConfigError(f'[clock.ptp] pairs = "{pairs}" does not go with time_stamping = "software"', hint=hint)
        return SyncPairs(tie_clocks=openers.tie_clocks)
    return _open_hardware(interface, phc, pairs, openers)


def _open_hardware(interface: str, phc: str, pairs: str, openers: Openers) -> PairSource:
    if pairs not in {"auto", "nvpps", "phc"}:
        raise ConfigError(f'[clock.ptp] pairs = "{pairs}" is not known', hint="use auto, nvpps or phc")
    ticks = openers.ticks(interface)
    path = openers.find_phc(interface) if phc == "auto" else phc
    clock = openers.open_phc(path, ticks)
    note = ""
    if pairs != "phc":
        try:
            device = openers.open_nvpps(ticks.phc_ns)
        except (HardwareError, ConfigError) as error:
            if pairs == "nvpps":
                clock.close()
                raise
            note = error.message
        else:
            tie_tsc = (lambda: None) if pairs == "nvpps" else openers.tie_tsc
            return NvppsPairs(device, PhcPairs(clock, tie_clocks=openers.tie_clocks, tie_tsc=tie_tsc))
    return PhcPairs(clock, tie_clocks=openers.tie_clocks, tie_tsc=openers.tie_tsc, note=note)
