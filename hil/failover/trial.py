"""One fault on one site as it goes: who is its victim, who was down and when, what it may cost."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field, replace

from hil.failover.judge import Interval, Spared
from hil.failover.net import NodeId
from hil.failover.site import Site


@dataclass
class Trial:
    """See the module's text. ``pids``, ``hogs``: what its own end needs; the rest is for the judge."""

    site: Site
    active: NodeId
    victim: NodeId
    seed: int = 0
    down: list[Interval] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    hogs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    spared: Spared | None = None

    @property
    def name(self) -> str:
        """The victim's name."""
        return self.site.nodes[self.victim].name

    @property
    def before(self) -> str:
        """Who was active before the fault."""
        return self.site.nodes[self.active].name

    def went_down(self, at_ns: int) -> int:
        """The victim does not run from here on."""
        self.down.append(Interval(self.name, at_ns))
        return at_ns

    def came_up(self, at_ns: int) -> None:
        """It runs again."""
        self.down[-1] = Interval(self.name, self.down[-1].begin_ns, at_ns)

    def spare(self, reason: str, at_ns: int) -> int:
        """Exposures may be missing from the one on that is under way at ``at_ns``."""
        self.spared = Spared(reason, at_ns - self.site.settings.period_ns)
        return at_ns

    def spare_until(self, at_ns: int) -> None:
        """From here on nothing may be missing."""
        assert self.spared is not None, "spare() comes first"
        self.spared = replace(self.spared, end_ns=at_ns)
