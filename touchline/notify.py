"""sd_notify: tell systemd how the service is; silent when there is no systemd (SYS-1)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(*lines: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send ``READY=1``, ``WATCHDOG=1``, ``STATUS=...`` lines; return whether a supervisor took them."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address or address[0] not in "@/":
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto("\n".join(lines).encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError:  # a supervisor that is gone must not take the service with it
            return False
    return True


def watchdog_interval_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """Half of WATCHDOG_USEC in seconds, the rhythm systemd advises; None without a watchdog for this process."""
    pid = environ.get("WATCHDOG_PID", str(os.getpid()))
    usec = environ.get("WATCHDOG_USEC", "")
    if not usec.isdigit() or pid != str(os.getpid()):
        return None
    return int(usec) / 2e6
