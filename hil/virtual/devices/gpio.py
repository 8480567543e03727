"""GPIO lines by name: gpio-sim, seen from the far side of the pin (PRT-1)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Final

from hil.virtual.devices.registers import within
from hil.virtual.ports import Guest
from touchline.errors import ConfigError

# gpio-line-names of the device tree, in its order
LINES: Final = ("relay", "safe", "siren", "lamp", "tamper", "recovery", "power-button", "spare")

_FOLDER: Final = "/sys/devices/platform/gpio-lines/gpiochip*/sim_gpio{offset}"
_WAIT: Final = """set -- {folder}; n={steps}
while read -r v < "$1/value"; do
[ "$v" = {level} ] && exit 0
n=$((n - 1)); [ $n -gt 0 ] || exit 1
sleep 0.02
done"""


class Line:
    """One pin as the world outside sees it."""

    def __init__(self, guest: Guest, name: str) -> None:
        self._guest = guest
        self.name = name
        self._folder = _FOLDER.format(offset=LINES.index(name))

    def value(self) -> int:
        """Level at the pin: what the guest drives, or, while it only listens, what :meth:`drive` set."""
        return int(self._guest.run(f"cat {self._folder}/value").out)

    def drive(self, level: int) -> None:
        """Set the level that the guest reads while it has the line as an input; a line it drives ignores this."""
        pull = ("pull-down", "pull-up")[int(within(f"gpio {self.name}", level, 0, 1, "(level)"))]
        self._guest.run(f'set -- {self._folder}/pull && echo {pull} > "$1"')

    def wait(self, level: int, timeout_s: float = 5.0) -> bool:
        """Whether the pin reaches ``level`` within the time; the guest looks every 20 ms, a pulse may slip through."""
        within(f"gpio {self.name}", level, 0, 1, "(level)")
        steps = max(1, round(within(f"gpio {self.name} wait", timeout_s, 0.0, 600.0, "s") / 0.02))
        command = _WAIT.format(folder=self._folder, steps=steps, level=int(level))
        return self._guest.run(command, timeout_s=2 * timeout_s + 20.0, check=False).exit_code == 0

    def consumer(self) -> str | None:
        """Name under which the guest holds the line; None while nobody does."""
        shown = self._guest.run("gpioinfo").out
        row = next((row for row in shown.splitlines() if f'"{self.name}"' in row), "")
        words = shlex.split(row.partition(f'"{self.name}"')[2])
        return None if not words or words[0] == "unused" else words[0]


class Gpio(Mapping[str, Line]):
    """The node's named lines: ``gpio["relay"]``."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def __getitem__(self, name: str) -> Line:
        if name not in LINES:
            raise ConfigError(f"gpio: there is no line {name!r}", hint="use one of: " + ", ".join(LINES))
        return Line(self._guest, name)

    def __iter__(self) -> Iterator[str]:
        return iter(LINES)

    def __len__(self) -> int:
        return len(LINES)
