"""``[clock]`` tables and node configurations for these tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from touchline.config import ClockSection, NodeConfig, load

EXAMPLE = Path(__file__).parents[4] / "docs" / "examples" / "node.toml"


def clock(**ptp: Any) -> ClockSection:
    """A ``[clock]`` with source ptp and these keys of ``[clock.ptp]``."""
    return ClockSection.model_validate({"source": "ptp", "ptp": ptp})


def node(section: ClockSection) -> NodeConfig:
    """The example's node with this clock."""
    return load(EXAMPLE, NodeConfig).model_copy(update={"clock": section})
