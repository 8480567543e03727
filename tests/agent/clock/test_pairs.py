"""Sources of pairs: every timebase's pair holds the truth, whatever moves meanwhile; choice and fallback are said."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock.mapping import Pair
from agent.clock.nvpps import Nvpps, open_nvpps
from agent.clock.pairs import (
    NvppsPairs,
    Openers,
    PairSource,
    PhcPairs,
    SyncPairs,
    carried,
    open_pairs,
    ticks_here,
)
from agent.clock.phc import Phc, Ticks, open_phc
from tests.agent.clock.fake_phc import FakeDevice, FakeNvpps, Machine, fail
from touchline.errors import ConfigError, HardwareError
from touchline.timeline import Tie, Timebase

RAW, MONO, REAL, TSC = Timebase.MONOTONIC_RAW, Timebase.MONOTONIC, Timebase.REALTIME, Timebase.TSC
ORIN = Ticks(3.2, 32.0)
TAI_NS = 37_000_000_000


def orin() -> Machine:
    return Machine(base_tick=Fraction(32), phc_tick=Fraction(16, 5))


def clock_of(device: FakeDevice) -> Phc:
    return open_phc("/dev/ptp0", ORIN, lambda path: device)


def pairs_on(machine: Machine, *methods: str, tsc_error_ns: int | None = None) -> PhcPairs:
    link = None if tsc_error_ns is None else Tie(tsc_error_ns - int(machine.tsc_offset), 1_000)
    return PhcPairs(clock_of(FakeDevice(machine, *methods)), tie_tsc=lambda: link)


# --- the hardware clock ---


@given(
    st.sampled_from([("precise",), ("extended",), ("offset",)]),
    st.tuples(st.integers(-200_000, 200_000), st.integers(-500_000, 500_000)),
    st.lists(st.integers(1, 4_000), min_size=1, max_size=30),
    st.integers(-1_000, 1_000),
)
def test_truth_lies_within_every_timebases_pair(methods, rates_ppb, latencies_ns, tsc_error_ns):
    machine = orin()
    machine.slew_ppb = rates_ppb[1]
    machine.set_phc(10**18, rates_ppb[0])
    machine.latencies_ns = cycle(latencies_ns)
    with machine.in_charge():
        source = pairs_on(machine, *methods, tsc_error_ns=tsc_error_ns)
        machine.run(1.0)
        sample = source.sample()
    assert set(sample) == {RAW, MONO, TSC}
    for base, pair in sample.items():
        assert abs(machine.error_ns(base, pair)) <= pair.half_ns


@given(st.integers(1, 400), st.integers(-(10**12), 10**12))
def test_a_step_of_realtime_in_the_middle_never_makes_a_pair_lie(reads, size_ns):
    machine = orin()
    with machine.in_charge():
        source = pairs_on(machine, "offset")

        def latencies() -> Iterator[int]:
            for _ in range(reads):
                yield 70
            machine.real_offset += size_ns
            while True:
                yield 70

        machine.latencies_ns = latencies()
        sample = source.sample()
    for base, pair in sample.items():
        assert abs(machine.error_ns(base, pair)) <= pair.half_ns
        assert pair.half_ns < 5_000


def test_the_bound_is_what_the_bus_and_the_ties_cost():
    machine = orin()
    machine.latencies_ns = cycle([500])
    with machine.in_charge():
        wide = pairs_on(machine, "offset").sample()
        narrow = pairs_on(machine, "precise").sample()
    assert 500 < wide[RAW].half_ns < 1_200
    assert narrow[RAW].half_ns == pytest.approx(1.6 + 32 + 2)
    assert narrow[MONO].half_ns < 600


def test_no_pair_for_now_and_a_clock_that_is_gone():
    machine = orin()
    device = FakeDevice(machine, "offset")
    with machine.in_charge():
        source = PhcPairs(clock_of(device), tie_tsc=lambda: None)
        device.errors["offset"] = errno.EAGAIN
        assert source.sample() == {}
        device.gone = True
        with pytest.raises(HardwareError, match="went away"):
            source.sample()
    source.close()
    assert device.closed


def test_a_source_says_what_it_reads():
    source = pairs_on(orin(), "offset")
    assert source.method == "offset"
    assert source.describe() == "/dev/ptp0 by PTP_SYS_OFFSET offset on realtime, ticks of 3.2 and 32 ns; no TSC"
    noted = PhcPairs(source.phc, tie_tsc=lambda: Tie(1, 1), note="there is no /dev/nvpps0")
    assert noted.describe().endswith("ticks of 3.2 and 32 ns; there is no /dev/nvpps0")


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.integers(0, 50), st.floats(0, 1))
def test_a_carried_pair_covers_every_way_the_difference_may_have_gone(before_ns, after_ns, half_ns, part):
    moved = carried(Pair(10**12, 5, 7.0), Tie(before_ns, half_ns), Tie(after_ns, half_ns))
    truth = 10**12 + before_ns + part * (after_ns - before_ns)
    assert abs(moved.base_ns - truth) + 7.0 + half_ns <= moved.half_ns
    assert moved.ptp_ns == 5


# --- nvpps ---


def nvpps_on(machine: Machine, fake: FakeNvpps, tsc_error_ns: int | None = None) -> NvppsPairs:
    device: Nvpps = open_nvpps(3.2, open_device=lambda path: fake)
    return NvppsPairs(device, pairs_on(machine, "offset", tsc_error_ns=tsc_error_ns))


def halves(machine: Machine, source: PairSource, fake: FakeNvpps) -> list[set[Timebase]]:
    """The timebases of each half second of four, an event in every second one; truth is checked on the way."""
    seen = []
    for index in range(8):
        machine.run(0.5)
        if index % 2:
            fake.pulse()
        sample = source.sample()
        for base, pair in sample.items():
            assert abs(machine.error_ns(base, pair)) <= pair.half_ns
        seen.append(set(sample))
    return seen


def test_the_counter_comes_from_events_and_the_rest_comes_along():
    machine = orin()
    fake = FakeNvpps(machine, unit="ticks")
    with machine.in_charge():
        source = nvpps_on(machine, fake)
        assert "(the driver has no PTP time" not in source.describe()
        seen = halves(machine, source, fake)
        assert seen == [set(), set(), {RAW, MONO}, {RAW, MONO, TSC}, set(), {RAW, MONO, TSC}, set(), {RAW, MONO, TSC}]
        assert source.sample().get(TSC) is None
        assert source.describe().startswith("/dev/nvpps0 for the TSC; /dev/ptp0 by")
        fake.running = False
        seen = halves(machine, source, fake)
        assert all(TSC not in bases for bases in seen)
        assert "(the driver has no PTP time" in source.describe()
        source.close()
        source.close()
    assert fake.closed


def test_until_the_first_event_the_kernels_tie_serves():
    machine = orin()
    fake = FakeNvpps(machine)
    with machine.in_charge():
        source = nvpps_on(machine, fake, tsc_error_ns=300)
        fake.running = False
        seen = halves(machine, source, fake)
        assert {RAW, MONO, TSC} in seen
        fake.running = True
        halves(machine, source, fake)
        fake.running = False
        assert all(TSC not in bases for bases in halves(machine, source, fake))


def test_another_interfaces_clock_is_not_taken_for_ours():
    machine, other = orin(), orin()
    other.set_phc(10**18)
    fake = FakeNvpps(other)
    with machine.in_charge():
        source = nvpps_on(machine, fake)
        for _ in range(4):
            machine.run(1.0)
            other.now = machine.now
            fake.pulse()
            assert TSC not in source.sample()
        assert "s off /dev/ptp0: another interface's" in source.describe()


# --- ptp4l's own measurements ---


def test_software_time_stamps_on_realtime():
    machine = orin()
    with machine.in_charge():
        source = SyncPairs()
        assert source.sample() == {}
        machine.run(1.0)
        ingress_ns = machine.read(REAL)
        truth_ns = machine.phc_at(machine.now)
        machine.run(0.002)
        source.event(ingress_ns, round(ingress_ns + TAI_NS - truth_ns), TAI_NS)
        sample = source.sample()
        assert set(sample) == {MONO, RAW}
        for base, pair in sample.items():
            assert pair.half_ns < 200
            assert abs(machine.error_ns(base, pair)) <= pair.half_ns + 32
        assert source.sample() == {}
        for old_ns in (ingress_ns, 0):
            source.event(old_ns, 0)
            assert source.sample() == {}
        assert source.describe() == "sync messages of ptp4l on CLOCK_REALTIME; no TSC"
        source.close()


def test_a_step_of_realtime_costs_one_event():
    machine = orin()
    with machine.in_charge():
        source = SyncPairs()
        source.event(machine.read(REAL), 0)
        assert MONO in source.sample()
        ingress_ns = machine.read(REAL)
        machine.real_offset += 1_000_000
        source.event(ingress_ns, 0)
        assert source.sample() == {}
        source.event(machine.read(REAL), 0)
        assert MONO in source.sample()


# --- choice ---


class Hardware:
    """What a configuration may find."""

    def __init__(self, *, phc: bool = True, nvpps: bool = True) -> None:
        self.machine = orin()
        self.clock, self.fake = FakeDevice(self.machine, "offset"), FakeNvpps(self.machine)
        self.has_phc, self.has_nvpps = phc, nvpps
        self.opened: list[str] = []

    def find(self, interface: str) -> str:
        if not self.has_phc:
            raise HardwareError(f"interface {interface} has no PTP hardware clock", hint="use another one")
        return "/dev/ptp3"

    def open_clock(self, path: str, ticks: Ticks) -> Phc:
        self.opened.append(path)
        return open_phc(path, ticks, lambda path: self.clock)

    def open_events(self, phc_tick_ns: float) -> Nvpps:
        def device(path: str) -> FakeNvpps:
            if not self.has_nvpps:
                raise fail(errno.ENOENT)
            return self.fake

        return open_nvpps(phc_tick_ns, open_device=device, tree=Path("/nowhere"))

    def openers(self) -> Openers:
        return Openers(self.find, self.open_clock, self.open_events, lambda interface: ORIN, tie_tsc=lambda: None)


def test_auto_takes_the_best_and_says_what_is_missing():
    there = Hardware()
    source = open_pairs("eth0", openers=there.openers())
    assert (type(source), source.method, there.opened) == (NvppsPairs, "nvpps", ["/dev/ptp3"])
    source.close()
    assert there.clock.closed
    assert there.fake.closed
    missing = Hardware(nvpps=False)
    source = open_pairs("eth0", openers=missing.openers())
    assert source.method == "offset"
    assert "there is no /dev/nvpps0: the device tree has no nvpps node" in source.describe()


def test_what_is_required_and_missing_refuses():
    missing = Hardware(nvpps=False)
    with pytest.raises(HardwareError, match="there is no /dev/nvpps0") as caught:
        open_pairs("eth0", pairs="nvpps", openers=missing.openers())
    assert 'pairs = "phc"' in caught.value.hint
    assert missing.clock.closed
    with pytest.raises(HardwareError, match="interface eth0 has no PTP hardware clock"):
        open_pairs("eth0", openers=Hardware(phc=False).openers())


def test_the_other_choices():
    there = Hardware()
    source = open_pairs("eth0", phc="/dev/ptp9", pairs="phc", openers=there.openers())
    assert (type(source), there.opened) == (PhcPairs, ["/dev/ptp9"])
    source = open_pairs("eth0", time_stamping="software", openers=Hardware(phc=False).openers())
    assert (type(source), source.describe()) == (SyncPairs, "sync messages of ptp4l on CLOCK_REALTIME; no TSC")
    with pytest.raises(ConfigError, match="does not go with"):
        open_pairs("eth0", time_stamping="software", pairs="nvpps")
    with pytest.raises(ConfigError, match="is not known"):
        open_pairs("eth0", pairs="gps", openers=there.openers())


def test_on_this_machine():
    with pytest.raises(HardwareError, match="interface lo has no PTP hardware clock"):
        open_pairs("lo")
    with pytest.raises(HardwareError, match="no such clock"):
        open_pairs("lo", phc="/dev/ptp999", pairs="phc")
    assert ticks_here("lo").phc_ns == 8.0
