"""Hardware clocks: layouts against the headers, every cross-timestamp's bound against known truth, errors in words."""

from __future__ import annotations

import ctypes
import errno
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import phc, uapi
from agent.clock.phc import Method, Ticks, open_phc, phc_of, ticks_of
from tests.agent.clock.fake_phc import FakeDevice, Machine, fail
from tests.agent.kernel_headers import MACHINES, printed
from touchline.errors import ConfigError, HardwareError
from touchline.timeline import Timebase

RAW, MONO, REAL = Timebase.MONOTONIC_RAW, Timebase.MONOTONIC, Timebase.REALTIME
FINE = Ticks(1.0, 1.0)
TICKS = st.sampled_from(
    [
        (Fraction(16, 5), 3.2, Fraction(32), 32.0),
        (Fraction(8), 8.0, Fraction(125, 3), 42.0),
        (Fraction(1), 1.0, Fraction(1), 1.0),
    ]
)


def opened(device: FakeDevice, ticks: Ticks = FINE) -> phc.Phc:
    return open_phc("/dev/ptp0", ticks, lambda path: device)


# --- layouts ---

STRUCTURES = ("ptp_clock_time", "ptp_clock_caps", "ptp_sys_offset", "ptp_sys_offset_extended", "ptp_sys_offset_precise")
NUMBERS = [name for name in vars(uapi) if name.startswith(("PTP_", "ETHTOOL_", "SIOC", "IFNAMSIZ"))]
PLACES = [
    (name, member)
    for name in (*STRUCTURES, "ethtool_ts_info")
    for member, *_ in getattr(uapi, name)._fields_
    if member not in {"rsv", "clockid"}  # a reserved word becomes a member as kernels grow
]


def ours() -> list[str]:
    lines = [f"{name} {getattr(uapi, name)}" for name in NUMBERS]
    lines += [f"{name} {ctypes.sizeof(getattr(uapi, name))}" for name in (*STRUCTURES, "ethtool_ts_info", "ifreq")]
    lines += [f"{name}.{member} {getattr(getattr(uapi, name), member).offset}" for name, member in PLACES]
    return [*lines, f"ifr_data {uapi.ifreq.ifr_data.offset}"]


def program() -> str:
    headers = ("linux/ptp_clock.h", "linux/ethtool.h", "linux/sockios.h", "linux/if.h", "stddef.h", "stdio.h")
    names = (*STRUCTURES, "ethtool_ts_info", "ifreq")
    body = [f'printf("{name} %lu\\n", (unsigned long)(unsigned int){name});' for name in NUMBERS]
    body += [f'printf("{name} %zu\\n", sizeof(struct {name}));' for name in names]
    body += [f'printf("{name}.{part} %zu\\n", offsetof(struct {name}, {part}));' for name, part in PLACES]
    body.append('printf("ifr_data %zu\\n", offsetof(struct ifreq, ifr_ifru));')
    includes = "".join(f"#include <{name}>\n" for name in headers)
    return f"#include <sys/socket.h>\n{includes}int main(void) {{\n" + "\n".join(body) + "\nreturn 0; }\n"


@pytest.mark.system
@pytest.mark.parametrize("machine", MACHINES)
def test_layouts_and_numbers_are_the_kernels_own(machine: str, tmp_path: Path):
    theirs = printed(program(), machine, "linux/ptp_clock.h", tmp_path)
    assert theirs == ours()
    assert len(NUMBERS) >= 12


# --- which way ---


@pytest.mark.parametrize(
    ("methods", "features", "expected"),
    [
        (("precise", "extended", "offset"), {}, (Method.PRECISE, RAW)),
        (("extended", "offset"), {}, (Method.EXTENDED, RAW)),
        (("extended", "offset"), {"chooses": False}, (Method.EXTENDED, REAL)),
        (("offset",), {}, (Method.OFFSET, REAL)),
        (("offset",), {"second": False}, (Method.OFFSET, REAL)),
        (("precise", "offset"), {"second": False}, (Method.PRECISE, RAW)),
    ],
)
def test_the_best_way_that_a_kernel_has_is_taken(methods, features, expected):
    clock = opened(FakeDevice(Machine(), *methods, **features))
    assert (clock.method, clock.base) == expected
    assert set(clock.cross()) <= set(clock.bases) | {REAL}
    assert clock.cross()


def test_precise_on_another_clock_source_falls_back():
    device = FakeDevice(Machine(), "precise", "extended", "offset")
    device.errors["precise"] = errno.ENODEV
    assert opened(device).method is Method.EXTENDED


def test_capabilities():
    caps = opened(FakeDevice(Machine(), "precise", "offset")).caps()
    assert (caps.max_adj_ppb, caps.pins, caps.cross) == (62_499_999, 4, True)


@pytest.mark.parametrize(
    ("driver", "machine", "compatible", "expected"),
    [
        ("nvethernet", "aarch64", "nvidia,p3737-0000+p3701-0000\0nvidia,tegra234", Ticks(3.2, 32.0)),
        ("igb", "x86_64", "", Ticks(8.0, 1.0)),
        ("", "aarch64", "raspberrypi,5", Ticks(8.0, 42.0)),
    ],
)
def test_ticks(driver, machine, compatible, expected):
    assert ticks_of(driver, machine, compatible) == expected


# --- the bound holds ---


