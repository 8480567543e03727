"""``[failover]``: the twin, the witness and how fast silence is believed (FOV-1, FOV-3)."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from touchline.config.loader import Section
from touchline.windows import parse_window

MAX_PATHS: Final = 2
SWITCH_BUDGET_MS: Final = 800.0  # FOV-1: the whole switch

Peer = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,16}$", description="1 to 16 of a-z, 0-9 and '-'")]


class FailoverSection(Section):
    """``[failover]``. Absent: a node without a twin, which publishes at all times.

    Addresses are ``host:port`` (IPv6 in brackets). ``paths`` are the ways to the twin, ours and theirs of each.
    """

    pair: str = Field(pattern=r"^[a-z0-9-]{1,16}$", description="name of the pair; the lease is granted per pair")
    twin: Peer = Field(description="name of the other node, as in its certificate")
    paths: list[list[str]] = Field(
        min_length=1,
        max_length=MAX_PATHS,
        description='ways of the beats: ["our host:port", "the twin\'s host:port"], two for two links',
    )
    witness: str = Field(description='the witness on the rack, "host:port"')
    witness_name: Peer = Field(default="aggregator", description="name in the witness's certificate")
    start: Literal["auto", "active", "standby"] = Field(
        default="auto",
        description="auto: claim when no twin is heard to be active; active: claim at once; standby: never at start",
    )
    without_witness: Literal["records", "nothing"] = Field(
        default="records",
        description=(
            "a node that has neither lease nor its twin's promise: records go on (the rack keeps each frame once), or "
            "nothing does; the virtual address and the live recording need a lease or a promise in any case"
        ),
    )
    beat_ms: float = Field(default=20.0, ge=5.0, le=1000.0, description="between two beats; 200 is the asked mode")
    silence_ms: float = Field(
        default=60.0, ge=15.0, le=700.0, description="a twin silent so long is dead, whatever phi says; 600 as asked"
    )
    phi: float = Field(default=8.0, ge=1.0, le=30.0, description="phi-accrual threshold; 8: one in 1e8 beats by chance")
    lease_ms: float = Field(default=100.0, ge=30.0, le=700.0, description="a lease is good for so long")
    blind_ms: float = Field(
        default=200.0, ge=20.0, le=10_000.0, description="no frame of any camera through the pipeline so long: blind"
    )
    fail_back: bool = Field(default=False, description="hand back to the preferred node when it is well again")
    fail_back_after_s: float = Field(default=60.0, ge=1.0, le=86_400.0, description="well for so long before that")
    preferred: bool = Field(default=False, description="this node of the pair is the preferred one")
    realtime_priority: int = Field(
        default=40, ge=0, le=90, description="SCHED_FIFO priority of the beats where granted; 0: none"
    )
    address: str = Field(
        default="", description='virtual addresses of the pair: "192.0.2.10/24, 2001:db8::10/64"; empty: none'
    )
    address_interface: str = Field(
        default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,14})?$", description="interface that carries it"
    )

    match_windows: list[str] = Field(
        default_factory=list,
        max_length=200,
        description='when no drill may run: "2026-11-21T18:00/21:30+01:00" or "Sat 14:00-23:00" (local time)',
    )
    drill_interfaces: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$")]] = Field(
        default_factory=list,
        max_length=8,
        description="interfaces that a drill switches off for a second: those of the paths, the witness and the broker",
    )

    @field_validator("match_windows")
    @classmethod
    def _windows(cls, value: list[str]) -> list[str]:
        for one in value:
            parse_window(one)
        return value

    @field_validator("paths")
    @classmethod
    def _paths(cls, value: list[list[str]]) -> list[list[str]]:
        for pair in value:
            if len(pair) != 2:
                raise ValueError('each path is two addresses: ["our host:port", "the twin\'s host:port"]')
            for one in pair:
                split_address(one)
        return value

    @field_validator("witness")
    @classmethod
    def _witness(cls, value: str) -> str:
        split_address(value)
        return value

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        for one in value.split(",") if value else ():
            ipaddress.ip_interface(one.strip())
        return value

    @model_validator(mode="after")
    def _times_fit(self) -> FailoverSection:
        if self.silence_ms < 2 * self.beat_ms:
            raise ValueError(f"silence_ms {self.silence_ms:g} must be at least two beats ({2 * self.beat_ms:g})")
        if max(self.silence_ms, self.lease_ms) > SWITCH_BUDGET_MS - 100.0:
            raise ValueError("silence_ms and lease_ms must leave 100 ms of the 800 ms for the switch itself (FOV-1)")
        if bool(self.address) != bool(self.address_interface):
            raise ValueError("address and address_interface go together")
        return self


def split_address(text: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port`` to its parts. Raises ValueError with the shape expected."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f'"{text}" is not an address; write "192.0.2.1:7400" or "[2001:db8::1]:7400"')
    return host, int(port)
