"""``[uart]``: the serial line, one line of text a frame (MSG-4)."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from touchline.config.loader import Section

LINE_BYTES: Final = 117  # 115 and CR LF
BITS_A_BYTE: Final = 10  # 8N1: start, eight, stop
SHARE: Final = 0.95  # of the wire, where lines_per_s is absent: the kernel's buffer never fills, lines stay fresh


class UartSection(Section):
    """``[uart]``. Absent: no serial line."""

    port: str = Field(
        default="serial@3100000",
        pattern=r"^(/dev/[A-Za-z0-9@:._/+-]{1,200}|[a-z][a-z0-9,._+-]{0,30}@[0-9a-f]{1,16})$",
        description='name of the port\'s node in the device tree, "serial@3100000"; or its path, "/dev/ttyUSB0"',
    )
    baud: Literal[115200, 230400, 460800, 500000, 921600, 1000000, 1500000, 2000000, 3000000, 4000000] = Field(
        default=1_000_000, description="bits a second, 8N1, no flow control"
    )
    queue_lines: int = Field(
        default=32, ge=1, le=256, description="lines that wait; beyond it the oldest goes, counted"
    )
    lines_per_s: float = Field(
        default=0.0, ge=0.0, le=4000.0, description="at most so many lines a second; 0: 95 % of what baud carries"
    )

    @property
    def carried_per_s(self) -> float:
        """Lines a second that the wire carries at this baud rate."""
        return self.baud / (LINE_BYTES * BITS_A_BYTE)

    @property
    def paced_per_s(self) -> float:
        """Lines a second that are sent at most."""
        return self.lines_per_s or SHARE * self.carried_per_s

    @model_validator(mode="after")
    def _fits_the_wire(self) -> UartSection:
        if self.lines_per_s > self.carried_per_s:
            most = f"{self.baud} baud carry {self.carried_per_s:.0f} lines a second"
            raise ValueError(f"lines_per_s {self.lines_per_s:g} is too much: {most}")
        return self
