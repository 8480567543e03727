"""The node's configuration and its ``[tune]`` table."""

from __future__ import annotations

from pathlib import Path

from touchline.config import NodeConfig
from touchline.config.tune import TuneSection
from touchline.errors import ConfigError


def need_tune(config: NodeConfig, path: Path) -> TuneSection:
    """The table, or ConfigError that says how to write it."""
    if config.tune is None:
        raise ConfigError(
            f"{path} has no [tune]: the host of this node is left as it is",
            hint="write the line [tune], alone for the defaults; --dry-run shows what they would change",
        )
    return config.tune


def interfaces_of(config: NodeConfig) -> tuple[str, ...]:
    """Interfaces that carry our packets, as far as the configuration names them: those of a drill, else that of PTP."""
    if config.failover is not None and config.failover.drill_interfaces:
        return tuple(config.failover.drill_interfaces)
    return (config.clock.ptp.interface,)
