"""Faults of the node's network: netem in the guest, both directions, and the cable through the machine monitor."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from hil.virtual.devices.registers import one_of, within
from hil.virtual.ports import Guest, Monitor
from touchline.errors import ConfigError

DIRECTIONS: Final = ("both", "out", "in")

# What comes in is sent through a helper card, since netem shapes only what leaves.
_INGRESS: Final = """ip link show ifb0 >/dev/null 2>&1 || {{ modprobe ifb numifbs=0 && ip link add ifb0 type ifb; }}
ip link set ifb0 up
tc qdisc replace dev ifb0 root netem limit 10000 {netem}
tc qdisc show dev {card} | grep -q ingress && exit 0
tc qdisc add dev {card} handle ffff: ingress
tc filter add dev {card} parent ffff: protocol all prio 1 matchall action mirred egress redirect dev ifb0"""
_EGRESS: Final = "tc qdisc replace dev {card} root netem limit 10000 {netem}"
_CLEAR: Final = """tc qdisc del dev {card} root 2>/dev/null
tc qdisc del dev {card} ingress 2>/dev/null
tc qdisc del dev ifb0 root 2>/dev/null
true"""


@dataclass(frozen=True, slots=True)
class Impairment:
    """What is done to the packets of one direction. All zero: nothing."""

    loss_pct: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    duplicate_pct: float = 0.0
    reorder_pct: float = 0.0
    rate_kbit: int = 0

    def __post_init__(self) -> None:
        for name in ("loss_pct", "duplicate_pct", "reorder_pct"):
            within(name, getattr(self, name), 0.0, 100.0, "%")
        within("delay_ms", self.delay_ms, 0.0, 60_000.0, "ms")
        within("jitter_ms", self.jitter_ms, 0.0, 60_000.0, "ms")
        within("rate_kbit", self.rate_kbit, 0, 10_000_000, "kbit/s")
        if self.delay_ms == 0 and (self.jitter_ms or self.reorder_pct):
            raise ConfigError("net: jitter and reordering need a delay", hint="set delay_ms above 0 first")

    def netem(self) -> str:
        """The arguments of ``tc ... netem``."""
        parts = []
        if self.delay_ms:
            parts.append(f"delay {self.delay_ms:g}ms" + (f" {self.jitter_ms:g}ms" if self.jitter_ms else ""))
        if self.reorder_pct:
            parts.append(f"reorder {self.reorder_pct:g}%")
        if self.loss_pct:
            parts.append(f"loss {self.loss_pct:g}%")
        if self.duplicate_pct:
            parts.append(f"duplicate {self.duplicate_pct:g}%")
        if self.rate_kbit:
            parts.append(f"rate {self.rate_kbit}kbit")
        return " ".join(parts)


class Net:
    """The card eth0. Calls add up: ``loss_pct(5)`` then ``delay_ms(20)`` gives both, until :meth:`clear`.

    ``card_id``: the card's id in QEMU, for the cable.
    """

    def __init__(self, guest: Guest, monitor: Monitor, *, card: str = "eth0", card_id: str = "nic0") -> None:
        self._guest = guest
        self._monitor = monitor
        self._card = card
        self._card_id = card_id
        self._out = Impairment()
        self._in = Impairment()

    def loss_pct(self, share_pct: float, *, direction: str = "both") -> None:
        """Lose this share of the packets."""
        self._change(direction, loss_pct=share_pct)

    def delay_ms(self, delay_ms: float, jitter_ms: float = 0.0, *, direction: str = "both") -> None:
        """Hold each packet back; jitter alone may already reorder."""
        self._change(direction, delay_ms=delay_ms, jitter_ms=jitter_ms)

    def duplicate_pct(self, share_pct: float, *, direction: str = "both") -> None:
        """Send this share of the packets twice."""
        self._change(direction, duplicate_pct=share_pct)

    def reorder_pct(self, share_pct: float, *, direction: str = "both") -> None:
        """Let this share of the packets overtake the delay; needs a delay."""
        self._change(direction, reorder_pct=share_pct)

    def rate_kbit(self, rate_kbit: int, *, direction: str = "both") -> None:
        """Limit the rate; 0 is no limit."""
        self._change(direction, rate_kbit=rate_kbit)

    def clear(self) -> None:
        """Packets pass unharmed again. The cable stays as it is."""
        self._out = self._in = Impairment()
        self._guest.run(_CLEAR.format(card=self._card))

    def asked(self, direction: str) -> Impairment:
        """What this handle set for ``out`` or ``in``."""
        return self._out if one_of("net direction", direction, ("out", "in")) == "out" else self._in

    def shown(self) -> dict[str, Any]:
        """What the guest's kernel has: netem options of ``out`` and ``in``; empty where there is none."""
        queues = json.loads(self._guest.run("tc -j qdisc show").out)
        cards = {"out": self._card, "in": "ifb0"}
        return {
            direction: next((q["options"] for q in queues if q["dev"] == card and q["kind"] == "netem"), {})
            for direction, card in cards.items()
        }

    def unplug(self) -> None:
        """Take the cable out: the guest loses its carrier."""
        self._monitor("set_link", name=self._card_id, up=False)

    def plug(self) -> None:
        """Put the cable in."""
        self._monitor("set_link", name=self._card_id, up=True)

    def carrier(self) -> bool:
        """Whether the guest sees a cable."""
        return self._guest.run(f"cat /sys/class/net/{self._card}/carrier").out.strip() == "1"

    def _change(self, direction: str, **values: Any) -> None:
        one_of("net direction", direction, DIRECTIONS)
        if direction != "in":
            out = replace(self._out, **values)
            self._apply(_EGRESS, out)
            self._out = out
        if direction != "out":
            coming = replace(self._in, **values)
            self._apply(_INGRESS, coming)
            self._in = coming

    def _apply(self, template: str, impairment: Impairment) -> None:
        self._guest.run("set -e\n" + template.format(card=self._card, netem=impairment.netem()))
