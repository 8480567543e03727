"""/dev/nvpps0: layouts against a C compiler, units that lie, events that repeat, a device that is not there."""

from __future__ import annotations

import ctypes
import errno
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import nvpps
from agent.clock.nvpps import Event, EventPairs, Nvpps, open_nvpps, unit_of
from tests.agent.clock.fake_phc import FakeNvpps, Machine, fail
from touchline.errors import ConfigError, HardwareError
from touchline.timeline import Timebase

ORIN: dict[str, Fraction] = {"base_tick": Fraction(32), "phc_tick": Fraction(16, 5)}


def opened(fake: FakeNvpps, tree: Path = Path("/nowhere")) -> Nvpps:
    return open_nvpps(3.2, open_device=lambda path: fake, tree=tree)


def later(machine: Machine, fake: FakeNvpps, seconds: float = 1.0) -> None:
    machine.run(seconds)
    fake.pulse()


# --- layouts ---

FACTS = """
struct nvpps_timeevent_2 { __u32 evt_nb; __u64 tsc; __u64 ptp; __u64 tsc_res_ns; __u32 evt_mode; __u32 tsc_mode;
                           __u64 irq_latency; };
struct nvpps_timeevent_4 { __u32 evt_nb; __u64 tsc; __u64 ptp; __u64 secondary_ptp; __u64 tsc_res_ns; __u32 evt_mode;
                           __u32 tsc_mode; __u64 irq_latency; };
struct nvpps_version { struct { __u32 major; __u32 minor; } version; struct { __u32 major; __u32 minor; } api; };
struct nvpps_params { __u32 evt_mode; __u32 tsc_mode; };
"""
NUMBERS = {
    "NVPPS_GETVERSION": "nvpps_version",
    "NVPPS_GETPARAMS": "nvpps_params",
    "NVPPS_GETEVENT": "nvpps_timeevent_4",
}
MACHINES = {"this": (("gcc",), ()), "arm64": (("aarch64-linux-gnu-gcc", "-static"), ("qemu-aarch64-static",))}


def program() -> str:
    """The header's own words, compiled: sizes, places and request numbers."""
    lines = []
    for order, (name, kind) in enumerate(NUMBERS.items()):
        number = (1, 2, 4)[order]
        lines.append(f"printf(\"{name} %lu\\n\", (unsigned long)_IOR('p', {number}, struct {kind} *));")
    for name in ("nvpps_timeevent_2", "nvpps_timeevent_4"):
        lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
        for member, *_ in getattr(nvpps, name)._fields_[:-1]:
            lines.append(f'printf("{name}.{member} %zu\\n", offsetof(struct {name}, {member}));')
    lines.append('printf("api %zu\\n", offsetof(struct nvpps_version, api));')
    heads = "#include <linux/ioctl.h>\n#include <linux/types.h>\n#include <stddef.h>\n#include <stdio.h>\n"
    return f"{heads}{FACTS}int main(void) {{\n" + "\n".join(lines) + "\nreturn 0; }\n"


def ours() -> list[str]:
    lines = [f"{name} {getattr(nvpps, name)}" for name in NUMBERS]
    for name in ("nvpps_timeevent_2", "nvpps_timeevent_4"):
        kind = getattr(nvpps, name)
        lines.append(f"{name} {kind.spare.offset}")
        lines += [f"{name}.{member} {getattr(kind, member).offset}" for member, *_ in kind._fields_[:-1]]
    return [*lines, f"api {nvpps.nvpps_version.api_major.offset}"]


@pytest.mark.system
@pytest.mark.parametrize("machine", MACHINES)
def test_layouts_are_those_of_the_facts(machine: str, tmp_path: Path):
    compiler, runner = MACHINES[machine]
    for name in [compiler[0], *runner]:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
    source, binary = tmp_path / "nvpps.c", tmp_path / "nvpps"
    source.write_text(program())
    subprocess.run([*compiler, "-Wall", "-o", str(binary), str(source)], check=True)
    theirs = subprocess.run([*runner, str(binary)], check=True, capture_output=True, text=True).stdout.splitlines()
    assert theirs == ours()


