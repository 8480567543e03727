"""When a child that ended is started again, and when enough is enough. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum


class Verdict(str, Enum):
    """What to do about a child that ended."""

    RESTART = "restart"
    FINISHED = "finished"
    GIVE_UP = "give_up"


FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0
FINAL_EXITS = frozenset({2, 3, 4})  # wrong usage, configuration, input data: a restart cannot mend them


@dataclass
class RestartBudget:
    """At most ``limit`` restarts in any ``window_s`` seconds, like systemd's StartLimit.

    ``pause_s`` is how long to wait before the restart just granted: none before the first, then doubling.
    """

    limit: int
    window_s: float
    total: int = 0
    pause_s: float = 0.0
    _recent_ns: deque[int] = field(default_factory=deque)

    def judge(self, exit_code: int, now_ns: int) -> Verdict:
        """Decide about a child that ended with ``exit_code`` (negative: killed by that signal)."""
        if exit_code == 0:
            return Verdict.FINISHED
        if exit_code in FINAL_EXITS:
            return Verdict.GIVE_UP
        while self._recent_ns and now_ns - self._recent_ns[0] > self.window_s * 1e9:
            self._recent_ns.popleft()
        if len(self._recent_ns) >= self.limit:
            return Verdict.GIVE_UP
        self.pause_s = min(FIRST_PAUSE_S * (2.0 ** len(self._recent_ns) - 1.0), LONGEST_PAUSE_S)
        self._recent_ns.append(now_ns)
        self.total += 1
        return Verdict.RESTART


@dataclass
class Flow:
    """Do frames move? ``alive`` is what feeds the watchdog: every camera advanced within ``stall_s``."""

    stall_s: float
    _seen: dict[int, tuple[int, int]] = field(default_factory=dict)

    def saw(self, camera: int, frames: int, now_ns: int) -> None:
        """Take a camera's frame counter."""
        last = self._seen.get(camera)
        if last is None or frames != last[0]:
            self._seen[camera] = (frames, now_ns)

    def forget(self, camera: int) -> None:
        """A camera ended: it is expected to move no more."""
        self._seen.pop(camera, None)

    def stalled(self, now_ns: int) -> list[int]:
        """Cameras without a new frame for longer than ``stall_s``."""
        return [camera for camera, (_, at_ns) in self._seen.items() if now_ns - at_ns > self.stall_s * 1e9]

    def alive(self, cameras: int, now_ns: int) -> bool:
        """Whether all ``cameras`` have been seen and none is stalled."""
        return len(self._seen) >= cameras and not self.stalled(now_ns)
