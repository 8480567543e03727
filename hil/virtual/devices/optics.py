"""The optics that all nodes of a site share: each node's camera delivers the same frames, exposed at the same instants.

Every node has a feeder that paints frame k at k/30 s of UTC (``hil.virtual.scene``, ``guest/.../optics``). This handle
tells all of them what is to be seen from which frame on, ahead of time, so a change is in the same frame everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from hil.virtual.devices.registers import within
from hil.virtual.ports import Guest
from hil.virtual.scene import MOST_PEOPLE, Change, Scene, frame_at, scene_at, to_json
from touchline.errors import HardwareError
from touchline.timeline import utc_s

FILE: Final = "/etc/touchline-hil/optics.json"  # its being there is what starts the feeder
LEAD_S: Final = 2.0  # two nodes just restored beside other load took more than one second to be told
_CLOCKS_S: Final = 0.01  # a node's clock is set to the host's within this


class Optics:
    """One scene before the cameras of all nodes. Each change returns the number of the first frame that shows it.

    ``guests``: the nodes that are on, asked for at every change. A node that was off has what it was told last until
    :meth:`refresh`.
    """

    def __init__(self, guests: Callable[[], Iterable[Guest]], utc: Callable[[], float] = utc_s) -> None:
        self._guests, self._utc = guests, utc
        self._changes: tuple[Change, ...] = ()

    @property
    def scene(self) -> Scene:
        """What was asked for last."""
        return self._changes[-1].scene if self._changes else Scene()

    def show(self, *, seed: int | None = None, people: int | None = None, lead_s: float = LEAD_S) -> int:
        """Other patches: their paths by ``seed``, their number by ``people``; what is not given stays."""
        if people is not None:
            within("people", people, 0, MOST_PEOPLE, "patches")
        now = self.scene
        seed, people = now.seed if seed is None else seed, now.people if people is None else people
        return self._change(replace(now, seed=seed, people=people), lead_s)

    def cover(self, lead_s: float = LEAD_S) -> int:
        """Hold something before the lens: all is black."""
        return self._change(replace(self.scene, covered=True), lead_s)

    def uncover(self, lead_s: float = LEAD_S) -> int:
        """Take it away."""
        return self._change(replace(self.scene, covered=False), lead_s)

    def refresh(self) -> None:
        """Tell every node again: one that was off, was restored, or lost its power just after a change."""
        document = to_json(self._changes).encode()
        for guest in self._guests():
            guest.write_file(FILE, document)

    def _change(self, scene: Scene, lead_s: float) -> int:
        now = frame_at(self._now_ns())
        change = Change(frame_at(self._now_ns() + round(within("lead", lead_s, 0.0, 3600.0, "s") * 1e9)), scene)
        # What is seen now, what is yet to come, and this.
        begun = Change(0, scene_at(self._changes, now))
        coming = [one for one in self._changes if now < one.frame < change.frame]
        self._changes = (begun, *coming, change)
        self.refresh()
        if frame_at(self._now_ns() + round(_CLOCKS_S * 1e9)) >= change.frame:
            raise HardwareError(
                f"the nodes took the change after the frame that was to show it first, {lead_s:g} s ahead",
                hint="the host is busy: a longer lead_s",
            )
        return change.frame

    def _now_ns(self) -> int:
        return int(self._utc() * 1e9)
