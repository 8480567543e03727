"""Sites lent to tests: each from a snapshot, or the one that the test before it gave back as it had found it."""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from hil.virtual.image import Image
from hil.virtual.passenger.seat import Passenger
from hil.virtual.site import Golden, VirtualSite
from touchline.errors import TouchlineError

_NUMBERS: Final = itertools.count()


class Lender:
    """Lends one site at a time; what runs in ``folder`` is ended by :meth:`close`, or when another one is lent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._golden: Golden | None = None
        self._site: VirtualSite | None = None

    def lend(self, golden: Golden) -> VirtualSite:
        """The site that is still there from the same snapshot, all its nodes alive; else a fresh one."""
        if self._site is not None and (golden is not self._golden or not _alive(self._site)):
            self.close()
        if self._site is None:
            self._golden, self._site = golden, site_in(self._folder, golden.image, golden.passengers)
            try:
                self._site.__enter__()
                self._site.restore(golden)
            except BaseException:  # an interrupt too: nothing may run on
                self.close()
                raise
        return self._site

    def close(self) -> None:
        """End what runs."""
        site, self._site, self._golden = self._site, None, None
        if site is not None:
            site.close()
            shutil.rmtree(site.folder, ignore_errors=True)


def site_in(folder: Path, image: Image, passengers: tuple[Passenger, ...]) -> VirtualSite:
    """A site with a name that no other process has, in a folder of this name."""
    name = f"t{os.getpid()}-{next(_NUMBERS)}"
    return VirtualSite(image, folder / name, passengers, name=name)


def _alive(site: VirtualSite) -> bool:
    with suppress(TouchlineError):  # it died, or was never whole: a fresh one then
        for node in site.nodes.values():
            node.machine.check()
        site.rack.check()
        return True
    return False
