"""Power by rail from INA3221 monitors, and the over-current counters of the SoC. By label, never by channel number."""

from __future__ import annotations

import re
from typing import Final

from thermal.sysfs.files import Files, read_number, read_word
from thermal.sysfs.find import Finder
from thermal.sysfs.table import COUNTER_FILES, NO_RAIL, OVER_CURRENT, RAIL_CHANNELS, RAILS
from thermal.types import Raw

_COUNTER: Final = re.compile(rf"(oc\d+)_(?:{'|'.join(COUNTER_FILES)})")


def read_rails(files: Files, finder: Finder) -> dict[str, Raw]:
    """W by label: bus voltage [mV] times current [mA]. A rail whose voltage or current fails has that errno."""
    found: dict[str, Raw] = {}
    for folder in finder.hwmons(RAILS):
        for channel in RAIL_CHANNELS:
            label = read_word(files, f"{folder}/in{channel}_label")
            if label is None or label.lower() in NO_RAIL:
                continue
            volts = read_number(files, f"{folder}/in{channel}_input", 1e-3)
            amps = read_number(files, f"{folder}/curr{channel}_input", 1e-3)
            found.setdefault(label, _product(volts, amps))
    return found


def read_counters(files: Files, finder: Finder) -> dict[str, Raw]:
    """Over-current events since boot by counter: ``oc1`` ... They only grow; whoever reads them takes differences."""
    folder = finder.hwmon(OVER_CURRENT)
    if folder is None:
        return {}
    matches = (_COUNTER.fullmatch(name) for name in files.names(folder))
    return {match[1]: read_number(files, f"{folder}/{match[0]}") for match in matches if match is not None}


def _product(volts: Raw, amps: Raw) -> Raw:
    if volts.value is None:
        return volts
    return amps if amps.value is None else Raw(volts.value * amps.value)
