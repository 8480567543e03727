"""``[witness]``: who may hold the lease of a pair, on the rack (FOV-1)."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, field_validator

from touchline.config.loader import ConfigPath, Section
from touchline.config.node import NodeName

MAX_PAIRS: Final = 64
MAX_LEASE_MS: Final = 700.0  # as failover.lease_ms of a node

PairName = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,16}$", description="1 to 16 of a-z, 0-9 and '-'")]


class WitnessSection(Section):
    """``[witness]``. Certificate and key are those of ``[mqtt]``; nodes know the name in it as ``witness_name``."""

    bind: str = Field(default="0.0.0.0:7401", description='UDP "host:port"; port 0 takes a free one and prints it')
    state_file: ConfigPath = Field(description="epochs already granted, kept for ever; a copy lies beside it")
    run_dir: ConfigPath = Field(description="folder for the status, in tmpfs")
    pairs: dict[PairName, list[NodeName]] = Field(
        default_factory=dict,
        description='nodes of each pair, e.g. { "goal-1" = ["pitch-a1", "pitch-a2"] }; empty: any pair of any nodes',
    )
    lease_limit_ms: float = Field(
        default=200.0, ge=30.0, le=MAX_LEASE_MS, description="longest lease granted, and waited out after a start"
    )
    first_epoch: int = Field(
        default=1,
        ge=1,
        le=2**62,
        description="no epoch below this; after the loss of the state file: above all ever used",
    )
    realtime_priority: int = Field(
        default=40, ge=0, le=90, description="SCHED_FIFO priority of the answers where granted; 0: none"
    )

    @field_validator("bind")
    @classmethod
    def _bind(cls, value: str) -> str:
        split_bind(value)
        return value

    @field_validator("pairs")
    @classmethod
    def _pairs(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        for pair, nodes in value.items():
            if len(nodes) != 2 or nodes[0] == nodes[1]:
                raise ValueError(f"pair {pair} needs the names of two nodes, not {nodes}")
        if len(value) > MAX_PAIRS:
            raise ValueError(f"{len(value)} pairs; one witness serves at most {MAX_PAIRS}")
        return value


def split_bind(text: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port`` with a port from 0. Raises ValueError with the shape expected."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'"{text}" is not an address; write "0.0.0.0:7401" or "[::]:7401"')
    return host, int(port)
