"""The hardware watchdog: QEMU's i6300esb with the stock driver, fed by systemd in the guest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from hil.virtual.devices.registers import within
from hil.virtual.ports import Guest
from touchline.errors import HardwareError

_IDENTITY: Final = "i6300ESB timer"
_CARD_RESET: Final = 0x20  # WDIOF_CARDRESET, linux/watchdog.h
_EVENT: Final = "WATCHDOG"
_SYSTEMD: Final = "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"


class Watchdog:
    """Armed by systemd (RuntimeWatchdogSec, 30 s); a guest that feeds it no more is reset by QEMU.

    ``event_names``: names of the events that QEMU reported so far.
    """

    def __init__(self, guest: Guest, event_names: Callable[[], Sequence[str]] | None = None) -> None:
        self._guest = guest
        self._event_names = event_names

    def armed(self) -> bool:
        """Whether the timer runs."""
        return self._attribute("state") == "active"

    def timeout_s(self) -> int:
        """Time without feeding after which the node is reset."""
        return int(self._attribute("timeout"))

    def set_timeout_s(self, timeout_s: int) -> None:
        """Change systemd's feeding and the timer until the next boot; 2 s suits a test, 0 disarms."""
        within("watchdog", timeout_s, 0, 2046, "s")
        self._guest.run(f"busctl set-property {_SYSTEMD} RuntimeWatchdogUSec t {int(timeout_s) * 1_000_000}")

    def bootstatus(self) -> int:
        """Why the node last started, as the driver says it (WDIOF_ bits)."""
        return int(self._attribute("bootstatus"))

    def reset_by_watchdog(self) -> bool:
        """Whether the watchdog caused the last start."""
        return bool(self.bootstatus() & _CARD_RESET)

    def fired(self) -> int:
        """How often QEMU reported that the timer ran out, since it was started or restored."""
        if self._event_names is None:
            raise HardwareError(
                "watchdog: this node's monitor keeps no events", hint="give event_names to devices.attach"
            )
        return sum(name == _EVENT for name in self._event_names())

    def starve(self) -> None:
        """Make the kernel panic, so that nobody feeds the timer. Returns at once; the node does not answer any more.

        kernel.panic is 0: only the watchdog ends it, :meth:`timeout_s` later.
        """
        self._guest.run("(sleep 0.2; echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger) >/dev/null 2>&1 &")

    def _attribute(self, name: str) -> str:
        command = (
            f'for d in /sys/class/watchdog/watchdog*; do read -r i < "$d/identity" && '
            f'[ "$i" = "{_IDENTITY}" ] && exec cat "$d/{name}"; done; exit 66'
        )
        result = self._guest.run(command, check=False)
        if result.exit_code:
            raise HardwareError(
                f"the node has no watchdog {_IDENTITY!r}", hint="the i6300esb driver loads by itself: lsmod in the node"
            )
        return result.out.strip()
