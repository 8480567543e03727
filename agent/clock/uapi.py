# ruff: noqa: N801 (the structures carry the kernel's own names)
"""The parts of the kernel's interface to hardware clocks that we use: structures and request numbers, defined once.

Names and layouts are those of <linux/ptp_clock.h> and <linux/ethtool.h> (user-space API of the kernel, GPL-2.0 with
syscall note) on 64-bit little-endian machines. A test compares each with the headers of the machine, by a C program.
"""

from __future__ import annotations

import ctypes
from typing import Final

_S32, _U32, _S64 = ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64
PTP_MAX_SAMPLES: Final = 25
ETHTOOL_GET_TS_INFO: Final = 0x41
SIOCETHTOOL: Final = 0x8946  # <linux/sockios.h>
IFNAMSIZ: Final = 16  # <linux/if.h>


class ptp_clock_time(ctypes.Structure):
    _fields_ = (("sec", _S64), ("nsec", _U32), ("reserved", _U32))


class ptp_clock_caps(ctypes.Structure):
    _fields_ = (
        ("max_adj", _S32),
        ("n_alarm", _S32),
        ("n_ext_ts", _S32),
        ("n_per_out", _S32),
        ("pps", _S32),
        ("n_pins", _S32),
        ("cross_timestamping", _S32),
        ("adjust_phase", _S32),
        ("rsv", _S32 * 12),
    )


class ptp_sys_offset(ctypes.Structure):
    """``ts``: system, clock, system, clock, ..., system."""

    _fields_ = (("n_samples", _U32), ("rsv", _U32 * 3), ("ts", ptp_clock_time * (2 * PTP_MAX_SAMPLES + 1)))


class ptp_sys_offset_extended(ctypes.Structure):
    """``ts``: system before, clock, system after. ``clockid``: from Linux 6.12 on, a reserved word before."""

    _fields_ = (
        ("n_samples", _U32),
        ("clockid", _S32),
        ("rsv", _U32 * 2),
        ("ts", (ptp_clock_time * 3) * PTP_MAX_SAMPLES),
    )


class ptp_sys_offset_precise(ctypes.Structure):
    _fields_ = (
        ("device", ptp_clock_time),
        ("sys_realtime", ptp_clock_time),
        ("sys_monoraw", ptp_clock_time),
        ("rsv", _U32 * 4),
    )


def _request(direction: int, number: int, argument: type[ctypes.Structure]) -> int:
    return direction << 30 | ctypes.sizeof(argument) << 16 | ord("=") << 8 | number  # asm-generic/ioctl.h


_WRITE, _READ = 1, 2
PTP_CLOCK_GETCAPS: Final = _request(_READ, 1, ptp_clock_caps)
PTP_SYS_OFFSET: Final = _request(_WRITE, 5, ptp_sys_offset)
PTP_SYS_OFFSET_PRECISE: Final = _request(_READ | _WRITE, 8, ptp_sys_offset_precise)
PTP_SYS_OFFSET_EXTENDED: Final = _request(_READ | _WRITE, 9, ptp_sys_offset_extended)
PTP_CLOCK_GETCAPS2: Final = _request(_READ, 10, ptp_clock_caps)
PTP_SYS_OFFSET2: Final = _request(_WRITE, 14, ptp_sys_offset)
PTP_SYS_OFFSET_PRECISE2: Final = _request(_READ | _WRITE, 17, ptp_sys_offset_precise)
PTP_SYS_OFFSET_EXTENDED2: Final = _request(_READ | _WRITE, 18, ptp_sys_offset_extended)


class ethtool_ts_info(ctypes.Structure):
    """``phc_index``: N of /dev/ptpN, -1 for none."""

    _fields_ = (
        ("cmd", _U32),
        ("so_timestamping", _U32),
        ("phc_index", _S32),
        ("tx_types", _U32),
        ("tx_reserved", _U32 * 3),
        ("rx_filters", _U32),
        ("rx_reserved", _U32 * 3),
    )


class ifreq(ctypes.Structure):
    """<linux/if.h>: of its union only the pointer, which SIOCETHTOOL reads."""

    _fields_ = (("ifr_name", ctypes.c_char * IFNAMSIZ), ("ifr_data", ctypes.c_void_p), ("padding", ctypes.c_uint8 * 16))
