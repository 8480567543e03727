"""The trace ring: what happened to every frame, in memory until half-time (CAP-6)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from touchline.config import NodeConfig


def trace_dir(config: NodeConfig) -> Path | None:
    """Where a node's rings lie, a folder each writer; None where nothing is traced."""
    protect = config.protect
    if protect is None or not protect.trace_max_bytes:
        return None
    return Path(protect.trace_dir) if protect.trace_dir else config.node.run_dir / "trace"
