"""From ``[clock]`` to the words of ptp4l and phc2sys. Pure: a version and a section in, text out."""

from __future__ import annotations

from typing import Final

from agent.clock.linuxptp.profile import settings_of
from agent.clock.linuxptp.version import CLIENT_WORDS, Version
from touchline.config import ClockSection, PtpSection
from touchline.timeline import TAI_MINUS_UTC_S

SUMMARY_LOG2_S: Final = 6  # ptp4l's line of statistics, once in 64 s: the journal of a match stays readable
SUMMARY_UPDATES: Final = 64  # phc2sys's, at its one update a second

CLOCK_QUALITY: Final = {
    "clockClass": "248",
    "clockAccuracy": "0xFE",
    "offsetScaledLogVariance": "0xFFFF",
    "timeSource": "0xA0",
}
"""What a grandmaster of ours says of itself: nothing that it cannot know.

Class 248 (IEEE 1588-2019 table 4, "default"): none of the others applies. 6 and 7 are for clocks locked to a primary
reference; 13 and 14 would make the timescale arbitrary; 52 and 187 are for clocks that once were locked. Whether NTP
keeps this machine's system clock we do not know and could not prove, so accuracy is 0xFE (unknown), the variance 0xFFFF
(not computed) and the source 0xA0 (internal oscillator). A clock with GNSS therefore wins over ours, as it should.

The timescale is PTP (TAI): with hardware stamps ptp4l announces it whatever the PHC shows, and phc2sys makes it true by
setting the PHC to the system clock plus ``utc_offset``; that is why a grandmaster always runs phc2sys. With software
stamps ptp4l announces an arbitrary timescale and gives out UTC; its followers see ``ptpTimescale 0``. The flag "UTC
offset valid" stays down in both: leap seconds are not ours to announce.
"""


def ptp4l_conf(version: Version, clock: ClockSection) -> str:
    """Return ptp4l's configuration for the version found.

    A follower is client only in every profile: it never answers as a master, not even while no master is there. A
    grandmaster's port is server only: it never follows, so its time never jumps to someone else's.
    """
    ptp = clock.ptp
    sections = {"global": _program(version, clock) | _clock(version, ptp), ptp.interface: _port(version, ptp)}
    lines = [
        f"# Made by touchline for ptp4l {version} out of [clock.ptp]; changes made here are lost at the next start."
    ]
    for name, options in sections.items():
        lines += [f"[{name}]", *(f"{option} {value}" for option, value in options.items())]
    return "\n".join(lines) + "\n"


def phc2sys_args(clock: ClockSection) -> list[str]:
    """Return phc2sys's arguments, the same for 3.1.1 and 4.x.

    A follower's sets the system clock from the PHC, a grandmaster's the PHC from the system clock; in both directions
    ``-w`` waits until ptp4l's port is slave or master and takes the UTC offset from ptp4l from then on. Beyond
    ``step_threshold_ns`` it steps, as ptp4l does: slewing by up to 10 % would bend CLOCK_MONOTONIC under every interval
    that is measured on it, and a step of the system clock does not touch CLOCK_MONOTONIC.
    """
    ptp, settings = clock.ptp, settings_of(clock.ptp)
    hardware = ptp.interface if ptp.phc == "auto" else ptp.phc
    source, sink = ("CLOCK_REALTIME", hardware) if ptp.role == "grandmaster" else (hardware, "CLOCK_REALTIME")
    return [
        *("-s", source, "-c", sink, "-w"),
        *("-n", str(settings.domain), "-z", ptp.uds_path),
        *("-S", _seconds(ptp.step_threshold_ns), "-u", str(SUMMARY_UPDATES)),
        *("-m", "-q", f"--transportSpecific={settings.transport_specific}"),
    ]


def _program(version: Version, clock: ClockSection) -> dict[str, str]:
    """How the program runs: sockets, journal, time-outs, servo.

    No servo_offset_threshold: with it the servo becomes "locked stable", and 3.1.1's port, back from a fault while the
    servo is still that, stays UNCALIBRATED for ever (seen in the virtual node). What is near enough is judged by us.
    """
    ptp = clock.ptp
    sockets = {"uds_address": ptp.uds_path}
    if version >= CLIENT_WORDS:  # beside ours: its own default lies in a folder that the unit cannot write
        sockets["uds_ro_address"] = f"{ptp.uds_path}ro"
    return sockets | {
        "use_syslog": "0",
        "verbose": "1",
        "summary_interval": str(SUMMARY_LOG2_S),
        "tx_timestamp_timeout": str(ptp.tx_timestamp_timeout_ms),
        "step_threshold": _seconds(ptp.step_threshold_ns),
        "free_running": str(int(ptp.free_running)),
    }


def _clock(version: Version, ptp: PtpSection) -> dict[str, str]:
    """What the clock is and says of itself."""
    settings = settings_of(ptp)
    words = {
        "time_stamping": ptp.time_stamping,
        "domainNumber": str(settings.domain),
        "transportSpecific": hex(settings.transport_specific),
        "network_transport": settings.transport,
        "delay_mechanism": settings.delay_mechanism,
        "priority1": str(settings.priority1),
        "priority2": str(settings.priority2),
        "utc_offset": str(TAI_MINUS_UTC_S),
    }
    if ptp.role == "grandmaster":
        words |= CLOCK_QUALITY
    else:
        words["clientOnly" if version >= CLIENT_WORDS else "slaveOnly"] = "1"
    return words | {option: str(value) for option, value in settings.options.items()}


def _port(version: Version, ptp: PtpSection) -> dict[str, str]:
    """What belongs to this port and cable.

    In gPTP an asymmetry is written as what it comes to, a shift of all stamps: there ptp4l 4.2 counts delayAsymmetry
    twice (measured: +1 ms moves the offset by -2 ms; 3.1.1 and the other profiles by -1 ms), once in the peer delay. A
    grandmaster measures no offset, and its stamps are what it gives out: nothing to correct.
    """
    follows, shift_ns, asymmetry_ns = ptp.role == "follower", 0, ptp.delay_asymmetry_ns
    if ptp.profile == "gptp":
        shift_ns, asymmetry_ns = (ptp.delay_asymmetry_ns if follows else 0), 0
    words = {
        "delayAsymmetry": str(asymmetry_ns),
        "ingressLatency": str(ptp.ingress_latency_ns + shift_ns),
        "egressLatency": str(ptp.egress_latency_ns - shift_ns),
    }
    if not follows:
        words["serverOnly" if version >= CLIENT_WORDS else "masterOnly"] = "1"
    return words


def _seconds(ns: int) -> str:
    return f"{ns // 10**9}.{ns % 10**9:09d}"
