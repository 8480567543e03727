"""Whether what leaves for the broker is acknowledged: by TCP, and by PUBACK. Pure; ns of the monotonic clock.

After a cut TCP tries again ever more rarely: a connection can stay mute for seconds when the way has long been whole.
So data that the broker's machine has not acknowledged for a while is a reason to connect anew beside the old
connection. A broker that hangs is none: its machine acknowledges, and a new connection would hang too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

_MS: Final = 1_000_000
STALLED_NS: Final = 300 * _MS  # TCP's own first repetition comes after 200 ms at the earliest
UNHEARD_NS: Final = 1_000 * _MS  # without PUBACK: a broker that saves its sessions may take a while
REDIAL_NS: Final = 100 * _MS  # between two attempts beside a connection that stalls
PATIENCE_NS: Final = 1_000 * _MS  # of an active node; a standby knows within 0.8 s (its health leaves each 0.5 s)
GOOD_NS: Final = 2_000 * _MS  # a standby is believed after it; by then an active node has dialled again too
NO_LINK: Final = "no connection to the broker"
STALLED: Final = "the broker's machine does not acknowledge"
UNHEARD: Final = "the broker does not acknowledge"

TCP_INFO_BYTES: Final = 60
_TCP_INFO: Final = struct.Struct("=24xI28xI")  # linux/tcp.h, struct tcp_info: tcpi_unacked and tcpi_last_ack_recv


@dataclass(frozen=True, slots=True)
class TcpSigns:
    """What the kernel says of a connection: segments on their way, and how long ago the last ACK came, ms."""

    unacked: int
    silent_ms: int


def read_tcp_info(data: bytes) -> TcpSigns | None:
    """The signs in a ``TCP_INFO``; None where a kernel gives less than it has to."""
    return TcpSigns(*_TCP_INFO.unpack_from(data)) if len(data) >= TCP_INFO_BYTES else None


class Pulse:
    """One publisher's. :meth:`look` at every turn; it begins without a connection."""

    def __init__(self, now_ns: int) -> None:
        self._sign = NO_LINK
        self._since_ns = now_ns  # of the sign
        self._unacked_ns: int | None = None
        self._waiting_ns: int | None = None
        self._redial_ns = now_ns

    def look(self, now_ns: int, *, linked: bool, waiting: int, heard: bool, tcp: TcpSigns | None) -> None:
        """Take what there is to see.

        Args:
            now_ns: the time.
            linked: the broker has greeted us.
            waiting: messages without PUBACK.
            heard: a PUBACK came since the last look.
            tcp: what the kernel says; None without a connection.
        """
        if tcp is None or not tcp.unacked:
            self._unacked_ns = None
        elif self._unacked_ns is None:
            self._unacked_ns = now_ns
        if not linked or not waiting:
            self._waiting_ns = None
        elif heard or self._waiting_ns is None:
            self._waiting_ns = now_ns
        sign = self._judge(now_ns, linked, tcp)
        if bool(sign) != bool(self._sign):
            self._since_ns = now_ns
        self._sign = sign

    def _judge(self, now_ns: int, linked: bool, tcp: TcpSigns | None) -> str:
        if not linked:
            return NO_LINK
        if tcp is not None and self._stalled_ns(now_ns, tcp) >= STALLED_NS:
            return STALLED
        return UNHEARD if self._waiting_ns is not None and now_ns - self._waiting_ns >= UNHEARD_NS else ""

    def _stalled_ns(self, now_ns: int, tcp: TcpSigns) -> int:
        return 0 if self._unacked_ns is None else min(now_ns - self._unacked_ns, tcp.silent_ms * _MS)

    def should_redial(self, now_ns: int) -> bool:
        """Whether to connect anew beside the connection that stalls; it then counts as begun."""
        if self._sign != STALLED or now_ns < self._redial_ns:
            return False
        self._redial_ns = now_ns + REDIAL_NS
        return True

    def redialled(self, now_ns: int) -> None:
        """An attempt ended."""
        self._redial_ns = now_ns + REDIAL_NS

    def trouble(self, now_ns: int, *, active: bool) -> str:
        """Why the broker cannot be counted on, in words; empty when it can.

        What goes wrong at the rack is seen by both nodes, but not at the same moment, and must not move the role. So a
        standby says at once that it is worse and after a while that it is well again, an active node the other way
        round.
        """
        lasted_ns = now_ns - self._since_ns
        if active:
            return self._sign if self._sign and lasted_ns >= PATIENCE_NS else ""
        return self._sign or ("" if lasted_ns >= GOOD_NS else "the broker acknowledges again, but not for long")
