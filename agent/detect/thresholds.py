"""Thresholds that the command line and the detector share; light, because ``--help`` shows them."""

from __future__ import annotations

from typing import Final

SCORE_THRESHOLD: Final = 0.3
IOU_THRESHOLD: Final = 0.41  # POS-5
