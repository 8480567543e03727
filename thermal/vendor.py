"""The vendor's fan daemon (nvfancontrol): stopped while we write the fan, given back when we do not.

Two writers fight, and the vendor's wins often enough (20 % set, 0.4 % seen). Its unit is stopped, never disabled: at
the next boot, or when our service is removed, it is back by itself. Its cached state (``/var/lib/nvfancontrol/status``)
is left alone: it matters only to who changes its table. Starting is asked for and not waited for: our unit comes after
it, so systemd starts it once we have stopped, and waiting for that would be waiting for ourselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from subprocess import CompletedProcess
from typing import Final

from thermal.sysfs.table import VENDOR_UNIT
from touchline.errors import TouchlineError
from touchline.run import run

_SHORT_S: Final = 5.0
_STOP_S: Final = 15.0  # nvfancontrol ends at once; systemd kills what does not after its own time

Runner = Callable[[Sequence[str], float], CompletedProcess[bytes]]


def _run(argv: Sequence[str], timeout_s: float) -> CompletedProcess[bytes]:
    return run(argv, timeout_s=timeout_s)


class Vendor:
    """See the module. Nothing here raises."""

    def __init__(self, runner: Runner = _run, unit: str = VENDOR_UNIT) -> None:
        self._run = runner
        self._unit = unit
        self._stopped = False  # by us

    def running(self) -> bool:
        """Whether it runs; False also where there is no systemd."""
        return self._asks("is-active")

    def installed(self) -> bool:
        """Whether the next boot would start it: neither missing, disabled nor masked."""
        return self._asks("is-enabled")

    def stop(self) -> str | None:
        """Stop it if it runs. None when it does not run now."""
        if not self.running():
            return None
        try:
            self._run(["systemctl", "stop", self._unit], _STOP_S)
        except TouchlineError as error:
            return f"{self._unit} was not stopped: {error.message}"
        self._stopped = True
        return None

    def start(self) -> bool:
        """Ask for its start if it is this machine's, or if we stopped it. True when systemd took it."""
        if not (self._stopped or self.installed()):
            return False
        try:
            self._run(["systemctl", "start", "--no-block", self._unit], _SHORT_S)
        except TouchlineError:
            return False
        self._stopped = False
        return True

    def _asks(self, verb: str) -> bool:
        try:
            self._run(["systemctl", "--quiet", verb, self._unit], _SHORT_S)
        except TouchlineError:  # also the answer no
            return False
        return True
