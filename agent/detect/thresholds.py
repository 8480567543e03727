"""Thresholds that the command line and the detector share; light, because ``--help`` shows them."""

from __future__ import annotations

from typing import Final

CANDIDATE_SCORE: Final = 0.05  # weaker candidates than are kept still vote on where a box lies
SCORE_THRESHOLD: Final = 0.275  # precision 0.85 on the held-out frames of the model card
IOU_THRESHOLD: Final = 0.41  # POS-5
