"""Which locked requirements a role does without. A table: what is in nobody's row goes into every bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Needed to build our wheel on the technician's machine, never to run it.
BUILD_ONLY: Final = frozenset({"editables", "hatchling", "pathspec", "pluggy", "tomlkit", "trove-classifiers"})

# aiohttp is the rack's web page, pyarrow its Parquet export; the others are what only these two ask for.
RACK_ONLY: Final = frozenset(
    {
        "aiohappyeyeballs",
        "aiohttp",
        "aiosignal",
        "async-timeout",
        "attrs",
        "frozenlist",
        "idna",
        "multidict",
        "propcache",
        "pyarrow",
        "yarl",
    }
)

LEFT_OUT: Final[Mapping[str, frozenset[str]]] = {"node": BUILD_ONLY | RACK_ONLY, "rack": BUILD_ONLY}
