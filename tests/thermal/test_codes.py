"""Every fault that the fan service can tell stands in the operators' table, once, with what to do."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from thermal import control, power
from thermal.service import loop

DOCUMENT = Path(__file__).parents[2] / "docs" / "thermal.md"


def test_every_code_has_its_row_and_every_row_its_code():
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]{10,} \| [^|]{5,} \|$", DOCUMENT.read_text(), re.M)
    assert Counter(rows) == Counter([*control.CODES, *loop.CODES, *power.CODES])