def test_a_kernel_that_writes_more_than_we_know_does_no_harm():
    for kind in (nvpps.nvpps_version, nvpps.nvpps_timeevent_2, nvpps.nvpps_timeevent_4):
        assert ctypes.sizeof(kind) - kind.spare.offset >= 64


# --- pairs ---


@pytest.mark.parametrize("api", [(0, 1), (0, 2), (0, 4)])
@pytest.mark.parametrize("unit", ["ns", "ticks", "twice"])
def test_pairs_come_right_in_every_unit_and_layout(api, unit):
    machine = Machine(**ORIN)
    fake = FakeNvpps(machine, api=api, unit=unit)
    device = opened(fake)
    assert (device.pair(), device.why) == (
        None,
        "the driver has no PTP time: ptp4l must run on the interface named in the device tree",
    )
    later(machine, fake)
    assert (device.pair(), device.why) == (None, "one event so far, two are needed")
    later(machine, fake)
    pair = device.pair()
    assert pair is not None
    assert device.why == ""
    assert pair.half_ns == 16 + 1.6 + 2
    assert abs(machine.error_ns(Timebase.TSC, pair)) <= pair.half_ns
    assert device.pair() is None
    assert device.why == ""


@given(
    st.integers(1, 1 << 62),
    st.integers(-200_000, 200_000),
    st.lists(st.integers(100_000_000, 1_900_000_000), min_size=3, max_size=12),
    st.sampled_from(["ns", "ticks", "twice"]),
)
def test_truth_lies_within_the_pairs_half(phc_ns, rate_ppb, gaps_ns, unit):
    machine = Machine(**ORIN)
    machine.set_phc(phc_ns, rate_ppb)
    fake = FakeNvpps(machine, unit=unit)
    device = opened(fake)
    found = 0
    for gap_ns in gaps_ns:
        machine.now += gap_ns
        fake.pulse()
        pair = device.pair()
        if pair is not None:
            found += 1
            assert abs(machine.error_ns(Timebase.TSC, pair)) <= pair.half_ns
    assert found == len(gaps_ns) - 1


def test_ticks_are_centred_so_pairs_have_no_standing_error():
    machine = Machine(**ORIN)
    machine.set_phc(10**18, 13_000)
    fake = FakeNvpps(machine)
    device, errors = opened(fake), []
    for index in range(400):
        later(machine, fake, 1.0 + index * 1e-8)
        pair = device.pair()
        if pair is not None:
            errors.append(machine.error_ns(Timebase.TSC, pair))
    assert abs(sum(errors) / len(errors)) < 1.5


def test_a_step_of_the_clock_is_passed_on_once_the_unit_is_known():
    machine = Machine(**ORIN)
    fake = FakeNvpps(machine)
    device = opened(fake)
    for _ in range(3):
        later(machine, fake)
        device.pair()
    machine.step_phc(-37_000_000_000)
    later(machine, fake)
    pair = device.pair()
    assert pair is not None
    assert abs(machine.error_ns(Timebase.TSC, pair)) <= pair.half_ns


def test_nonsense_and_a_step_between_the_first_two_give_no_pair():
    machine = Machine(**ORIN)
    fake = FakeNvpps(machine, unit="nonsense")
    device = opened(fake)
    for _ in range(4):
        later(machine, fake)
        assert device.pair() is None
    assert "do not run alike" in device.why
    fake.unit = "ns"
    later(machine, fake)
    assert device.pair() is None
    later(machine, fake)
    assert device.pair() is not None


def test_no_ptp_on_the_interface_then_it_comes():
    machine = Machine(**ORIN)
    fake = FakeNvpps(machine)
    fake.running = False
    device = opened(fake)
    for _ in range(3):
        later(machine, fake)
        assert device.pair() is None
    assert "ptp4l must run" in device.why
    fake.running = True
    pairs = []
    for _ in range(4):
        later(machine, fake)
        pairs.append(device.pair())
    assert [pair is not None for pair in pairs] == [False, True, True, True]


