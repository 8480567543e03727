"""The rack's configuration: every table of ``rack.toml``."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from touchline.config.loader import ConfigPath, Section
from touchline.config.node import MqttSection, NodeName
from touchline.config.witness import WitnessSection

MAX_CABINET_NODES: Final = 8  # THM-4
CabinetName = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,24}$", description="1 to 24 of a-z, 0-9 and '-'")]


class ReceiveSection(Section):
    """``[receive]``: what is let in."""

    nodes: list[NodeName] = Field(default_factory=list, description="nodes let in; empty: all the broker lets through")
    max_message_bytes: int = Field(default=1_048_576, ge=1_024, le=16_777_216)
    queue_messages: int = Field(default=1024, ge=16, le=65_536)
    gap_close_s: float = Field(default=30.0, ge=0.1, le=3600.0, description="a hole older than this is reported lost")
    max_ranges: int = Field(default=1024, ge=8, le=65_536, description="ranges kept above the watermark per node start")
    max_starts: int = Field(
        default=64, ge=2, le=4096, description="starts remembered per node; one more retires the one silent longest"
    )


class StoreSection(Section):
    """``[store]``: the match on disk."""

    path: ConfigPath = Field(description="SQLite file of the match")
    synchronous: Literal["full", "normal"] = "full"
    commit_window_ms: float = Field(default=20.0, ge=0, le=1000.0)
    commit_messages: int = Field(default=16, ge=1, le=1024)
    retention_days: float = Field(default=0.0, ge=0, le=3650.0, description="0 keeps everything")
    retention_bytes: int = Field(default=0, ge=0, description="0 sets no limit")


class AcceptSection(Section):
    """``[accept]``: each camera frame from exactly one node."""

    rate_hz: float | None = Field(default=None, ge=1.0, le=1000.0, description="frame rate; learned when absent")
    silent_s: float = Field(default=0.5, ge=0.05, le=60.0, description="an owner silent so long gives way to its twin")
    park_s: float = Field(default=1.0, ge=0.05, le=60.0, description="a twin waits so long for the owner")
    max_intervals: int = Field(default=4096, ge=64, le=1_000_000)


class FuseSection(Section):
    """``[fuse]``: several cameras on one PTP timeline (CLK-3)."""

    wait_ms: float = Field(default=80.0, ge=0, le=1000.0, description="bound on waiting for the other cameras")
    gate_m: float = Field(default=1.0, ge=0, le=5.0)


class WebSection(Section):
    """``[web]``: the page."""

    bind: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535, description="0 takes a free port and prints it")
    push_hz: float = Field(default=15.0, ge=1.0, le=60.0)
    stale_s: float = Field(default=1.0, ge=0.1, le=60.0, description="older than this is shown as stale, never as live")
    pitch_length_m: float = Field(default=105.0, ge=90.0, le=120.0)
    pitch_width_m: float = Field(default=68.0, ge=45.0, le=90.0)
    title: str = Field(default="Touchline", max_length=80)


class CabinetSection(Section):
    """``[[cabinet]]``: nodes on one supply, and what they may draw together (THM-4)."""

    name: CabinetName
    nodes: list[NodeName] = Field(min_length=1, max_length=MAX_CABINET_NODES, description="nodes that stand in it")
    budget_w: float = Field(default=1200.0, ge=10.0, le=100_000.0, description="alarm above it, for longer than 10 s")
    other_w: float = Field(default=0.0, ge=0, le=100_000.0, description="what else draws there and never tells")

    @model_validator(mode="after")
    def _each_node_once(self) -> CabinetSection:
        twice = sorted(node for node, times in Counter(self.nodes).items() if times > 1)
        if twice:
            raise ValueError(f"nodes of cabinet {self.name} name {', '.join(twice)} twice")
        return self

    @model_validator(mode="after")
    def _something_is_left_for_nodes(self) -> CabinetSection:
        if self.other_w >= self.budget_w:
            raise ValueError(f"other_w {self.other_w:g} leaves nothing of budget_w {self.budget_w:g} for the nodes")
        return self


class RackConfig(Section):
    """The whole of ``rack.toml``."""

    mqtt: MqttSection
    receive: ReceiveSection = Field(default_factory=ReceiveSection)
    store: StoreSection
    accept: AcceptSection = Field(default_factory=AcceptSection)
    fuse: FuseSection = Field(default_factory=FuseSection)
    web: WebSection = Field(default_factory=WebSection)
    witness: WitnessSection | None = None
    cabinet: list[CabinetSection] = Field(default_factory=list, max_length=32)

    @model_validator(mode="after")
    def _cabinets_are_apart(self) -> RackConfig:
        names = Counter(one.name for one in self.cabinet)
        nodes = Counter(node for one in self.cabinet for node in one.nodes)
        for what, found in (("cabinets are named", names), ("cabinets hold node", nodes)):
            twice = sorted(name for name, times in found.items() if times > 1)
            if twice:
                raise ValueError(f"two {what} {', '.join(twice)}")
        strangers = sorted(set(nodes) - set(self.receive.nodes)) if self.receive.nodes else []
        if strangers:
            raise ValueError(f"receive.nodes does not let in {', '.join(strangers)} of a cabinet")
        return self