@given(
    TICKS,
    st.sampled_from([("precise",), ("extended",), ("extended", "old"), ("offset",)]),
    st.integers(0, 1 << 62),
    st.tuples(st.integers(-500_000, 500_000), st.integers(-500_000, 500_000)),
    st.lists(st.integers(0, 4_000), min_size=1, max_size=40),
)
def test_truth_lies_within_the_pairs_half(ticks, way, phc_ns, rates_ppb, latencies_ns):
    rate_ppb, slew_ppb = rates_ppb
    phc_tick, phc_tick_ns, base_tick, base_tick_ns = ticks
    machine = Machine(base_tick=base_tick, phc_tick=phc_tick)
    machine.slew_ppb = slew_ppb
    machine.latencies_ns = cycle(latencies_ns)
    clock = opened(FakeDevice(machine, *way, chooses="old" not in way), Ticks(phc_tick_ns, base_tick_ns))
    machine.set_phc(phc_ns, rate_ppb)
    machine.run(0.5)
    crossed = clock.cross()
    assert crossed
    for base, pair in crossed.items():
        assert abs(machine.error_ns(base, pair)) <= pair.half_ns
        assert pair.half_ns <= max(latencies_ns) * 1.01 + phc_tick_ns / 2 + 1.1 * base_tick_ns + phc.ROUNDING_NS


def test_the_narrowest_sample_wins():
    machine = Machine()
    machine.latencies_ns = cycle([3_000] * 5 + [100, 100])
    for methods in (("extended",), ("offset",)):
        (pair,) = opened(FakeDevice(machine, *methods)).cross().values()
        assert pair.half_ns < 110


def test_a_base_that_goes_back_gives_no_pair():
    assert phc.bracket(100, 5, 99, FINE) is None
    times = [(0, 50), (1, 7), (0, 40)]
    answer = uapi.ptp_sys_offset(n_samples=1)
    for index, (seconds, ns) in enumerate(times):
        answer.ts[index] = uapi.ptp_clock_time(sec=seconds, nsec=ns)
    assert phc.pair_of_offset(answer, FINE) is None


# --- going wrong ---


def test_a_clock_that_goes_away_says_so():
    device = FakeDevice(Machine(), "offset")
    clock = opened(device)
    device.errors["offset"] = errno.EBUSY
    assert clock.cross() == {}
    device.gone = True
    with pytest.raises(HardwareError, match="/dev/ptp0 went away"):
        clock.cross()
    clock.close()
    assert device.closed


def test_a_clock_without_any_cross_timestamp():
    device = FakeDevice(Machine())
    with pytest.raises(HardwareError, match="offers no cross-timestamp"):
        opened(device)
    assert device.closed


def test_a_device_that_is_no_clock():
    device = FakeDevice(Machine(), "offset", caps=False)
    with pytest.raises(ConfigError, match="no PTP hardware clock"):
        opened(device)
    assert device.closed


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOENT, HardwareError, "no such clock"),
        (errno.EACCES, HardwareError, "udev rule"),
        (errno.EIO, HardwareError, "dmesg"),
    ],
)
def test_a_device_that_cannot_be_opened(number, kind, words):
    def refuse(path: str) -> FakeDevice:
        raise fail(number)

    with pytest.raises(kind, match=words):
        open_phc("/dev/ptp0", FINE, refuse)


def test_the_real_seam(tmp_path: Path):
    (tmp_path / "file").touch()
    for path in ("/dev/null", str(tmp_path / "file")):
        with pytest.raises(ConfigError, match="no PTP hardware clock"):
            open_phc(path, FINE)
    with pytest.raises(HardwareError, match="no such clock"):
        open_phc("/dev/ptp999", FINE)
    device = phc.KernelDevice("/dev/null")
    with pytest.raises(OSError):
        device.read_ns()
    device.close()
    device.close()
    assert phc.fd_to_clockid(3) == -29


# --- lookup ---


def test_an_interface_and_its_clock(tmp_path: Path):
    net = tmp_path
    (net / "eth0" / "device" / "ptp" / "ptp12").mkdir(parents=True)
    (net / "eth0" / "device" / "ptp" / "ptp3").mkdir()
    (net / "drivers" / "nvethernet").mkdir(parents=True)
    (net / "eth0" / "device" / "driver").symlink_to(net / "drivers" / "nvethernet")
    (net / "veth1").mkdir()

    def unable(interface: str) -> int:
        raise fail(errno.EOPNOTSUPP)

    assert phc_of("eth0", lambda interface: 7, net) == "/dev/ptp7"
    assert phc_of("eth0", unable, net) == "/dev/ptp3"
    assert phc_of("eth0", lambda interface: -1, net) == "/dev/ptp3"
    with pytest.raises(HardwareError, match="interface veth1 has no PTP hardware clock"):
        phc_of("veth1", unable, net)
    with pytest.raises(HardwareError, match="no network interface 'eth9'"):
        phc_of("eth9", unable, net)
    assert phc.driver_of("eth0", net) == "nvethernet"
    assert phc.driver_of("veth1", net) == ""


def test_this_machines_loopback_has_no_clock():
    with pytest.raises(HardwareError, match="interface lo has no PTP hardware clock"):
        phc_of("lo")
    for name in ("no-such-one", "a-name-much-longer-than-fits"):
        with pytest.raises(HardwareError, match="no network interface"):
            phc_of(name)
