"""The relay that feeds the cameras. :class:`Relay` is the port; held and latching relays fill it over :class:`Lines`.

*Held*: the line's value keeps the relay. With ``relay_cut = "inactive"`` and a normally open contact a dead node cuts
the cameras (fail-safe); with ``"active"`` and a normally closed one it leaves them powered. *Latching*: a pulse on one
coil cuts, a pulse on the other restores; the relay keeps its position without us, through reboots too.

What a line does once its holder is gone is not promised by the kernel, so a held line is requested with its value (no
glitch at the start) and kept for as long as the service lives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from thermal.protect.lines import Lines, open_lines
from touchline.config.protect import ProtectSection
from touchline.errors import TouchlineError
from touchline.timeline import monotonic_ns, sleep_until

RETRY_NS: Final = 5_000_000_000

Opener = Callable[[Mapping[str, bool]], Lines]  # line -> whether it is active from the start


class Relay(Protocol):
    """What can be done to the cameras' feed. A failure is text, never an exception; None: done."""

    def cut(self) -> str | None: ...

    def restore(self) -> str | None: ...

    def is_cut(self) -> bool | None:
        """Read back; None when that cannot be told."""
        ...

    def close(self) -> None: ...


class Differs(str):
    """A trouble: the line took its value and reads the other one. It stays ours: let go, it would be nobody's."""


class HeldRelay:
    """One line, held at its value."""

    def __init__(self, lines: Lines, line: str, cut_active: bool) -> None:
        self._lines, self._line, self._cut_active = lines, line, cut_active

    def cut(self) -> str | None:
        """Cut, and read it back."""
        return self._set(self._cut_active)

    def restore(self) -> str | None:
        """Feed the cameras again, and read it back."""
        return self._set(not self._cut_active)

    def is_cut(self) -> bool | None:
        """What the line says."""
        try:
            return self._lines.get(self._line) == self._cut_active
        except OSError:
            return None

    def close(self) -> None:
        """Let the line go."""
        self._lines.close()

    def _set(self, active: bool) -> str | None:
        try:
            self._lines.set(self._line, active)
            read = self._lines.get(self._line)
        except OSError as error:
            return f"line {self._line!r}: {error.strerror or error}"
        wanted = "active" if active else "inactive"
        return None if read == active else Differs(f"line {self._line!r} was set {wanted} and reads the other value")


class LatchingRelay:
    """Two coils, a pulse on one of them. ``pause`` waits for so many seconds."""

    def __init__(self, lines: Lines, names: tuple[str, str], pulse_s: float, pause: Callable[[float], None]) -> None:
        self._lines, self._names = lines, names
        self._pulse_s, self._pause = pulse_s, pause

    def cut(self) -> str | None:
        """A pulse on the coil that cuts."""
        return self._pulse(self._names[0])

    def restore(self) -> str | None:
        """A pulse on the coil that restores."""
        return self._pulse(self._names[1])

    def is_cut(self) -> bool | None:
        """Such a relay does not say."""
        return None

    def close(self) -> None:
        """Let the lines go."""
        self._lines.close()

    def _pulse(self, line: str) -> str | None:
        trouble = None
        try:
            self._lines.set(line, True)
            self._pause(self._pulse_s)
        except OSError as error:
            trouble = f"line {line!r}: {error.strerror or error}"
        for name in self._names:  # a coil is not made to be fed for long
            try:
                self._lines.set(name, False)
            except OSError as error:
                trouble = trouble or f"line {name!r} stays active: {error.strerror or error}"
        return trouble


@dataclass(frozen=True, slots=True)
class RelayWiring:
    """How the relay is wired: see ``[protect]``."""

    line: str
    chip: str = ""
    active_low: bool = False
    kind: Literal["held", "latching"] = "held"
    cut_active: bool = False
    restore_line: str = ""
    pulse_s: float = 0.05

    @classmethod
    def of(cls, section: ProtectSection) -> RelayWiring | None:
        """From the configuration; None without a relay."""
        if not section.relay_line:
            return None
        return cls(
            line=section.relay_line,
            chip=section.relay_chip,
            active_low=section.relay_active_low,
            kind=section.relay_kind,
            cut_active=section.relay_cut == "active",
            restore_line=section.relay_restore_line,
            pulse_s=section.relay_pulse_ms / 1e3,
        )


def pause(seconds: float) -> None:
    """Wait, on CLOCK_MONOTONIC."""
    sleep_until(monotonic_ns() + round(seconds * 1e9))


def open_relay(wiring: RelayWiring, cut: bool, opener: Opener | None = None) -> Relay:
    """Take the lines and bring the relay to ``cut``; a held one is there from the request on.

    Raises HardwareError or ResourceError naming line, chip and, where somebody else holds it, its consumer.
    """
    take = opener or (lambda start: open_lines(wiring.chip, start, wiring.active_low))
    if wiring.kind == "held":
        lines = take({wiring.line: wiring.cut_active == cut})
        return HeldRelay(lines, wiring.line, wiring.cut_active)
    names = (wiring.line, wiring.restore_line)
    relay = LatchingRelay(take(dict.fromkeys(names, False)), names, wiring.pulse_s, pause)
    trouble = relay.cut() if cut else relay.restore()
    if trouble is not None:
        relay.close()
        raise TouchlineError(trouble)
    return relay


class KeptRelay:
    """A relay that is taken again where it was lost, and brought to where it should be. ``trouble``: None while well.

    Nothing is taken before the first :meth:`bring`: the event comes first.
    """

    def __init__(self, wiring: RelayWiring, opener: Opener | None = None) -> None:
        self.trouble: str | None = "not taken yet"
        self.wiring = wiring
        self._opener = opener
        self._relay: Relay | None = None
        self._cut = False
        self._tried_ns: int | None = None

    def bring(self, cut: bool, now_ns: int) -> str | None:
        """Cut or restore. None when the relay is there, else why not."""
        self._cut = cut
        if self._relay is None:
            self._take(now_ns)
        else:
            self._after(self._relay.cut() if cut else self._relay.restore(), now_ns)
        return self.trouble

    def tend(self, now_ns: int) -> None:
        """Look whether it is where it should be, and try again where it was not, every 5 s."""
        if self._tried_ns is None:
            return
        if self._relay is not None and self.trouble is None:
            read = self._relay.is_cut()
            if read is not None and read != self._cut:
                self.trouble = f"line {self.wiring.line!r} reads the other value"
        if self.trouble is not None and now_ns - self._tried_ns >= RETRY_NS:
            self.bring(self._cut, now_ns)

    def is_cut(self) -> bool | None:
        """Read back; None when that cannot be told."""
        return None if self._relay is None else self._relay.is_cut()

    def close(self) -> None:
        """Let the lines go."""
        if self._relay is not None:
            self._relay.close()
            self._relay = None

    def _take(self, now_ns: int) -> None:
        self._tried_ns = now_ns
        try:
            self._relay = open_relay(self.wiring, self._cut, self._opener)
        except (TouchlineError, OSError) as error:
            self.trouble = str(error)
        else:
            self.trouble = None

    def _after(self, trouble: str | None, now_ns: int) -> None:
        self._tried_ns = now_ns
        self.trouble = trouble
        if trouble is not None and not isinstance(trouble, Differs):  # the chip may have gone and come: taken anew
            self.close()
