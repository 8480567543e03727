"""What a child is told when it starts: its role, its configuration and the descriptors it inherits."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum


class Role(str, Enum):
    """The kinds of child."""

    CAPTURE = "capture"
    INFERENCE = "inference"
    PUBLISHER = "publisher"
    CLOCK = "clock"
    RECORDER = "recorder"
    UART = "uart"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child's orders. ``camera`` is the index into ``[[camera]]``; publisher, clock and uart have none.

    ``link_fd``: end of the record link (SOCK_SEQPACKET; one message is one frame's records); of the uart, its end of
    the pair whose other end the inferences have as ``uart_fd``. ``ring``: the text form of :class:`agent.ring.RingFds`.
    """

    role: Role
    config: str
    control_fd: int
    boot_id: str
    camera: int | None = None
    ring: str | None = None
    link_fd: int | None = None
    uart_fd: int | None = None

    @property
    def name(self) -> str:
        """``capture0``, ``inference1``, ``publisher``: how logs, metrics and health call it."""
        return self.role.value if self.camera is None else f"{self.role.value}{self.camera}"

    def to_text(self) -> str:
        """One argument of the child's command line; holds no secrets."""
        return json.dumps({**asdict(self), "role": self.role.value}, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> ChildSpec:
        """Read :meth:`to_text`."""
        fields = json.loads(text)
        return cls(**{**fields, "role": Role(fields["role"])})