def test_a_change_of_mode_makes_it_learn_the_unit_anew():
    machine = Machine(**ORIN)
    fake = FakeNvpps(machine)
    device = opened(fake)
    for _ in range(2):
        later(machine, fake)
        device.pair()
    fake.mode, fake.unit, fake.latency_ns = 1, "ticks", 80_000
    later(machine, fake)
    assert device.pair() is None
    later(machine, fake)
    pair = device.pair()
    assert pair is not None
    assert pair.half_ns == pytest.approx(16 + 1.6 + 2 + 8)


def test_events_that_wrap_and_units_that_cannot_be():
    def event(number: int, tsc: int, ptp_ns: int) -> Event:
        return Event(number, tsc, ptp_ns, 32, 2, 0, 0)

    last = event(0xFFFF_FFFF, 10**9, 10**18)
    assert unit_of(last, event(0, 2 * 10**9, 10**18 + 10**9)) == (1, 1)
    assert unit_of(last, event(0, 10**9 + 31_250_000, 10**18 + 10**9)) == (32, 1)
    assert unit_of(last, event(0, 33 * 10**9, 10**18 + 10**9)) == (1, 32)
    assert unit_of(last, event(0, 3 * 10**9, 10**18 + 10**9)) is None
    assert unit_of(last, event(0, 10**9, 10**18 + 10**9)) is None
    assert unit_of(last, event(0, 2 * 10**9, 10**18)) is None
    assert unit_of(last, event(0, 10**9 + 32 * 10**9, 10**18 + 32 * 10**9)) is None
    assert EventPairs(3.2).why == "no event yet"


# --- the device ---


def test_versions_and_answers_that_nobody_knows():
    machine = Machine()
    with pytest.raises(HardwareError, match=r"API 0\.3, known are"):
        opened(FakeNvpps(machine, api=(0, 3)))
    fake = FakeNvpps(machine, tick_ns=5000)
    with pytest.raises(HardwareError, match="is no event"):
        opened(fake).event()
    fake = FakeNvpps(machine)
    device = opened(fake)
    fake.gone = True
    with pytest.raises(HardwareError, match="/dev/nvpps0: No such device"):
        device.pair()
    device.close()
    assert fake.closed


def test_registers_read_by_the_processor_widen_the_pair(tmp_path: Path):
    node = tmp_path / "bus@0" / "nvpps"
    node.mkdir(parents=True)
    (node / "memmap_phc_regs").touch()
    machine = Machine(**ORIN)
    fake = FakeNvpps(machine)
    device = opened(fake, tmp_path)
    for _ in range(2):
        later(machine, fake)
        pair = device.pair()
    assert pair is not None
    assert pair.half_ns == pytest.approx(1019.6)


@pytest.mark.parametrize(
    ("status", "words"),
    [(None, "has no nvpps node"), (b"disabled\0", "node is disabled"), (b"okay\0", "its driver did not start")],
)
def test_a_missing_device_says_what_the_device_tree_tells(tmp_path: Path, status, words):
    if status is not None:
        (tmp_path / "nvpps").mkdir()
        (tmp_path / "nvpps" / "status").write_bytes(status)
    with pytest.raises(HardwareError, match=words):
        open_nvpps(3.2, "/dev/nvpps-not-there", tree=tmp_path)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EACCES, HardwareError, "group 'nvpps'"),
        (errno.ENOTTY, ConfigError, "is no nvpps device"),
        (errno.EIO, HardwareError, "Input/output"),
    ],
)
def test_a_device_that_cannot_be_opened(number, kind, words):
    def refuse(path: str) -> FakeNvpps:
        raise fail(number)

    with pytest.raises(kind, match=words):
        open_nvpps(3.2, open_device=refuse)


def test_a_device_that_is_another_kind():
    with pytest.raises(ConfigError, match="/dev/null is no nvpps device"):
        open_nvpps(3.2, "/dev/null")
